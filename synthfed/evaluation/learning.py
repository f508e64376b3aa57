"""The two learners that scores are made with: boosted trees and a logistic model, plus the area under the ROC curve.

Both see the same columns: numbers as they are (missing allowed) and levels as codes. One thread, so that the same
seed gives the same bits on any machine.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.association import one_hot
from synthfed.evaluation.rows import Bools, Floats, Ints, Rows


@dataclass(frozen=True, slots=True)
class Inputs:
    """Which columns a learner sees, by place in `Shape.numbers` and `Shape.levels`."""

    numbers: tuple[int, ...]
    levels: tuple[int, ...]

    @classmethod
    def without(cls, rows: Rows, dropped: Sequence[str]) -> "Inputs":
        """All columns but `dropped` and the derived ones (they repeat others)."""
        gone = set(dropped)
        shape = rows.shape
        return cls(
            tuple(i for i, c in enumerate(shape.numbers) if c.name not in gone and not c.derived),
            tuple(i for i, c in enumerate(shape.levels) if c.name not in gone and not c.derived),
        )

    def for_trees(self, rows: Rows) -> Floats:
        """float64 (rows, inputs): numbers, then level codes; NaN where missing."""
        codes = rows.codes[:, list(self.levels)]
        return np.hstack([rows.numbers[:, list(self.numbers)], np.where(codes < 0, np.nan, codes)])

    def for_logistic(self, rows: Rows) -> Floats:
        """float64 (rows, inputs): numbers (log where the scale is), then one-hot levels with missing as one."""
        columns = []
        for i in self.numbers:
            values = rows.numbers[:, i]
            if rows.shape.numbers[i].scale == "log":
                values = np.log(np.where(values > 0, values, np.nan))
            columns.append(values)
        widths = [len(rows.shape.levels[i].levels) for i in self.levels]
        levels, _ = one_hot(rows.codes[:, list(self.levels)], widths, missing=True)
        return np.column_stack([*columns, levels]) if columns else levels


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep scikit-learn's and BLAS's thread pools at one while the block runs."""
    import sklearn.utils  # noqa: F401  # a pool that is not loaded yet would keep all its threads
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield


def tree_scores(inputs: Inputs, train: Rows, target: Ints, classes: int, test: Rows, *, seed: int) -> Floats:
    """Class probabilities (test rows, classes) of boosted trees; 0 for a class without a training row."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, z = inputs.for_trees(train), inputs.for_trees(test)
    varies = _varies(x)  # the binning of scikit-learn fails on columns with nothing to cut
    if not varies.any():
        return np.zeros((len(test), classes))
    categorical = np.arange(x.shape[1])[varies] >= len(inputs.numbers)
    model = HistGradientBoostingClassifier(
        max_iter=50,
        learning_rate=0.12,
        max_leaf_nodes=12,
        min_samples_leaf=10,
        l2_regularization=1.0,
        max_bins=64,
        categorical_features=categorical,
        early_stopping=False,
        random_state=seed,
    )
    return _predict(model, x[:, varies], target, classes, z[:, varies])


def _varies(x: Floats) -> Bools:
    """Columns with at least two different observed values."""
    low, high = np.where(np.isnan(x), np.inf, x).min(axis=0), np.where(np.isnan(x), -np.inf, x).max(axis=0)
    return np.asarray(low < high)


def logistic_scores(inputs: Inputs, train: Rows, target: Ints, classes: int, test: Rows) -> Floats:
    """Class probabilities (test rows, classes) of a ridge logistic model; missing numbers take the training mean."""
    from sklearn.linear_model import LogisticRegression

    x, z = inputs.for_logistic(train), inputs.for_logistic(test)
    count = len(inputs.numbers)
    seen = ~np.isnan(x)
    mean = np.where(seen, x, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    blank_x, blank_z = np.isnan(x[:, :count]), np.isnan(z[:, :count])
    x, z = np.where(np.isnan(x), mean, x), np.where(np.isnan(z), mean, z)
    x, z = np.hstack([x, blank_x]), np.hstack([z, blank_z])
    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    model = LogisticRegression(C=0.1, max_iter=200)
    return _predict(model, (x - centre) / spread, target, classes, np.clip((z - centre) / spread, -10, 10))


def _predict(model: object, x: Floats, target: Ints, classes: int, z: Floats) -> Floats:
    out = np.zeros((len(z), classes))
    present = np.unique(target)
    if len(present) < 2:
        return out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an optimiser that stops early still ranks; the score judges it
        model.fit(x, target)  # type: ignore[attr-defined]
        out[:, present] = model.predict_proba(z)  # type: ignore[attr-defined]
    return out


def auc(scores: Floats, positive: Floats, weights: Floats | None = None) -> Floats:
    """Area under the ROC curve, ties counted half, for each row of integer `weights` (how often a row counts).

    Args:
        scores: (n,); positive: 0/1 (n,); weights: (draws, n), by default one draw of ones.

    Returns:
        (draws,), NaN where a draw has one class only.
    """
    counts = np.ones((1, len(scores))) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))
    up = np.add.reduceat((counts * positive)[:, order], starts, axis=1)
    down = np.add.reduceat((counts * (1 - positive))[:, order], starts, axis=1)
    below = np.cumsum(down, axis=1) - 0.5 * down
    total = up.sum(axis=1) * down.sum(axis=1)
    return np.where(total > 0, (up * below).sum(axis=1) / np.where(total > 0, total, 1.0), np.nan)
