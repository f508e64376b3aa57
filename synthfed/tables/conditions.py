"""Conditions of rules: what a rule file may ask about one patient, and how a missing value answers.

A condition is a list of alternatives; each alternative is a set of demands on columns that must all hold:

```toml
when = { NPM1 = 1, FLT3_ITD = 0 }                       # both
when = [{ complex_karyotype = 1 }, { mono7 = 1 }]       # either
when = { age_years = { ge = 2, lt = 17 }, genotype = ["HbSS", "HbSb0"], sex = { not = "male" } }
when = { cause_of_death = "present" }                   # or "missing": the only demands that a blank cell can decide
```

Answers are three-valued (Kleene): a demand on a missing value is neither true nor false.
Inside, a table is a `Grid`: one float64 array per column, levels as their position in the dictionary, NaN for missing.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthfed.errors import DictionaryError
from synthfed.tables.schema import Column, Schema

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
Grid = dict[str, Values]

_BOUNDS = ("ge", "gt", "le", "lt")


def to_grid(table: pd.DataFrame, schema: Schema) -> Grid:
    """Every column of `table` that the schema knows, as floats (ids left out)."""
    grid: Grid = {}
    for column in schema.columns:
        if column.kind == "id" or column.name not in table.columns:
            continue
        values = table[column.name]
        if column.kind in ("category", "ordinal"):
            categorical = values.astype(schema.dtype(column.name), copy=False)
            codes = categorical.cat.codes.to_numpy().astype(np.float64)
            grid[column.name] = np.where(codes < 0, np.nan, codes)
        else:
            numbers = values if pd.api.types.is_numeric_dtype(values.dtype) else pd.to_numeric(values)
            grid[column.name] = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    return grid


def to_series(values: Values, column: Column, schema: Schema, index: pd.Index) -> pd.Series:
    """One grid column back as a typed column."""
    if column.kind in ("category", "ordinal"):
        codes: Any = np.where(np.isnan(values), -1, values).astype(np.int64)  # the stubs know sequences only
        categorical = pd.Categorical.from_codes(codes, dtype=schema.dtype(column.name))
        return pd.Series(categorical, index=index, name=column.name)
    if column.kind in ("count", "flag"):
        missing = np.isnan(values)
        whole = np.where(missing, 0.0, values).astype(np.int64)
        if (missing | (whole == values)).all():  # else the cast below says what is wrong
            return pd.Series(pd.arrays.IntegerArray(whole, missing), index=index, name=column.name)
    return pd.Series(values, index=index, name=column.name).astype(schema.dtype(column.name))


def code_of(column: Column, literal: object, where: str) -> float:
    """The grid value of a literal in a rule file.

    Raises:
        DictionaryError: The literal is not a level of the column, or not a number.
    """
    if column.has_levels:
        text = str(int(literal)) if isinstance(literal, bool | int | float) else str(literal)
        if text not in column.levels:
            raise DictionaryError(f"{where}: {column.name!r} has no level {text!r}; levels: {', '.join(column.levels)}")
        return float(column.levels.index(text))
    if isinstance(literal, bool) or not isinstance(literal, int | float):
        raise DictionaryError(f"{where}: {column.name!r} is a number, found {literal!r}; write a number")
    return float(literal)


@dataclass(frozen=True, slots=True)
class Demand:
    """What one column must be: blank, filled, one of some values, or inside an interval.

    Attributes:
        present: True or False for the demands "present" and "missing", else None.
        values: Allowed grid values in the order of the file; None for an interval.
        lower, upper: Closed interval of allowed values.
    """

    column: str
    present: bool | None = None
    values: tuple[float, ...] | None = None
    lower: float = -math.inf
    upper: float = math.inf

    def truth(self, grid: Grid) -> tuple[Mask, Mask]:
        """Rows where the demand surely holds, and rows where it surely does not."""
        found = grid[self.column]
        known = ~np.isnan(found)
        if self.present is not None:
            return (known, ~known) if self.present else (~known, known)
        if self.values is not None:
            holds = np.isin(found, np.array(self.values))
        else:
            with np.errstate(invalid="ignore"):
                holds = (found >= self.lower) & (found <= self.upper)
        return known & holds, known & ~holds

    def meets(self, other: "Demand") -> bool:
        """Whether one value could satisfy both."""
        if self.present is False or other.present is False:
            return self.present is False and other.present is False
        if self.present or other.present:
            return True
        if self.values is not None:
            return any(other._allows(value) for value in self.values)
        if other.values is not None:
            return any(self._allows(value) for value in other.values)
        return max(self.lower, other.lower) <= min(self.upper, other.upper)

    def _allows(self, value: float) -> bool:
        return value in self.values if self.values is not None else self.lower <= value <= self.upper

    def satisfy(self, found: Values) -> Values:
        """The nearest allowed values: the first listed one, or the interval's edge."""
        if self.present is False:
            return np.full_like(found, np.nan)
        if self.values is not None:
            return np.full_like(found, self.values[0])
        return np.clip(found, self.lower, self.upper)


