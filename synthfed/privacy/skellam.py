"""What noise drawn in shares costs: whole-numbered sums with Skellam noise.

K sites each add Skellam noise (the difference of two Poisson numbers) to a whole-numbered vector, and a secure sum
opens the total only. Skellam numbers add up to Skellam numbers, so the total has a known law, which sums of rounded or
discrete normals do not. Two bounds on its cost, of which the smaller counts:

1. Renyi divergences, at any variance, all patients in each step: theorem 3.5 of Agarwal, Kairouz, Liu (The Skellam
   Mechanism, NeurIPS 2021, arXiv 2110.04995), for whole orders. Some 7 % more noise than normal noise would need.
2. Nearness to normal noise, where the variance v is at least 10**6: at any sample rate, for d numbers at the cost of
   normal noise but for d/v of total variation (proved in `apart`). Scaling counts or gradients up by a power of two
   makes v as large as the ring of the secure sum allows.

Against whom: a share has variance mu/(K - t), so t sites may tell what they drew, or be missing, and outsiders, the
relay and those sites still face noise of variance mu, from K - t sites of which the patient's own is one. When all
K - 1 others collude, or the secure sum fails, the own share is all there is: `PrivacyEvent.alone`. Both costs are
always stated. A sum that wraps in the ring of the secure sum is post-processing and costs nothing.

Not covered: a site that draws no share and is not among the t, and what `poisson.py` says of the sampler.
"""

import math
from typing import NamedTuple

_LEAST_VARIANCE, _MOST_VARIANCE = 1e6, 1e24  # where the proof of `apart` holds
# All small whole orders, where large costs are decided, then fewer; 5,000 reaches down to epsilon near 0.01.
ORDERS = (*range(2, 65), *(round(64 * 1.1**step) for step in range(1, 47)))


class SkellamRelease(NamedTuple):
    """One patient moves a whole-numbered sum by `l2` and `l1` at most; its noise has deviation `noise * l2`."""

    noise: float
    rate: float
    l2: float
    l1: float
    numbers: int
    steps: int

    @property
    def variance(self) -> float:
        """Of the noise on each number."""
        return (self.noise * self.l2) ** 2

    def divergence(self, order: int) -> float:
        """Renyi divergence of `steps` releases of all patients at a whole order above 1, an upper bound.

        order D2^2/(2 mu) + min(((2 order - 1) D2^2 + 6 D1)/(4 mu^2), 3 D1/(2 mu)), mu the variance, D1 and D2 the
        sensitivities: theorem 3.5 of arXiv 2110.04995. Infinity for sampled patients: no such bound is known here.
        """
        if self.rate != 1.0:
            return math.inf
        gaussian = order / (2 * self.noise**2)
        fine = ((2 * order - 1) * self.l2**2 + 6 * self.l1) / (4 * self.variance**2)
        return self.steps * (gaussian + min(fine, 3 * self.l1 / (2 * self.variance)))

    def apart(self) -> float:
        """Total variation between all this noise and normal noise of the same variance, rounded: at most 1/v a number.

        With v >= 10**6 the variance, p the Skellam law and g the rounded normal one: by their Fourier integrals
        2 pi |p(k) - g(k)| is at most the sum of

        - |exp(v(cos t - 1)) - exp(-v t^2/2)| over |t| <= pi. Since 0 <= cos t - 1 + t^2/2 <= t^4/24 it is at most
          v t^4/24 exp(v(cos t - 1)). Over |t| <= 1, where cos t - 1 <= -11 t^2/24, that gives 0.390 v^-1.5; beyond,
          where cos t - 1 <= -2 t^2/pi^2, the first exponential alone is below 5 exp(-v/5).
        - exp(-v t^2/2) (1 - sin(t/2)/(t/2)) over |t| <= pi: at most t^2/24 of the exponential, 0.105 v^-1.5.
        - exp(-v t^2/2) beyond pi: below exp(-v).

        So |p - g| < 0.079 v^-1.5 for each of the 2 K + 1 numbers within K = 12 sqrt(v), and both laws hold less than
        exp(-70) beyond (Bernstein): total variation 0.96/v. Summed numerically it is 0.0731/v. Infinity where v is
        smaller or the numbers are not counted: nothing is claimed there.
        """
        if self.numbers < 1 or not _LEAST_VARIANCE <= self.variance <= _MOST_VARIANCE:
            return math.inf
        return self.steps * self.numbers / self.variance


def epsilon_at(order: int, divergence: float, delta: float) -> float:
    """From a Renyi divergence to epsilon, at least 0: proposition 12 of Canonne, Kamath, Steinke, arXiv 2004.00010."""
    return max(0.0, divergence + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1))


def rounded_sensitivity(clip_norm: float, scale_bits: int, size: int) -> tuple[float, float]:
    """How far one patient moves a site's sum once it is multiplied by 2**scale_bits and rounded: (L2, L1).

    The site rounds its whole sum, not each record, to the nearest whole number, always the same way. Two sums that
    differ by at most `clip_norm` then differ by at most 2**scale_bits clip_norm + sqrt(size) in L2, since each rounding
    moves a number by half at most; in L1 by sqrt(size) times that, and, as whole numbers are at most their squares, by
    no more than the square of it.

    Holds for sums that are exact before rounding. Floating-point sums of n records of norm `clip_norm` in double
    precision are off by less than n^2 2**-53 clip_norm, which is part of no proof; in single precision the error
    (n^2 2**-24) is larger than one step of any useful scale, so add in double precision.

    Example:
        >>> l2, l1 = rounded_sensitivity(1.0, 20, 25_000)
        >>> shares = {"l1_sensitivity": l1, "sites": 5, "colluders": 1, "numbers": 25_000}
        >>> event = PrivacyEvent("round 0", "skellam", "train", l2, 40.0, 1.0, 1, **shares)
        >>> noise = stream.skellam(25_000, event.share_variance)  # at each site

    Raises:
        ValueError: `clip_norm` is not positive and finite, `size` is not positive, or `scale_bits` is negative.
    """
    if not (math.isfinite(clip_norm) and clip_norm > 0) or size < 1 or scale_bits < 0:
        raise ValueError(f"clip_norm is {clip_norm}, scale_bits {scale_bits}, size {size}; wanted > 0, >= 0, >= 1")
    l2 = 2.0**scale_bits * clip_norm + math.sqrt(size)
    return l2, min(math.sqrt(size) * l2, l2 * l2)
