"""What a list of privacy events costs one patient, as one epsilon at a public delta.

The accountant of record is Opacus' PRV accountant (Gopi, Lee, Wutschitz, arXiv 2106.02848), and the number used is its
*upper* bound. At `sample_rate` 1 Gaussian differential privacy has a closed form (Dong, Roth, Su, arXiv 1905.02383),
kept here as an independent second opinion. Neighbours differ by adding or removing one patient; populations are
disjoint sets of patients, so the cost of a run is the larger one (parallel composition), never less.

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
from scipy.optimize import brentq
from scipy.special import log_ndtr

from synthfed.errors import BudgetTooSmall, UnsupportedEvent
from synthfed.privacy.events import PrivacyEvent

ACCOUNTANT = "Opacus PRV, upper bound"
_RELATIVE_ERROR = 0.002  # of epsilon, added by the accountant on top of its estimate
_COARSEST_ERROR = 0.01  # the accountant's own default
_LARGEST_GRID = 1_500_000  # cells; bounds time and memory, the error then grows instead
_LARGEST_PRV_EPSILON = 100.0  # above it the grid is too long; Opacus' RDP bound, which is never smaller, stands in
_MOST_NOISE = 1e7
_ORDERS = [1.1, 1.25, 1.5, *range(2, 16), *range(16, 64, 4), 96, 128, 256]  # whole orders are quick, any list is sound
_OPACUS = threading.Lock()  # `warnings.catch_warnings` is not thread-safe

Composition = tuple[tuple[float, float, int], ...]  # (noise multiplier, sample rate, steps), sorted, no pair twice


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
            outside (0, 1]; steps that are not a positive whole number; a sensitivity that is not positive and finite.
            Noise of exactly zero is supported: it costs infinity.
    """
    where = f"event {event.purpose!r}"
    if event.mechanism != "gaussian":
        raise UnsupportedEvent(f"{where}: mechanism {event.mechanism!r} has no accountant here; known: gaussian")
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


def epsilon_of(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Cost of all `events` together for one patient.

    The order of events does not matter and equal events are merged, so the same work always has the same cost.
    Answers are cached by value. Infinity if any event has no noise; 0 for no events.

    Raises:
        UnsupportedEvent: No accountant here can defend one of the events; see `check_event`.
        ValueError: `delta` is not in (0, 1).
    """
    _check_delta(delta)
    composed = compositions(events)
    return max((_epsilon(parts, delta) for parts in composed.values()), default=0.0)


def calibrate_noise(*, epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Find the smallest noise multiplier, within 0.1 %, whose `steps` releases cost at most `epsilon`.

    The answer is checked with `epsilon_of` itself, so a plan made from it is never refused for rounding.
    `epsilon` = infinity answers 0.0: no noise, no guarantee.

    Raises:
        BudgetTooSmall: No noise multiplier up to 10 million keeps the budget.
        UnsupportedEvent: `sample_rate` or `steps` is out of range.
        ValueError: `epsilon` is not positive, or `delta` is not in (0, 1).
    """
    _check_delta(delta)
    if not epsilon > 0:
        raise ValueError(f"epsilon is {epsilon}; it must be positive")
    check_event(_gaussian(1.0, sample_rate, steps))
    if math.isinf(epsilon):
        return 0.0
    return _calibrate(float(epsilon), float(delta), float(sample_rate), operator.index(steps))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Solve delta = Phi(mu/2 - e/mu) - exp(e) Phi(-mu/2 - e/mu) for e.

    The exact cost of full-batch Gaussian releases with mu^2 = sum of steps / noise_multiplier^2
    (arXiv 1905.02383, corollaries 2.13 and 3.3). 0 when mu is so small that delta alone covers it.
    """
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
    None when the cost is 0 or infinite: there is nothing to compare.
    """
    events = list(events)
    epsilon = epsilon_of(events, delta)
    if epsilon == 0 or math.isinf(epsilon):
        return None
    parts = max(compositions(events).values(), key=lambda composed: _epsilon(composed, delta))
    if all(rate == 1.0 for _, rate, _ in parts):
        name, other = "Gaussian differential privacy, closed form", gaussian_epsilon(_mu(parts), delta)
    else:
        name, other = _pld_epsilon(parts, delta, epsilon) or (_named("opacus", "RDP"), _rdp_epsilon(parts, delta))
    return SecondOpinion(name, other, (epsilon - other) / other if other > 0 else math.inf)


def accountant_version() -> str:
    """The installed version of the accountant of record."""
    return version("opacus")


def compositions(events: Iterable[PrivacyEvent]) -> dict[str, Composition]:
    """Merge equal events per population: what the accountants see.

    Raises:
        UnsupportedEvent: See `check_event`.
    """
    steps: dict[str, dict[tuple[float, float], int]] = {}
    for event in events:
        check_event(event)
        merged = steps.setdefault(event.population, {})
        key = (float(event.noise_multiplier), float(event.sample_rate))
        merged[key] = merged.get(key, 0) + operator.index(event.steps)
    return {
        population: tuple((noise, rate, merged[noise, rate]) for noise, rate in sorted(merged))
        for population, merged in steps.items()
    }


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}; it must lie in (0, 1)")


