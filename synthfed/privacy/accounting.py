"""What a list of privacy events costs one patient, as one epsilon at a public delta.

The accountant of record is Opacus' PRV accountant (Gopi, Lee, Wutschitz, arXiv 2106.02848), and the number used is its
*upper* bound. Full-batch releases are merged into one before it sees them: Gaussian differential privacy composes
exactly (Dong, Roth, Su, arXiv 1905.02383), and its closed form is kept here as an independent second opinion. A run
with noise drawn in shares (`skellam.py`) is accounted twice, by Renyi divergences throughout and as normal noise with a
part of delta paid for the difference, and the smaller bound counts. Neighbours differ by adding or removing one
patient; populations are disjoint sets of patients, so the cost of a run is the larger one (parallel composition), never
less.

Nothing here touches rows. An event that no accountant here can defend raises `UnsupportedEvent`: a missing proof is
never a number. Floating-point effects of drawing the noise are outside every number computed here.
"""

import math
import operator
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

import numpy as np

from synthfed.errors import UnsupportedEvent
from synthfed.privacy.events import PrivacyEvent
from synthfed.privacy.skellam import ORDERS, SkellamRelease, epsilon_at

_OWN = "Opacus PRV, upper bound"
_SHARED = "the smaller of Renyi divergences (Skellam, arXiv 2110.04995) and Opacus PRV as for normal noise"
RELATIVE_ERROR = 0.002  # of epsilon, added by the accountant on top of its estimate
_COARSEST_ERROR = 0.01  # the accountant's own default
_LARGEST_GRID = 1_500_000  # cells; bounds time and memory, the error then grows instead
_LARGEST_PRV_EPSILON = 100.0  # above it the grid is too long; Opacus' RDP bound, which is never smaller, stands in
_LEAST_NOISE = 1e-100  # below it, squares leave the floating-point numbers
_ORDERS = [1.1, 1.25, 1.5, *range(2, 16), *range(16, 64, 4), 96, 128, 256]  # whole orders are quick, any list is sound
_OPACUS = threading.Lock()  # `warnings.catch_warnings` is not thread-safe

Gaussians = tuple[tuple[float, float, int], ...]  # (noise multiplier, sample rate, steps), sorted, no pair twice


@dataclass(frozen=True, slots=True)
class Composition:
    """What the accountants see of one population's events: equal ones merged, nothing about purpose or order."""

    gaussian: Gaussians = ()
    skellam: tuple[SkellamRelease, ...] = ()

    def plus(self, other: "Composition") -> "Composition":
        """Both together."""
        steps: dict[tuple[float, float], int] = {}
        for noise, rate, count in (*self.gaussian, *other.gaussian):
            steps[noise, rate] = steps.get((noise, rate), 0) + count
        shared: dict[SkellamRelease, int] = {}
        for release in (*self.skellam, *other.skellam):
            one = release._replace(steps=1)
            shared[one] = shared.get(one, 0) + release.steps
        return Composition(
            tuple((*key, steps[key]) for key in sorted(steps)),
            tuple(one._replace(steps=shared[one]) for one in sorted(shared)),
        )


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """The same epsilon by other means.

    Attributes:
        name: What computed it.
        epsilon: Its answer.
        relative_difference: (accountant of record - this) / this.
    """

    name: str
    epsilon: float
    relative_difference: float


def check_event(event: PrivacyEvent) -> None:
    """Refuse an event that the accountants here have no proof for.

    Raises:
        UnsupportedEvent: Unknown mechanism or population; noise that is negative, NaN or infinite; a sample rate
            outside (0, 1]; steps that are not a positive whole number; a sensitivity that is not positive and finite;
            noise in shares without an L1 sensitivity, on sampled patients, or with no site left to draw it; shares of
            noise that is not drawn in shares. Noise of exactly zero is supported: it costs infinity.
    """
    where = f"event {event.purpose!r}"
    if event.mechanism not in ("gaussian", "skellam"):
        raise UnsupportedEvent(
            f"{where}: mechanism {event.mechanism!r} has no accountant here; known: gaussian, skellam"
        )
    if event.population not in ("train", "holdout"):
        raise UnsupportedEvent(f"{where}: population {event.population!r} is unknown; known: train, holdout")
    noise = event.noise_multiplier
    if not (math.isfinite(noise) and noise >= 0):
        raise UnsupportedEvent(f"{where}: noise_multiplier is {noise}; it must be finite and >= 0")
    if not 0 < event.sample_rate <= 1:
        raise UnsupportedEvent(f"{where}: sample_rate is {event.sample_rate}; it must lie in (0, 1]")
    if noise > 0 and not (math.isfinite(event.l2_sensitivity) and event.l2_sensitivity > 0):
        raise UnsupportedEvent(f"{where}: l2_sensitivity is {event.l2_sensitivity}; it must be finite and > 0")
    try:
        steps = operator.index(event.steps)
    except TypeError:
        raise UnsupportedEvent(f"{where}: steps is {event.steps!r}; it must be a whole number") from None
    if steps < 1:
        raise UnsupportedEvent(f"{where}: steps is {steps}; it must be at least 1")
    _check_shares(event, where)


