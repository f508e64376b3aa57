"""Dependence between all pairs of columns at once: one matrix product per kind of pair.

Number-number: Spearman. Number-category: adjusted eta on ranks (the square root of epsilon squared, Kelley 1935).
Category-category: Cramer's V with the bias correction of Bergsma 2013 (doi 10.1016/j.jkss.2012.10.002). Every pair uses
the rows where both columns are observed. Ranks are taken once per column over its observed values, not once per pair:
without missing values this is exactly the textbook coefficient.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from synthfed.evaluation.rows import Floats, Ints, Rows

MINIMUM_JOINT_ROWS = 20


@dataclass(frozen=True, slots=True)
class Associations:
    """Symmetric matrices over `Shape.columns` (numbers first).

    Attributes:
        values: -1..1 for number pairs, 0..1 else; NaN with too few joint rows or a constant column.
        joint: Rows where both columns are observed.
    """

    values: Floats
    joint: Floats


def associations(rows: Rows, *, minimum: int = MINIMUM_JOINT_ROWS) -> Associations:
    """Association of every pair of columns; O(rows * levels^2) multiply-adds."""
    observed = ~np.isnan(rows.numbers)  # (n, p)
    ranks = _ranks(rows.numbers)  # (n, p), 0 where missing
    onehot, starts = one_hot(rows.codes, [len(column.levels) for column in rows.shape.levels])  # (n, L)
    count = len(rows.shape.numbers)
    size = len(rows.shape.columns)
    values = np.full((size, size), np.nan)
    mask = observed.astype(np.float64)
    seen = np.hstack([mask, (rows.codes >= 0).astype(np.float64)])
    joint = seen.T @ seen
    with np.errstate(divide="ignore", invalid="ignore"):
        values[:count, :count] = _spearman(ranks, mask)
        if len(starts):
            eta = _eta(ranks, mask, onehot, starts)
            values[:count, count:] = eta
            values[count:, :count] = eta.T
            values[count:, count:] = _cramer(onehot, starts)
    values[joint < minimum] = np.nan
    return Associations(values, joint)


def concordance(reference: Floats, candidate: Floats) -> float:
    """Lin's concordance 2 cov / (var + var + (mean - mean)^2), 1989, doi 10.2307/2532051."""
    if len(reference) < 3:
        return float("nan")
    spread = reference.var() + candidate.var() + (reference.mean() - candidate.mean()) ** 2
    covariance = ((reference - reference.mean()) * (candidate - candidate.mean())).mean()
    return float(2 * covariance / spread) if spread > 0 else 1.0


def association_concordance(reference: Associations, candidate: Associations, *, candidate_rows: int) -> float:
    """Lin's concordance over the pairs that the reference can measure at the candidate's size.

    A pair that the candidate leaves undefined (a constant column) counts as no association.
    """
    upper = np.triu_indices(len(reference.values), 1)
    known = reference.values[upper]
    expected = reference.joint[upper] / max(reference.joint.max(), 1.0) * candidate_rows
    usable = ~np.isnan(known) & (expected >= MINIMUM_JOINT_ROWS)
    return concordance(known[usable], np.nan_to_num(candidate.values[upper][usable]))


def one_hot(codes: Ints, widths: list[int], *, missing: bool = False) -> tuple[Floats, Ints]:
    """Indicator columns of all levels side by side, float64 (n, total width), and where each column starts.

    Missing values are all zero, or a last level of their own with `missing`.
    """
    extra = 1 if missing else 0
    starts = np.concatenate([[0], np.cumsum([width + extra for width in widths])]).astype(np.int64)
    out = np.zeros((len(codes), int(starts[-1])))
    for place, width in enumerate(widths):
        column = codes[:, place]
        if missing:
            column = np.where(column < 0, width, column)
        row = np.flatnonzero(column >= 0)
        out[row, starts[place] + column[row]] = 1.0
    return out, starts[:-1]


def _ranks(numbers: Floats) -> Floats:
    """Average ranks over observed values, centred and scaled to -0.5..0.5; 0 where missing."""
    out = np.zeros_like(numbers)
    for place in range(numbers.shape[1]):
        seen = ~np.isnan(numbers[:, place])
        if seen.any():
            out[seen, place] = rankdata(numbers[seen, place]) / (seen.sum() + 1) - 0.5
    return out


def _spearman(ranks: Floats, mask: Floats) -> Floats:
    joint = mask.T @ mask
    sums = ranks.T @ mask  # sum of i's ranks over rows where j is observed
    squares = (ranks**2).T @ mask
    covariance = ranks.T @ ranks - sums * sums.T / joint
    variance = squares - sums**2 / joint
    variance = np.where(variance > 1e-12, variance, np.nan)
    return np.asarray(np.clip(covariance / np.sqrt(variance * variance.T), -1.0, 1.0))


def _eta(ranks: Floats, mask: Floats, onehot: Floats, starts: Ints) -> Floats:
    counts = mask.T @ onehot  # (p, L)
    sums = ranks.T @ onehot
    within = np.where(counts > 0, sums**2 / np.where(counts > 0, counts, 1.0), 0.0)
    joint = np.add.reduceat(counts, starts, axis=1)  # (p, q)
    total = np.add.reduceat(sums, starts, axis=1)
    squares = np.add.reduceat((ranks**2).T @ onehot, starts, axis=1)
    levels = np.add.reduceat((counts > 0).astype(np.float64), starts, axis=1)
    all_sum = squares - total**2 / joint
    between = np.add.reduceat(within, starts, axis=1) - total**2 / joint
    eta2 = between / np.where(all_sum > 1e-12, all_sum, np.nan)
    adjusted = 1 - (1 - eta2) * (joint - 1) / np.where(joint > levels, joint - levels, np.nan)
    return np.where(levels > 1, np.sqrt(np.clip(adjusted, 0.0, 1.0)), np.nan)


def _cramer(onehot: Floats, starts: Ints) -> Floats:
    counts = onehot.T @ onehot  # (L, L): every contingency table at once
    block = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, onehot.shape[1])))
    by_row = np.add.reduceat(counts, starts, axis=1)  # (L, q): margin of a level among rows where column j is observed
    joint = np.add.reduceat(by_row, starts, axis=0)  # (q, q)
    margins = by_row[:, block] * by_row[:, block].T  # (L, L)
    ratio = np.where(margins > 0, counts**2 / np.where(margins > 0, margins, 1.0), 0.0)
    phi2 = np.add.reduceat(np.add.reduceat(ratio, starts, axis=1), starts, axis=0) - 1
    levels = np.add.reduceat((by_row > 0).astype(np.float64), starts, axis=0)  # levels of i seen beside j
    r, k = levels, levels.T
    corrected = np.clip(phi2 - (r - 1) * (k - 1) / (joint - 1), 0.0, None)
    width = np.minimum(r - (r - 1) ** 2 / (joint - 1), k - (k - 1) ** 2 / (joint - 1)) - 1
    strength = np.sqrt(np.clip(corrected / np.where(width > 1e-12, width, np.nan), 0.0, 1.0))
    return np.where((r > 1) & (k > 1), strength, np.nan)
