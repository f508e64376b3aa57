"""Read a condition on patients as a person types it: `eln2022 == 'adverse' and age_years >= 60`.

| part        | written                                                                            |
|-------------|------------------------------------------------------------------------------------|
| comparison  | `column OP value`, OP one of `==`, `!=`, `<`, `<=`, `>`, `>=`; `=` is read as `==`  |
| membership  | `column in (value, value)`, `column not in (...)`                                  |
| missing     | `column is missing`, `column is known`                                             |
| joined by   | `and`, `or`, `not`, parentheses                                                    |
| value       | a number, or a level with or without quotes                                        |

The order of an ordinal's levels decides `<` and `>`; other levels have no order. A missing value fulfils neither a
comparison nor its negation, as in `tables.conditions`, whose demands this module joins. Text is only ever compared
with the schema's names and levels: nothing in it is executed.
"""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from synthfed.errors import ConfigError, DictionaryError
from synthfed.tables.conditions import Demand, Grid, Mask, code_of, to_grid
from synthfed.tables.schema import Column, Schema

_LONGEST = 10_000  # characters
_DEEPEST = 50  # parentheses and nots inside each other
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<sign>==|!=|<=|>=|=|<|>)|(?P<bracket>[()\[\],])|(?P<name>`[^`]+`)|(?P<word>[^\W\d]\w*))"
)
_WORDS = frozenset({"and", "or", "not", "in", "is", "missing", "known"})

Answer = tuple[Mask, Mask]  # rows where it surely holds, rows where it surely does not


class ConditionError(ConfigError):
    """A condition that is not understood or does not fit the dictionary."""


@dataclass(frozen=True, slots=True)
class Joined:
    """`and` or `or` over parts, or the `not` of one part."""

    how: Literal["and", "or", "not"]
    parts: tuple["Node", ...]


Node = Demand | Joined


@dataclass(frozen=True, slots=True)
class Where:
    """A condition that fits a schema; make it with `parse_where`.

    Attributes:
        text: As it was typed.
        columns: The columns it looks at.
    """

    text: str
    schema: Schema
    node: Node

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(demand.column for demand in _demands(self.node))

    def holds(self, table: pd.DataFrame) -> Mask:
        """Rows of a typed table that surely fulfil the condition: bool (rows,)."""
        grid = to_grid(table, self.schema.select(self.columns))
        return _answer(self.node, lambda demand: demand.truth(grid))[0]

    def levels_left(self, column: str) -> tuple[str, ...]:
        """The levels of `column` that the condition does not rule out by itself, whatever the other columns are."""
        levels = self.schema[column].levels
        grid: Grid = {column: np.arange(len(levels), dtype=np.float64)}
        nobody = np.zeros(len(levels), dtype=bool)

        def answer(demand: Demand) -> Answer:
            return demand.truth(grid) if demand.column == column else (nobody, nobody)

        ruled_out = _answer(self.node, answer)[1]
        return tuple(level for level, out in zip(levels, ruled_out, strict=True) if not out)


def parse_where(text: str, schema: Schema) -> Where:
    """Read a condition against the columns of `schema`.

    Raises:
        ConditionError: A word is not understood, or a column, level or number does not fit; the message names it.
    """
    if len(text) > _LONGEST:
        raise ConditionError(f"the condition has {len(text)} characters; at most {_LONGEST} are read")
    tokens: list[tuple[str, str]] = []
    place = 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise ConditionError(
                f"condition {text!r} is not understood at {text[place:].strip()[:20]!r}; compare columns with values, "
                "e.g. age_years >= 60 and sex == 'female'"
            )
        tokens.append((match.lastgroup, match[match.lastgroup]))
        place = match.end()
    parser = _Parser(tokens, text, schema)
    node = parser.any_of()
    parser.expect_end()
    return Where(text, schema, node)


@dataclass(slots=True)
class _Parser:
    """Recursive descent: `or` binds least, then `and`, then `not`."""

    tokens: list[tuple[str, str]]
    text: str
    schema: Schema
    place: int = 0
    depth: int = 0

    def any_of(self) -> Node:
        return self._joined("or", self._all_of)

    def expect_end(self) -> None:
        if self.place < len(self.tokens):
            raise self._refusal("'and', 'or' or the end")

    def _all_of(self) -> Node:
        return self._joined("and", self._one)

    def _joined(self, how: Literal["and", "or"], part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self._takes(how):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(how, tuple(parts))

    def _one(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ConditionError(f"condition {self.text[:40]!r}... is nested deeper than {_DEEPEST}; simplify it")
        node: Node
        if self._takes("not"):
            node = Joined("not", (self._one(),))
        elif self._takes("("):
            node = self.any_of()
            self._expect(")")
        else:
            node = self._about_one_column()
        self.depth -= 1
        return node

    def _about_one_column(self) -> Node:
        column = self._column()
        if self._takes("is"):
            negated = self._takes("not")
            known = self._takes("known")
            if not known and not self._takes("missing"):
                raise self._refusal("'missing' or 'known'")
            return Demand(column.name, present=known != negated)
        negated = self._takes("not")
        if self._takes("in"):
            inside = Demand(column.name, values=self._values(column))
            return Joined("not", (inside,)) if negated else inside
        if negated:
            raise self._refusal("'in' after 'not'")
        sign = self._next("sign", wanted="a comparison such as == or >=, 'in' or 'is missing'")
        return _compared(column, sign, self._value(column), self.text)

    def _values(self, column: Column) -> tuple[float, ...]:
        closing = "]" if self._takes("[") else ")"
        if closing == ")":
            self._expect("(")
        values = [self._value(column)]
        while self._takes(","):
            values.append(self._value(column))
        self._expect(closing)
        return tuple(values)

    def _column(self) -> Column:
        name = self._next("word", "name", wanted="a column's name").strip("`")
        if name in self.schema and self.schema[name].kind != "id":
            return self.schema[name]
        known = [column.name for column in self.schema.columns if column.kind != "id"]
        if name.lower() in _WORDS:
            self.place -= 1
            raise self._refusal("a column's name")
        close = [other for other in known if name.lower() in other.lower()][:5]
        close = close or difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(close)}?" if close else f"its columns are {', '.join(known)}"
        raise ConditionError(f"condition {self.text!r}: {name!r} is not a column of this model; {hint}")

    def _value(self, column: Column) -> float:
        kind, token = self.tokens[self.place] if self.place < len(self.tokens) else ("end", "")
        if kind not in ("number", "text", "word"):
            raise self._refusal("a value")
        self.place += 1
        literal: object = token.strip("'\"") if kind != "number" else token
        if kind == "word" and token.lower() in ("missing", "known") and token not in column.levels:
            raise ConditionError(f"condition {self.text!r}: write `{column.name} is {token.lower()}`")
        if kind == "number" and not column.has_levels:
            literal = float(token)
        try:
            return code_of(column, literal, f"condition {self.text!r}")
        except DictionaryError as error:
            raise ConditionError(str(error)) from error

    def _takes(self, token: str) -> bool:
        if self.place < len(self.tokens):
            kind, found = self.tokens[self.place]
            if kind in ("word", "bracket") and found.lower() == token:
                self.place += 1
                return True
        return False

    def _expect(self, bracket: str) -> None:
        if not self._takes(bracket):
            raise self._refusal(repr(bracket))

    def _next(self, *kinds: str, wanted: str) -> str:
        if self.place >= len(self.tokens) or self.tokens[self.place][0] not in kinds:
            raise self._refusal(wanted)
        self.place += 1
        return self.tokens[self.place - 1][1]

    def _refusal(self, wanted: str) -> ConditionError:
        found = repr(self.tokens[self.place][1]) if self.place < len(self.tokens) else "its end"
        return ConditionError(f"condition {self.text!r}: found {found}, wanted {wanted}")


