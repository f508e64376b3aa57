"""Clinical rules: read from `datasets/<disease>/rules.toml`, checked on any table, enforced on synthetic ones.

```toml
[[rule]]
id = "H28"
kind = "structural"                       # the kinds are listed in tables.rule_kinds
class = "hard"                            # hard: true by definition, enforced; soft: only measured
columns = ["FLT3_ITD_allelic_ratio"]
when = { FLT3_ITD = 1 }                   # conditions are explained in tables.conditions
source = "by definition"
note = "An allelic ratio exists only where FLT3-ITD was found."
```

Promises: `enforce` is idempotent; after it no hard rule is broken, on any typed table. It looks at nothing but the
synthetic table, so enforcing rules is post-processing and costs no privacy budget.
A cycle among hard rules, two rules that write one cell differently, or an unknown column or level is refused at load.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthfed.errors import DictionaryError
from synthfed.tables.conditions import Grid, Mask, Values
from synthfed.tables.conditions import to_grid as _to_grid
from synthfed.tables.conditions import to_series as _to_series
from synthfed.tables.derived_kinds import Derived
from synthfed.tables.exchange import exchanged
from synthfed.tables.rule_kinds import Body, Implies, Range, Structural, Sum
from synthfed.tables.rule_parsing import Rule, in_order, parse_rule, refuse_contradictions
from synthfed.tables.schema import Schema

_PASSES = 6


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in the order in which they are enforced: who writes a column comes before who reads it."""

    schema: Schema
    rules: tuple[Rule, ...]

    @classmethod
    def load(cls, path: str | Path, schema: Schema) -> "RuleSet":
        """Read `rules.toml` (or the one in a dictionary's folder) against the dictionary's columns.

        Raises:
            DictionaryError: Not TOML, an unknown key, column or level, a cycle, or two rules that contradict.
        """
        file = Path(path) / "rules.toml" if Path(path).is_dir() else Path(path)
        try:
            raw = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DictionaryError(f"rule file {file} does not exist; an empty one is allowed") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DictionaryError(f"rule file {file} is not valid TOML: {error}") from error
        return cls.parse(raw, schema, origin=str(file))

    @classmethod
    def parse(cls, raw: Mapping[str, Any], schema: Schema, *, origin: str = "rules") -> "RuleSet":
        """Check plain values; `origin` names them in errors."""
        unknown = sorted(set(raw) - {"rule"})
        if unknown:
            raise DictionaryError(f"{origin}: unknown keys {unknown}; a rule file holds [[rule]] tables only")
        rules = [parse_rule(entry, schema, origin) for entry in raw.get("rule", [])]
        ids = [rule.id for rule in rules]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise DictionaryError(f"{origin}: rules named twice: {twice}")
        refuse_contradictions(rules, origin)
        return cls(schema, in_order(rules, origin))

    @property
    def hard(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.hard)

    @property
    def soft(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if not rule.hard)

    def restrict(self, columns: Iterable[str]) -> "RuleSet":
        """The rules that speak of `columns` only; a rule on more columns is weakened to these, or left out."""
        kept = set(columns)
        absent = set(self.schema.names) - kept
        narrowed = [(rule, rule.body.without(absent)) for rule in self.rules]
        return RuleSet(
            self.schema.select(kept & set(self.schema.names)),
            tuple(replace(rule, body=body) for rule, body in narrowed if body is not None),
        )

    def check(self, table: pd.DataFrame) -> pd.DataFrame:
        """Which rows break which rules.

        Returns:
            Booleans, True where broken: rows as in `table`, one column per rule id. A rule on absent columns is False.
        """
        present = self.restrict(table.columns)
        grid = _to_grid(table, present.schema)
        broken = {rule.id: rule.body.violated(grid, len(table)) for rule in present.rules}
        nobody = np.zeros(len(table), dtype=bool)
        return pd.DataFrame({rule.id: broken.get(rule.id, nobody) for rule in self.rules}, index=table.index)

    def enforce(self, table: pd.DataFrame, *, exchange: bool = True) -> pd.DataFrame:
        """A copy in which every hard rule holds, derived columns included.

        For synthetic tables only: values that a row may not have go to rows that lack them (`tables.exchange`). What
        is left is repaired minimally, a rule's written columns in rows that break it. Where repairs undo one another,
        the written cells become missing.

        Args:
            exchange: Without it every row is repaired for itself, and a row's result is its own alone.
        """
        return self._rewrite(table, partial(_repaired, exchange=exchange))

    def derive(self, table: pd.DataFrame) -> pd.DataFrame:
        """A copy with the derived columns computed anew; nothing else is changed."""
        derived = {rule.derives for rule in self.hard} - {None}
        kept = table.drop(columns=[name for name in derived if name in table.columns])

        def compute(rules: "RuleSet", grid: Grid, rows: int) -> Grid:
            for rule in rules.hard:
                if rule.derives:
                    grid = grid | rule.body.repair(grid, np.ones(rows, dtype=bool))
            return grid

        return self._rewrite(kept, compute)

    def blank(self, table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, NDArray[np.intp]]]:
        """A copy of a table that was *read*, with cells that break hard rules missing; by rule, who broke it.

        The positions of the rows stay at the site.

        Derived columns are computed; shares within `input_tolerance` are rescaled; a `fill` level is filled in.
        """
        rows_of: dict[str, NDArray[np.intp]] = {}

        def blanked(rules: "RuleSet", grid: Grid, rows: int) -> Grid:
            for rule in rules.hard:
                if rule.derives is None or rule.derives in table.columns:
                    broken = np.flatnonzero(rule.body.violated(grid, rows))
                    if len(broken):
                        rows_of[rule.id] = broken
            return _blanked(rules, grid, rows)

        return self._rewrite(table, blanked), rows_of

    def changed_cells(self, before: pd.DataFrame, after: pd.DataFrame) -> Mapping[str, float]:
        """Share of each hard rule's written cells that differ after enforcing, in rows that broke it before."""
        present = self.restrict(before.columns)
        broken = present.check(before)
        old, new = _to_grid(before, present.schema), _to_grid(after, present.schema)
        shares: dict[str, float] = {}
        for rule in present.hard:
            cells = np.array([~_same(old[name], new[name]) for name in rule.body.writes])
            shares[rule.id] = float((cells & broken[rule.id].to_numpy()).mean()) if cells.size else 0.0
        return shares

    def _rewrite(self, table: pd.DataFrame, change: Any) -> pd.DataFrame:
        derived = {rule.derives for rule in self.hard if rule.derives} - set(table.columns)
        rules = self.restrict(set(table.columns) | derived)
        derivable = {rule.derives for rule in rules.hard}
        rules = rules.restrict(set(table.columns) | (derived & derivable))
        before = _to_grid(table, rules.schema)
        for name in derived & derivable:
            before[str(name)] = np.full(len(table), np.nan)
        after = change(rules, dict(before), len(table))
        result = table.copy(deep=False)  # the choice of columns below copies
        for name, values in after.items():
            if name not in table.columns or not _same(values, before[name]).all():
                result[name] = _to_series(values, self.schema[name], self.schema, table.index)
        ordered = [name for name in self.schema.names if name in result.columns]
        return result[ordered + [name for name in result.columns if name not in self.schema]]


