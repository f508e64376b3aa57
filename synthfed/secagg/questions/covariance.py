"""Means, covariances, correlations and least squares over the rows where no column is missing."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp
from synthfed.secagg.questions.question import (
    RAW_UNITS,
    Bounds,
    Cells,
    Known,
    Part,
    Table,
    from_units,
    scale_bits,
    scaled_reach,
    to_integers,
    to_units,
)

_LARGEST_CONDITION = 1e9  # of the correlation matrix: columns that agree to about nine digits


@dataclass(frozen=True, slots=True)
class CovarianceAnswer:
    """Over the rows where no column is missing; matrices in the order of `columns`, divided by count - 1."""

    columns: tuple[str, ...]
    count: int
    incomplete: int
    means: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]

    def correlation(self) -> tuple[tuple[float, ...], ...]:
        """Pearson's coefficients; NaN for a constant column."""
        variances = (self.matrix[i][i] for i in range(len(self.columns)))
        spread = [math.sqrt(variance) if variance >= 0 else math.nan for variance in variances]
        return tuple(
            tuple(cell / (a * b) if a * b > 0 else math.nan for cell, b in zip(row, spread, strict=True))
            for row, a in zip(self.matrix, spread, strict=True)
        )

    def least_squares(self, target: str) -> dict[str, float]:
        """Pooled regression of `target` on the other columns: coefficients by column, and `intercept`.

        Raises:
            ValueError: The other columns determine each other, or `target` is none of the columns.
        """
        at = self.columns.index(target)
        others = [i for i in range(len(self.columns)) if i != at]
        matrix = np.array(self.matrix)
        explaining = matrix[np.ix_(others, others)]
        spread = np.sqrt(np.abs(np.diag(explaining)))
        # rounding leaves columns that determine each other at a finite condition, so solving need not fail on them
        if not spread.all() or np.linalg.cond(explaining / np.outer(spread, spread)) > _LARGEST_CONDITION:
            raise ValueError("the explaining columns determine each other; leave one out")
        slopes = np.linalg.solve(explaining, matrix[others, at]).tolist()
        found = {self.columns[i]: float(slope) for i, slope in zip(others, slopes, strict=True)}
        found["intercept"] = self.means[at] - sum(s * self.means[i] for i, s in zip(others, slopes, strict=True))
        return found


@dataclass(frozen=True, slots=True)
class Covariance:
    """Means and covariance matrix of several columns over complete rows; two rounds, products centred on the means."""

    of: tuple[Bounds, ...]

    def __post_init__(self) -> None:
        if len({bounds.column for bounds in self.of}) < max(2, len(self.of)):
            raise ValueError("a covariance needs at least two columns, all different")

    def describe(self) -> bytes:
        return lp(b"covariance", *(bounds.describe() for bounds in self.of))

    def noisy(self) -> "RawCovariance":
        return RawCovariance(self.of)

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        if not known:
            return (Part(2, 1, one_of=True), *(Part(1, scaled_reach(b.half, records)) for b in self.of))
        return () if len(known) > 1 else tuple(Part(1, scaled_reach(self._most(*at), records)) for at in pairs(self.of))

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        kept, incomplete = _complete(self.of, table)
        if not known:
            sums = [to_integers(c - b.middle, scale_bits(b.half, records)) for c, b in zip(kept, self.of, strict=True)]
            return np.array([kept[0].size, incomplete, *sums], dtype=np.int64)
        centred = [c - m for c, m in zip(kept, self._means(known, records), strict=True)]
        return np.array(
            [to_integers(centred[i] * centred[j], scale_bits(self._most(i, j), records)) for i, j in pairs(self.of)],
            dtype=np.int64,
        )

    def answer(self, known: Known, records: int) -> CovarianceAnswer:
        count, incomplete = known[0][:2]
        means = self._means(known, records) if count else [math.nan] * len(self.of)
        cells = [
            math.ldexp(cell / (count - 1), -scale_bits(self._most(i, j), records)) if count > 1 else math.nan
            for (i, j), cell in zip(pairs(self.of), known[1], strict=True)
        ]
        return _answer(self.of, count, incomplete, means, cells)

    def _means(self, known: Known, records: int) -> list[float]:
        """The middles where nobody is counted."""
        count, _, *shifts = known[0]
        return [
            b.middle + (math.ldexp(cell / count, -scale_bits(b.half, records)) if count else 0.0)
            for b, cell in zip(self.of, shifts, strict=True)
        ]

    def _most(self, i: int, j: int) -> float:
        return 4 * self.of[i].half * self.of[j].half


