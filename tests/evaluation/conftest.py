"""Whole scorecards, made cheaper: fewer random splits, and SDMetrics and detection left to their own tests."""

from collections.abc import Iterator
from functools import partial

import pytest

from synthfed.evaluation.anchors import anchor


@pytest.fixture(scope="package", autouse=True)
def _fewer_splits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthfed.evaluation.evaluate.anchor", partial(anchor, splits=50))
        patch.setattr("synthfed.evaluation.evaluate.quality_metric", lambda *tables, seed: None)
        patch.setattr("synthfed.evaluation.evaluate.detection_metrics", lambda *rows, seed: [])
        yield
