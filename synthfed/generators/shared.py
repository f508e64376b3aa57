"""Noise in shares: every site adds a part, and only the sum of all is opened.

K sites add up whole numbers: counts scaled up, or sums of clipped gradients scaled up and rounded. Each adds Skellam
noise of variance mu/(K - t) before it masks, so that the sum is protected by noise of variance mu where t sites tell
what they drew, draw nothing or are lost. Outsiders, the server and up to t minus the lost sites learn at most what the
plan's epsilon says; all other sites together at most `epsilon_local`. This rests on the secure sum: no site's own
numbers may be opened.

Only what is linear can be noised so: one step of training is one sum. What the noise costs is for `privacy.skellam`;
here it is decided how large the whole numbers are. Everything is public: the number of sites, the budget, and bounds
in place of the numbers that travel, so that nothing depends on what was learned before.
"""

import hashlib
import hmac
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from synthfed.errors import BudgetTooSmall, PipelineError, TrainingError
from synthfed.generators.base import Measure, Plan, SharedNoise, Weights, unflatten
from synthfed.generators.condition import NAME as CONDITION
from synthfed.pipeline import FederationSettings, Pipeline
from synthfed.privacy.accounting import epsilon_of
from synthfed.privacy.budget import gdp_mu
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.mechanisms import NoiseStream
from synthfed.privacy.skellam import rounded_sensitivity

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST_NUMBERS = 2**17  # that one sum releases; costs 1.3 % of noise at epsilon 10, nothing that shows at 3
MOST_ROWS = 2**20  # of a site: with it no sum can wrap modulo 2**64
_MOST_DEVIATION = 2.0**28.5  # of a share: what the sampler draws, sqrt(2**57)
_ROOM = 2.0**62  # half of what a signed number modulo 2**64 holds
_TAILS = 64.0  # standard deviations that the noise of a sum never leaves
_SPARE = 1e-9  # of a count's scale: what adding up 1/stddev^2 may move