Alternative = tuple[Demand, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """Alternatives of demands; no alternative at all is a condition that always holds."""

    alternatives: tuple[Alternative, ...] = ()

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(demand.column for alternative in self.alternatives for demand in alternative)

    def truth(self, grid: Grid, rows: int) -> tuple[Mask, Mask]:
        """Rows where the condition surely holds, and rows where it surely does not."""
        if not self.alternatives:
            return np.ones(rows, dtype=bool), np.zeros(rows, dtype=bool)
        any_true = np.zeros(rows, dtype=bool)
        all_false = np.ones(rows, dtype=bool)
        for alternative in self.alternatives:
            all_true = np.ones(rows, dtype=bool)
            any_false = np.zeros(rows, dtype=bool)
            for demand in alternative:
                true, false = demand.truth(grid)
                all_true &= true
                any_false |= false
            any_true |= all_true
            all_false &= any_false
        return any_true, all_false

    def without(self, columns: Iterable[str]) -> "Condition | None":
        """Drop alternatives that need one of `columns`; None when none is left."""
        absent = set(columns)
        kept = tuple(a for a in self.alternatives if not any(d.column in absent for d in a))
        if self.alternatives and not kept:
            return None
        return Condition(kept)

    def meets(self, other: "Condition") -> bool:
        """Whether one patient could satisfy both, judged column by column."""
        mine = self.alternatives or ((),)
        theirs = other.alternatives or ((),)
        return any(
            all(a.meets(b) for a in left for b in right if a.column == b.column) for left in mine for right in theirs
        )


def parse_condition(raw: object, schema: Schema, where: str) -> Condition:
    """Read `when` or `then` of a rule.

    Raises:
        DictionaryError: An unknown column, level or operator; `where` names the rule.
    """
    if raw is None:
        return Condition()
    alternatives = raw if isinstance(raw, list) else [raw]
    parsed = []
    for alternative in alternatives:
        if not isinstance(alternative, Mapping) or not alternative:
            raise DictionaryError(f"{where}: a condition is a table such as {{ NPM1 = 1 }}, found {alternative!r}")
        parsed.append(tuple(_parse_demand(name, wanted, schema, where) for name, wanted in alternative.items()))
    return Condition(tuple(parsed))


def known_column(schema: Schema, name: object, where: str) -> Column:
    """The column called `name`, or an error that names the rule."""
    if not isinstance(name, str) or name not in schema:
        raise DictionaryError(f"{where}: column {name!r} is not in the {schema.disease!r} dictionary; check its name")
    return schema[name]


def _parse_demand(name: str, wanted: Any, schema: Schema, where: str) -> Demand:
    column = known_column(schema, name, where)
    if wanted in ("present", "missing") and wanted not in column.levels:
        return Demand(name, present=wanted == "present")
    if isinstance(wanted, list):
        return Demand(name, values=tuple(code_of(column, literal, where) for literal in wanted))
    if not isinstance(wanted, Mapping):
        return Demand(name, values=(code_of(column, wanted, where),))
    if set(wanted) == {"not"}:
        excluded = wanted["not"] if isinstance(wanted["not"], list) else [wanted["not"]]
        codes = {code_of(column, literal, where) for literal in excluded}
        if not column.has_levels:
            raise DictionaryError(f"{where}: 'not' needs a column with levels, {name!r} is a number")
        return Demand(name, values=tuple(float(i) for i in range(len(column.levels)) if i not in codes))
    if not wanted or not set(wanted) <= set(_BOUNDS):
        raise DictionaryError(f"{where}: {name!r} has demand {wanted!r}; allowed keys: not, {', '.join(_BOUNDS)}")
    step = 10.0**-column.decimals if column.is_number else 1.0
    edges = {key: code_of(column, literal, where) for key, literal in wanted.items()}
    lower = max(edges.get("ge", -math.inf), edges.get("gt", -math.inf) + step)
    upper = min(edges.get("le", math.inf), edges.get("lt", math.inf) - step)
    return Demand(name, lower=lower, upper=upper)
