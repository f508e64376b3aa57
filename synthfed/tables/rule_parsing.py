"""Read one rule of a `rules.toml`, put rules in the order in which they are enforced, refuse those that contradict."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from synthfed.errors import DictionaryError
from synthfed.tables.conditions import Condition, Demand, code_of, known_column, parse_condition
from synthfed.tables.derived_kinds import (
    FUNCTIONS,
    Band,
    Derived,
    Indicator,
    Linear,
    Product,
    derived,
    function_of,
)
from synthfed.tables.eln import ElnReading
from synthfed.tables.rule_kinds import AtMostOne, Body, Equal, Implies, Order, Parts, Range, Structural, Sum
from synthfed.tables.schema import Schema

_READINGS: Mapping[str, tuple[str, ...]] = {
    key: get_args(choices) for key, choices in get_type_hints(ElnReading).items()
}
_KEYS = frozenset({"id", "kind", "class", "columns", "when", "then", "source", "note"})
_OPTIONS: Mapping[str, frozenset[str]] = {
    "range": frozenset({"lower", "upper"}),
    "order": frozenset({"slack", "factor", "moves", "swap"}),
    "equal": frozenset({"tolerance"}),
    "implies": frozenset({"swap"}),
    "structural": frozenset({"fill"}),
    "at_most_one": frozenset(),
    "sum": frozenset({"total", "tolerance", "input_tolerance", "swap"}),
    "parts": frozenset({"whole"}),
    "identity": frozenset({"times", "over", "scale", "tolerance"}),
    "linear": frozenset({"terms", "least", "tolerance"}),
    "indicator": frozenset(),
    "band": frozenset({"of", "edges"}),
    "derived": frozenset({"function", "tolerance", *_READINGS}),
}


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
        return self.body.target if self.hard and isinstance(self.body, Derived) else None


def parse_rule(entry: Mapping[str, Any], schema: Schema, origin: str) -> Rule:
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
        _need(all(schema[n].is_number for n in names), where, "an order needs numbers")
        moves, factor = entry.get("moves", "earlier"), float(entry.get("factor", 1.0))
        _need(moves in ("earlier", "later"), where, "moves is 'earlier' (lower them) or 'later' (raise them)")
        _need(factor > 0 and (moves == "earlier" or factor == 1.0), where, "factor is above 0 and lowers the earlier")
        decimals = tuple(schema[name].decimals for name in names)
        swap = _swaps(entry, where)
        _need(not swap or (len(names) == 2 and moves == "earlier"), where, "swap needs two columns, the first moves")
        return Order(names, float(entry.get("slack", 0.0)), when, factor, decimals, moves == "later", swap)
    if kind == "equal":
        _need(len(names) == 2, where, "'equal' needs two columns, the first follows the second")
        return Equal(names[0], names[1], float(entry.get("tolerance", 0.0)), when)
    if kind == "implies":
        then = parse_condition(entry.get("then"), schema, where)
        _need(bool(when.alternatives and then.alternatives), where, "'implies' needs when and then")
        if hard:
            _need(len(then.alternatives) == 1, where, "a hard 'implies' has one alternative in then, to be made true")
            _need(all(d.present is not True for d in then.alternatives[0]), where, "'present' cannot be made true")
        return Implies(when, then, _swaps(entry, where))
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
        total, near, nearly = (float(entry.get(key, 0.0)) for key in ("total", "tolerance", "input_tolerance"))
        swap = entry.get("swap", "")
        _need(swap in ("", *names), where, "'swap' names one of the columns")
        return Sum(shares, total, tolerance=near, input_tolerance=nearly, swap=swap)
    if kind == "parts":
        whole = known_column(schema, entry.get("whole"), where)
        _need(bool(names) and all(schema[n].is_number for n in (*names, whole.name)), where, "parts are numbers")
        return Parts(tuple((name, schema[name].decimals) for name in names), whole.name)
    return _parse_derived(kind, entry, names, when, schema, where)


def _parse_derived(
    kind: str, entry: Mapping[str, Any], names: tuple[str, ...], when: Condition, schema: Schema, where: str
) -> Body:
    _need(len(names) == 1, where, f"{kind!r} computes one column")
    target = schema[names[0]]
    _need(target.derived, where, f"{kind!r} computes {target.name!r}; declare it derived = true in the dictionary")
    tolerance = float(entry.get("tolerance", 0.0))
    if kind == "identity":
        times = _column_names(entry.get("times", []), schema, where)
        over = _column_names(entry.get("over", []), schema, where)
        _need(target.is_number and bool(times or over), where, "an identity is a number with 'times' or 'over'")
        return derived(target, Product(times, over, float(entry.get("scale", 1.0))), tolerance)
    if kind == "linear":
        terms = tuple((known_column(schema, name, where).name, float(f)) for name, f in entry.get("terms", {}).items())
        least = _column_names(entry.get("least", []), schema, where)
        _need(target.is_number and bool(terms or least), where, "a linear rule is a number with 'terms' or 'least'")
        return derived(target, Linear(terms, least, when), tolerance)
    if kind == "indicator":
        then = parse_condition(entry.get("then"), schema, where)
        _need(target.kind == "flag" and bool(then.alternatives), where, "an indicator is a flag with 'then'")
        return derived(target, Indicator(then, when))
    if kind == "band":
        number = known_column(schema, entry.get("of"), where)
        edges = tuple(float(edge) for edge in entry.get("edges", ()))
        ordered = bool(edges) and list(edges) == sorted(set(edges)) and number.is_number
        _need(
            ordered and len(target.levels) == len(edges) + 1, where, "a band has a level more than 'edges', which rise"
        )
        return derived(target, Band(number.name, edges))
    name = str(entry.get("function"))
    _need(name in FUNCTIONS, where, f"function is one of {', '.join(FUNCTIONS)}")
    chosen = {key: entry[key] for key in _READINGS if key in entry}
    for key, value in chosen.items():
        _need(value in _READINGS[key], where, f"{key} is one of {', '.join(_READINGS[key])}")
    for column in FUNCTIONS[name][0]:
        known_column(schema, column, where)
    return derived(target, function_of(name, schema, ElnReading(**chosen)), tolerance)


def _swaps(entry: Mapping[str, Any], where: str) -> bool:
    swap = entry.get("swap", False)
    _need(isinstance(swap, bool), where, "swap is true or false")
    return bool(swap)


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


def in_order(rules: list[Rule], origin: str) -> tuple[Rule, ...]:
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


def refuse_contradictions(rules: list[Rule], origin: str) -> None:
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
