"""What can be asked of all sites' tables together, and which counts and sums answer it.

A question has public bounds, edges or levels; they come from a dictionary, never from the data, so no minimum, maximum
or list of keys leaks. Values outside are clipped and counted. Each question says how many cells of the vector it needs
next, how a site fills them from its own rows, and what the sums over all sites mean. All of this follows from the
public sums of the rounds before (`known`), so every party computes the same, and nothing else is remembered.

A site's table is one array per column: numbers as float64 with NaN for missing, levels as integer codes with -1 for
missing. One row is one record; a patient at two sites counts twice.

What the answers reveal is what they say: exact sums, over all sites, are as sensitive as their sizes are small. Noise
is the caller's: `reach` bounds what one record adds to a cell, in the units of the cell. In `Histogram`, `Frequency`
and `Contingency` a record falls in one cell, and in each round of `Quantiles` in at most one cell per search.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp, u64
from synthfed.secagg.roster import MOST_SITES

Cells = npt.NDArray[np.int64]
Table = Mapping[str, npt.NDArray[Any]]
Known = tuple[tuple[int, ...], ...]  # per past round, the sums over all sites of this question's cells

_ROOM_BITS = 62  # sums stay below 2**62 in size


class Question(Protocol):
    """One question; frozen, public, the same at every site."""

    def describe(self) -> bytes:
        """Canonical bytes."""
        ...

    def reach(self, known: Known, records: int) -> tuple[int, ...]:
        """The most that one record adds to each cell of the next round, in absolute value; empty when done."""
        ...

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        """A site's cells of the next round."""
        ...

    def answer(self, known: Known, records: int) -> Any:
        """What all rounds together say; a frozen answer of the question's own class."""
        ...


def scale_bits(reach: float, records: int) -> int:
    """s such that 2**s times a sum of all sites' values, each at most `reach` in size, stays below 2**62."""
    return math.floor(_ROOM_BITS - math.log2(MOST_SITES * records * reach))


@dataclass(frozen=True, slots=True)
class Bounds:
    """A numeric column with its public bounds; values outside are clipped to them and counted."""

    column: str
    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not -math.inf < self.lower < self.upper < math.inf:
            raise ValueError(f"column {self.column!r} has bounds [{self.lower}, {self.upper}]; wanted lower < upper")

    def describe(self) -> bytes:
        return lp(self.column.encode(), repr(float(self.lower)).encode(), repr(float(self.upper)).encode())

    def read(self, table: Table) -> tuple[npt.NDArray[np.float64], int, int]:
        """Present values, clipped; how many were missing; how many lay outside."""
        values = np.asarray(table[self.column], dtype=np.float64)
        present = values[~np.isnan(values)]
        outside = int(np.count_nonzero((present < self.lower) | (present > self.upper)))
        return np.clip(present, self.lower, self.upper), values.size - present.size, outside

    @property
    def middle(self) -> float:
        return self.lower + (self.upper - self.lower) / 2

    @property
    def half(self) -> float:
        return (self.upper - self.lower) / 2


def _to_integers(values: npt.NDArray[np.float64], bits: int) -> int:
    """Sum of the values, each rounded to a multiple of 2**-bits: exact, and in any order the same."""
    return int(np.rint(np.ldexp(values, bits)).astype(np.int64).sum())


def _reach(values: float, bits: int) -> int:
    return math.ceil(math.ldexp(values, bits)) + 1


# --- sums and moments -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SumAnswer:
    """Of the present values, clipped: how many, their sum and mean (NaN when there are none)."""

    count: int
    missing: int
    outside: int
    total: float
    mean: float


@dataclass(frozen=True, slots=True)
class Sum:
    """Count, sum and mean of a column; one round, four cells. Error of the mean: at most 2**-(s + 1)."""

    of: Bounds

    def describe(self) -> bytes:
        return lp(b"sum", self.of.describe())

    def reach(self, known: Known, records: int) -> tuple[int, ...]:
        return () if known else (1, 1, 1, _reach(self.of.half, scale_bits(self.of.half, records)))

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        present, missing, outside = self.of.read(table)
        total = _to_integers(present - self.of.middle, scale_bits(self.of.half, records))
        return np.array([present.size, missing, outside, total], dtype=np.int64)

    def answer(self, known: Known, records: int) -> SumAnswer:
        count, missing, outside, centred = known[0]
        mean = math.nan
        if count:
            mean = self.of.middle + math.ldexp(centred / count, -scale_bits(self.of.half, records))
        return SumAnswer(count, missing, outside, mean * count if count else 0.0, mean)