def tolerated(settings: FederationSettings, sites: int) -> tuple[int, int]:
    """Of how many sites the noise is not counted, and how many of them may be lost: (t, lost).

    By default as many colluders beside the lost sites as the secure sum withstands together with the server: more
    would promise what the sum does not hold, fewer would be its weakest part.

    Raises:
        PipelineError: `federation.colluders` is below the lost sites, so that a sum could be opened with too little
            noise in it, or beyond what the secure sum withstands.
    """
    if sites == 1:
        return 0, 0
    lost = min(settings.max_missing, (sites - 1) // 3)
    most = lost + helpers(sites)
    if settings.colluders == "auto":
        return most, lost
    if not lost <= settings.colluders <= most:
        raise PipelineError(
            f"federation.colluders is {settings.colluders}; with {sites} sites of which {lost} may be lost it must lie "
            f"in {lost} to {most}: below, a sum could lack noise (lower federation.max_missing); above, a secure sum "
            "of so many sites does not withstand the server and its helpers"
        )
    return settings.colluders, lost


def helpers(sites: int) -> int:
    """Sites that may help a lying server without opening a summand, at the default threshold floor(2N/3) + 1."""
    return min(2 * (2 * sites // 3 + 1) - sites - 1, sites - 2)


def split_noise(pipeline: Pipeline, sites: int) -> SharedNoise | None:
    """How a run shares its noise; None where it does not, or has none. `scale_bits` is for `fit_scale` to say.

    Raises:
        PipelineError: See `tolerated`.
        BudgetTooSmall: No noise keeps the budget.
    """
    privacy, federation = pipeline.privacy, pipeline.federation
    if federation.noise != "shared" or not privacy.enabled:
        return None
    colluders, lost = tolerated(federation, sites)
    shares = sites - colluders
    largest = sites * MOST_ROWS * gdp_mu(privacy.epsilon, privacy.delta) + _tails(sites, shares)
    bits = _whole_bits(min(_MOST_DEVIATION * math.sqrt(shares), _ROOM / largest))
    return SharedNoise(colluders, lost, scale_bits=0, count_stddev=2.0**bits)


def fit_scale(split: SharedNoise, sites: int, *, clip_norm: float, noise_multiplier: float) -> SharedNoise:
    """The largest scale for gradient sums whose noise can be drawn and whose sums cannot wrap.

    Args:
        noise_multiplier: What the steps need with normal noise; theirs may be a quarter larger.

    Raises:
        PipelineError: There is none.
    """
    shares = sites - split.colluders
    deviation = 1.25 * noise_multiplier * clip_norm
    largest = sites * MOST_ROWS * clip_norm + deviation * _tails(sites, shares)
    bits = _whole_bits(min(_MOST_DEVIATION * math.sqrt(shares) / deviation, _ROOM / largest))
    if bits < 0:
        raise PipelineError(
            f"privacy.clip_norm is {clip_norm:g}: sums of such gradients and their noise have no room modulo 2**64; "
            "lower privacy.clip_norm"
        )
    return replace(split, scale_bits=bits)


def count_event(measure: Measure, split: SharedNoise, sites: int, *, purpose: str) -> PrivacyEvent:
    """What a round of counting costs: one patient moves the scaled counts by the round's mu times their noise."""
    l2 = split.count_stddev * measure.mu
    return PrivacyEvent(
        purpose=purpose,
        mechanism="skellam",
        population="train",
        l2_sensitivity=l2,
        noise_multiplier=measure.noise_multiplier,
        sample_rate=1.0,
        steps=1,
        l1_sensitivity=max(l2, min(math.sqrt(MOST_NUMBERS) * l2, l2 * l2)),
        sites=sites,
        colluders=split.colluders,
        numbers=MOST_NUMBERS,
    )


def step_event(
    split: SharedNoise,
    sites: int,
    *,
    clip_norm: float,
    noise_multiplier: float,
    sample_rate: float,
    purpose: str,
    steps: int = 1,
) -> PrivacyEvent:
    """What steps of training cost; `noise_multiplier` is over what one patient moves the rounded sum."""
    l2, l1 = rounded_sensitivity(clip_norm, split.scale_bits, MOST_NUMBERS)
    return PrivacyEvent(
        purpose=purpose,
        mechanism="skellam",
        population="train",
        l2_sensitivity=l2,
        noise_multiplier=noise_multiplier,
        sample_rate=sample_rate,
        steps=steps,
        l1_sensitivity=l1,
        sites=sites,
        colluders=split.colluders,
        numbers=MOST_NUMBERS,
    )


def count_scales(stddevs: Floats, split: SharedNoise) -> Ints:
    """By how much counts are multiplied, so that noise of `split.count_stddev` is noise of `stddevs` to them.

    Rounded down: one patient moves the counts by no more than is paid for.

    Raises:
        TrainingError: A table's noise is larger than the scale: it would be counted as nothing.
    """
    scales = np.floor((1 - _SPARE) * split.count_stddev / stddevs).astype(np.int64)
    if not (scales > 0).all():
        raise TrainingError("a table to count has more noise than whole numbers have room for; nothing is counted")
    return scales


def with_share(exact: Ints, event: PrivacyEvent, *, noise_key: bytes) -> Ints:
    """Add this site's share of the noise that `event` is charged for; the result may leave masked, never alone.

    Who sees the sum over the sites, and knows at most `event.colluders` of the shares in it or missing from it, learns
    what `event` costs; who sees this vector alone, what `event.alone()` costs.

    Args:
        noise_key: 32 secret bytes, fresh for this round.

    Raises:
        TrainingError: More numbers than the event counts.
    """
    if len(exact) > event.numbers:
        raise TrainingError(
            f"{len(exact)} numbers would be added up and the noise is accounted for {event.numbers} at most; use fewer "
            "columns or a smaller network, or set federation.noise = 'local'"
        )
    stream = NoiseStream(hmac.new(noise_key, b"synthfed share", hashlib.sha256).digest())
    return exact + stream.skellam(len(exact), event.share_variance)


def rounded(gradient: Floats, split: SharedNoise) -> Ints:
    """A site's clipped sum in whole numbers, always the same way.

    Raises:
        TrainingError: A coordinate is not finite, or larger than sums have room for.
    """
    scaled = np.rint(gradient * 2.0**split.scale_bits)
    if not np.abs(scaled).max(initial=0.0) < _ROOM:  # false for a NaN
        raise TrainingError("a gradient sum is NaN, infinite or beyond 2**62 on its scale; check the weights")
    return scaled.astype(np.int64)


def mean_gradient(total: Ints, plan: Plan, *, counted: int) -> Floats:
    """The noisy mean gradient that an opened sum over `counted` sites stands for."""
    assert plan.shared is not None
    return total.astype(np.float64) * (2.0**-plan.shared.scale_bits / (plan.expected_batch * counted))


def trained_tensors(kind: str, weights: Iterable[str]) -> tuple[str, ...]:
    """Names of the tensors that patients' gradients move, in order: what a step's sum is about."""
    if kind == "ctgan":
        return tuple(name for name in weights if name.startswith("critic."))
    return tuple(name for name in weights if not name.endswith(f".{CONDITION}"))


def step_change(weights: Weights, names: Iterable[str], mean: Floats) -> Weights:
    """Downhill along the mean gradient, as a change of every tensor of `weights`; the others stay as they are."""
    part = unflatten(-mean, {name: weights[name] for name in names})
    return {name: part.get(name, np.zeros_like(tensor)) for name, tensor in weights.items()}


def within_budget(measures: tuple[Measure, ...], split: SharedNoise, sites: int, budget: Budget) -> tuple[Measure, ...]:
    """The counting rounds with as little noise more as the accountant asks for, where they are all that is paid.

    Raises:
        BudgetTooSmall: No noise a quarter larger keeps the budget.
    """
    more = 1.0
    while more < 1.25:
        larger = tuple(replace(measure, noise_multiplier=more * measure.noise_multiplier) for measure in measures)
        events = [count_event(measure, split, sites, purpose=measure.name) for measure in larger]
        cost = epsilon_of(events, budget.delta)
        if cost <= budget.epsilon:
            return larger
        more *= max(cost / budget.epsilon, 1.0002)
    raise BudgetTooSmall(f"no shared noise keeps the counts within epsilon {budget.epsilon:g}; lower privacy.epsilon")


def _tails(sites: int, shares: int) -> float:
    """How many deviations the noise of the sum of all sites stays within."""
    return _TAILS * math.sqrt(sites / shares)


def _whole_bits(number: float) -> int:
    return math.floor(math.log2(number))
