"""Attack the noise with canaries and compare what was found with what the accountant claims.

A canary is an invented patient who does to a sum what the worst patient could do. Of m canaries each takes part by its
own fair coin; the mechanism runs once, as it would on patients; the auditor ranks the canaries by how much of them is
in the result and says of the first ones "took part", of the last ones "did not", and nothing of the rest. If the
mechanism is (epsilon, delta) differentially private, guesses cannot be right more often than a binomial law allows:
so many right guesses refute every epsilon below a bound (Steinke, Nasr, Jagielski, Privacy Auditing with One (1)
Training Run, NeurIPS 2023, arXiv 2305.08846, theorem 5.2 and proposition 5.1).

A bound above the claimed epsilon proves a fault: noise that is missing, too small, or a sensitivity that is larger than
stated. A bound below it proves nothing more than that this attack did not find one, and an audit cannot find more than
its `ceiling`: what it would have shown had every guess been right. Both are printed with it.

The auditor here sees the noised sums themselves (white box) and knows every canary. Use invented rows only: the
canaries' coins and scores would tell of patients what no release may.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

Floats = npt.NDArray[np.float64]
Mechanism = Callable[[npt.NDArray[np.bool_]], Floats]
"""(m,) who takes part -> (size,) the sum that is released, noise included, in the units of the contributions."""

_MOST = 60.0  # beyond it exp(epsilon) says nothing that a reader could use


@dataclass(frozen=True, slots=True)
class EpsilonAudit:
    """What canaries showed.

    Attributes:
        claimed: Epsilon that the accountant states for the run of the mechanism.
        lower_bound: Every smaller epsilon is refuted at `confidence`; 0 when nothing is.
        ceiling: The largest lower bound that this many canaries and guesses could have shown.
        canaries: How many had a coin.
        guesses: Of how many the auditor said something, in the attempt that showed most.
        right: How often that was right.
        confidence: One minus the chance that a sound mechanism shows as much, over all attempts together.
    """

    claimed: float
    lower_bound: float
    ceiling: float
    canaries: int
    guesses: int
    right: int
    confidence: float

    @property
    def refuted(self) -> bool:
        """Whether the claim cannot be true."""
        return self.lower_bound > self.claimed

    def __str__(self) -> str:
        verdict = "refuted" if self.refuted else "not refuted"
        return (
            f"claimed epsilon {self.claimed:.3g} is {verdict}: {self.right} of {self.guesses} guesses on "
            f"{self.canaries} canaries were right, which shows at least {self.lower_bound:.2f} "
            f"({self.confidence:.0%} confidence); this audit can show {self.ceiling:.2f} at most"
        )


def lower_bound(*, canaries: int, guesses: int, right: int, delta: float, confidence: float = 0.95) -> float:
    """The largest epsilon that `right` of `guesses` refute; 0 when chance alone explains them.

    Example:
        >>> round(lower_bound(canaries=1000, guesses=1000, right=1000, delta=1e-5), 1)
        5.8

    Raises:
        ValueError: The counts are not 0 <= right <= guesses <= canaries with a guess at all, or `delta` or
            `confidence` is no probability.
    """
    if not 0 <= right <= guesses <= canaries or guesses < 1:
        raise ValueError(f"{right} right of {guesses} guesses on {canaries} canaries: wanted 0 <= right <= guesses")
    if not 0 <= delta < 1 or not 0 < confidence < 1:
        raise ValueError(f"delta is {delta} and confidence {confidence}; both are probabilities")
    chance = 1 - confidence
    if _likely(0.0, canaries, guesses, right, delta) > chance:
        return 0.0
    low, high = 0.0, _MOST
    while high - low > 1e-6:  # the probability grows with epsilon
        middle = (low + high) / 2
        low, high = (middle, high) if _likely(middle, canaries, guesses, right, delta) <= chance else (low, middle)
    return low


def _likely(epsilon: float, canaries: int, guesses: int, right: int, delta: float) -> float:
    """Upper bound on the chance of `right` or more under (epsilon, delta) differential privacy."""
    q = 1 / (1 + math.exp(-epsilon))
    at_least = float(binom.sf(right - 1, guesses, q))
    if delta == 0 or right == 0:
        return at_least
    missed = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, q)) / np.arange(1, right + 1)
    return at_least + 2 * canaries * delta * float(missed.max())


def audit_scores(
    scores: Floats,
    took_part: npt.NDArray[np.bool_],
    *,
    claimed_epsilon: float,
    delta: float,
    guessed: Sequence[float] = (0.05, 0.2),
    confidence: float = 0.95,
) -> EpsilonAudit:
    """Turn scores, high for canaries that seem to have taken part, into a bound.

    Args:
        scores: (m,), computed without looking at `took_part`.
        took_part: (m,), fair coins, each thrown for one canary alone.
        guessed: Shares of the canaries to say something about, one attempt each; the chance of error is divided
            among the attempts. Fixed before the audit, not chosen by its result.

    Raises:
        ValueError: Shapes differ, there are fewer than 2 canaries, or a share is outside (0, 1].
    """
    m = len(scores)
    if scores.shape != took_part.shape or scores.ndim != 1 or m < 2:
        raise ValueError(
            f"scores {scores.shape} and coins {took_part.shape}; wanted one of each for 2 canaries or more"
        )
    if not guessed or not all(0 < share <= 1 for share in guessed):
        raise ValueError(f"guessed is {guessed}; each share of the canaries lies in (0, 1]")
    ranked = took_part[np.argsort(-scores, kind="stable")]
    each = 1 - (1 - confidence) / len(guessed)
    attempts = []
    for share in guessed:
        half = min(max(1, round(share * m / 2)), m // 2)
        right = int(ranked[:half].sum() + (~ranked[m - half :]).sum())
        found, most = (
            lower_bound(canaries=m, guesses=2 * half, right=count, delta=delta, confidence=each)
            for count in (right, 2 * half)
        )
        attempts.append((found, most, 2 * half, right))
    best = max(attempts)
    return EpsilonAudit(
        claimed=claimed_epsilon,
        lower_bound=best[0],
        ceiling=max(most for _, most, _, _ in attempts),
        canaries=m,
        guesses=best[2],
        right=best[3],
        confidence=confidence,
    )


def audit_sum(
    mechanism: Mechanism,
    contributions: Floats,
    *,
    claimed_epsilon: float,
    delta: float,
    coins: np.random.Generator,
    confidence: float = 0.95,
) -> EpsilonAudit:
    """Audit a released sum: each canary's score is the inner product of its contribution and what was released.

    The most powerful score for normal noise when the contributions are orthogonal. For DP-SGD a contribution is a
    canary's clipped gradient and the sum runs over all steps; for a histogram it is a cell that no other canary is in.

    Args:
        mechanism: Runs once.
        contributions: (m, size): what each canary adds to the sum if it takes part, as the *accountant* believes it.
        coins: For who takes part; independent of the mechanism's noise.

    Raises:
        ValueError: See `audit_scores`; or the mechanism's sum has another size.
    """
    took_part = coins.random(len(contributions)) < 0.5
    released = np.asarray(mechanism(took_part), dtype=np.float64)
    if released.shape != contributions.shape[1:]:
        raise ValueError(f"the mechanism released {released.shape}; the contributions are {contributions.shape[1:]}")
    return audit_scores(
        contributions @ released, took_part, claimed_epsilon=claimed_epsilon, delta=delta, confidence=confidence
    )