def _check_shares(event: PrivacyEvent, where: str) -> None:
    l1, sites, colluders, numbers = event.l1_sensitivity, event.sites, event.colluders, event.numbers
    if event.mechanism == "gaussian":
        if (l1, sites, colluders, numbers) != (0.0, 1, 0, 0):
            raise UnsupportedEvent(f"{where}: gaussian noise is drawn at one site; shares are for skellam noise")
        return
    if not all(isinstance(whole, int) for whole in (sites, colluders, numbers)) or numbers < 0:
        raise UnsupportedEvent(
            f"{where}: sites {sites}, colluders {colluders}, numbers {numbers}; wanted whole numbers"
        )
    if not 0 <= colluders < sites:
        raise UnsupportedEvent(f"{where}: colluders is {colluders} of {sites} sites; at least one share must be left")
    if event.noise_multiplier == 0:
        return
    if not (math.isfinite(l1) and l1 >= event.l2_sensitivity):
        raise UnsupportedEvent(f"{where}: l1_sensitivity is {l1}; it must be finite and at least l2_sensitivity")
    if event.sample_rate != 1 and math.isinf(_skellam(event.alone()).apart()):
        raise UnsupportedEvent(
            f"{where}: sample_rate is {event.sample_rate}; skellam noise has no bound below 1 unless numbers are "
            f"counted and a share has variance 10**6 (found {event.share_variance:.3g}): scale the sum up"
        )


def epsilon_of(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Cost of all `events` together for one patient.

    The order of events does not matter and equal events are merged, so the same work always has the same cost.
    Answers are cached by value. Infinity if any event has no noise; 0 for no events. Where noise is drawn in shares
    this holds against whoever knows the shares of at most `colluders` sites; `epsilon_alone` is for the rest.

    Raises:
        UnsupportedEvent: No accountant here can defend one of the events; see `check_event`.
        ValueError: `delta` is not in (0, 1).
    """
    _check_delta(delta)
    composed = compositions(events)
    return max((cost_of(parts, delta) for parts in composed.values()), default=0.0)


def epsilon_alone(events: Iterable[PrivacyEvent], delta: float) -> float:
    """The same where all other sites collude, or the secure sum fails: `epsilon_of` the own site's noise.

    Raises:
        UnsupportedEvent: No accountant here can defend one of the events; see `check_event`.
        ValueError: `delta` is not in (0, 1).
    """
    return epsilon_of(map(_alone, events), delta)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Solve delta = Phi(mu/2 - e/mu) - exp(e) Phi(-mu/2 - e/mu) for e.

    The exact cost of full-batch Gaussian releases with mu^2 = sum of steps / noise_multiplier^2
    (arXiv 1905.02383, corollaries 2.13 and 3.3). 0 when mu is so small that delta alone covers it.
    """
    from scipy.optimize import brentq  # half a second, which a site's key messages would pay each time
    from scipy.special import log_ndtr

    _check_delta(delta)
    if mu < 0 or math.isnan(mu):
        raise ValueError(f"mu is {mu}; it must be at least 0")
    if mu == 0 or math.isinf(mu):
        return mu

    def log_excess(e: float) -> float:
        first = float(log_ndtr(mu / 2 - e / mu))
        second = e + float(log_ndtr(-mu / 2 - e / mu))
        gap = -math.expm1(min(second - first, 0.0))
        return first + (math.log(gap) if gap > 0 else -math.inf) - math.log(delta)

    if log_excess(0.0) <= 0:
        return 0.0
    high = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))  # the tail bound: always enough
    return float(brentq(lambda e: max(log_excess(e), -1e6), 0.0, high, xtol=1e-12, rtol=1e-14))


