"""Means, covariances, correlations and least squares over the rows where no column is missing."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp
from synthfed.secagg.questions.question import (
    Bounds,
    Cells,
    Known,
    Part,
    Table,
    scale_bits,
    scaled_reach,
    to_integers,
)


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
        try:
            slopes = np.linalg.solve(matrix[np.ix_(others, others)], matrix[others, at]).tolist()
        except np.linalg.LinAlgError as error:
            raise ValueError("the explaining columns determine each other; leave one out") from error
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
        centred = [c - m for c, m in zip(kept, _means(self.of, known[0], records), strict=True)]
        return np.array(
            [to_integers(centred[i] * centred[j], scale_bits(self._most(i, j), records)) for i, j in pairs(self.of)],
            dtype=np.int64,
        )

    def answer(self, known: Known, records: int) -> CovarianceAnswer:
        count = known[0][0]
        cells = {
            (i, j): math.ldexp(cell / (count - 1), -scale_bits(self._most(i, j), records)) if count > 1 else math.nan
            for (i, j), cell in zip(pairs(self.of), known[1], strict=True)
        }
        return _answer(self.of, known[0], cells, records)

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
        products = (Part(1, scaled_reach(self._most(*at), records)) for at in pairs(self.of))
        return () if known else (*Covariance(self.of).parts(known, records), *products)

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        kept, _ = _complete(self.of, table)
        shifted = [c - b.middle for c, b in zip(kept, self.of, strict=True)]
        products = [
            to_integers(shifted[i] * shifted[j], scale_bits(self._most(i, j), records)) for i, j in pairs(self.of)
        ]
        return np.append(Covariance(self.of).fill(known, table, records), products).astype(np.int64)

    def answer(self, known: Known, records: int) -> CovarianceAnswer:
        first, products = known[0][: 2 + len(self.of)], known[0][2 + len(self.of) :]
        count = first[0]
        shifts = [m - b.middle for m, b in zip(_means(self.of, first, records), self.of, strict=True)]
        cells = dict.fromkeys(pairs(self.of), math.nan)
        if count > 1:
            for (i, j), cell in zip(pairs(self.of), products, strict=True):
                mean = math.ldexp(cell / count, -scale_bits(self._most(i, j), records))
                cells[i, j] = (mean - shifts[i] * shifts[j]) * count / (count - 1)
        return _answer(self.of, first, cells, records)

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


def _means(of: tuple[Bounds, ...], first: tuple[int, ...], records: int) -> list[float]:
    """Means from the cells (count, incomplete, sums about the middles); the middles where nobody is counted."""
    count = first[0]
    return [
        b.middle + (math.ldexp(cell / count, -scale_bits(b.half, records)) if count > 0 else 0.0)
        for b, cell in zip(of, first[2:], strict=True)
    ]


def _answer(
    of: tuple[Bounds, ...], first: tuple[int, ...], cells: dict[tuple[int, int], float], records: int
) -> CovarianceAnswer:
    count, incomplete = first[:2]
    size = len(of)
    matrix = tuple(tuple(cells[min(i, j), max(i, j)] for j in range(size)) for i in range(size))
    means = tuple(_means(of, first, records)) if count > 0 else (math.nan,) * size
    return CovarianceAnswer(tuple(b.column for b in of), count, incomplete, means, matrix)
