"""From a budget to noise: how much a cohort may lose, cut into shares, and the noise that each share buys.

Gaussian differential privacy is the currency (Dong, Roth, Su, arXiv 1905.02383): a release that costs mu is a sum with
normal noise of standard deviation sensitivity/mu, and releases add up as mu^2. So a budget is one number mu, a share of
it is a share of mu^2, and rounds of counting can be planned before anything is known of the training that follows.
Training at a sample rate below 1 is no Gaussian release: `calibrate_noise` then finds its noise by asking the
accountant for the whole, so that what was planned is never refused for rounding.

Nothing here touches rows. Every argument is public by declaration; who chooses a share after looking at rows pays
nothing for that look, and should.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from synthfed.errors import BudgetTooSmall
from synthfed.privacy.accounting import (
    RELATIVE_ERROR,
    Composition,
    check_event,
    compositions,
    cost_of,
    gaussian_epsilon,
)
from synthfed.privacy.events import PrivacyEvent

_MOST_NOISE = 1e7
_PRECISION = 1.001  # the noise found is at most this much larger than needed
_SPARE = 1e-6  # of mu: what adding up shares in floating point, and the accountant's own rounding, may move


@lru_cache(maxsize=64)
def gdp_mu(epsilon: float, delta: float) -> float:
    """The mu of a whole budget: full-batch Gaussian releases whose mu^2 add up to its square cost at most `epsilon`.

    Below the closed form's answer by what the accountant of record adds as its own error (0.2 % of epsilon), so that
    `epsilon_of` accepts a plan that spends all of it. Infinity for an infinite budget.

    Example:
        >>> mu = gdp_mu(3.0, 1e-5)
        >>> tables, training = split_mu(mu, {"tables": 0.7, "training": 0.3}).values()
        >>> stddev = count_stddev(tables)  # of each cell, if a patient touches one cell

    Raises:
        BudgetTooSmall: No noise multiplier up to 10 million keeps the budget.
        ValueError: `epsilon` is not positive, or `delta` is not in (0, 1).
    """
    noise = calibrate_noise(epsilon=epsilon, delta=delta, sample_rate=1.0, steps=1)
    return (1 - _SPARE) / noise if noise else math.inf


def split_mu(mu: float, shares: Mapping[str, float]) -> dict[str, float]:
    """Cut a budget by shares of mu^2; shares that add up to less than 1 leave the rest unspent.

    Raises:
        ValueError: A share is not positive, or they add up to more than 1.
    """
    if not all(share > 0 for share in shares.values()) or math.fsum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"shares are {dict(shares)}; each must be positive and together they may be 1 at most")
    return {name: mu * math.sqrt(share) for name, share in shares.items()}


def count_stddev(mu: float, *, cells_touched: int = 1) -> float:
    """Standard deviation of the noise on counts that together cost `mu`; 0 for an infinite one.

    A patient adds at most 1 to each of `cells_touched` cells (one cell in each of so many tables, say), which moves the
    counts by sqrt(cells_touched) in L2.

    Raises:
        ValueError: `mu` is not positive, or no cell is touched.
    """
    if not mu > 0 or cells_touched < 1:
        raise ValueError(f"mu is {mu} and cells_touched {cells_touched}; mu must be positive and a patient in a cell")
    return math.sqrt(cells_touched) / mu


def calibrate_noise(
    *, epsilon: float, delta: float, sample_rate: float, steps: int, spent: Iterable[PrivacyEvent] = ()
) -> float:
    """Find the smallest noise multiplier, within 0.1 %, whose `steps` releases cost at most `epsilon`.

    The answer is checked with the accountant of record itself, so a plan made from it is never refused for rounding.
    `epsilon` = infinity answers 0.0: no noise, no guarantee.

    Args:
        spent: What the same plan also does; all of it and the steps together keep the budget. Events of the hold-out
            do not count: those are other patients.

    Raises:
        BudgetTooSmall: `spent` alone costs all of the budget, or no noise multiplier up to 10 million keeps it.
        UnsupportedEvent: `sample_rate` or `steps` is out of range, or no accountant here can defend `spent`.
        ValueError: `epsilon` is not positive, or `delta` is not in (0, 1).
    """
    return calibrate_event(
        PrivacyEvent("calibration", "gaussian", "train", 1.0, 1.0, sample_rate, steps),
        epsilon=epsilon,
        delta=delta,
        spent=spent,
    )


def calibrate_event(event: PrivacyEvent, *, epsilon: float, delta: float, spent: Iterable[PrivacyEvent] = ()) -> float:
    """`calibrate_noise` for a release of any kind: the noise multiplier that `event` needs; its own is not looked at.

    For noise in shares `epsilon` is what holds against outsiders and `event.colluders` sites.

    Raises:
        BudgetTooSmall, UnsupportedEvent, ValueError: As `calibrate_noise`.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}; it must lie in (0, 1)")
    if not epsilon > 0:
        raise ValueError(f"epsilon is {epsilon}; it must be positive")
    event = replace(event, purpose="calibration", noise_multiplier=1.0)
    check_event(event)
    if math.isinf(epsilon):
        return 0.0
    before = compositions(spent).get(event.population, Composition())
    return _calibrate(event, float(epsilon), float(delta), before)


