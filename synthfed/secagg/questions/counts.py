"""Counts in cells: bins of a number, levels of a column, pairs of levels. A record falls in exactly one cell."""

from dataclasses import dataclass

import numpy as np

from synthfed.secagg.contexts import lp
from synthfed.secagg.questions.question import Cells, Known, Part, Table, increasing


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
        object.__setattr__(self, "edges", increasing(self.column, self.edges))

    def describe(self) -> bytes:
        return lp(b"histogram", self.column.encode(), *(repr(edge).encode() for edge in self.edges))

    def noisy(self) -> "Histogram":
        return self

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        return () if known else (Part(len(self.edges) + 2, 1, one_of=True),)

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

    def noisy(self) -> "Frequency":
        return self

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        return () if known else (Part(len(self.levels) + 2, 1, one_of=True),)

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

    def noisy(self) -> "Contingency":
        return self

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        rows, columns = self._shape()
        return () if known else (Part(rows * columns + 1, 1, one_of=True),)

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
