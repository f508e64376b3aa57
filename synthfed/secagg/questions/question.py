"""What every question has: cells of a vector, how a site fills them, what their sums over all sites mean.

`Part` says how far one record can move a group of cells: that is what noise is scaled to and paid for. `Bounds` is a
numeric column with its public limits.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp, u64
from synthfed.secagg.roster import MOST_SITES

Cells = npt.NDArray[np.int64]
Table = Mapping[str, npt.NDArray[Any]]
Known = tuple[tuple[int, ...], ...]  # per past round, the sums over all sites of this question's cells

# Reach of the sums in noisy forms. Finer units would need wider noise, of which the samplers of whole-numbered normals
# can prove less; coarser ones would round away what little the noise leaves.
RAW_UNITS = 1 << 11
_MOST_PROBABILITIES = 100
_ROOM_BITS = 62  # sums stay below 2**62 in size


@dataclass(frozen=True, slots=True)
class Part:
    """A group of neighbouring cells that one record moves in the same way.

    With normal noise of standard deviation s on each cell, a record loses mu^2 = (reach / s)^2 by the part, times
    `cells` unless `one_of` (Gaussian differential privacy, arXiv 1905.02383).

    Attributes:
        cells: How many.
        reach: The most that one record adds to a cell, in absolute value.
        one_of: Whether a record touches at most one of the cells.
    """

    cells: int
    reach: int
    one_of: bool = False

    @property
    def sensitivity(self) -> float:
        """The most that one record moves the part, in Euclidean length."""
        return self.reach * math.sqrt(1 if self.one_of else self.cells)


class Question(Protocol):
    """One question; frozen, public, the same at every site."""

    def describe(self) -> bytes:
        """Canonical bytes."""
        ...

    def noisy(self) -> "Question":
        """The question in the form that answers in one round, with noise on its sums; itself where it is one."""
        ...

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        """The cells of the next round, in order; empty when done."""
        ...

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        """A site's cells of the next round."""
        ...

    def answer(self, known: Known, records: int) -> Any:
        """What all rounds together say; a frozen answer of the question's own class."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """A numeric column with its public bounds; values outside are clipped to them and counted."""

    column: str
    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not -math.inf < self.lower < self.upper < math.inf:
            raise ValueError(f"column {self.column!r} has bounds [{self.lower}, {self.upper}]; wanted lower < upper")
        object.__setattr__(self, "lower", float(self.lower))
        object.__setattr__(self, "upper", float(self.upper))

    def describe(self) -> bytes:
        return lp(self.column.encode(), repr(self.lower).encode(), repr(self.upper).encode())

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


def increasing(column: str, edges: tuple[float, ...]) -> tuple[float, ...]:
    """Edges of bins as floats.

    Raises:
        ValueError: They do not increase, are not finite, or are fewer than two.
    """
    found = tuple(float(edge) for edge in edges)
    rising = all(a < b for a, b in pairwise(found))
    if len(found) < 2 or not rising or not all(map(math.isfinite, found)):
        raise ValueError(f"the edges of {column!r} must increase, be finite, and be two or more")
    return found


def probabilities_of(wanted: tuple[float, ...]) -> tuple[float, ...]:
    """Probabilities of quantiles as floats.

    Raises:
        ValueError: None at all, too many, or one outside [0, 1].
    """
    if not 0 < len(wanted) <= _MOST_PROBABILITIES or any(not 0 <= p <= 1 for p in wanted):
        raise ValueError(f"probabilities {wanted[:5]} are not 1 to {_MOST_PROBABILITIES} numbers in [0, 1]")
    return tuple(float(p) for p in wanted)


def scale_bits(reach: float, records: int) -> int:
    """s such that 2**s times a sum of all sites' values, each at most `reach` in size, stays below 2**62."""
    return math.floor(_ROOM_BITS - math.log2(MOST_SITES * records * reach))


def to_integers(values: npt.NDArray[np.float64], bits: int) -> int:
    """Sum of the values, each rounded to a multiple of 2**-bits: exact, and in any order the same."""
    return int(np.rint(np.ldexp(values, bits)).astype(np.int64).sum())


def scaled_reach(value: float, records: int) -> int:
    """Reach of a cell that adds up values of at most `value` in size at their `scale_bits`."""
    return math.ceil(math.ldexp(value, scale_bits(value, records))) + 1


def to_units(values: npt.NDArray[np.float64], most: float) -> int:
    """Sum of the values, each at most `most` in size and rounded to a 2**-11 part of it."""
    return int(np.rint(values * (RAW_UNITS / most)).astype(np.int64).sum())


def from_units(total: float, most: float) -> float:
    """What a sum of such values stands for."""
    return total * most / RAW_UNITS


def describe_all(questions: tuple[Question, ...], records: int) -> bytes:
    """Canonical bytes of a list of questions."""
    return lp(u64(records), *(question.describe() for question in questions))
