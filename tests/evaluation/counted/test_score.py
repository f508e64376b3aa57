"""Scores from noisy counts: near the exact ones, never green on a cheat, grey where the noise is too loud."""

import math
from dataclasses import replace

import numpy as np
import pytest

from synthfed.evaluation.counted import statistics
from synthfed.evaluation.counted.score import CountedScores
from synthfed.evaluation.fidelity import level_shares
from synthfed.evaluation.rows import Shape, read_rows
from synthfed.evaluation.scorecard import Metric
from synthfed.evaluation.survival import curve_of, km_area
from tests.evaluation import cheats
from tests.evaluation.cheats import SCHEMA, simulate
from tests.evaluation.counted.world import plan_for, rows_of, scores_of

PATIENTS = simulate(800, seed=21)
FRESH = simulate(1500, seed=22)


def of(scores: CountedScores, name: str) -> Metric:
    return next(metric for metric in scores.metrics if metric.id == f"counted.{name}")


def lights(scores: CountedScores) -> dict[str, str]:
    return {metric.id.removeprefix("counted."): metric.light for metric in scores.metrics if metric.role != "info"}


EXACT = scores_of(FRESH, PATIENTS)


def test_fresh_patients_are_green_without_noise():
    assert set(lights(EXACT).values()) == {"green"}


@pytest.mark.parametrize("epsilon", [10.0, 3.0, 1.0, 0.3])
def test_fresh_patients_are_never_red_however_loud_the_noise(epsilon):
    for seed in (1, 2, 3):
        assert "red" not in lights(scores_of(FRESH, PATIENTS, epsilon=epsilon, seed=seed)).values()


@pytest.mark.parametrize("epsilon", [math.inf, 10.0, 1.0])
def test_columns_without_their_dependence_are_never_green_in_pairs(epsilon):
    found = lights(scores_of(cheats.shuffled(FRESH), PATIENTS, epsilon=epsilon))
    assert found["pairs"] == "red" if math.isinf(epsilon) else found["pairs"] != "green"


@pytest.mark.parametrize("epsilon", [math.inf, 10.0])
def test_other_survival_is_not_green(epsilon):
    late = FRESH.assign(os_days=(FRESH["os_days"].astype(float) * 2).clip(1, 4000).round().astype("Int64"))
    assert lights(scores_of(SCHEMA.cast(late), PATIENTS, epsilon=epsilon))["km_area"] in ("red", "amber")


def test_a_moved_column_is_seen():
    older = SCHEMA.cast(FRESH.assign(age_years=(FRESH["age_years"] + 12).clip(18, 100), hb=FRESH["hb"] * 0.8))
    scores = scores_of(older, PATIENTS)
    assert of(scores, "shapes").light in ("amber", "red")
    assert {row["column"] for row in scores.figure["columns"][:2]} == {"age_years", "hb"}


def test_a_level_that_is_gone_and_missing_values_that_are_gone_are_seen():
    scores = scores_of(
        SCHEMA.cast(FRESH.assign(response=FRESH["response"].astype("object").replace("CRi", "CR"))), PATIENTS
    )
    assert of(scores, "levels").light in ("amber", "red")
    whole = FRESH.assign(ldh=FRESH["ldh"].fillna(300).astype("Int64"), wbc=FRESH["wbc"].fillna(10.0))
    assert of(scores_of(SCHEMA.cast(whole), PATIENTS), "missing").value > 0.05


def test_few_patients_are_grey():
    found = scores_of(FRESH, PATIENTS.iloc[:30])
    assert set(lights(found).values()) == {"grey"}
    assert "needs 50 hold-out patients, found about 30" in of(found, "shapes").reason


def test_without_noise_the_number_of_patients_is_right_and_with_it_nearly():
    assert EXACT.figure["patients"] == 800
    assert abs(scores_of(FRESH, PATIENTS, epsilon=1.0).figure["patients"] - 800) < 60


def test_the_distance_of_a_flag_is_what_total_variation_is():
    asked = plan_for(FRESH)
    there, here = PATIENTS, FRESH
    counts = [statistics_counts(asked, table) for table in (there, here)]
    apart = statistics.columns_apart(asked, *counts, np.zeros(asked.cells))["NPM1"]
    rows = [read_rows(table, Shape.of(SCHEMA)) for table in (there, here)]
    shares = [level_shares(one.level("NPM1"), 2) for one in rows]
    exact = 0.5 * np.abs(shares[0] - shares[1]).sum()
    spread = (1 - (shares[1] ** 2).sum()) * (1 / 800 + 1 / 1500)
    cells = max(1 / (shares[1] ** 2).sum(), 2)
    assert apart[0] == pytest.approx(cells / 4 * (((shares[0] - shares[1]) ** 2).sum() - spread))
    assert exact**2 >= cells / 4 * ((shares[0] - shares[1]) ** 2).sum() * 0.6


def statistics_counts(asked, table):
    from synthfed.evaluation.counted.count import count

    return count(asked, rows_of(asked, table))[None].astype(float)


def test_squared_distances_are_not_moved_by_noise_on_average():
    asked = plan_for(FRESH)
    real, fake = statistics_counts(asked, PATIENTS), statistics_counts(asked, FRESH)
    stddevs = np.full(asked.cells, 12.0)
    loud = real + np.random.default_rng(1).normal(size=(400, asked.cells)) * 12.0
    silent = statistics.columns_apart(asked, real, fake, np.zeros(asked.cells))
    noisy = statistics.columns_apart(asked, loud, np.repeat(fake, 400, axis=0), stddevs)
    for name, value in silent.items():
        off = noisy[name].std() / math.sqrt(400)
        assert abs(noisy[name].mean() - value[0]) < 4 * off + 2e-4, name


def test_the_area_between_curves_is_near_that_of_kaplan_meier():
    late = SCHEMA.cast(FRESH.assign(os_days=(FRESH["os_days"].astype(float) * 1.6).clip(1, 4000).round()))
    found = of(scores_of(late, PATIENTS), "km_area").value
    endpoint = SCHEMA.survivals[0]
    rows = [read_rows(table, Shape.of(SCHEMA)) for table in (PATIENTS, late)]
    exact = km_area(*(curve_of(one, endpoint) for one in rows), endpoint.horizon_days)
    assert found == pytest.approx(exact, abs=0.012)


def test_the_same_counts_give_the_same_scores():
    assert scores_of(FRESH, PATIENTS, epsilon=3.0) == scores_of(FRESH, PATIENTS, epsilon=3.0)


def test_every_number_says_what_it_cost_and_whose_it_was():
    for metric in scores_of(FRESH, PATIENTS, epsilon=3.0).metrics:
        assert metric.rows_used == "holdout"
        assert metric.cost is not None
        assert metric.cost.epsilon == 3.0


def test_beside_exact_scores_noisy_ones_decide_nothing():
    beside = scores_of(FRESH, PATIENTS, epsilon=3.0, deciding=False)
    assert {metric.role for metric in beside.metrics} == {"info"}
    first = scores_of(FRESH, PATIENTS, epsilon=3.0).metrics[0]
    assert replace(beside.metrics[0], role=first.role, light=first.light, reason=first.reason) == first