def second_opinion(events: Iterable[PrivacyEvent], delta: float) -> SecondOpinion | None:
    """Check `epsilon_of` by other means: the closed form at full batch, else dp-accounting's PLD, else Opacus' RDP.

    RDP is an upper bound by construction (it needs no second library), so there the difference is commonly negative.
    With Skellam noise the other means is the cost of normal noise as large: the difference is what not being normal
    costs or, commonly 0.05 to 0.10, what Renyi divergences give away. None when the cost is 0 or infinite:
    there is nothing to compare.
    """
    events = list(events)
    epsilon = epsilon_of(events, delta)
    if epsilon == 0 or math.isinf(epsilon):
        return None
    worst = max(compositions(events).values(), key=lambda composed: cost_of(composed, delta))
    parts = _merge_full_batch(_with_normal_noise(worst))
    as_large = " of noise as large" if worst.skellam else ""
    if all(rate == 1.0 for _, rate, _ in parts):
        name, other = f"Gaussian differential privacy{as_large}, closed form", gaussian_epsilon(1 / parts[0][0], delta)
    else:
        name, other = _pld_epsilon(parts, delta, epsilon) or (_named("opacus", "RDP"), _rdp_epsilon(parts, delta))
        name += f",{as_large}" if as_large else ""
    return SecondOpinion(name, other, (epsilon - other) / other if other > 0 else math.inf)


def accountant_of(events: Iterable[PrivacyEvent]) -> tuple[str, str]:
    """Who computes `epsilon_of` these events, and in which version."""
    if any(event.mechanism == "skellam" for event in events):
        return _SHARED, f"opacus {version('opacus')}"
    return _OWN, f"opacus {version('opacus')}"


def compositions(events: Iterable[PrivacyEvent]) -> dict[str, Composition]:
    """Merge equal events per population: what the accountants see.

    Raises:
        UnsupportedEvent: See `check_event`.
    """
    composed: dict[str, Composition] = {}
    for event in events:
        check_event(event)
        noise, steps = float(event.noise_multiplier), operator.index(event.steps)
        if event.mechanism == "skellam":
            one = Composition(skellam=(_skellam(event),))
        else:
            one = Composition(gaussian=((noise, float(event.sample_rate), steps),))
        composed[event.population] = composed.get(event.population, Composition()).plus(one)
    return composed


def _skellam(event: PrivacyEvent) -> SkellamRelease:
    return SkellamRelease(
        float(event.noise_multiplier),
        float(event.sample_rate),
        float(event.l2_sensitivity),
        float(event.l1_sensitivity),
        event.numbers,
        operator.index(event.steps),
    )


@lru_cache(maxsize=4096)
def cost_of(composed: Composition, delta: float) -> float:
    """Epsilon of one population's events."""
    if any(noise < _LEAST_NOISE for noise, *_ in (*composed.gaussian, *composed.skellam)):
        return math.inf
    if composed.skellam:
        return min(_by_renyi_divergences(composed, delta), _as_normal_noise(composed, delta))
    parts = _merge_full_batch(composed.gaussian)
    return _gaussian_epsilon(parts, delta) if parts else 0.0


@lru_cache(maxsize=4096)
def _gaussian_epsilon(parts: Gaussians, delta: float) -> float:
    upper = _rdp_epsilon(parts, delta)
    if not upper < _LARGEST_PRV_EPSILON:
        return upper
    # Opacus: cell = error / sqrt(steps log(12/delta_error) / 2), grid = about 2 (RDP epsilon + 3) long
    steps = sum(count for _, _, count in parts)
    finest = 2 * (upper + 3) * math.sqrt(steps * math.log(12_000 / delta) / 2) / _LARGEST_GRID
    rough = min(upper, gaussian_epsilon(math.sqrt(sum(_central_limit(*part) for part in parts)), delta))
    return min(upper, _prv_epsilon(parts, delta, min(max(RELATIVE_ERROR * rough, finest), _COARSEST_ERROR)))


def _alone(event: PrivacyEvent) -> PrivacyEvent:
    check_event(event)
    return event.alone()


def _merge_full_batch(parts: Gaussians) -> Gaussians:
    """All releases at sample rate 1 as the one that costs the same: mu^2 adds up. It comes first."""
    burden = math.fsum(steps / noise**2 for noise, rate, steps in parts if rate == 1.0)
    sampled = tuple(part for part in parts if part[1] != 1.0)
    return ((1 / math.sqrt(burden), 1.0, 1), *sampled) if burden else sampled


