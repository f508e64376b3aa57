"""Shrinkage: without noise nothing changes, noise alone is not believed, and margins are kept."""

import numpy as np

from synthfed.generators.marginal.shrinkage import Problem, covariance, estimate, raked, simplex

ROWS, COLUMNS = np.array([0.2, 0.3, 0.5]), np.array([0.1, 0.2, 0.3, 0.4])
TOTAL = 1000.0


def _problem(departure: np.ndarray, variance: float) -> Problem:
    first, second = covariance(ROWS, np.eye(3)), covariance(COLUMNS, np.eye(4))
    return Problem.rotate(np.eye(3) / variance, departure / variance, [first], second)


def _departure(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(3, 4)) * TOTAL * np.outer(ROWS, COLUMNS)
    return drawn - drawn.mean(0) - drawn.mean(1, keepdims=True) + drawn.mean()


def test_without_noise_nothing_changes() -> None:
    departures = [_departure(seed) for seed in range(3)]
    for found, departure in zip(estimate([_problem(one, 1e-9) for one in departures], TOTAL), departures, strict=True):
        np.testing.assert_allclose(found.mean, departure, atol=1e-5)
        assert found.variances.sum() < 1e-6


def test_noise_alone_is_not_believed() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(3, 4)) * 30 for _ in range(40)]
    for found, drawn in zip(estimate([_problem(one, 900.0) for one in noise], TOTAL), noise, strict=True):
        assert np.linalg.norm(found.mean) < 0.5 * np.linalg.norm(drawn)


def test_a_departure_beyond_noise_is_kept_among_tables_of_noise() -> None:
    rng = np.random.default_rng(0)
    strong = 5 * _departure(1)
    tables = [strong + rng.normal(size=(3, 4)) * 30, *(rng.normal(size=(3, 4)) * 30 for _ in range(40))]
    found = estimate([_problem(one, 900.0) for one in tables], TOTAL)[0]
    assert np.linalg.norm(found.mean - strong) < 0.2 * np.linalg.norm(strong)


def test_means_sum_to_zero_along_both_axes() -> None:
    noisy = _departure(2) + np.random.default_rng(3).normal(size=(3, 4)) * 20
    mean = estimate([_problem(noisy, 400.0)], TOTAL)[0].mean
    np.testing.assert_allclose(mean.sum(0), 0.0, atol=1e-8)
    np.testing.assert_allclose(mean.sum(1), 0.0, atol=1e-8)


def test_what_stays_unknown_grows_with_the_noise() -> None:
    departure = _departure(4)
    doubts = [estimate([_problem(departure, variance)], TOTAL)[0].variances.sum() for variance in (1.0, 25.0, 400.0)]
    assert 0 < doubts[0] < doubts[1] < doubts[2]


def test_raking_gives_the_margins_and_no_impossible_cell() -> None:
    table = raked(np.outer(ROWS, COLUMNS) + _departure(0) / TOTAL, ROWS, COLUMNS)
    np.testing.assert_allclose(table.sum(0), COLUMNS, atol=1e-8)
    np.testing.assert_allclose(table.sum(1), ROWS, atol=1e-8)
    assert (table > 0).all()


def test_shares_become_the_nearest_distribution() -> None:
    np.testing.assert_allclose(simplex(np.array([0.2, 0.3, 0.5])), [0.2, 0.3, 0.5], atol=1e-8)
    np.testing.assert_allclose(simplex(np.array([-0.5, 0.7, 0.7])), [0.0, 0.5, 0.5], atol=1e-8)


def test_no_table_is_fine() -> None:
    assert estimate([], TOTAL) == []