@dataclass(frozen=True, slots=True)
class MomentsAnswer:
    """`variance` divides by count - 1; skewness and kurtosis are those of the population (a normal has 0 and 3)."""

    count: int
    missing: int
    outside: int
    mean: float
    variance: float
    skewness: float
    kurtosis: float


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean, variance, skewness and kurtosis; two rounds: a `Sum`, then powers centred on the mean that it gave."""

    of: Bounds

    def describe(self) -> bytes:
        return lp(b"moments", self.of.describe())

    def reach(self, known: Known, records: int) -> tuple[int, ...]:
        if not known:
            return Sum(self.of).reach(known, records)
        return () if len(known) > 1 else tuple(_reach(*self._power(k, records)) for k in (2, 3, 4))

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        if not known:
            return Sum(self.of).fill(known, table, records)
        centred = self.of.read(table)[0] - self._centre(known, records)
        return np.array([_to_integers(centred**k, self._power(k, records)[1]) for k in (2, 3, 4)], dtype=np.int64)

    def answer(self, known: Known, records: int) -> MomentsAnswer:
        first = Sum(self.of).answer(known, records)
        n = first.count
        second, third, fourth = (
            math.ldexp(cell / n, -self._power(k, records)[1]) if n else math.nan
            for k, cell in zip((2, 3, 4), known[1], strict=True)
        )
        spread = n > 1 and second > 0
        return MomentsAnswer(
            n,
            first.missing,
            first.outside,
            first.mean,
            variance=second * n / (n - 1) if n > 1 else math.nan,
            skewness=third / second**1.5 if spread else math.nan,
            kurtosis=fourth / second**2 if spread else math.nan,
        )

    def _centre(self, known: Known, records: int) -> float:
        mean = Sum(self.of).answer(known, records).mean
        return self.of.middle if math.isnan(mean) else min(max(mean, self.of.lower), self.of.upper)

    def _power(self, k: int, records: int) -> tuple[float, int]:
        most = (2 * self.of.half) ** k
        return most, scale_bits(most, records)


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
        spread = [math.sqrt(self.matrix[i][i]) for i in range(len(self.columns))]
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

    def reach(self, known: Known, records: int) -> tuple[int, ...]:
        if not known:
            return (1, 1, *(_reach(b.half, scale_bits(b.half, records)) for b in self.of))
        return () if len(known) > 1 else tuple(_reach(*self._product(i, j, records)) for i, j in self._pairs())

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        columns = [np.asarray(table[b.column], dtype=np.float64) for b in self.of]
        whole = ~np.isnan(columns).any(axis=0)
        kept = [np.clip(c[whole], b.lower, b.upper) for c, b in zip(columns, self.of, strict=True)]
        if not known:
            sums = [_to_integers(c - b.middle, scale_bits(b.half, records)) for c, b in zip(kept, self.of, strict=True)]
            return np.array([kept[0].size, whole.size - kept[0].size, *sums], dtype=np.int64)
        centred = [c - m for c, m in zip(kept, self._centres(known, records), strict=True)]
        products = (_to_integers(centred[i] * centred[j], self._product(i, j, records)[1]) for i, j in self._pairs())
        return np.array(list(products), dtype=np.int64)

    def answer(self, known: Known, records: int) -> CovarianceAnswer:
        count, incomplete = known[0][:2]
        size = len(self.of)
        matrix = [[math.nan] * size for _ in range(size)]
        if count > 1:
            for (i, j), cell in zip(self._pairs(), known[1], strict=True):
                matrix[i][j] = matrix[j][i] = math.ldexp(cell / (count - 1), -self._product(i, j, records)[1])
        means = self._centres(known, records) if count else [math.nan] * size
        return CovarianceAnswer(
            tuple(b.column for b in self.of), count, incomplete, tuple(means), tuple(tuple(row) for row in matrix)
        )

    def _pairs(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(len(self.of)) for j in range(i, len(self.of))]

    def _product(self, i: int, j: int, records: int) -> tuple[float, int]:
        most = 4 * self.of[i].half * self.of[j].half
        return most, scale_bits(most, records)

    def _centres(self, known: Known, records: int) -> list[float]:
        count = known[0][0]
        shifts = known[0][2:]
        return [
            b.middle + (math.ldexp(cell / count, -scale_bits(b.half, records)) if count else 0.0)
            for b, cell in zip(self.of, shifts, strict=True)
        ]


# --- counts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HistogramAnswer:
    """Counts between the edges; the last bin holds its upper edge too."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int
    above: int
    missing: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of a numeric column between public edges; one round, one cell per bin and three more."""

    column: str
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or any(not a < b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError(f"the edges of {self.column!r} must increase, and be two or more")

    def describe(self) -> bytes:
        return lp(b"histogram", self.column.encode(), *(repr(float(edge)).encode() for edge in self.edges))

    def reach(self, known: Known, records: int) -> tuple[int, ...]:
        return () if known else (1,) * (len(self.edges) + 2)

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        values = np.asarray(table[self.column], dtype=np.float64)
        present = values[~np.isnan(values)]
        places = np.searchsorted(self.edges, present, side="right")  # 0 below, len(edges) at or above the last
        places[present == self.edges[-1]] = len(self.edges) - 1
        counts = np.bincount(places, minlength=len(self.edges) + 1)
        return np.append(counts, values.size - present.size).astype(np.int64)

    def answer(self, known: Known, records: int) -> HistogramAnswer:
        below, *counts, above, missing = known[0]
        return HistogramAnswer(self.edges, tuple(counts), below, above, missing)


@dataclass(frozen=True, slots=True)
class FrequencyAnswer:
    """Counts in the order of the levels; `other` are codes that are no level."""

    levels: tuple[str, ...]
    counts: tuple[int, ...]
    other: int
    missing: int


@dataclass(frozen=True, slots=True)
class Frequency:
    """How often each public level occurs; one round."""

    column: str
    levels: tuple[str, ...]

    def describe(self) -> bytes:
        return lp(b"frequency", self.column.encode(), *(level.encode() for level in self.levels))

    def reach(self, known: Known, records: int) -> tuple[int, ...]:
        return () if known else (1,) * (len(self.levels) + 2)

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        return np.bincount(_codes(table, self.column, self.levels), minlength=len(self.levels) + 2).astype(np.int64)

    def answer(self, known: Known, records: int) -> FrequencyAnswer:
        *counts, other, missing = known[0]
        return FrequencyAnswer(self.levels, tuple(counts), other, missing)


@dataclass(frozen=True, slots=True)
class ContingencyAnswer:
    """`counts[i][j]`: rows with level i of the first and j of the second column; the last of each is `other`."""

    counts: tuple[tuple[int, ...], ...]
    missing: int


@dataclass(frozen=True, slots=True)
class Contingency:
    """How often pairs of public levels of two columns occur together; one round."""

    first: Frequency
    second: Frequency

    def describe(self) -> bytes:
        return lp(b"contingency", self.first.describe(), self.second.describe())

    def reach(self, known: Known, records: int) -> tuple[int, ...]:
        rows, columns = self._shape()
        return () if known else (1,) * (rows * columns + 1)

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        rows, columns = self._shape()
        a = _codes(table, self.first.column, self.first.levels)
        b = _codes(table, self.second.column, self.second.levels)
        places = np.where((a == rows) | (b == columns), rows * columns, a * columns + b)
        return np.bincount(places, minlength=rows * columns + 1).astype(np.int64)

    def answer(self, known: Known, records: int) -> ContingencyAnswer:
        rows, columns = self._shape()
        *cells, missing = known[0]
        return ContingencyAnswer(tuple(tuple(cells[i * columns : (i + 1) * columns]) for i in range(rows)), missing)

    def _shape(self) -> tuple[int, int]:
        return len(self.first.levels) + 1, len(self.second.levels) + 1


def _codes(table: Table, column: str, levels: tuple[str, ...]) -> Cells:
    """Codes 0..L-1 for levels, L for other, L + 1 for missing (-1 in the table)."""
    codes = np.asarray(table[column]).astype(np.int64)
    known = np.where((codes < 0) | (codes >= len(levels)), len(levels), codes)
    return np.where(codes == -1, len(levels) + 1, known)


# --- quantiles --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QuantilesAnswer:
    """Quantiles in the order asked, interpolated between neighbours; within half a step, exact for values on the grid.

    Values outside the bounds count at the bounds.
    """

    count: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Any quantiles of a column, to a public step, by search: each round splits an interval into up to 256 parts.

    All quantiles asked for share their rounds. What the sums show on the way: counts of ever smaller intervals around
    each quantile, down to single steps. So this is for exact answers; noise belongs on a `Histogram`.
    """

    of: Bounds
    step: float
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0 < self.step <= self.of.upper - self.of.lower:
            raise ValueError(f"step {self.step} of {self.of.column!r} is outside (0, upper - lower]")
        if not self.probabilities or any(not 0 <= p <= 1 for p in self.probabilities):
            raise ValueError(f"probabilities {self.probabilities} are not one or more numbers in [0, 1]")

    def describe(self) -> bytes:
        numbers = (self.step, *self.probabilities)
        return lp(b"quantiles", self.of.describe(), *(repr(float(number)).encode() for number in numbers))

    @property
    def rounds(self) -> int:
        """How often the interval must be split."""
        points, rounds = round((self.of.upper - self.of.lower) / self.step) + 1, 1
        while 256**rounds < points:
            rounds += 1
        return rounds

    def reach(self, known: Known, records: int) -> tuple[int, ...]:
        return () if len(known) == self.rounds else (1,) * (self._branches * len(self._starts(known)))

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        width = self._width(len(known))
        points = np.rint((self.of.read(table)[0] - self.of.lower) / self.step).astype(np.int64)
        counts = []
        for start in self._starts(known):
            inside = points[(points >= start) & (points < start + width * self._branches)]
            counts.append(np.bincount((inside - start) // width, minlength=self._branches))
        return np.concatenate(counts).astype(np.int64)

    def answer(self, known: Known, records: int) -> QuantilesAnswer:
        count = self._count(known)
        if count <= 0:
            return QuantilesAnswer(0, (math.nan,) * len(self.probabilities))
        values = []
        for p in self.probabilities:
            low, part = divmod(p * (count - 1), 1)
            below, above = (self._value(known, min(int(low) + k, count - 1)) for k in (0, 1))
            values.append(below + part * (above - below))
        return QuantilesAnswer(count, tuple(values))

    @property
    def _branches(self) -> int:
        """The least b such that b to the power of `rounds` covers the grid."""
        points = round((self.of.upper - self.of.lower) / self.step) + 1
        branches = 2
        while branches**self.rounds < points:
            branches += 1
        return branches

    def _width(self, done: int) -> int:
        """Grid points per part in the round after `done` rounds."""
        return int(self._branches ** (self.rounds - 1 - done))

    def _count(self, known: Known) -> int:
        return sum(known[0])

    def _ranks(self, known: Known) -> list[int]:
        """Order statistics wanted, from 0: the two neighbours of each quantile."""
        last = self._count(known) - 1
        low = (int(p * last) for p in self.probabilities)
        return sorted({min(rank, last) for k in low for rank in (k, k + 1)})

    def _starts(self, known: Known) -> list[int]:
        """First grid points of the intervals to split next, increasing."""
        if not known:
            return [0]
        if self._count(known) <= 0:
            return [0]
        return sorted({self._place(known, rank) for rank in self._ranks(known)})

    def _place(self, known: Known, rank: int) -> int:
        """First grid point of the part that holds an order statistic, after all rounds of `known`."""
        start = 0
        for done, sums in enumerate(known):
            at = self._starts(known[:done]).index(start) * self._branches
            branch = 0
            while branch < self._branches - 1 and rank >= sums[at + branch]:
                rank -= sums[at + branch]
                branch += 1
            start += branch * self._width(done)
        return start

    def _value(self, known: Known, rank: int) -> float:
        return min(self.of.lower + self._place(known, rank) * self.step, self.of.upper)


def describe_all(questions: tuple[Question, ...], records: int) -> bytes:
    """Canonical bytes of a list of questions."""
    return lp(u64(records), *(question.describe() for question in questions))
