"""Shares and their differences with intervals that hold for few rows and for shares near 0 or 1.

Wilson's interval and Newcombe's for a difference of two independent shares (Newcombe 1998, method 10,
doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I).
"""

import math
from dataclasses import dataclass

from synthfed.evaluation.scorecard import Light

_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two shares with its 95 % interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Difference":
        """The same in another unit; `factor` is positive."""
        return Difference(self.value * factor, self.low * factor, self.high * factor)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share; (0, 1) when nothing was counted."""
    if not n:
        return 0.0, 1.0
    share = hits / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def newcombe(hits: int, n: int, control_hits: int, control_n: int) -> Difference:
    """Share `hits / n` less share `control_hits / control_n`; NaN where one of them has no row."""
    if not n or not control_n:
        return Difference(math.nan, math.nan, math.nan)
    first, second = hits / n, control_hits / control_n
    low_1, high_1 = wilson(hits, n)
    low_2, high_2 = wilson(control_hits, control_n)
    return Difference(
        first - second,
        first - second - math.hypot(first - low_1, high_2 - second),
        first - second + math.hypot(high_1 - first, second - low_2),
    )


def residual_risk(hits: int, n: int, control_hits: int, control_n: int) -> Difference:
    """(r_T - r_H) / (1 - r_H): what an attack gains on training patients of what is left to gain.

    The control's share is taken as known in the denominator (Giomi et al. 2023, arXiv 2211.10459, equation 4).
    """
    found = newcombe(hits, n, control_hits, control_n)
    left = 1 - control_hits / control_n if control_n else math.nan
    return found.scaled(1 / left) if left > 0 else Difference(0.0, -1.0, 1.0)


def light_of_lower_bound(found: Difference, *, green: float, amber: float) -> Light:
    """Light of an attack's gain by its lower bound: what is shown to leak, not what chance may have added.

    Grey where it would be green although the interval reaches further down than the amber limit: so wide an
    interval would have hidden a leak of that size.
    """
    if found.low > amber:
        return "red"
    if found.low > green:
        return "amber"
    return "grey" if found.value - found.low > amber else "green"
