"""Kinds of rules that compute a column: it is never learned, and no other rule may write it.

| kind        | the column of the rule is                                                                     |
|-------------|-----------------------------------------------------------------------------------------------|
| `identity`  | scale * product(`times`) / product(`over`)                                                    |
| `linear`    | the sum of `terms` (column = factor) and of the least known of `least`, where `when` holds    |
| `indicator` | 1 where `then` holds and 0 where it surely does not, where `when` holds                       |
| `band`      | the level in which the number `of` lies: level i ends below `edges[i]`                        |
| `derived`   | a named function of others: `eln2022`, `eln2017` (`tables.eln`), `egfr` (`tables.kidney`)     |

Where something needed is missing, where `when` does not hold, and where a number leaves the column's public bounds,
the column is blank. A rule is broken where the column is not what is computed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from synthfed.tables.conditions import Condition, Grid, Mask, Values
from synthfed.tables.eln import (
    DEFAULT_READING,
    ELN2017_NEEDED,
    ELN2017_OPTIONAL,
    ELN2022_NEEDED,
    ELN2022_OPTIONAL,
    ElnReading,
    eln2017,
    eln2022,
)
from synthfed.tables.kidney import EGFR_NEEDED, EGFR_OPTIONAL, egfr
from synthfed.tables.rule_kinds import ALWAYS, ROUNDING
from synthfed.tables.schema import Column, Schema

# name: (columns it cannot do without, columns that count as absent findings where a table lacks them)
FUNCTIONS = {
    "eln2022": (ELN2022_NEEDED, ELN2022_OPTIONAL),
    "eln2017": (ELN2017_NEEDED, ELN2017_OPTIONAL),
    "egfr": (EGFR_NEEDED, EGFR_OPTIONAL),
}


class Formula(Protocol):
    """How a column follows from others."""

    @property
    def reads(self) -> frozenset[str]:
        """The columns it follows from."""

    def of(self, grid: Grid) -> Values:
        """The value of every row before rounding, NaN where it is blank."""

    def without(self, absent: Iterable[str]) -> "Formula | None":
        """The same formula on a table that lacks `absent`; None when it cannot be computed there."""


@dataclass(frozen=True, slots=True)
class Derived:
    """A column, and the formula it follows from.

    Attributes:
        bounds: Public bounds and decimals of a number; None for levels.
        tolerance: How far a value may be from what is computed.
    """

    target: str
    formula: Formula
    bounds: tuple[float, float, int] | None = None
    tolerance: float = 0.0

    @property
    def reads(self) -> frozenset[str]:
        return self.formula.reads

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.target,)

    def computed(self, grid: Grid) -> Values:
        """The value of every row, NaN where it is blank."""
        value = self.formula.of(grid)
        if self.bounds is None:
            return value
        lower, upper, decimals = self.bounds
        value = np.round(value, decimals)
        return np.where((value >= lower) & (value <= upper), value, np.nan)

    def violated(self, grid: Grid, rows: int) -> Mask:
        wanted, found = self.computed(grid), grid[self.target]
        both_blank = np.isnan(wanted) & np.isnan(found)
        return np.asarray(~both_blank & ~(np.abs(wanted - found) <= self.tolerance + ROUNDING))

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        return {self.target: np.where(broken, self.computed(grid), grid[self.target])}

    def without(self, absent: Iterable[str]) -> "Derived | None":
        gone = set(absent)
        formula = None if self.target in gone else self.formula.without(gone)
        return None if formula is None else replace(self, formula=formula)


@dataclass(frozen=True, slots=True)
class Product:
    times: tuple[str, ...]
    over: tuple[str, ...]
    scale: float = 1.0

    @property
    def reads(self) -> frozenset[str]:
        return frozenset((*self.times, *self.over))

    def of(self, grid: Grid) -> Values:
        value = np.full(len(grid[next(iter(self.reads))]), self.scale)
        for name in self.times:
            value = value * grid[name]
        for name in self.over:
            value = value / np.where(grid[name] == 0, np.nan, grid[name])
        return value

    def without(self, absent: Iterable[str]) -> "Product | None":
        return None if self.reads & set(absent) else self


@dataclass(frozen=True, slots=True)
class Linear:
    terms: tuple[tuple[str, float], ...]
    least: tuple[str, ...] = ()
    when: Condition = ALWAYS

    @property
    def reads(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.terms) | set(self.least) | self.when.columns

    def of(self, grid: Grid) -> Values:
        rows = len(grid[next(iter(self.reads))])
        value = np.zeros(rows)
        for name, factor in self.terms:
            value = value + factor * grid[name]
        if self.least:
            smallest = np.full(rows, np.nan)
            for name in self.least:
                smallest = np.fmin(smallest, grid[name])
            value = value + smallest
        return np.where(self.when.truth(grid, rows)[0], value, np.nan)

    def without(self, absent: Iterable[str]) -> "Linear | None":
        return None if self.reads & set(absent) else self


@dataclass(frozen=True, slots=True)
class Indicator:
    then: Condition
    when: Condition = ALWAYS

    @property
    def reads(self) -> frozenset[str]:
        return self.then.columns | self.when.columns

    def of(self, grid: Grid) -> Values:
        rows = len(grid[next(iter(self.reads))])
        true, false = self.then.truth(grid, rows)
        value = np.select([true, false], [1.0, 0.0], np.nan)
        return np.where(self.when.truth(grid, rows)[0], value, np.nan)

    def without(self, absent: Iterable[str]) -> "Indicator | None":
        return None if self.reads & set(absent) else self


@dataclass(frozen=True, slots=True)
class Band:
    number: str
    edges: tuple[float, ...]

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.number})

    def of(self, grid: Grid) -> Values:
        found = grid[self.number]
        return np.where(np.isnan(found), np.nan, np.searchsorted(self.edges, found, side="right").astype(np.float64))

    def without(self, absent: Iterable[str]) -> "Band | None":
        return None if self.number in set(absent) else self


@dataclass(frozen=True, slots=True)
class Function:
    """A derivation that has a module of its own.

    Attributes:
        columns: The columns it may look at; those it can do without count as absent findings when a table lacks them.
    """

    name: str
    schema: Schema
    columns: tuple[str, ...]
    reading: ElnReading = DEFAULT_READING

    @property
    def reads(self) -> frozenset[str]:
        return frozenset(self.columns)

    def of(self, grid: Grid) -> Values:
        known = {name: grid[name] for name in self.columns}
        if self.name == "egfr":
            return egfr(known, self.schema)
        derive = eln2022 if self.name == "eln2022" else eln2017
        return derive(known, self.schema, reading=self.reading)

    def without(self, absent: Iterable[str]) -> "Function | None":
        gone = set(absent)
        if gone & set(FUNCTIONS[self.name][0]):
            return None
        return replace(self, columns=tuple(name for name in self.columns if name not in gone))


def function_of(name: str, schema: Schema, reading: ElnReading) -> Function:
    """The named function on the columns that the dictionary has; what it cannot do without must be among them."""
    needed, optional = FUNCTIONS[name]
    columns = tuple(dict.fromkeys(column for column in (*needed, *optional) if column in schema))
    return Function(name, schema, columns, reading)


def derived(column: Column, formula: Formula, tolerance: float = 0.0) -> Derived:
    """The rule body that computes `column`."""
    if column.lower is None or column.upper is None:
        return Derived(column.name, formula, None, tolerance)
    return Derived(column.name, formula, (column.lower, column.upper, column.decimals), tolerance)
