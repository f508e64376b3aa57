"""Evaluate the conditions of forms: when was a field shown, `[panel_done] = '1' and [age] >= '18'`.

The language is the part of REDCap's branching logic that compares fields with constants: `=`, `<>`, `!=`, `<`, `<=`,
`>`, `>=`, `and`, `or`, `not`, parentheses, and `[field(code)]` for one box of a checkbox. Anything else is refused
rather than half understood.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthfed.tables.cells import Mask

ALWAYS = "always"

_TOKEN = re.compile(
    r"\s*(?:(?P<field>\[[A-Za-z0-9_]+(?:\([^()\]]+\))?\])|(?P<text>'[^']*'|\"[^\"]*\")|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<sign><>|!=|<=|>=|=|<|>)|(?P<word>and|or|not)\b|(?P<bracket>[()]))",
    re.IGNORECASE,
)

Texts = Callable[[str], pd.Series]


class BranchingError(ValueError):
    """A condition in words that are not understood."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition.

    Attributes:
        fields: Columns it looks at, boxes of checkboxes by their exported name.
        holds: Which rows fulfil it, given the text of any column.
    """

    fields: frozenset[str]
    holds: Callable[[Texts], Mask]


def box_name(field: str, code: str) -> str:
    """The exported column of one box of a checkbox."""
    return f"{field}___{code.strip().lower().replace('-', '_')}"


def parse_branching(text: str) -> Condition:
    """Parse a condition.

    Raises:
        BranchingError: It uses something beyond comparisons of fields with constants.
    """
    tokens, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise BranchingError(
                f"condition {text!r} is not understood; compare fields with constants, joined by and, or"
            )
        tokens.append((match.lastgroup, match[match.lastgroup]))
        place = match.end()
    parser = _Parser(tokens, text)
    condition = parser.any_of()
    parser.expect_end()
    return condition


@dataclass(slots=True)
class _Parser:
    tokens: list[tuple[str, str]]
    text: str
    place: int = 0

    def any_of(self) -> Condition:
        condition = self.all_of()
        while self._takes("or"):
            condition = _join(condition, self.all_of(), np.logical_or)
        return condition

    def all_of(self) -> Condition:
        condition = self.one()
        while self._takes("and"):
            condition = _join(condition, self.one(), np.logical_and)
        return condition

    def one(self) -> Condition:
        if self._takes("not"):
            inner = self.one()
            return Condition(inner.fields, lambda texts: ~inner.holds(texts))
        if self._takes("("):
            condition = self.any_of()
            if not self._takes(")"):
                raise self._refusal()
            return condition
        left, sign, right = self._next("field"), self._next("sign"), self._next("text", "number")
        return _compare(_column(left), sign, right.strip("'\""))

    def expect_end(self) -> None:
        if self.place < len(self.tokens):
            raise self._refusal()

    def _takes(self, word: str) -> bool:
        if self.place < len(self.tokens) and self.tokens[self.place][1].lower() == word:
            self.place += 1
            return True
        return False

    def _next(self, *kinds: str) -> str:
        if self.place >= len(self.tokens) or self.tokens[self.place][0] not in kinds:
            raise self._refusal()
        self.place += 1
        return self.tokens[self.place - 1][1]

    def _refusal(self) -> BranchingError:
        return BranchingError(
            f"condition {self.text!r} is not understood; compare fields with constants, joined by and, or"
        )


def _column(field: str) -> str:
    name, _, code = field.strip("[]").partition("(")
    return box_name(name, code.rstrip(")")) if code else name


def _compare(name: str, sign: str, constant: str) -> Condition:
    def holds(texts: Texts) -> Mask:
        column = texts(name)
        if sign in ("=", "<>", "!="):
            plain = column.str.replace(r"^(-?\d+)\.0+$", r"\1", regex=True)
            equal = np.asarray(plain == constant, dtype=bool)
            return equal if sign == "=" else ~equal
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
        limit = float(constant)
        signs = {"<": numbers < limit, "<=": numbers <= limit, ">": numbers > limit, ">=": numbers >= limit}
        return np.asarray(signs[sign], dtype=bool)

    if sign not in ("=", "<>", "!=") and not re.fullmatch(r"-?\d+(\.\d+)?", constant):
        raise BranchingError(f"condition compares [{name}] by {sign} with something that is not a number")
    return Condition(frozenset([name]), holds)


def _join(one: Condition, other: Condition, both: Callable[[Mask, Mask], Mask]) -> Condition:
    return Condition(
        one.fields | other.fields, lambda texts: np.asarray(both(one.holds(texts), other.holds(texts)), dtype=bool)
    )
