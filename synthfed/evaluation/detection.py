"""How easily is the table told from patients? Information, never a decision.

Boosted trees tell nearly every generator from patients, so that their area under the curve saturates; a linear
detector is blind to dependence. The divergence that the probabilities imply is printed beside it.
"""

from dataclasses import dataclass, replace

import numpy as np

from synthfed.evaluation.learning import Inputs, auc, one_thread, tree_scores
from synthfed.evaluation.rows import Rows, stack
from synthfed.evaluation.scorecard import Metric
from synthfed.evaluation.thresholds import MINIMUM_COVERAGE_ROWS

FOLDS = 5
DRAWS = 200
ROW_CAP = 1000
_LEAST = 0.001  # of a probability: one sure mistake must not be infinite


@dataclass(frozen=True, slots=True)
class Detection:
    """Area under the curve with its bootstrap interval, and the implied Jensen-Shannon divergence in bits."""

    area: float
    low: float
    high: float
    divergence: float


def detect(real: Rows, candidate: Rows, *, seed: int) -> Detection:
    """Tell `candidate` from `real` by boosted trees, each row judged by a model that never saw it.

    Divergence = 1 + 1/2 (mean over real of log2(1 - D) + mean over candidate of log2 D), D the probability of being
    synthetic. Numbers are rounded to the dictionary's decimals first: how a hospital writes them is no difference.
    """
    rng = np.random.default_rng([seed, 11])
    rows = _written(stack(real, candidate))
    synthetic = (np.arange(len(rows)) >= len(real)).astype(np.int64)
    fold = np.empty(len(rows), dtype=np.int64)
    for side in (0, 1):  # as many of either side in each fold
        members = np.flatnonzero(synthetic == side)
        fold[rng.permutation(members)] = np.arange(len(members)) % FOLDS
    inputs = Inputs.without(rows, [])
    told = np.zeros(len(rows))
    with one_thread():
        for place in range(FOLDS):
            seen, asked = rows.take(fold != place), rows.take(fold == place)
            told[fold == place] = tree_scores(inputs, seen, synthetic[fold != place], 2, asked, seed=seed)[:, 1]
    draws = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=DRAWS)
    areas = auc(told, synthetic.astype(np.float64), np.vstack([np.ones(len(rows)), draws]))
    low, high = np.nanquantile(areas[1:], [0.025, 0.975])
    sure = np.clip(told, _LEAST, 1 - _LEAST)
    bits = 1 + 0.5 * (np.log2(1 - sure[synthetic == 0]).mean() + np.log2(sure[synthetic == 1]).mean())
    return Detection(float(areas[0]), float(low), float(high), float(bits))


def _written(rows: Rows) -> Rows:
    numbers = [np.round(rows.numbers[:, i], c.decimals) for i, c in enumerate(rows.shape.numbers)]
    return replace(rows, numbers=np.column_stack(numbers)) if numbers else rows


def detection_metrics(train: Rows, holdout: Rows, synthetic: Rows, *, seed: int) -> list[Metric]:
    """`faithful.detect` and `faithful.detect_js`: S against H, T in its place, and S shuffled, at equal sizes."""
    size = min(len(train), len(holdout), len(synthetic), ROW_CAP)
    if size < MINIMUM_COVERAGE_ROWS:
        return []
    rng = np.random.default_rng([seed, 12])
    fresh, subset, trained = (rows.take(rng.permutation(len(rows))[:size]) for rows in (holdout, synthetic, train))
    found, ceiling, floor = (detect(fresh, rows, seed=seed) for rows in (subset, trained, subset.shuffled(rng)))
    area = Metric(
        id="faithful.detect",
        question="faithful",
        role="info",
        label="boosted trees that tell the table from patients, area under the curve",
        value=found.area,
        direction="lower",
        ceiling=ceiling.area,
        floor=floor.area,
        low=ceiling.low,
        high=ceiling.high,
        reason="information only: decides nothing",
        n={"matched": size},
        rows_used="train",
        value_low=found.low,
        value_high=found.high,
    )
    bits = replace(
        area,
        id="faithful.detect_js",
        label="divergence that telling the table from patients implies, bits",
        value=found.divergence,
        ceiling=ceiling.divergence,
        floor=floor.divergence,
        low=None,
        high=None,
        value_low=None,
        value_high=None,
    )
    return [area, bits]
