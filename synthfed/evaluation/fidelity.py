"""Does the table look like the patients? Columns one by one, missing values, and pairs of columns.

Every score takes a reference and a candidate table and is a pure function of both; `anchors` gives it meaning.
"""

from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.association import association_concordance, associations, one_hot
from synthfed.evaluation.rows import Bools, Floats, Ints, Rows

PAIR_BINS = 8


def shape_scores(reference: Rows, candidate: Rows) -> Floats:
    """One score per column, in the order of `Shape.columns`.

    1 - KS over observed values for numbers, 1 - TVD for levels (missing is a level).
    NaN where a number column has no observed value in the reference; 0 where only the candidate has none.
    """
    out = []
    for place in range(len(reference.shape.numbers)):
        out.append(1 - kolmogorov_smirnov(reference.numbers[:, place], candidate.numbers[:, place]))
    for place, column in enumerate(reference.shape.levels):
        p = level_shares(reference.codes[:, place], len(column.levels))
        q = level_shares(candidate.codes[:, place], len(column.levels))
        out.append(1 - 0.5 * float(np.abs(p - q).sum()))
    return np.array(out)


def kolmogorov_smirnov(first: Floats, second: Floats) -> float:
    """Largest distance between the distribution functions of the observed values."""
    a, b = np.sort(first[~np.isnan(first)]), np.sort(second[~np.isnan(second)])
    if not len(a):
        return float("nan")
    if not len(b):
        return 1.0
    points = np.concatenate([a, b])
    gap = np.searchsorted(a, points, side="right") / len(a) - np.searchsorted(b, points, side="right") / len(b)
    return float(np.abs(gap).max())


def level_shares(codes: Ints, width: int) -> Floats:
    """Share of rows per level; the last entry is missing."""
    return np.bincount(np.where(codes < 0, width, codes), minlength=width + 1) / max(len(codes), 1)


def missing_distance(reference: Rows, candidate: Rows) -> tuple[float, float]:
    """Largest difference of a column's missing share; mean absolute difference of missing-indicator correlations."""
    there, here = ~reference.observed(), ~candidate.observed()
    largest = float(np.abs(there.mean(axis=0) - here.mean(axis=0)).max())
    varies = (there.mean(axis=0) > 0.02) & (there.mean(axis=0) < 0.98)
    if varies.sum() < 2:
        return largest, float("nan")
    upper = np.triu_indices(int(varies.sum()), 1)
    return largest, float(np.abs(_correlations(there[:, varies])[upper] - _correlations(here[:, varies])[upper]).mean())


def _correlations(flags: Bools) -> Floats:
    centred = flags - flags.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    spread = np.where(spread > 0, spread, np.inf)
    return np.asarray((centred.T @ centred) / len(flags) / np.outer(spread, spread))


@dataclass(frozen=True, slots=True)
class Levels:
    """Share of common (column, level) pairs that occur, and the band of perfect data of the same size."""

    share: float
    low: float
    high: float
    median: float
    counted: int


def levels_kept(train: Rows, synthetic: Rows, *, seed: int, draws: int = 400) -> Levels | None:
    """Share of (column, level) with at least 5 training rows that occur in S.

    The band needs no hold-out: a level of share p is absent from |S| fresh patients with probability (1 - p)^|S|.
    """
    present: list[bool] = []
    absence: list[float] = []
    for place, column in enumerate(train.shape.levels):
        counts = np.bincount(train.codes[:, place] + 1, minlength=len(column.levels) + 1)[1:]
        found = np.bincount(synthetic.codes[:, place] + 1, minlength=len(column.levels) + 1)[1:]
        common = counts >= 5
        present.extend(found[common] > 0)
        absence.extend((1 - counts[common] / len(train)) ** len(synthetic))
    if not present:
        return None
    rng = np.random.default_rng([seed, 2])
    perfect = (rng.random((draws, len(absence))) >= np.array(absence)).mean(axis=1)
    low, median, high = (float(q) for q in np.quantile(perfect, [0.025, 0.5, 0.975]))
    return Levels(float(np.mean(present)), low, high, median, len(present))


class PairCells:
    """Columns cut into a few public-by-reference cells, for the distance between all two-way tables."""

    def __init__(self, reference: Rows) -> None:
        """Cut numbers at the reference's quantiles (at most `PAIR_BINS` cells)."""
        cuts = np.linspace(0, 1, PAIR_BINS + 1)[1:-1]
        self._edges = []
        for place in range(len(reference.shape.numbers)):
            seen = reference.numbers[~np.isnan(reference.numbers[:, place]), place]
            self._edges.append(np.unique(np.quantile(seen, cuts)) if len(seen) else np.empty(0))
        self._widths = [len(e) + 1 for e in self._edges] + [len(c.levels) for c in reference.shape.levels]

    def tables(self, rows: Rows) -> tuple[Floats, Ints]:
        """All two-way tables of `rows` as shares, in one matrix, and where each column starts."""
        cells = np.column_stack(
            [
                np.where(np.isnan(rows.numbers[:, i]), -1, np.searchsorted(edges, rows.numbers[:, i], side="right"))
                for i, edges in enumerate(self._edges)
            ]
            + [rows.codes]
        ).astype(np.int64)
        onehot, starts = one_hot(cells, self._widths, missing=True)
        single = onehot.astype(np.float32)  # counts below 2^24 are exact
        return (single.T @ single).astype(np.float64) / len(rows), starts


def pair_distance(first: Floats, second: Floats, starts: Ints) -> float:
    """Mean total variation distance over all two-way tables."""
    if len(starts) < 2:
        return float("nan")
    gaps = np.abs(first - second)
    blocks = 0.5 * np.add.reduceat(np.add.reduceat(gaps, starts, axis=0), starts, axis=1)
    return float(blocks[np.triu_indices(len(blocks), 1)].mean())


class FidelityScore:
    """All size-matched fidelity scores of a candidate at once; `anchors.anchor` calls it for S and for its anchors."""

    def __init__(self, train: Rows) -> None:
        self._cells = PairCells(train)

    def __call__(self, reference: Rows, candidate: Rows) -> dict[str, float]:
        there, starts = self._cells.tables(reference)
        here, _ = self._cells.tables(candidate)
        shapes = shape_scores(reference, candidate)
        largest, pattern = missing_distance(reference, candidate)
        scores = {
            "association": association_concordance(
                associations(reference), associations(candidate), candidate_rows=len(candidate)
            ),
            "pairs": pair_distance(there, here, starts),
            "shapes": float(np.nanmean(shapes)) if not np.isnan(shapes).all() else float("nan"),
            "missing": largest,
            "missing_pattern": pattern,
            "soft_rules": _soft_rules(reference, candidate),
        }
        for column, value in zip(reference.shape.columns, shapes, strict=True):
            scores[f"shape:{column.name}"] = float(value)
        return scores


def _soft_rules(reference: Rows, candidate: Rows) -> float:
    if not reference.broken.shape[1]:
        return float("nan")
    return float(np.abs(reference.broken.mean(axis=0) - candidate.broken.mean(axis=0)).max())
