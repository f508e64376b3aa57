import numpy as np
import pytest

from synthfed.evaluation.detection import detect, detection_metrics
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=400, holdout=300, fresh=400, seed=4)
TRAIN, HOLDOUT, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.holdout, REAL.fresh))


def test_fresh_patients_cannot_be_told_and_shuffled_columns_can():
    area, bits = detection_metrics(TRAIN, HOLDOUT, FRESH, seed=0)
    assert area.value == pytest.approx(0.5, abs=0.08)
    assert area.value_low is not None
    assert area.value_high is not None
    assert area.value_low < area.value < area.value_high
    assert area.floor is not None
    assert area.floor > 0.8
    assert bits.value is not None
    assert bits.floor is not None
    assert bits.value < bits.floor
    assert {area.role, bits.role} == {"info"}


def test_digits_after_the_point_are_no_difference():
    """The same values written with more digits than the dictionary keeps."""
    rng = np.random.default_rng(0)
    longer = HOLDOUT.take(np.arange(len(HOLDOUT)))
    longer.numbers[:] += rng.uniform(-0.004, 0.004, longer.numbers.shape)
    assert detect(TRAIN, longer, seed=0).area == pytest.approx(detect(TRAIN, HOLDOUT, seed=0).area, abs=0.03)


def test_too_few_rows_are_not_told_apart():
    assert detection_metrics(TRAIN, HOLDOUT.take(np.arange(20)), FRESH, seed=0) == []