def _gaussian(noise_multiplier: float, sample_rate: float, steps: int) -> PrivacyEvent:
    return PrivacyEvent("calibration", "gaussian", "train", 1.0, noise_multiplier, sample_rate, steps)


def _mu(parts: Composition) -> float:
    return math.sqrt(sum(steps / noise**2 for noise, _, steps in parts))


@lru_cache(maxsize=4096)
def _epsilon(parts: Composition, delta: float) -> float:
    if any(noise == 0 for noise, _, _ in parts):
        return math.inf
    upper = _rdp_epsilon(parts, delta)
    if not upper < _LARGEST_PRV_EPSILON:
        return upper
    # Opacus: cell = error / sqrt(steps log(12/delta_error) / 2), grid = about 2 (RDP epsilon + 3) long
    steps = sum(count for _, _, count in parts)
    finest = 2 * (upper + 3) * math.sqrt(steps * math.log(12_000 / delta) / 2) / _LARGEST_GRID
    rough = min(upper, gaussian_epsilon(math.sqrt(sum(_central_limit(*part) for part in parts)), delta))
    return min(upper, _prv_epsilon(parts, delta, min(max(_RELATIVE_ERROR * rough, finest), _COARSEST_ERROR)))


def _central_limit(noise: float, rate: float, steps: int) -> float:
    """mu^2 of many Poisson-sampled Gaussian releases, arXiv 1911.11607; exact at rate 1 but for the exponential."""
    if rate == 1.0:
        return steps / noise**2
    return rate**2 * steps * math.expm1(min(1 / noise**2, 500.0))


def _prv_epsilon(parts: Composition, delta: float, error: float) -> float:
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


def _rdp_epsilon(parts: Composition, delta: float) -> float:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = list(parts)
    with _OPACUS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)  # an end of the list: a looser bound
        epsilon = float(accountant.get_epsilon(delta, alphas=_ORDERS))
    if math.isnan(epsilon) or epsilon < 0:
        raise _undefended(parts, delta)
    return epsilon


def _undefended(parts: Composition, delta: float) -> UnsupportedEvent:
    return UnsupportedEvent(
        f"the accountant cannot bound (noise multiplier, sample rate, steps) = {list(parts)} at delta {delta}; "
        "use more noise, fewer different events or a larger delta"
    )


def _pld_epsilon(parts: Composition, delta: float, epsilon: float) -> tuple[str, float] | None:
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


@lru_cache(maxsize=256)
def _calibrate(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    low, high = 0.0, math.inf  # cost(low) > epsilon >= cost(high), always
    cost_low, cost_high = math.inf, 0.0
    noise = _first_guess(epsilon, delta, sample_rate, steps)
    for attempt in range(200):
        cost = _epsilon(((noise, sample_rate, steps),), delta)
        if cost <= epsilon:
            high, cost_high = noise, cost
        else:
            low, cost_low = noise, cost
        if high <= low * 1.001:
            return high
        if low > _MOST_NOISE:
            break
        if low == 0 or math.isinf(high):  # one-sided so far: cost falls about as noise**-1.2
            leap = max(cost, 1e-9) / epsilon
            noise *= min(max(leap ** (1 / 1.2), 1e-3), 1e3) * (1.0004 if low else 1 / 1.0004)
        elif attempt % 3 == 2 or not 0 < cost_high < cost_low < math.inf:
            noise = math.sqrt(low * high)
        else:  # a straight line in logarithms, then a hair to the side that is still far
            slope = math.log(high / low) / math.log(cost_low / cost_high)
            root = low * (cost_low / epsilon) ** slope
            noise = root * 1.0004 if high > root * 1.0005 else root / 1.0004
            noise = noise if low < noise < high else math.sqrt(low * high)
    raise BudgetTooSmall(
        f"no noise keeps {steps} steps at sample rate {sample_rate} within epsilon {epsilon} at delta {delta}; "
        "raise privacy.epsilon or take fewer steps"
    )


def _first_guess(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Invert the central limit theorem mu = q sqrt(T (exp(1/sigma^2) - 1)), arXiv 1911.11607; exact enough at q = 1."""
    mu = float(brentq(lambda m: gaussian_epsilon(m, delta) - epsilon, 0.0, math.sqrt(2 * epsilon) + 10))
    if sample_rate == 1.0:
        return (1 + _RELATIVE_ERROR) * math.sqrt(steps) / mu
    return 1 / math.sqrt(math.log1p((mu / sample_rate) ** 2 / steps))
