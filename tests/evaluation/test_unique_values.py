from dataclasses import replace

import numpy as np

from synthfed.evaluation.rows import Shape, read_rows
from synthfed.evaluation.unique_values import UniqueValues, unique_value_metric, unique_values
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=500, holdout=200, fresh=500, seed=4)
TRAIN, HOLDOUT, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.holdout, REAL.fresh))


def _ages(*values: float):
    rows = TRAIN.take(np.arange(len(values)))
    numbers = np.full_like(rows.numbers, np.nan)
    numbers[:, 0] = values
    return replace(rows, numbers=numbers)


def test_only_values_of_one_patient_count():
    """40.5 is in T twice and 60.1 in both; 50.2 and 51.3 are one training patient's, 70.4 one outsider's."""
    train, holdout = _ages(40.5, 40.5, 50.2, 51.3, 60.1), _ages(60.1, 70.4)
    assert unique_values(train, holdout, _ages(50.2, 40.5, 60.1, np.nan)) == UniqueValues(1, 2, 0, 1)


def test_a_copy_repeats_all_of_them_and_none_of_the_outsiders():
    found = unique_values(TRAIN, HOLDOUT, TRAIN)
    assert found.found == found.of
    assert found.control_found == 0
    assert unique_value_metric(TRAIN, HOLDOUT, TRAIN).light == "red"


def test_fresh_patients_repeat_as_many_of_either():
    metric = unique_value_metric(TRAIN, HOLDOUT, FRESH)
    assert metric.light != "red"
    assert abs(metric.value or 0.0) < 0.1


def test_resampled_columns_are_red():
    fake = read_rows(cheats.SCHEMA.cast(cheats.resampled(REAL.train)), SHAPE)
    assert unique_value_metric(TRAIN, HOLDOUT, fake).light == "red"


def test_too_few_unique_values_measure_nothing():
    metric = unique_value_metric(TRAIN, HOLDOUT.take(np.arange(5)), FRESH)
    assert (metric.light, metric.value, metric.role) == ("grey", None, "deciding")
    assert "needs 50 numbers" in metric.reason


def test_a_table_without_numbers_of_one_patient_has_none_to_give_away():
    metric = unique_value_metric(TRAIN.take(np.arange(5)), HOLDOUT, FRESH)
    assert (metric.light, metric.role) == ("grey", "if_measurable")
