import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.evaluation.copies import closeness, exact_copies, near_copies
from synthfed.evaluation.distance import Gower
from synthfed.evaluation.membership import _areas, _found, infer_membership
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=500, holdout=200, fresh=500, seed=4)
TRAIN, HOLDOUT, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.holdout, REAL.fresh))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 1.0])
def test_exact_copies_are_counted(share):
    fake = read_rows(cheats.partly_verbatim(REAL.fresh, REAL.train, share), SHAPE)
    assert exact_copies(TRAIN, HOLDOUT, fake).value == pytest.approx(share)


def test_rows_that_equal_outsiders_are_no_leak():
    """Rows everybody could have made (few columns, many ties) are subtracted by the control."""
    table = REAL.train.copy()
    for column in cheats.SCHEMA.columns:
        if column.name not in ("patient_id", "NPM1", "FLT3"):
            table[column.name] = None
    few = read_rows(cheats.SCHEMA.cast(table), SHAPE)
    few = few.take(np.random.default_rng(0).permutation(len(few)))
    found = exact_copies(few.take(np.arange(200)), few.take(np.arange(200, 400)), few.take(np.arange(400, 500)))
    assert found.value == pytest.approx(0, abs=0.02)


def test_near_copies_see_jitter_and_spare_fresh_rows():
    jittered = read_rows(cheats.jittered(REAL.train, 0.02), SHAPE)
    gower = Gower.spread_of(HOLDOUT, FRESH)
    assert near_copies(gower, TRAIN, HOLDOUT, jittered).value > 0.9
    assert near_copies(gower, TRAIN, HOLDOUT, FRESH).value < 0.01


def test_closeness_of_a_copy_and_of_fresh_rows():
    gower = Gower.spread_of(HOLDOUT, FRESH)
    copied = closeness(gower, TRAIN, HOLDOUT, TRAIN, seed=1)
    fresh = closeness(gower, TRAIN, HOLDOUT, FRESH, seed=1)
    assert copied.p == pytest.approx(1 / 200)
    assert copied.share > copied.high
    assert fresh.p > 0.01


@given(st.integers(0, 10_000), st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_found_members_match_the_definition(seed, allowed):
    """Strictly above the (allowed + 1)-th largest outsider score, with ties."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, 24).astype(float)
    labels = rng.permutation(np.arange(24) < 14)
    threshold = np.sort(scores[~labels])[::-1][allowed]
    assert _found(scores, labels[None], allowed)[0] == pytest.approx((scores[labels] > threshold).mean())


def test_area_under_the_curve_matches_scikit_learn():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    scores = rng.integers(0, 20, 100).astype(float)
    labels = rng.random((3, 100)) < 0.4
    expected = [roc_auc_score(row, scores) for row in labels]
    np.testing.assert_allclose(_areas(scores, labels), expected)


def test_membership_finds_everyone_in_a_copy():
    found = infer_membership(TRAIN, HOLDOUT, TRAIN, seed=0)
    assert found is not None
    assert found.light == "red"
    assert found.found > 0.95
    assert found.area > 0.95
    assert found.p == pytest.approx(1 / 1000)
    assert "An attacker who wrongly accuses" in found.sentence
    assert "anonym" not in found.sentence


def test_membership_p_is_uniform_when_nobody_leaks():
    """Fresh rows: few small p values. A fixed rule on the excess would alarm too often."""
    found = []
    for seed in range(8):
        real = cheats.tables(train=200, holdout=120, fresh=200, seed=50 + seed)
        rows = [read_rows(t, SHAPE) for t in (real.train, real.holdout, real.fresh)]
        result = infer_membership(*rows, seed=seed)
        assert result is not None
        found.append(result)
    assert not [f for f in found if f.light == "red"]
    assert sum(f.p < 0.05 for f in found) <= 2


def test_the_rarest_tenth_is_attacked_where_it_is_large_enough():
    real = cheats.tables(train=500, holdout=440, fresh=500, seed=5)
    train, holdout, fresh = (read_rows(t, SHAPE) for t in (real.train, real.holdout, real.fresh))
    copied, honest = (infer_membership(train, holdout, fake, seed=0) for fake in (train, fresh))
    assert copied is not None
    assert copied.rare is not None
    assert copied.rare.light == "red"
    assert copied.rare.targets < copied.targets / 5
    assert honest is not None
    assert honest.rare is None or honest.rare.light != "red"
    few = infer_membership(TRAIN, HOLDOUT, TRAIN, seed=0)  # about ten outsiders among the rarest
    assert few is not None
    assert few.rare is None


def test_membership_needs_outsiders():
    assert infer_membership(TRAIN, HOLDOUT.take(np.arange(39)), FRESH, seed=0) is None