def _compared(column: Column, sign: str, value: float, text: str) -> Node:
    if sign in ("==", "="):
        return Demand(column.name, values=(value,))
    if sign == "!=":
        return Joined("not", (Demand(column.name, values=(value,)),))
    if column.kind in ("category", "flag"):
        raise ConditionError(
            f"condition {text!r}: the levels of {column.name!r} have no order; compare them with ==, != or in"
        )
    if sign.startswith("<"):
        demand = Demand(column.name, upper=value if sign == "<=" else math.nextafter(value, -math.inf))
    else:
        demand = Demand(column.name, lower=value if sign == ">=" else math.nextafter(value, math.inf))
    if not demand.meets(_everything(column)):
        raise ConditionError(
            f"condition {text!r}: nobody fulfils {sign} {value:g}; {column.name!r} lies between "
            f"{column.lower:g} and {column.upper:g} {column.unit}".rstrip()
        )
    return demand


def _everything(column: Column) -> Demand:
    if column.is_number and column.lower is not None and column.upper is not None:
        return Demand(column.name, lower=column.lower, upper=column.upper)
    return Demand(column.name)


def _demands(node: Node) -> tuple[Demand, ...]:
    return (node,) if isinstance(node, Demand) else tuple(d for part in node.parts for d in _demands(part))


def _answer(node: Node, answer: Callable[[Demand], Answer]) -> Answer:
    """Kleene's three values: an unknown part leaves `and` and `or` unknown unless another part decides."""
    if isinstance(node, Demand):
        return answer(node)
    parts = [_answer(part, answer) for part in node.parts]
    if node.how == "not":
        return parts[0][1], parts[0][0]
    true, false = parts[0]
    for other_true, other_false in parts[1:]:
        if node.how == "and":
            true, false = true & other_true, false | other_false
        else:
            true, false = true | other_true, false & other_false
    return true, false
