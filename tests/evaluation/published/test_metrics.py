import numpy as np
import pytest

from synthfed.evaluation.published.eckardt import LABELS, WEIGHTS, weighted
from synthfed.evaluation.published.metrics import published_metrics
from synthfed.evaluation.rows import Rows, Shape, read_rows
from synthfed.evaluation.scorecard import Metric
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=500, holdout=250, fresh=500, seed=9)
TRAIN, HOLDOUT, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.holdout, REAL.fresh))


def _metrics(synthetic: Rows, holdout: Rows = HOLDOUT) -> dict[str, Metric]:
    found = published_metrics(
        TRAIN, holdout, synthetic, schema=cheats.SCHEMA, targets=("os_event", "NPM1", "age_years"), seed=0
    )
    return {metric.id.removeprefix("published."): metric for metric in found}


@pytest.fixture(scope="module")
def fresh() -> dict[str, Metric]:
    return _metrics(FRESH)


def test_all_ten_scores_and_their_sum_are_printed(fresh):
    assert {name for name in fresh if name.startswith("eckardt.")} == {f"eckardt.{name}" for name in WEIGHTS}
    assert set(LABELS) == set(WEIGHTS)
    parts = {name: fresh[f"eckardt.{name}"].value for name in WEIGHTS}
    assert fresh["eckardt"].value == pytest.approx(weighted(parts))


def test_they_inform_and_never_decide(fresh):
    assert {(metric.role, metric.light) for metric in fresh.values()} == {("info", "grey")}
    assert all(metric.rows_used == "train" for metric in fresh.values())


def test_fresh_patients_reach_their_own_ceiling(fresh):
    for name in ("eckardt", "clinical", "eckardt.support", "eckardt.basic", "eckardt.survival_absolute"):
        assert fresh[name].value == pytest.approx(fresh[name].ceiling, abs=0.08), name


def test_shuffled_columns_lose_what_hangs_on_dependence_only():
    metrics = _metrics(FRESH.shuffled(np.random.default_rng(0)))
    assert metrics["eckardt.basic"].value == pytest.approx(metrics["eckardt.basic"].ceiling, abs=0.08)
    for name in ("eckardt.correlation", "eckardt.prediction_1", "eckardt.prediction_2", "clinical"):
        assert (metrics[name].value or 0) < (metrics[name].ceiling or 0) - 0.1, name


def test_the_training_table_is_like_itself():
    found = _metrics(TRAIN, HOLDOUT)
    assert found["eckardt.correlation"].value > found["eckardt.correlation"].floor
    assert found["eckardt.sightedness"].value > 0.9


def test_few_holdout_rows_measure_nothing():
    assert _metrics(FRESH, HOLDOUT.take(np.arange(30))) == {}


def test_an_empty_cluster_or_level_counts_as_nothing():
    collapsed = FRESH.take(np.zeros(len(FRESH), dtype=int))  # one patient, repeated
    metrics = _metrics(collapsed)
    assert (metrics["eckardt.k_means"].value or 0) < 0.3
    assert (metrics["eckardt.discriminator"].value or 0) < 0.2
    assert metrics["eckardt.prediction_1"].value == 0.0
