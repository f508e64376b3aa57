"""Other groups' scores as metrics: information, each with fresh patients as ceiling and shuffled columns as floor.

All three candidates, S, the hold-out and S shuffled, have as many rows as the smaller of S and the hold-out, and are
compared with the training rows. Predictions are tried on one half of the hold-out; the other half stands for fresh
patients there, so that no row is asked about itself.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from synthfed.evaluation.anchors import finite
from synthfed.evaluation.genomics import GenomicScore
from synthfed.evaluation.published.eckardt import LABELS, eckardt_scores, weighted
from synthfed.evaluation.published.fidelity import clinical_fidelity, genomic_fidelity
from synthfed.evaluation.rows import Rows
from synthfed.evaluation.scorecard import Metric
from synthfed.evaluation.thresholds import MINIMUM_COLUMN_ROWS
from synthfed.evaluation.utility import Target, make_target
from synthfed.tables.schema import Schema

ROW_CAP = 2000
_BY_FORMULA = "information only: by the formula of Eckardt et al. 2024"
_IN_SPIRIT = "information only: our formula, in the spirit of a published score whose own is not public"


def published_metrics(
    train: Rows, holdout: Rows, synthetic: Rows, *, schema: Schema, targets: Sequence[str], seed: int
) -> list[Metric]:
    """`published.eckardt` with its parts, `published.clinical` and `published.genomic`; none below 50 hold-out rows."""
    size = min(len(holdout), len(synthetic), ROW_CAP)
    if size < MINIMUM_COLUMN_ROWS or not len(train):
        return []
    rng = np.random.default_rng([seed, 16])
    reference = train.take(rng.permutation(len(train))[:ROW_CAP])
    drawn = synthetic.take(rng.permutation(len(synthetic))[:size])
    fresh = holdout.take(rng.permutation(len(holdout))[:size])
    wanted = [made for name in targets if isinstance(made := make_target(name, schema, fresh), Target)]
    genomic = GenomicScore(train, candidate_rows=size)
    half = size // 2
    asked = fresh.take(np.arange(half))

    def scores(candidate: Rows, learned_from: Rows) -> dict[str, float]:
        found = eckardt_scores(
            reference,
            candidate,
            asked,
            learned_from=learned_from,
            targets=wanted,
            endpoint=schema.primary_survival,
            seed=seed,
        )
        out = {f"eckardt.{name}": value for name, value in found.items()}
        out["eckardt"] = weighted(found)
        out["clinical"] = clinical_fidelity(reference, candidate, schema.primary_survival)
        if len(genomic.names) > 2:
            out["genomic"] = genomic_fidelity(genomic, reference, candidate)
        return out

    shuffled = drawn.shuffled(rng)
    value, floor = (scores(table, table.take(np.arange(half))) for table in (drawn, shuffled))
    ceiling = scores(fresh, fresh.take(np.arange(half, size)))
    labels = {
        "eckardt": "ten scores of Eckardt et al. 2024, weighted as there",
        **{f"eckardt.{name}": text for name, text in LABELS.items()},
        "clinical": "clinical likeness: columns, pairs, survival, missing values",
        "genomic": "genomic likeness: frequencies, co-occurrence, alterations per patient",
    }
    return [
        _metric(name, label, value, ceiling, floor, size)
        for name, label in labels.items()
        if math.isfinite(value.get(name, math.nan))
    ]


def _metric(
    name: str,
    label: str,
    value: Mapping[str, float],
    ceiling: Mapping[str, float],
    floor: Mapping[str, float],
    rows: int,
) -> Metric:
    return Metric(
        id=f"published.{name}",
        question="faithful",
        role="info",
        label=label,
        value=finite(value[name]),
        direction="higher",
        ceiling=finite(ceiling.get(name)),
        floor=finite(floor.get(name)),
        reason=_BY_FORMULA if name.startswith("eckardt") else _IN_SPIRIT,
        n={"matched": rows},
        rows_used="train",
    )
