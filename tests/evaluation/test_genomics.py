import numpy as np
import pytest

from synthfed.evaluation.anchors import anchor
from synthfed.evaluation.genomics import GenomicScore, genomic_metrics, odds_ratios
from synthfed.evaluation.rows import Rows, Shape
from synthfed.tables.schema import Column

NAMES = ("NPM1", "DNMT3A", "FLT3_ITD", "TP53", "complex_karyotype", "A", "B", "C")
SHAPE = Shape((), tuple(Column(name, "flag", group="mutation") for name in (*NAMES, "rare")))


def _patients(rows: int, seed: int) -> Rows:
    """Two kinds of disease: NPM1, DNMT3A, FLT3-ITD and A together; TP53, complex karyotype, B and C together."""
    rng = np.random.default_rng(seed)
    kind = rng.random((rows, 1)) < 0.5
    first = np.array([0.5, 0.45, 0.5, 0.05, 0.05, 0.4, 0.1, 0.1, 0.001])
    second = np.array([0.08, 0.1, 0.1, 0.5, 0.5, 0.1, 0.4, 0.4, 0.001])
    codes = (rng.random((rows, len(first))) < np.where(kind, first, second)).astype(np.int64)
    codes[rng.random(rows) < 0.05] = -1  # not sequenced
    return Rows(SHAPE, np.empty((rows, 0)), codes, np.empty((rows, 0), dtype=bool))


TRAIN, HOLDOUT, FRESH = (_patients(rows, seed) for seed, rows in enumerate((800, 400, 800)))


def _metrics(synthetic: Rows):
    score = GenomicScore(TRAIN, candidate_rows=400)
    found = anchor(score, train=TRAIN, holdout=HOLDOUT, synthetic=synthetic, seed=0)
    return {m.id: m for m in genomic_metrics(score, found, holdout=len(HOLDOUT))}


def test_odds_ratios_equal_the_two_way_table():
    nan = np.nan
    flags = np.array([[1, 1], [1, 1], [1, 0], [0, 1], [0, 0], [0, 0], [0, 0], [nan, 1], [1, nan]], dtype=float)
    found = odds_ratios(flags)
    assert found.log[0, 1] == pytest.approx(np.log(2.5 * 3.5 / (1.5 * 1.5)))
    assert found.error[0, 1] == pytest.approx(np.sqrt(1 / 2.5 + 1 / 1.5 + 1 / 1.5 + 1 / 3.5))
    assert found.joint[0, 1] == pytest.approx(7 / 9)
    assert found.expected[0, 1] == pytest.approx(7 / 9 * (3 / 7) ** 2)
    np.testing.assert_array_equal(found.log, found.log.T)


def test_alterations_of_fewer_than_two_in_a_hundred_are_left_out():
    score = GenomicScore(TRAIN, candidate_rows=400)
    assert tuple(score.names) == NAMES
    assert {(score.names[i], score.names[j]): sign for i, j, sign in score.known} == {
        ("NPM1", "DNMT3A"): 1,
        ("NPM1", "FLT3_ITD"): 1,
        ("DNMT3A", "FLT3_ITD"): 1,
        ("TP53", "complex_karyotype"): 1,
        ("NPM1", "TP53"): -1,
        ("FLT3_ITD", "TP53"): -1,
    }


def test_fresh_patients_keep_what_occurs_together():
    found = _metrics(FRESH)
    assert {found[m].light for m in ("genomics.frequency", "genomics.cooccurrence")} == {"green"}
    assert found["genomics.known_pairs"].value == 1
    assert found["genomics.cooccurrence"].n == {"alterations": 8, "pairs": 28, "published": 6, "matched": 400}


def test_independent_alterations_are_red_although_every_frequency_is_right():
    found = _metrics(FRESH.shuffled(np.random.default_rng(0)))
    assert found["genomics.cooccurrence"].light == "red"
    assert found["genomics.frequency"].light == "green"
    assert (found["genomics.burden"].value or 0) > (found["genomics.burden"].high or 0)


def test_a_mutation_that_vanishes_is_red():
    codes = FRESH.codes.copy()
    codes[:, 0] = np.minimum(codes[:, 0], 0)
    assert _metrics(Rows(SHAPE, FRESH.numbers, codes, FRESH.broken))["genomics.frequency"].light == "red"


def test_few_pairs_measure_no_cooccurrence():
    score = GenomicScore(TRAIN, candidate_rows=30)
    found = anchor(score, train=TRAIN, holdout=HOLDOUT, synthetic=FRESH, seed=0, splits=20)
    metric = next(m for m in genomic_metrics(score, found, holdout=400) if m.id == "genomics.cooccurrence")
    assert metric.light == "grey"
    assert "needs 20 pairs" in metric.reason