def _same(left: Values, right: Values) -> Mask:
    return np.asarray((left == right) | (np.isnan(left) & np.isnan(right)))


def _repaired(rules: RuleSet, grid: Grid, rows: int, *, exchange: bool) -> Grid:
    for number in range(_PASSES):
        changed = False
        for rule in rules.hard:
            broken = rule.body.violated(grid, rows)
            if broken.any() and number == 0 and exchange:  # later exchanges could go round in circles
                grid = grid | exchanged(rule.body, grid, broken)
                broken = rule.body.violated(grid, rows)
                changed = True
            if broken.any():
                grid = grid | rule.body.repair(grid, broken)
                changed = True
        if not changed:
            return grid
    return _blanked(rules, grid, rows)


def _blanked(rules: RuleSet, grid: Grid, rows: int) -> Grid:
    """Make cells missing until no hard rule is broken; every pass blanks a cell or is the last."""
    for _ in range(2 * len(rules.schema.columns) + _PASSES):
        changed = False
        for rule in rules.hard:
            broken = rule.body.violated(grid, rows)
            if broken.any():
                grid = grid | _blank_body(rule.body, rules.schema, grid, broken)
                changed = True
        if not changed:
            return grid
    raise DictionaryError("the hard rules contradict each other: blanking cells does not settle them; check the rules")


def _blank_body(body: Body, schema: Schema, grid: Grid, broken: Mask) -> Grid:
    if isinstance(body, Structural | Derived):
        return body.repair(grid, broken)
    changed: Grid = {}
    if isinstance(body, Sum):
        near = broken & (np.abs(body.added(grid) - body.total) <= body.input_tolerance)
        changed = body.scaled(grid, near)
        broken = broken & body.violated(grid | changed, len(broken))
    if isinstance(body, Implies):
        wrong = {d.column: broken & d.truth(grid)[1] for d in body.demands}
    elif isinstance(body, Range):
        wrong = {n: broken & ((grid[n] < low) | (grid[n] > high)) for n, low, high in body.bounds}
    else:
        wrong = dict.fromkeys(body.writes, broken)
    optional = {name for name in wrong if schema[name].missing != "never"}
    for name, rows in wrong.items():
        if name in optional or not optional:
            changed[name] = np.where(rows, np.nan, changed.get(name, grid[name]))
    return changed
