from dataclasses import replace

import numpy as np
import pytest

from synthfed.evaluation.attribute import attribute_metric, infer_attributes
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=500, holdout=250, fresh=500, seed=4)
TRAIN, HOLDOUT, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.holdout, REAL.fresh))
KNOWN = ("age_years", "sex")


def test_a_copy_tells_the_secrets_of_training_patients():
    found = infer_attributes(TRAIN, HOLDOUT, TRAIN, quasi_identifiers=KNOWN, seed=0)
    assert found is not None
    assert found.light == "red"
    assert found.p == pytest.approx(1 / 200)
    assert 0.2 < found.low < found.gain < found.high
    assert found.column in ("TP53", "os_event")


def test_knowledge_about_the_disease_is_no_leak():
    """Survival can be guessed from age of anybody; only the excess on training patients counts, and p is exact."""
    found = []
    for seed in range(20):
        real = cheats.tables(train=400, holdout=200, fresh=400, seed=80 + seed)
        rows = [read_rows(t, SHAPE) for t in (real.train, real.holdout, real.fresh)]
        result = infer_attributes(*rows, quasi_identifiers=KNOWN, seed=seed)
        assert result is not None
        found.append(result)
    assert not [f for f in found if f.light == "red"]
    assert sum(f.p < 0.05 for f in found) <= 4  # of 20 at .05: more in 3 runs of 1,000


def test_all_baseline_columns_are_known_where_no_quasi_identifier_is_declared():
    found = infer_attributes(TRAIN, HOLDOUT, TRAIN, quasi_identifiers=(), seed=0)
    assert found is not None
    assert found.light in ("amber", "red")
    assert found.p == pytest.approx(1 / 200)


def test_secrets_are_what_the_dictionary_marks():
    shape = Shape(SHAPE.numbers, tuple(replace(c, sensitive=False) for c in SHAPE.levels))
    rows = [replace(r, shape=shape) for r in (TRAIN, HOLDOUT, FRESH)]
    metric = attribute_metric(*rows, quasi_identifiers=KNOWN, seed=0)
    assert metric.light == "grey"
    assert metric.reason == "the dictionary marks no column as sensitive"


def test_a_secret_nearly_everybody_shares_is_left_out():
    few = HOLDOUT.take(np.arange(60))
    everyone = replace(few, codes=np.where(few.codes >= 0, 0, -1))
    metric = attribute_metric(TRAIN, everyone, FRESH, quasi_identifiers=KNOWN, seed=0)
    assert metric.value is None
    assert "no sensitive column has 10 patients" in metric.reason
