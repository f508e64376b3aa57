import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.evaluation.rows import Shape, read_rows
from synthfed.evaluation.survival import (
    SurvivalScore,
    cox_fit,
    cox_overlap,
    kaplan_meier,
    km_area,
    large_groups,
    restricted_mean,
)
from tests.evaluation import cheats

ENDPOINT = cheats.SCHEMA.survivals[0]


def _data(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.ceil(rng.exponential(800, rows)), (rng.random(rows) < 0.7).astype(float)


def test_curve_equals_lifelines():
    from lifelines import KaplanMeierFitter

    days, event = _data(300, 1)
    ours, theirs = kaplan_meier(days, event), KaplanMeierFitter().fit(days, event)
    grid = np.linspace(0, 3000, 101)
    np.testing.assert_allclose(ours.at(grid), theirs.survival_function_at_times(grid), atol=1e-12)


def test_restricted_mean_and_its_error_equal_lifelines_and_the_closed_form():
    from lifelines import KaplanMeierFitter
    from lifelines.utils import restricted_mean_survival_time

    days, event = _data(400, 2)
    mean, error = restricted_mean(kaplan_meier(days, event), 1000.0)
    assert mean == pytest.approx(restricted_mean_survival_time(KaplanMeierFitter().fit(days, event), t=1000.0))
    # without censoring before the horizon the estimate is a plain mean
    everyone = np.ones(400)
    mean, error = restricted_mean(kaplan_meier(days, everyone), 1000.0)
    cut = np.minimum(days, 1000.0)
    assert mean == pytest.approx(cut.mean())
    assert error == pytest.approx(cut.std() / math.sqrt(400), rel=1e-6)


def test_missing_times_and_events_are_left_out():
    days, event = np.array([1.0, 2.0, np.nan, 4.0]), np.array([1.0, np.nan, 1.0, 0.0])
    curve = kaplan_meier(days, event)
    assert curve.days.tolist() == [1.0]
    assert curve.survival.tolist() == [0.5]
    assert curve.under_observation(np.array([0.0, 2.0])).tolist() == [2, 1]


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_area_is_a_distance_between_zero_and_one(seed, first, second):
    a, b = kaplan_meier(*_data(first, seed)), kaplan_meier(*_data(second, seed + 1))
    area = km_area(a, b, 1826.0)
    assert 0 <= area <= 1
    assert area == pytest.approx(km_area(b, a, 1826.0))
    assert km_area(a, a, 1826.0) == 0


def test_area_of_two_known_curves():
    first = kaplan_meier(np.array([50.0, 100.0]), np.array([1.0, 0.0]))  # 1/2 from day 50 on
    second = kaplan_meier(np.array([100.0, 100.0]), np.array([0.0, 0.0]))  # 1 throughout
    assert km_area(first, second, 100.0) == pytest.approx(0.25)


def test_a_table_without_patients_has_no_area():
    empty = kaplan_meier(np.array([np.nan]), np.array([1.0]))
    assert math.isnan(km_area(empty, kaplan_meier(*_data(10, 1)), 100.0))
    assert math.isnan(restricted_mean(empty, 100.0)[0])


def test_cox_equals_lifelines():
    from lifelines import CoxPHFitter

    rng = np.random.default_rng(3)
    x = rng.normal(size=(250, 3))
    days = rng.exponential(np.exp(-0.8 * x[:, 0] + 0.3 * x[:, 1]) * 500)
    event = (rng.random(250) < 0.7).astype(float)
    ours = cox_fit(x, days, event)
    theirs = CoxPHFitter().fit(pd.DataFrame(x).assign(days=days, event=event), "days", "event")
    np.testing.assert_allclose(ours.beta, theirs.params_.to_numpy(), atol=1e-4)
    np.testing.assert_allclose(ours.error, theirs.standard_errors_.to_numpy(), atol=1e-4)


def test_a_constant_term_has_no_estimate_and_no_overlap():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(100, 2))
    days, event = _data(100, 5)
    full = cox_fit(x, days, event)
    flat = cox_fit(np.column_stack([x[:, 0], np.zeros(100)]), days, event)
    assert np.isnan(flat.beta[1])
    assert cox_overlap(full, full) == pytest.approx(1.0)
    assert cox_overlap(full, flat) <= 0.75


def test_only_groups_with_rows_and_events_everywhere_are_compared():
    shape = Shape.of(cheats.SCHEMA)
    large, small = (read_rows(cheats.simulate(n, 6), shape) for n in (900, 25))
    assert {g.text for g in large_groups(["risk"], ENDPOINT, [large])} == {"risk=low", "risk=middle", "risk=high"}
    assert large_groups(["risk"], ENDPOINT, [large, small]) == ()
    assert large_groups(["age_years"], ENDPOINT, [large]) == ()


def test_cox_models_are_compared_inside_groups():
    """The group that agrees least leads; a table without one of the groups agrees there on nothing."""
    shape = Shape.of(cheats.SCHEMA)
    train, holdout, fresh = (read_rows(cheats.simulate(900, seed), shape) for seed in (6, 7, 8))
    score = SurvivalScore([ENDPOINT], ["risk"], train, holdout)
    honest = score(train, fresh)
    assert honest["cox_worst:os"] <= 1
    assert honest["cox_worst:os"] > 0.2
    assert score(train, train)["cox_worst:os"] == pytest.approx(1.0)
    assert score(train, fresh.take(fresh.level("risk") != 2))["cox_worst:os"] == 0
