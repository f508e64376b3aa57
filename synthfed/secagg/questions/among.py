"""Any question, asked about the records that meet public conditions."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp
from synthfed.secagg.questions.question import Cells, Known, Part, Question, Table

Relation = Literal["==", "!=", "<", "<=", ">", ">="]

_RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A column compared with a public number (of a level: its code). A missing value meets no condition."""

    column: str
    relation: Relation
    value: float

    def __post_init__(self) -> None:
        if self.relation not in _RELATIONS:
            raise ValueError(f"relation {self.relation!r} is none of {', '.join(_RELATIONS)}")
        if not math.isfinite(self.value):
            raise ValueError(f"column {self.column!r} is compared with {self.value}; wanted a finite number")
        object.__setattr__(self, "value", float(self.value))

    def describe(self) -> bytes:
        return lp(self.column.encode(), self.relation.encode(), repr(self.value).encode())

    def met(self, table: Table) -> npt.NDArray[np.bool_]:
        """Which records meet it; bool[rows]."""
        values = np.asarray(table[self.column])
        present = values != -1 if np.issubdtype(values.dtype, np.integer) else ~np.isnan(values)
        meets: npt.NDArray[np.bool_] = present & _RELATIONS[self.relation](values, self.value)
        return meets


@dataclass(frozen=True, slots=True)
class Among:
    """A question about the records that meet all conditions; others touch no cell."""

    question: Question
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        if not self.conditions or isinstance(self.question, Among):
            raise ValueError("a question among some records needs one list of conditions, not an empty one or two")

    def describe(self) -> bytes:
        return lp(b"among", self.question.describe(), *(condition.describe() for condition in self.conditions))

    def noisy(self) -> "Among":
        return Among(self.question.noisy(), self.conditions)

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        return self.question.parts(known, records)

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        met = np.logical_and.reduce([condition.met(table) for condition in self.conditions])
        return self.question.fill(known, {name: np.asarray(values)[met] for name, values in table.items()}, records)

    def answer(self, known: Known, records: int) -> Any:
        return self.question.answer(known, records)
