"""Any question, asked about the records that meet a public condition.

A condition is a tree: `Every`, `Some` and `Not` over what one column must be (`Is`, `Within`, `Present`). Answers are
three-valued, as in Kleene's logic: a missing value neither meets a demand nor its negation, except `Present`.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp
from synthfed.secagg.questions.question import Cells, Known, Part, Question, Table

Mask = npt.NDArray[np.bool_]
Truth = tuple[Mask, Mask]  # records that surely meet it, records that surely do not


class Condition(Protocol):
    """What a record must be; frozen and public."""

    def describe(self) -> bytes:
        """Canonical bytes."""
        ...

    def truth(self, table: Table) -> Truth:
        """Which records meet it and which do not; bool[rows] each."""
        ...


def _values(table: Table, column: str) -> tuple[npt.NDArray[Any], Mask]:
    """A column and which of its values are known: codes other than -1, numbers that are not NaN."""
    values = np.asarray(table[column])
    return values, values != -1 if np.issubdtype(values.dtype, np.integer) else ~np.isnan(values)


@dataclass(frozen=True, slots=True)
class Is:
    """A column is one of some numbers (of a level: its code)."""

    column: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ValueError(f"column {self.column!r} is compared with {self.values}; wanted one or more numbers")
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))

    def describe(self) -> bytes:
        return lp(b"is", self.column.encode(), *(repr(value).encode() for value in self.values))

    def truth(self, table: Table) -> Truth:
        values, known = _values(table, self.column)
        meets = np.isin(values, self.values)
        return known & meets, known & ~meets


@dataclass(frozen=True, slots=True)
class Within:
    """A column lies in a closed interval."""

    column: str
    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper)):
            raise ValueError(f"column {self.column!r} has limits {self.lower} and {self.upper}; wanted finite ones")
        object.__setattr__(self, "lower", float(self.lower))
        object.__setattr__(self, "upper", float(self.upper))

    def describe(self) -> bytes:
        return lp(b"within", self.column.encode(), repr(self.lower).encode(), repr(self.upper).encode())

    def truth(self, table: Table) -> Truth:
        values, known = _values(table, self.column)
        meets = (values >= self.lower) & (values <= self.upper)
        return known & meets, known & ~meets


@dataclass(frozen=True, slots=True)
class Present:
    """A column is not missing."""

    column: str

    def describe(self) -> bytes:
        return lp(b"present", self.column.encode())

    def truth(self, table: Table) -> Truth:
        known = _values(table, self.column)[1]
        return known, ~known


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    part: Condition

    def describe(self) -> bytes:
        return lp(b"not", self.part.describe())

    def truth(self, table: Table) -> Truth:
        true, false = self.part.truth(table)
        return false, true


@dataclass(frozen=True, slots=True)
class Every:
    """All parts."""

    parts: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _require_parts(self.parts)

    def describe(self) -> bytes:
        return lp(b"every", *(part.describe() for part in self.parts))

    def truth(self, table: Table) -> Truth:
        answers = [part.truth(table) for part in self.parts]
        return np.logical_and.reduce([true for true, _ in answers]), np.logical_or.reduce([no for _, no in answers])


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part."""

    parts: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _require_parts(self.parts)

    def describe(self) -> bytes:
        return lp(b"some", *(part.describe() for part in self.parts))

    def truth(self, table: Table) -> Truth:
        answers = [part.truth(table) for part in self.parts]
        return np.logical_or.reduce([true for true, _ in answers]), np.logical_and.reduce([no for _, no in answers])


@dataclass(frozen=True, slots=True)
class Among:
    """A question about the records that surely meet a condition; others touch no cell."""

    question: Question
    condition: Condition

    def __post_init__(self) -> None:
        if isinstance(self.question, Among):
            raise ValueError("a question is asked among one set of records; join the conditions with `Every`")

    def describe(self) -> bytes:
        return lp(b"among", self.question.describe(), self.condition.describe())

    def noisy(self) -> "Among":
        return Among(self.question.noisy(), self.condition)

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        return self.question.parts(known, records)

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        met, _ = self.condition.truth(table)
        return self.question.fill(known, {name: np.asarray(values)[met] for name, values in table.items()}, records)

    def answer(self, known: Known, records: int) -> Any:
        return self.question.answer(known, records)


def _require_parts(parts: tuple[Condition, ...]) -> None:
    if len(parts) < 2:
        raise ValueError(f"found {len(parts)} conditions to join; wanted two or more")
