"""Poisson numbers from uniform ones, as distances from the mean, so that means near 2**56 lose no digit.

Below a mean of 10 the cumulative distribution is inverted. From 10 on PTRS is used, transformed rejection with squeeze
(Hoermann, Insurance: Mathematics and Economics 12, 1993, doi:10.1016/0167-6687(93)90997-4). Its acceptance test needs
the probability of a number: by Loader's saddle-point form (Fast and Accurate Computation of Binomial Probabilities,
2000), which does not subtract large logarithms, so that it keeps about 14 digits at every mean.

What is assumed, and outside proofs that start from the exact distribution: uniforms have 53 bits and the functions of
the platform are right to a few units in the last place. Inversion is then off by less than 1e-14 in total variation
per number. For PTRS the candidate would be a step function of one uniform, with few steps per value at large means
(2**24 of them at 2**56, each a share of 1e-7); so a second uniform spreads each step over its width. Left are the
slope within a step and the rounding of candidates, which gives each value at one end what it takes at the other, and
the acceptance test: about 1e-14 per number again, an estimate, not a theorem.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Uniforms = Callable[[int], Floats]  # that many numbers in (0, 1), both ends excluded

LARGEST_MEAN = 2.0**56
_STEP = 2.0**-52  # between two uniforms
_FEWEST = 10.0  # PTRS is proved from this mean on
_SERIES = 0.1  # |difference / sum| below which Loader's series converges in ten terms


def poisson_offsets(uniforms: Uniforms, mean: float, count: int) -> npt.NDArray[np.int64]:
    """Draw `count` Poisson numbers and subtract floor(mean) from each: (count,).

    How many uniforms it uses depends on their values: rejected candidates are drawn again until none is left.

    Raises:
        ValueError: `mean` is not in [0, 2**56].
    """
    if not 0 <= mean <= LARGEST_MEAN:
        raise ValueError(f"mean is {mean}; Poisson numbers are drawn here for means from 0 to 2**56")
    if mean < _FEWEST:
        from scipy.special import pdtr  # 0.2 s to load, in each process that serves a message and draws nothing

        # beyond 60 is less than 1e-25; the table ends at the first 1.0, so no uniform falls off it
        table = pdtr(np.arange(60.0), mean)
        return np.searchsorted(table, uniforms(count), side="left").astype(np.int64) - math.floor(mean)
    drawn = np.empty(count, dtype=np.int64)
    open_places = np.arange(count)
    while len(open_places):
        offsets, accepted = _ptrs(mean, *(uniforms(len(open_places)) for _ in range(3)))
        drawn[open_places[accepted]] = offsets[accepted]
        open_places = open_places[~accepted]
    return drawn


def _ptrs(mean: float, u: Floats, v: Floats, w: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """One candidate for each of three uniforms, and whether it is accepted; letters as in the paper, `w` is ours."""
    u = u - 0.5
    below = math.floor(mean)
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    v_r = 0.9277 - 3.6224 / (b - 2)
    u_s = 0.5 - np.abs(u)
    slope = a / (u_s * u_s) + b
    offsets = np.floor((2 * a / u_s + b) * u + (slope * (_STEP * (w - 0.5)) + (mean - below) + 0.43))
    accepted = (u_s >= 0.07) & (v <= v_r)
    unsure = np.flatnonzero(~accepted & (offsets >= -below) & ((u_s >= 0.013) | (v <= u_s)))
    height = np.log(v[unsure] * (1.1239 + 1.1328 / (b - 3.4)) / slope[unsure])
    accepted[unsure] = height <= log_probability(offsets[unsure] - (mean - below), mean)
    offsets[~accepted] = 0  # a far candidate may not fit the integers
    return offsets.astype(np.int64), accepted


def log_probability(beyond: Floats, mean: float) -> Floats:
    """Log of the Poisson probability of `mean + beyond`, which must be whole numbers from 0 on; `mean` at least 1.

    -log(sqrt(2 pi k)) - error of Stirling's formula for k! - mean h(beyond/mean), h(x) = (1+x) log(1+x) - x.
    """
    k = mean + beyond
    ratio = beyond / (k + mean)
    near = np.abs(ratio) < _SERIES
    with np.errstate(divide="ignore", invalid="ignore"):
        far = k * np.log(k / mean) - beyond
    series = np.zeros_like(ratio)
    for power in range(21, 1, -2):  # 2 k (ratio^3/3 + ratio^5/5 + ...), by Horner
        series = (series + 1 / power) * ratio * ratio
    deviance = np.where(near, beyond * ratio + 2 * k * ratio * series, far)
    return np.where(k < 0.5, -mean, -0.5 * np.log(2 * math.pi * np.maximum(k, 1)) - _stirling_error(k) - deviance)


def _stirling_error(k: Floats) -> Floats:
    """log k! - log(sqrt(2 pi k) (k/e)^k): by its series from 16 on."""
    from scipy.special import gammaln

    k = np.maximum(k, 1.0)
    square = k * k
    series = (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / (1188 * square)) / square) / square) / square) / k
    small = np.minimum(k, 16.0)
    exact = gammaln(small + 1) - (small + 0.5) * np.log(small) + small - 0.5 * math.log(2 * math.pi)
    return np.where(k < 16, exact, series)
