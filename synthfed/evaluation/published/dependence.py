"""Pearson's r, correlation ratio and Theil's U of all ordered pairs of columns, as dython computes them.

These are what published scores of mixed tables are made of; our own decisions use `evaluation.association`, which
corrects for chance. Missing numbers count as -1 and missing levels as a level, as those scores have it.
"""

import numpy as np

from synthfed.evaluation.association import one_hot
from synthfed.evaluation.rows import Floats, Ints, Rows

_BLANK = -1.0


def mixed_correlations(rows: Rows) -> Floats:
    """float64 (columns, columns) in the order of `Shape.columns`; entry (i, j) tells how much j says about i.

    Number-number: Pearson. One of each: correlation ratio, both ways the same. Level-level: Theil's U(i | j). NaN on
    the diagonal and where a number does not vary.
    """
    numbers = np.where(np.isnan(rows.numbers), _BLANK, rows.numbers)
    levels, starts = one_hot(rows.codes, [len(c.levels) for c in rows.shape.levels], missing=True)
    count, size = numbers.shape[1], len(rows.shape.columns)
    out = np.full((size, size), np.nan)
    centred = numbers - numbers.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0))
    spread = np.where(spread > 1e-12, spread, np.nan)
    out[:count, :count] = centred.T @ centred / np.outer(spread, spread)
    if len(starts):
        out[:count, count:] = _correlation_ratios(centred, spread, levels, starts)
        out[count:, :count] = out[:count, count:].T
        out[count:, count:] = _uncertainty(levels, starts)
    np.fill_diagonal(out, np.nan)
    return out


def _correlation_ratios(centred: Floats, spread: Floats, levels: Floats, starts: Ints) -> Floats:
    """Square root of the share of a number's variance that lies between the levels."""
    rows = levels.sum(axis=0)
    between = (centred.T @ levels) ** 2 / np.where(rows > 0, rows, 1.0)
    return np.asarray(np.sqrt(np.add.reduceat(between, starts, axis=1)) / spread[:, None])


def _uncertainty(levels: Floats, starts: Ints) -> Floats:
    """Theil's U(i | j) = (H(i) - H(i | j)) / H(i); 1 where i does not vary."""
    joint = levels.T @ levels / len(levels)
    plogp = np.where(joint > 0, joint * np.log(np.where(joint > 0, joint, 1.0)), 0.0)
    both = -np.add.reduceat(np.add.reduceat(plogp, starts, axis=0), starts, axis=1)
    alone = np.diag(both)  # a column with itself: its own entropy
    known = alone[:, None] + alone[None, :] - both  # mutual information
    return np.where(alone[:, None] > 1e-12, known / np.where(alone > 1e-12, alone, 1.0)[:, None], 1.0)
