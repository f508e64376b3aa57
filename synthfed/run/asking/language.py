"""Read a question as a person types it: `median wbc_10e9_l where sex == 'female'`.

| question                          | what is answered                                                              |
|-----------------------------------|-------------------------------------------------------------------------------|
| `count`                           | how many patients                                                             |
| `count by A`, `count by A, B`     | how many of every level, or pair of levels                                    |
| `mean A`, `sum A`                 | of a number, or of a flag (then the mean is a share)                          |
| `sd A`, `variance A`              | with n and mean                                                               |
| `median A`                        | and `quantiles 5 25 50 75 95 of A`, in percent                                |
| `histogram A`, `... in 12 bins`   | counts between public edges                                                   |
| `correlation A, B`                | and `covariance A, B`; of two or more numbers or flags                        |
| `regression Y on A, B`            | least squares over the rows of all sites together                             |
| `describe A, B`                   | n, missing, mean, sd and median of a number, else the count of every level    |

Any of them may end in `where CONDITION`, written as in `tables.where`. `mean A, B` asks about both. A condition on the
column itself narrows its bounds, and so the noise. Nothing in the text is executed; a word that is not understood is
refused with the closest one that is.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Literal, get_args

from synthfed.errors import ConfigError
from synthfed.tables.schema import Column, Schema
from synthfed.tables.where import Where, parse_where

Verb = Literal[
    "count",
    "levels",
    "pairs",
    "mean",
    "sum",
    "sd",
    "variance",
    "quantiles",
    "histogram",
    "correlation",
    "covariance",
    "regression",
]

_SAID: dict[str, Verb] = {
    "average": "mean",
    "avg": "mean",
    "correlate": "correlation",
    "corr": "correlation",
    "cov": "covariance",
    "deviation": "sd",
    "std": "sd",
    "total": "sum",
    "var": "variance",
}
_WORDS = (*(verb for verb in get_args(Verb) if verb not in ("levels", "pairs")), *_SAID, "median", "describe")
_EXTREMES = frozenset({"min", "max", "minimum", "maximum", "range", "smallest", "largest", "extremes"})
_MOST_BINS = 256
_MOST_TEXT = 10_000
EXAMPLES = (
    "count by sex, NPM1",
    "mean age_years",
    "median wbc_10e9_l",
    "quantiles 5 25 50 75 95 of hb_g_dl",
    "count where eln2022 == 'adverse'",
)


class QuestionError(ConfigError):
    """A question that is not understood, or that does not fit the dictionary."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One question about one thing; `read_question` makes it.

    Attributes:
        text: As it was typed.
        columns: What it is about; for a regression the target first.
        probabilities: Of quantiles, in (0, 1).
        bins: Of a histogram; 0 leaves the edges to the dictionary.
        where: Whom it is about; None for everybody.
    """

    text: str
    verb: Verb
    columns: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    bins: int = 0
    where: Where | None = None


def read_question(text: str, schema: Schema) -> tuple[Asking, ...]:
    """Read one line; several columns of one number each make several questions.

    Raises:
        QuestionError: A word, a column or a number does not fit; the message says what does.
        ConditionError: The part after `where` is not understood.
    """
    if not text.strip() or len(text) > _MOST_TEXT:
        raise QuestionError(f"found a question of {len(text)} letters; ask e.g. {EXAMPLES[1]!r} or {EXAMPLES[0]!r}")
    asked, _, condition = _halves(text)
    where = parse_where(condition, schema) if condition else None
    verb, _, rest = asked.partition(" ")
    verb, rest = verb.lower(), re.sub(r"^of\s+", "", rest.strip(), flags=re.IGNORECASE)
    if verb in _EXTREMES:
        raise QuestionError(
            f"question {text!r}: the smallest and the largest value belong to one patient and are never asked for; "
            f"ask for quantiles 1 and 99: 'quantiles 1 99 of {rest or 'COLUMN'}'"
        )
    reader = _Reader(text, schema, where)
    match _SAID.get(verb, verb):
        case "count" | "counts" | "frequency" | "table":
            return reader.counts(rest)
        case "mean" | "sum" | "sd" | "variance" as chosen:
            return reader.each(chosen, rest, with_flags=True)
        case "median":
            return reader.each("quantiles", rest, probabilities=(0.5,))
        case "quantile" | "quantiles" | "percentile" | "percentiles":
            return reader.quantiles(rest)
        case "histogram":
            return reader.histogram(rest)
        case "correlation" | "covariance" as chosen:
            return (Asking(text, chosen, reader.numbers(rest, at_least=2, with_flags=True), where=where),)
        case "regression" | "regress":
            return reader.regression(rest)
        case "describe":
            return describe(schema, reader.columns(rest) if rest else None, where=where)
    close = difflib.get_close_matches(verb, _WORDS, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"ask for {', '.join(w for w in _WORDS if w not in _SAID)}"
    raise QuestionError(
        f"question {text!r}: {verb!r} is not understood; {hint}, as in {', '.join(map(repr, EXAMPLES))}"
    )


def describe(
    schema: Schema, columns: tuple[str, ...] | None = None, *, where: Where | None = None
) -> tuple[Asking, ...]:
    """The default plan: n, missing, mean, sd and median of every number, and how often every level occurs."""
    asked: list[Asking] = []
    for column in schema.columns:
        if column.kind == "id" or (columns is not None and column.name not in columns):
            continue
        text = f"describe {column.name}" + (f" where {where.text}" if where else "")
        if column.has_levels:
            asked.append(Asking(text, "levels", (column.name,), where=where))
        else:
            asked.append(Asking(text, "sd", (column.name,), where=where))
            asked.append(Asking(text, "quantiles", (column.name,), probabilities=(0.5,), where=where))
    return tuple(asked)


def _halves(text: str) -> tuple[str, str, str]:
    """Before and after the word `where`."""
    found = re.search(r"\bwhere\b", text, flags=re.IGNORECASE)
    if found is None:
        return " ".join(text.split()), "", ""
    condition = text[found.end() :].strip()
    if not condition:
        raise QuestionError(f"question {text!r}: nothing follows 'where'; write e.g. {EXAMPLES[4]!r}")
    return " ".join(text[: found.start()].split()), "where", condition


@dataclass(frozen=True, slots=True)
class _Reader:
    """What follows the verb, read against the dictionary."""

    text: str
    schema: Schema
    where: Where | None

    def counts(self, rest: str) -> tuple[Asking, ...]:
        if not rest:
            return (Asking(self.text, "count", where=self.where),)
        columns = self.columns(re.sub(r"^by\s+", "", rest, flags=re.IGNORECASE))
        numeric = [name for name in columns if not self.schema[name].has_levels]
        if numeric:
            raise self._refusal(f"{numeric[0]!r} is a number; ask 'histogram {numeric[0]}'")
        if len(columns) > 2:
            raise self._refusal("counts go by one or two columns; add 'where' for a third")
        return (Asking(self.text, "levels" if len(columns) == 1 else "pairs", columns, where=self.where),)

    def each(
        self, verb: Verb, rest: str, *, probabilities: tuple[float, ...] = (), with_flags: bool = False
    ) -> tuple[Asking, ...]:
        return tuple(
            Asking(self.text, verb, (name,), probabilities=probabilities, where=self.where)
            for name in self.numbers(rest, with_flags=with_flags)
        )

    def quantiles(self, rest: str) -> tuple[Asking, ...]:
        found = re.fullmatch(r"((?:\d+(?:\.\d+)?%?[\s,]+)+)of (.+)", rest)
        if found is None:
            raise self._refusal("write the quantiles in percent before 'of', e.g. 'quantiles 5 50 95 of age_years'")
        percents = [float(word.rstrip("%")) for word in re.split(r"[\s,]+", found[1].strip(" ,"))]
        if not all(0.5 <= percent <= 99.5 for percent in percents):
            raise self._refusal("quantiles lie between 0.5 and 99.5 percent; the extremes belong to one patient")
        return self.each("quantiles", found[2], probabilities=tuple(percent / 100 for percent in percents))

    def histogram(self, rest: str) -> tuple[Asking, ...]:
        found = re.fullmatch(r"(.+?)(?: in (\d+) bins)?", rest)
        bins = int(found[2]) if found and found[2] else 0
        if found is None or (found[2] and not 2 <= bins <= _MOST_BINS):
            raise self._refusal(f"write 'histogram COLUMN' or 'histogram COLUMN in 12 bins' (2 to {_MOST_BINS})")
        return tuple(
            Asking(self.text, "histogram", (name,), bins=bins, where=self.where) for name in self.numbers(found[1])
        )

    def regression(self, rest: str) -> tuple[Asking, ...]:
        target, on, others = re.sub(r"^of ", "", rest).partition(" on ")
        if not on:
            raise self._refusal("write 'regression TARGET on COLUMN, COLUMN'")
        columns = self.numbers(f"{target}, {others}", at_least=2, with_flags=True)
        return (Asking(self.text, "regression", columns, where=self.where),)

    def numbers(self, rest: str, *, at_least: int = 1, with_flags: bool = False) -> tuple[str, ...]:
        """Columns that can be calculated with."""
        columns = self.columns(rest)
        for name in columns:
            column = self.schema[name]
            if not (column.is_number or (with_flags and column.kind == "flag")):
                raise self._refusal(f"{name!r} has levels, not numbers; ask 'count by {name}'")
        if len(columns) < at_least:
            raise self._refusal(f"found {len(columns)} column(s); this takes {at_least} or more, separated by commas")
        return columns

    def columns(self, rest: str) -> tuple[str, ...]:
        names = tuple(self._column(name.strip().strip("`")).name for name in rest.split(","))
        if len(set(names)) != len(names):
            raise self._refusal("a column is named twice")
        return names

    def _column(self, name: str) -> Column:
        if name in self.schema and self.schema[name].kind != "id":
            return self.schema[name]
        known = [column.name for column in self.schema.columns if column.kind != "id"]
        if not name:
            raise self._refusal(f"a column is missing; there are {', '.join(known)}")
        if name in self.schema:
            raise self._refusal(f"{name!r} names patients; nothing is asked about it")
        lower = {other.lower(): other for other in known}
        close = [other for other in known if name.lower() in other.lower()][:3]
        close = close or [lower[found] for found in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
        hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(known)}"
        raise self._refusal(f"{name!r} is not a column of these tables; {hint}")

    def _refusal(self, why: str) -> QuestionError:
        return QuestionError(f"question {self.text!r}: {why}")
