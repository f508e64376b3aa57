import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from synthfed.evaluation.cells import cell_shares, divergence_score, jensen_shannon, public_edges
from synthfed.evaluation.rows import Shape, read_rows
from synthfed.tables.schema import Column
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=300, holdout=10, fresh=300)
TRAIN, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.fresh))
_weights = st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any)


@given(_weights, _weights)
def test_divergence_equals_scipy(first, second):
    p, q = np.array(first) / sum(first), np.array(second) / sum(second)
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)


def test_knots_are_the_edges_where_declared():
    assert public_edges(Column("hb", "continuous", lower=3, upper=18, knots=(8.0, 10.0))) == [3, 8, 10, 18]
    assert len(public_edges(Column("ldh", "count", lower=50, upper=20000, scale="log"))) == 21


def test_shares_of_every_column_add_up_with_missing_last():
    for place in range(len(SHAPE.columns)):
        assert cell_shares(TRAIN, place).sum() == pytest.approx(1)
    hb = [c.name for c in SHAPE.columns].index("hb")
    assert cell_shares(TRAIN, hb)[-1] == pytest.approx(np.isnan(TRAIN.number("hb")).mean())


def test_a_table_does_not_diverge_from_itself_and_fresh_rows_hardly():
    assert divergence_score(TRAIN, TRAIN)["js_bins"] == 0
    assert 0 < divergence_score(TRAIN, FRESH)["js_bins"] < 0.05
