import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.evaluation.fidelity import (
    FidelityScore,
    PairCells,
    kolmogorov_smirnov,
    levels_kept,
    missing_distance,
    pair_distance,
    shape_scores,
)
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
TRAIN, OTHER = (read_rows(cheats.simulate(n, n), SHAPE) for n in (600, 500))


def test_shapes_equal_sdmetrics():
    from sdmetrics.single_column import KSComplement, TVComplement

    first, second = cheats.simulate(600, 600), cheats.simulate(500, 500)
    scores = dict(zip([c.name for c in SHAPE.columns], shape_scores(TRAIN, OTHER), strict=True))
    for name in ("age_years", "wbc", "ldh"):
        theirs = KSComplement.compute(first[name].astype(float), second[name].astype(float))
        assert scores[name] == pytest.approx(theirs, abs=1e-9)
    for name in ("risk", "sex"):
        theirs = TVComplement.compute(first[name].astype(object), second[name].astype(object))
        assert scores[name] == pytest.approx(theirs, abs=1e-9)


def test_nothing_beats_the_training_table_itself():
    score = FidelityScore(TRAIN)
    same, other = score(TRAIN, TRAIN), score(TRAIN, OTHER)
    assert same["association"] == pytest.approx(1.0)
    assert (same["shapes"], same["missing"], same["pairs"]) == (1.0, 0.0, 0.0)
    assert same["association"] >= other["association"]
    assert same["shapes"] >= other["shapes"]
    assert min(other["missing"], other["pairs"]) >= 0


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.lists(st.floats(-100, 100), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_distance_of_distributions_matches_its_definition(first, second):
    a, b = np.array(first), np.array(second)
    gaps = [abs((a <= point).mean() - (b <= point).mean()) for point in [*first, *second]]
    assert kolmogorov_smirnov(a, b) == pytest.approx(max(gaps))
    assert kolmogorov_smirnov(a, a) == 0


def test_a_column_that_vanished_scores_nothing():
    assert kolmogorov_smirnov(np.array([1.0, 2.0]), np.array([np.nan])) == 1
    assert np.isnan(kolmogorov_smirnov(np.array([np.nan]), np.array([1.0])))


def test_removed_missingness_is_seen():
    filled = cheats.simulate(600, 600)
    filled["ldh"] = filled["ldh"].fillna(300)
    largest, _ = missing_distance(TRAIN, read_rows(filled, SHAPE))
    assert largest == pytest.approx(0.4, abs=0.06)


def test_a_dropped_level_is_seen():
    table = cheats.simulate(500, 500)
    table["response"] = table["response"].where(table["response"] != "CRi")
    kept, lost = levels_kept(TRAIN, OTHER, seed=0), levels_kept(TRAIN, read_rows(table, SHAPE), seed=0)
    assert kept is not None
    assert lost is not None
    assert kept.share == 1
    assert lost.share == pytest.approx(1 - 1 / lost.counted)


def test_pair_distance_is_the_mean_over_two_way_tables():
    cells = PairCells(TRAIN)
    (first, starts), (second, _) = cells.tables(TRAIN), cells.tables(OTHER)
    ends = [*starts[1:], len(first)]
    by_hand = [
        0.5 * np.abs(first[a:b, c:d] - second[a:b, c:d]).sum()
        for i, (a, b) in enumerate(zip(starts, ends, strict=True))
        for c, d in list(zip(starts, ends, strict=True))[i + 1 :]
    ]
    assert pair_distance(first, second, starts) == pytest.approx(np.mean(by_hand))
