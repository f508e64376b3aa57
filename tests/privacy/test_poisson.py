"""Poisson numbers: their probabilities, both methods, and the seam between them."""

import math

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy import stats

from synthfed.privacy.mechanisms import NoiseStream
from synthfed.privacy.poisson import LARGEST_MEAN, _ptrs, log_probability, poisson_offsets

KEY = bytes(range(32))


@pytest.mark.parametrize("mean", [10.0, 10.5, 37.3, 1000.0])
def test_probabilities_are_those_of_the_poisson_distribution(mean: float) -> None:
    """Against scipy, which loses digits as the mean grows; from 0 on, past both seams of the formula."""
    k = np.arange(int(mean + 15 * math.sqrt(mean)))
    np.testing.assert_allclose(log_probability(k - mean, mean), stats.poisson.logpmf(k, mean), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("mean", [1e6, 1e12, LARGEST_MEAN])
@pytest.mark.parametrize("away", [-6.0, -0.7, 0.0, 3.1])
def test_probabilities_keep_their_digits_at_large_means(mean: float, away: float) -> None:
    beyond = math.floor(away * math.sqrt(mean))
    with mp.workdps(60):
        k = mpf(mean) + beyond
        expected = float(k * mp.log(mpf(mean)) - mean - mp.loggamma(k + 1))
    assert log_probability(np.array([float(beyond)]), mean)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mean", [0.0, 0.3, 5.5, 9.999, 10.0, 10.5, 25.0, 400.25])
def test_numbers_have_their_probabilities(mean: float) -> None:
    count = 400_000
    draws = poisson_offsets(NoiseStream(KEY).uniform, mean, count) + math.floor(mean)
    assert draws.min() >= 0
    expected = count * stats.poisson.pmf(np.arange(draws.max() + 2), mean)
    kept = expected >= 20
    seen = np.bincount(draws, minlength=len(expected))
    statistic = ((seen - expected) ** 2 / np.maximum(expected, 1e-300))[kept].sum()
    assert stats.chi2.sf(statistic, max(kept.sum() - 1, 1)) > 0.01


def test_extreme_uniforms_give_numbers_that_exist() -> None:
    """The table is never left, and no candidate below zero or beyond the integers is accepted."""
    edge = 2.0**-53
    for value in (edge, 1 - edge):
        assert 0 <= poisson_offsets(lambda n, v=value: np.full(n, v), 9.9, 3)[0] + 9 < 60
    turns = iter([np.array([edge])] * 3 + [np.array([0.5])] * 3)
    assert abs(poisson_offsets(lambda n: next(turns), LARGEST_MEAN, 1)[0]) < 2**30


def test_a_step_of_the_first_uniform_across_a_boundary_gives_both_values() -> None:
    """At large means a value gets few steps of 2**-52; the third uniform shares the step between two of them."""

    def candidates(u: float, w: np.ndarray) -> set[int]:
        return set(_ptrs(LARGEST_MEAN, np.full(len(w), u), np.full(len(w), 2.0**-53), w)[0].tolist())

    middle = np.array([0.5])
    low, high = 0.6, 0.6 + 2.0**-21  # some ten values apart
    (wanted,) = candidates(high, middle)
    while high - low > 2.0**-52:
        half = low + (high - low) / 2
        low, high = (low, half) if candidates(half, middle) == {wanted} else (half, high)
    spread = np.arange(0.5, 64) / 64
    assert candidates(low, spread) | candidates(high, spread) == {wanted - 1, wanted}
    assert max(len(candidates(low, spread)), len(candidates(high, spread))) == 2


@pytest.mark.parametrize("mean", [-1.0, math.nan, math.inf, 2.0**57])
def test_a_mean_out_of_range_is_wrong_use(mean: float) -> None:
    with pytest.raises(ValueError, match="mean"):
        poisson_offsets(NoiseStream(KEY).uniform, mean, 1)
