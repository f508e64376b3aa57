"""SDMetrics' quality score, for readers who know it: information, never a decision.

Its headline rates columns shuffled independently above most generators, so it is printed with both anchors.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from synthfed.evaluation.anchors import Anchored, judged
from synthfed.evaluation.rows import Rows
from synthfed.evaluation.scorecard import Metric

MOST_COLUMNS = 60  # it looks at every pair in turn, a hundredth of a second each: hours for a table of 600 columns


def quality_score(reference: Rows, candidate: Rows, names: Sequence[str] | None = None) -> float:
    """SDMetrics QualityReport's overall score of `candidate` against `reference`, 0..1, with its default thresholds.

    Args:
        names: Columns to look at; default all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about constant columns and deprecated names; the score says it all
        from sdmetrics.reports import QualityReport

        shape = reference.shape
        sdtypes = {
            c.name: {"sdtype": "numerical" if c.is_number else "categorical"}
            for c in shape.columns
            if names is None or c.name in names
        }
        report = QualityReport()
        metadata = {"tables": {"rows": {"columns": sdtypes}}}
        left, right = (_plain(rows)[list(sdtypes)] for rows in (reference, candidate))
        report.generate({"rows": left}, {"rows": right}, metadata, verbose=False)
        return float(report.get_score())


def _plain(rows: Rows) -> pd.DataFrame:
    """Floats and strings: SDMetrics does not take nullable integers or categoricals everywhere."""
    out: dict[str, object] = {c.name: rows.numbers[:, i] for i, c in enumerate(rows.shape.numbers)}
    for i, column in enumerate(rows.shape.levels):
        names = np.array([*column.levels, None], dtype=object)
        out[column.name] = names[rows.codes[:, i]]  # -1, missing, is the last
    return pd.DataFrame(out)


def quality_metric(train: Rows, holdout: Rows, synthetic: Rows, *, seed: int) -> Metric | None:
    """`faithful.sdmetrics` at equal sizes: S, H in its place, S shuffled. `None` without enough rows to compute it."""
    size = min(len(holdout), len(synthetic))
    if size < 10 or not len(train):
        return None
    rng = np.random.default_rng([seed, 7])
    subset = synthetic.take(rng.permutation(len(synthetic))[:size])
    fresh = holdout.take(rng.permutation(len(holdout))[:size])
    shuffled = subset.shuffled(rng)
    every = [column.name for column in train.shape.columns]
    names = every if len(every) <= MOST_COLUMNS else [every[i] for i in rng.permutation(len(every))[:MOST_COLUMNS]]
    ceiling = quality_score(train, fresh, names)
    found = Anchored(
        value=quality_score(train, subset, names),
        floor=quality_score(train, shuffled, names),
        ceiling=ceiling,
        low=ceiling,
        high=ceiling,
        rows=size,
    )
    metric = judged(
        "faithful.sdmetrics",
        found,
        threshold="faithful.sdmetrics",
        question="faithful",
        role="info",
        label="SDMetrics quality score" + ("" if names is every else f" of {len(names)} of {len(every)} columns"),
        direction="higher",
    )
    return replace(metric, low=None, high=None)  # one split only: no band