def _by_renyi_divergences(composed: Composition, delta: float) -> float:
    """The least epsilon over whole orders; divergences of independent releases add up."""
    from opacus.accountants.analysis.rdp import compute_rdp

    if any(release.rate != 1.0 for release in composed.skellam):
        return math.inf
    parts = _merge_full_batch(composed.gaussian)
    sampled = any(rate != 1.0 for _, rate, _ in parts)
    orders = [order for order in ORDERS if not sampled or order <= _ORDERS[-1]]  # sums of as many terms as the order
    total = np.array([math.fsum(release.divergence(order) for release in composed.skellam) for order in orders])
    for noise, rate, steps in parts:
        total += compute_rdp(q=rate, noise_multiplier=noise, steps=steps, orders=orders)
    return min(epsilon_at(order, float(value), delta) for order, value in zip(orders, total, strict=True))


def _as_normal_noise(composed: Composition, delta: float) -> float:
    """Cost of the same with normal noise as large, at a delta that is less by what tells the two kinds apart.

    Normal noise added to whole numbers and rounded is post-processing of the Gaussian mechanism, sampled or not. If
    all noise together is within total variation `apart` of it, whatever the steps before have shown, then for
    neighbours P(A) <= P'(A) + apart <= exp(e) Q'(A) + d + apart <= exp(e) (Q(A) + apart) + d + apart, P' and Q' with
    normal noise: (e, d + (1 + exp(e)) apart). The part of delta for it is found at half of delta, where epsilon is
    larger, so that it suffices.
    """
    apart = math.fsum(release.apart() for release in composed.skellam)
    if not 2 * apart < delta / 2:
        return math.inf
    parts = _merge_full_batch(_with_normal_noise(composed))
    at_half = _gaussian_epsilon(parts, delta / 2)
    paid = max(1 / 1000, (1 + math.exp(min(at_half, 700.0))) * apart / delta)
    return min(at_half, _gaussian_epsilon(parts, (1 - paid) * delta)) if paid <= 0.5 else math.inf


def _with_normal_noise(composed: Composition) -> Gaussians:
    as_gaussian = tuple((part.noise, part.rate, part.steps) for part in composed.skellam)
    return Composition(composed.gaussian).plus(Composition(as_gaussian)).gaussian


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}; it must lie in (0, 1)")


def _central_limit(noise: float, rate: float, steps: int) -> float:
    """mu^2 of many Poisson-sampled Gaussian releases, arXiv 1911.11607; exact at rate 1 but for the exponential."""
    if rate == 1.0:
        return steps / noise**2
    return rate**2 * steps * math.expm1(min(1 / noise**2, 500.0))


def _prv_epsilon(parts: Gaussians, delta: float, error: float) -> float:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = list(parts)
    # At sample rate 1 its formulas take log(1 - q) = -inf, which is the right answer there.
    with _OPACUS, warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.filterwarnings("ignore", "Optimal order is the largest alpha", UserWarning)
        try:
            epsilon = float(accountant.get_epsilon(delta, eps_error=error))
        except (RuntimeError, ValueError) as problem:
            raise _undefended(parts, delta) from problem
    if not math.isfinite(epsilon):
        raise _undefended(parts, delta)
    return epsilon


def _rdp_epsilon(parts: Gaussians, delta: float) -> float:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = list(parts)
    with _OPACUS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)  # an end of the list: a looser bound
        epsilon = float(accountant.get_epsilon(delta, alphas=_ORDERS))
    if math.isnan(epsilon) or epsilon < 0:
        raise _undefended(parts, delta)
    return epsilon


def _undefended(parts: Gaussians, delta: float) -> UnsupportedEvent:
    return UnsupportedEvent(
        f"the accountant cannot bound (noise multiplier, sample rate, steps) = {list(parts)} at delta {delta}; "
        "use more noise, fewer different events or a larger delta"
    )


def _pld_epsilon(parts: Gaussians, delta: float, epsilon: float) -> tuple[str, float] | None:
    try:
        import dp_accounting
        from dp_accounting.pld import PLDAccountant
    except ImportError:
        return None
    accountant = PLDAccountant(value_discretization_interval=min(1e-4, max(1e-6, epsilon * 1e-4)))
    for noise, rate, steps in parts:
        release = dp_accounting.GaussianDpEvent(noise)
        sampled = release if rate == 1.0 else dp_accounting.PoissonSampledDpEvent(rate, release)
        accountant.compose(sampled, steps)
    return _named("dp-accounting", "PLD"), float(accountant.get_epsilon(delta))


def _named(library: str, method: str) -> str:
    return f"{library} {version(library)} {method}"
