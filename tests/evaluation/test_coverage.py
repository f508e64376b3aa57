from dataclasses import replace

import numpy as np
import pytest

from synthfed.evaluation.coverage import coverage_metrics, neighbourhoods
from synthfed.evaluation.distance import Gower
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=500, holdout=250, fresh=500, seed=4)
TRAIN, HOLDOUT, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.holdout, REAL.fresh))


def _light(synthetic) -> tuple[str, str]:
    coverage, density = coverage_metrics(TRAIN, HOLDOUT, synthetic, seed=0)
    return coverage.light, density.light


def test_neighbourhoods_follow_the_definition():
    """PRDC by loops: radius of the 5th neighbour within the reference, itself left out."""
    gower = Gower.spread_of(HOLDOUT)
    some, fake = HOLDOUT.take(np.arange(40)), FRESH.take(np.arange(30))
    inside, across = gower.between(some, some), gower.between(some, fake)
    reach = [sorted(np.delete(row, i))[4] for i, row in enumerate(inside)]
    hits = np.array([[d <= r for d in row] for row, r in zip(across, reach, strict=True)])
    found = neighbourhoods(gower, some, fake)
    assert found.coverage == pytest.approx(hits.any(axis=1).mean())
    assert found.density == pytest.approx(hits.sum() / (5 * 30))


def test_fresh_patients_are_covered():
    assert _light(FRESH) == ("green", "grey")  # density never decides


def test_shuffled_columns_leave_patients_uncovered():
    assert _light(FRESH.shuffled(np.random.default_rng(0)))[0] in ("amber", "red")


def test_a_few_rows_repeated_cover_a_few_patients():
    """Mode collapse: every row is plausible, most kinds of patients are gone."""
    assert _light(FRESH.take(np.arange(500) % 8))[0] == "red"


def test_crowded_and_empty_neighbourhoods_are_called_collapsed():
    centre = FRESH.take(np.arange(500) % 3)
    gower = Gower.spread_of(HOLDOUT, centre)
    typical = gower.between(HOLDOUT, HOLDOUT).mean(axis=1).argsort()[:40]
    crowd = HOLDOUT.take(np.resize(typical, 500))
    coverage, density = coverage_metrics(TRAIN, HOLDOUT, crowd, seed=0)
    assert (density.value or 0) > 1.2
    assert coverage.light in ("amber", "red")
    assert coverage.reason.startswith("collapsed to the centre")


def test_few_holdout_rows_measure_no_coverage():
    coverage, _ = coverage_metrics(TRAIN, HOLDOUT.take(np.arange(30)), FRESH, seed=0)
    assert coverage.light == "grey"
    assert "needs 50 hold-out rows" in coverage.reason


def test_columns_without_numbers_are_enough():
    shape = Shape((), SHAPE.levels)
    rows = [replace(r, shape=shape, numbers=np.empty((len(r), 0))) for r in (TRAIN, HOLDOUT, FRESH)]
    assert coverage_metrics(*rows, seed=0)[0].light == "green"
