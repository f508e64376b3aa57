import pytest

from synthfed.evaluation import quality_report
from synthfed.evaluation.quality_report import quality_metric, quality_score
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
TRAIN, HOLDOUT, FRESH = (read_rows(cheats.simulate(n, n), SHAPE) for n in (300, 120, 250))


def test_sdmetrics_score_of_a_table_with_itself_is_one():
    assert quality_score(TRAIN, TRAIN) == 1


def test_its_score_comes_with_anchors_and_decides_nothing():
    """Shuffled columns reach above .8: a threshold on this number would pass them."""
    metric = quality_metric(TRAIN, HOLDOUT, FRESH, seed=0)
    assert metric is not None
    assert metric.role == "info"
    assert 0.8 < metric.floor < metric.ceiling <= 1
    assert abs(metric.value - metric.ceiling) < 0.05


def test_too_few_rows_give_no_score():
    assert quality_metric(TRAIN, HOLDOUT.take(range(5)), FRESH, seed=0) is None


def test_of_a_wide_table_it_takes_some_columns_and_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs of 600 columns would take hours."""
    monkeypatch.setattr(quality_report, "MOST_COLUMNS", 3)
    whole = len(SHAPE.columns)
    metric = quality_metric(TRAIN, HOLDOUT, FRESH, seed=0)
    assert metric is not None
    assert metric.label.endswith(f"of 3 of {whole} columns")
    assert 0 < metric.floor <= metric.ceiling <= 1