@dataclass(frozen=True, slots=True)
class RawCovariance:
    """The same from products about the middles of the bounds: one round. The form for noise.

    Under noise the matrix need not be one that data can have: correlations may lie outside [-1, 1], or be NaN where a
    variance came out below zero.
    """

    of: tuple[Bounds, ...]

    def __post_init__(self) -> None:
        Covariance(self.of)  # which checks them

    def describe(self) -> bytes:
        return lp(b"raw_covariance", *(bounds.describe() for bounds in self.of))

    def noisy(self) -> "RawCovariance":
        return self

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        sums = len(self.of) + len(pairs(self.of))
        return () if known else (Part(2, 1, one_of=True), *(Part(1, RAW_UNITS) for _ in range(sums)))

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        kept, incomplete = _complete(self.of, table)
        shifted = [c - b.middle for c, b in zip(kept, self.of, strict=True)]
        sums = [to_units(c, b.half) for c, b in zip(shifted, self.of, strict=True)]
        products = [to_units(shifted[i] * shifted[j], self._most(i, j)) for i, j in pairs(self.of)]
        return np.array([kept[0].size, incomplete, *sums, *products], dtype=np.int64)

    def answer(self, known: Known, records: int) -> CovarianceAnswer:
        count, incomplete, *sums = known[0]
        products = sums[len(self.of) :]
        if count <= 1:
            return _answer(self.of, count, incomplete, [math.nan] * len(self.of), [math.nan] * len(products))
        shifts = [from_units(cell / count, b.half) for cell, b in zip(sums, self.of, strict=False)]
        means = [b.middle + shift for b, shift in zip(self.of, shifts, strict=True)]
        cells = [
            (from_units(cell / count, self._most(i, j)) - shifts[i] * shifts[j]) * count / (count - 1)
            for (i, j), cell in zip(pairs(self.of), products, strict=True)
        ]
        return _answer(self.of, count, incomplete, means, cells)

    def _most(self, i: int, j: int) -> float:
        return self.of[i].half * self.of[j].half


def pairs(of: tuple[Bounds, ...]) -> list[tuple[int, int]]:
    """Places of a symmetric matrix, upper triangle, in the order of the cells."""
    return [(i, j) for i in range(len(of)) for j in range(i, len(of))]


def _complete(of: tuple[Bounds, ...], table: Table) -> tuple[list[npt.NDArray[np.float64]], int]:
    """The columns' clipped values in rows where none is missing; how many rows lack one."""
    columns = [np.asarray(table[b.column], dtype=np.float64) for b in of]
    whole = ~np.isnan(columns).any(axis=0)
    kept = [np.clip(c[whole], b.lower, b.upper) for c, b in zip(columns, of, strict=True)]
    return kept, int(np.count_nonzero(~whole))


def _answer(
    of: tuple[Bounds, ...], count: int, incomplete: int, means: list[float], cells: list[float]
) -> CovarianceAnswer:
    """`cells`: the upper triangle of the matrix, in the order of `pairs`."""
    found = dict(zip(pairs(of), cells, strict=True))
    size = range(len(of))
    matrix = tuple(tuple(found[min(i, j), max(i, j)] for j in size) for i in size)
    return CovarianceAnswer(tuple(b.column for b in of), count, incomplete, tuple(means), matrix)