@lru_cache(maxsize=256)
def _calibrate(event: PrivacyEvent, epsilon: float, delta: float, spent: Composition) -> float:
    """Search in mu^2, where what was spent is taken off and what is left falls about as noise**-2."""
    before = _mu_of(cost_of(spent, delta), delta) ** 2
    wanted = _mu_of(epsilon, delta) ** 2 - before
    low, high = 0.0, math.inf  # cost(low) > epsilon >= cost(high), always
    noise = _first_guess(math.sqrt(wanted), event.sample_rate, event.steps) if wanted > 0 else math.inf
    for attempt in range(200):
        if not noise <= _MOST_NOISE:
            break
        again = compositions([replace(event, noise_multiplier=noise)])[event.population]
        cost = cost_of(spent.plus(again), delta)
        if cost <= epsilon:
            high = noise
        else:
            low = noise
        if high <= low * _PRECISION:
            return high
        found = max(_mu_of(cost, delta) ** 2 - before, 1e-6 * wanted)
        root = noise * min(math.sqrt(found / wanted), 1e3)
        noise = root / 1.0004 if cost <= epsilon else root * 1.0004  # a hair to the side that is still far
        if (low > 0 and attempt % 3 == 2) or not low < noise < high:
            noise = math.sqrt(low * high) if low > 0 and math.isfinite(high) else low * 2 or high / 2
    already = f" beside {cost_of(spent, delta):.6g} that the plan spends before" if spent != Composition() else ""
    raise BudgetTooSmall(
        f"no noise keeps {event.steps} steps at sample rate {event.sample_rate}{already} within epsilon {epsilon} at "
        f"delta {delta}; raise privacy.epsilon or take fewer steps"
    )


def _mu_of(epsilon: float, delta: float) -> float:
    """Undo `gaussian_epsilon`; of an infinite cost, infinity."""
    from scipy.optimize import brentq  # not loaded for a site's key messages, which solve nothing

    if math.isinf(epsilon):
        return math.inf
    return float(brentq(lambda mu: gaussian_epsilon(mu, delta) - epsilon, 0.0, math.sqrt(2 * epsilon) + 10))


def _first_guess(mu: float, sample_rate: float, steps: int) -> float:
    """Invert the central limit theorem mu = q sqrt(T (exp(1/sigma^2) - 1)), arXiv 1911.11607; exact enough at q = 1."""
    if sample_rate == 1.0:
        return (1 + RELATIVE_ERROR) * math.sqrt(steps) / mu
    return 1 / math.sqrt(math.log1p((mu / sample_rate) ** 2 / steps))
