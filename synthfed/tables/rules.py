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

Promises: `enforce` is idempotent; after it no hard rule is broken, on any typed table. It uses no patient data beyond
the row it repairs, so enforcing rules on a synthetic table is post-processing and costs no privacy budget.
A cycle among hard rules, two rules that write one cell differently, or an unknown column or level is refused at load.
"""

import heapq
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthfed.errors import DictionaryError
from synthfed.tables.conditions import Condition, Demand, Grid, Mask, Values, code_of, known_column, parse_condition
from synthfed.tables.conditions import to_grid as _to_grid
from synthfed.tables.conditions import to_series as _to_series
from synthfed.tables.rule_kinds import (
    AtMostOne,
    Body,
    Eln2022,
    Equal,
    Identity,
    Implies,
    Order,
    Range,
    Structural,
    Sum,
    eln_columns,
)
from synthfed.tables.schema import Schema

_KEYS = frozenset({"id", "kind", "class", "columns", "when", "then", "source", "note"})
_OPTIONS: Mapping[str, frozenset[str]] = {
    "range": frozenset({"lower", "upper"}),
    "order": frozenset({"slack"}),
    "equal": frozenset({"tolerance"}),
    "implies": frozenset(),
    "structural": frozenset({"fill"}),
    "at_most_one": frozenset(),
    "sum": frozenset({"total", "tolerance", "input_tolerance"}),
    "identity": frozenset({"times", "over", "scale", "tolerance"}),
    "derived": frozenset({"function", "mr_gene_with_npm1_itd"}),
}
_PASSES = 6


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        hard: True by definition and enforced; soft rules are only measured.
        text: What it says, for reports.
        source: Where it comes from.
    """

    id: str
    kind: str
    hard: bool
    text: str
    source: str
    body: Body

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns it concerns, sorted."""
        return tuple(sorted(self.body.reads | set(self.body.writes)))

    @property
    def derives(self) -> str | None:
        """The column that exists only through this rule."""
        return self.body.target if self.hard and isinstance(self.body, Identity | Eln2022) else None


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
        rules = [_parse_rule(entry, schema, origin) for entry in raw.get("rule", [])]
        ids = [rule.id for rule in rules]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise DictionaryError(f"{origin}: rules named twice: {twice}")
        _refuse_contradictions(rules, origin)
        return cls(schema, _in_order(rules, origin))

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

    def enforce(self, table: pd.DataFrame) -> pd.DataFrame:
        """A copy in which every hard rule holds, derived columns included.

        Repairs are minimal: a rule's written columns, in rows that break it. Where repairs undo one another, the
        written cells become missing.
        """
        return self._rewrite(table, _repaired)

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

    def blank(self, table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
        """A copy of a table that was *read*, with cells that break hard rules missing, and the rows per broken rule.

        Derived columns are computed; shares within `input_tolerance` are rescaled; a `fill` level is filled in.
        """
        counts: dict[str, int] = {}

        def blanked(rules: "RuleSet", grid: Grid, rows: int) -> Grid:
            for rule in rules.hard:
                if rule.derives is None or rule.derives in table.columns:
                    broken = int(rule.body.violated(grid, rows).sum())
                    if broken:
                        counts[rule.id] = broken
            return _blanked(rules, grid, rows)

        return self._rewrite(table, blanked), counts

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
        result = table.copy()
        for name, values in after.items():
            if name not in table.columns or not _same(values, before[name]).all():
                result[name] = _to_series(values, self.schema[name], self.schema, table.index)
        ordered = [name for name in self.schema.names if name in result.columns]
        return result[ordered + [name for name in result.columns if name not in self.schema]]


def _same(left: Values, right: Values) -> Mask:
    return np.asarray((left == right) | (np.isnan(left) & np.isnan(right)))


def _repaired(rules: RuleSet, grid: Grid, rows: int) -> Grid:
    for _ in range(_PASSES):
        changed = False
        for rule in rules.hard:
            broken = rule.body.violated(grid, rows)
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
    if isinstance(body, Structural | Identity | Eln2022):
        return body.repair(grid, broken)
    changed: Grid = {}
    if isinstance(body, Sum):
        near = broken & (np.abs(body.added(grid) - body.total) <= body.input_tolerance)
        changed = body.repair(grid, near)
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


def _parse_rule(entry: Mapping[str, Any], schema: Schema, origin: str) -> Rule:
    where = f"{origin}, rule {entry.get('id', '(no id)')!r}"
    lacking = sorted({"id", "kind", "class", "source", "note"} - set(entry))
    if lacking:
        raise DictionaryError(f"{where}: keys {lacking} are missing")
    kind = str(entry["kind"])
    if kind not in _OPTIONS:
        raise DictionaryError(f"{where}: kind {kind!r} is unknown; kinds: {', '.join(_OPTIONS)}")
    unknown = sorted(set(entry) - _KEYS - _OPTIONS[kind])
    if unknown:
        raise DictionaryError(f"{where}: unknown keys {unknown} for kind {kind!r}; remove them or check their spelling")
    if entry["class"] not in ("hard", "soft"):
        raise DictionaryError(f"{where}: class is {entry['class']!r}; it is 'hard' or 'soft'")
    hard = entry["class"] == "hard"
    body = _parse_body(kind, entry, schema, where, hard=hard)
    return Rule(str(entry["id"]), kind, hard, str(entry["note"]), str(entry["source"]), body)


def _parse_body(kind: str, entry: Mapping[str, Any], schema: Schema, where: str, *, hard: bool) -> Body:
    names = _column_names(entry.get("columns", []), schema, where)
    when = parse_condition(entry.get("when"), schema, where)
    if kind == "range":
        numbers = [schema[name] for name in names]
        if not numbers or not all(column.is_number for column in numbers):
            raise DictionaryError(f"{where}: a range needs columns that are numbers (or '*' for all of them)")
        return Range(
            tuple((c.name, float(entry.get("lower", c.lower)), float(entry.get("upper", c.upper))) for c in numbers),
            when,
        )
    if kind == "order":
        _need(len(names) >= 2, where, "an order needs two or more columns")
        return Order(names, float(entry.get("slack", 0.0)), when)
    if kind == "equal":
        _need(len(names) == 2, where, "'equal' needs two columns, the first follows the second")
        return Equal(names[0], names[1], float(entry.get("tolerance", 0.0)), when)
    if kind == "implies":
        then = parse_condition(entry.get("then"), schema, where)
        _need(bool(when.alternatives and then.alternatives), where, "'implies' needs when and then")
        if hard:
            _need(len(then.alternatives) == 1, where, "a hard 'implies' has one alternative in then, to be made true")
            _need(all(d.present is not True for d in then.alternatives[0]), where, "'present' cannot be made true")
        return Implies(when, then)
    if kind == "structural":
        _need(bool(names and when.alternatives), where, "'structural' needs columns and when")
        fill = None
        if "fill" in entry:
            _need(len(names) == 1, where, "'fill' needs exactly one column")
            fill = code_of(schema[names[0]], entry["fill"], where)
        return Structural(names, when, fill)
    if kind == "at_most_one":
        _need(len(names) >= 2 and all(schema[n].kind == "flag" for n in names), where, "needs two or more flags")
        return AtMostOne(names)
    if kind == "sum":
        _need(len(names) >= 2 and all(schema[n].is_number for n in names), where, "a sum needs two or more numbers")
        shares = tuple((c.name, _edge(c.lower), _edge(c.upper), c.decimals) for c in (schema[n] for n in names))
        numbers_of = (float(entry.get(key, 0.0)) for key in ("total", "tolerance", "input_tolerance"))
        return Sum(shares, *numbers_of)
    if kind == "identity":
        _need(len(names) == 1 and schema[names[0]].is_number, where, "an identity has one column, a number")
        target = schema[names[0]]
        times = _column_names(entry.get("times", []), schema, where)
        over = _column_names(entry.get("over", []), schema, where)
        _need(bool(times or over), where, "an identity needs 'times' or 'over'")
        bounds = (_edge(target.lower), _edge(target.upper), target.decimals, float(entry.get("tolerance", 0.0)))
        return Identity(target.name, times, over, float(entry.get("scale", 1.0)), *bounds)
    _need(entry.get("function") == "eln2022", where, "function is 'eln2022', the only derivation so far")
    reading = entry.get("mr_gene_with_npm1_itd", "intermediate")
    _need(reading in ("intermediate", "adverse"), where, "mr_gene_with_npm1_itd is 'intermediate' or 'adverse'")
    for name in ("eln2022", "class_fusion", "karyotype_known", "NPM1", "FLT3_ITD"):
        known_column(schema, name, where)
    return Eln2022(schema, eln_columns(schema), reading)


def _edge(value: float | None) -> float:
    assert value is not None  # a number's bounds are checked by Column
    return value


def _need(met: bool, where: str, wanted: str) -> None:
    if not met:
        raise DictionaryError(f"{where}: {wanted}")


def _column_names(raw: object, schema: Schema, where: str) -> tuple[str, ...]:
    if raw == "*":
        return tuple(column.name for column in schema.columns if column.is_number)
    if not isinstance(raw, list):
        raise DictionaryError(f"{where}: columns is a list of names or '*', found {raw!r}")
    return tuple(known_column(schema, name, where).name for name in raw)


def _in_order(rules: list[Rule], origin: str) -> tuple[Rule, ...]:
    """Hard rules sorted so that a column is written before it is read, then the soft ones; file order breaks ties."""
    hard = [rule for rule in rules if rule.hard]
    after: dict[int, set[int]] = {i: set() for i in range(len(hard))}
    waiting = dict.fromkeys(range(len(hard)), 0)
    for i, first in enumerate(hard):
        for j, second in enumerate(hard):
            if i != j and set(first.body.writes) & second.body.reads:
                after[i].add(j)
                waiting[j] += 1
    ready = [i for i, count in waiting.items() if count == 0]
    ordered: list[Rule] = []
    while ready:
        i = heapq.heappop(ready)
        ordered.append(hard[i])
        for j in sorted(after[i]):
            waiting[j] -= 1
            if waiting[j] == 0:
                heapq.heappush(ready, j)
    if len(ordered) < len(hard):
        stuck = sorted({rule.id for rule in hard} - {rule.id for rule in ordered})
        raise DictionaryError(
            f"{origin}: hard rules {stuck} wait for each other (one writes what the other reads); make one of them soft"
        )
    return (*ordered, *(rule for rule in rules if not rule.hard))


def _claims(rule: Rule) -> Iterator[tuple[Condition, Demand]]:
    """What a hard rule makes true, and when, as far as conditions can say it."""
    body = rule.body
    if isinstance(body, Implies):
        for demand in body.demands:
            yield body.when, demand
    elif isinstance(body, Range):
        for name, lower, upper in body.bounds:
            yield body.when, Demand(name, lower=lower, upper=upper)
    elif isinstance(body, Structural) and body.fill is not None:
        yield body.when, Demand(body.children[0], values=(body.fill,))


def _refuse_contradictions(rules: list[Rule], origin: str) -> None:
    hard = [rule for rule in rules if rule.hard]
    for i, first in enumerate(hard):
        for second in hard[i + 1 :]:
            shared = set(first.body.writes) & set(second.body.writes)
            owners = [rule for rule in (first, second) if rule.derives in shared]
            if owners and not (len(owners) == 1 and isinstance(_other(first, second, owners[0]).body, Range)):
                raise DictionaryError(
                    f"{origin}: rules {first.id!r} and {second.id!r} both write {sorted(shared)}, which is derived"
                )
            filled = [r.body for r in (first, second) if isinstance(r.body, Structural) and r.body.fill is not None]
            if shared and filled and isinstance(first.body, Structural) and isinstance(second.body, Structural):
                raise DictionaryError(
                    f"{origin}: rule {first.id!r} and rule {second.id!r} fill and blank {sorted(shared)}; join them"
                )
            for when, demand in _claims(first):
                for other_when, other_demand in _claims(second):
                    if (
                        demand.column == other_demand.column
                        and not demand.meets(other_demand)
                        and when.meets(other_when)
                    ):
                        raise DictionaryError(
                            f"{origin}: rules {first.id!r} and {second.id!r} can both apply and write "
                            f"{demand.column!r} differently; add a condition to one of them"
                        )


def _other(first: Rule, second: Rule, rule: Rule) -> Rule:
    return second if rule is first else first
