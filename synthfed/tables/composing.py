"""Put columns of the dictionary together from several of a hospital's table, as its mapping declares.

```toml
[compose]
IDH2 = { any = ["IDH2 R140", "IDH2 R172"] }                 # 1 where one is 1, 0 where all are 0, else missing
karyotype_known = { known = ["Karyotype", "-7"] }           # whether anything is written there, never what
hb_g_dl = { first_known = ["Hb ward (g/dL)", "Hb (g/L)"] }  # each read by its own line in [columns]
cause_of_death = { levels = { "[Status] = '3'" = "disease", "[Status] = '4'" = "other" } }
```

Nothing is guessed: parts that contradict each other stop the reading until the mapping says which counts, and a part
that is missing leaves the result missing wherever it could have decided.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthfed.errors import DataError, UnknownColumn
from synthfed.tables.branching import parse_branching
from synthfed.tables.cells import MISSING_CODES, MISSING_WORDS, Mask
from synthfed.tables.dictionary import header_key
from synthfed.tables.findings import Finding, Log, name_rows
from synthfed.tables.local_cells import recode_level
from synthfed.tables.mapping_lines import ColumnLine, ComposeLine
from synthfed.tables.numbers import by_text, plain_number
from synthfed.tables.schema import Column, Schema


@dataclass(frozen=True, slots=True)
class Table:
    """A table on its way into the dictionary's words.

    Attributes:
        headers: The file's headers by their keys.
        written: Cells as the file holds them, by header key.
        owners: The dictionary's column of each header that has one, by header key.
        recoded: Cells in the dictionary's words of those headers, by header key.
        columns: Cells in the dictionary's words by column; composed ones are added.
        missing: Cells that mean missing everywhere in this file, in lower case.
    """

    headers: Mapping[str, str]
    written: Mapping[str, pd.Series]
    owners: Mapping[str, str]
    recoded: Mapping[str, pd.Series]
    columns: dict[str, pd.Series]
    missing: frozenset[str]


def headers_of_parts(compose: Mapping[str, ComposeLine]) -> frozenset[str]:
    """Keys of the headers that parts and their conditions may look at."""
    keys: set[str] = set()
    for line in compose.values():
        for part in line.parts:
            keys |= {header_key(field) for field in (parse_branching(part).fields if _is_condition(part) else [part])}
    return frozenset(keys)


def compose_column(name: str, line: ComposeLine, table: Table, schema: Schema, log: Log) -> None:
    """Add one composed column to `table.columns`; what was done, or why it cannot be, goes to the log."""
    composing = _Composing(name, table, schema, log)
    if line.known_in:
        filled = np.any([composing.is_filled(part) for part in line.known_in], axis=0)
        candidates, how = [pd.Series(np.where(filled, "1", "0"), dtype="object")], "1 where anything is written there"
    elif line.first_known:
        candidates, how = [composing.cells(part) for part in line.first_known], "the first that is filled"
    else:
        candidates = composing.by_level(line)
        gap = "missing" if line.gaps == "missing" else "a missing part counts as no"
        how = f"the part that says yes; where none does and one is missing: {gap}"
    if composing.failed:
        return
    own = table.columns.get(name)
    values, conflicts = _first_known(candidates if own is None else [own, *candidates])
    if conflicts.any():
        which = "the file's own column or its parts contradict each other" if own is not None else "its parts differ"
        if line.conflict == "error":
            log.problems.append(
                (
                    DataError,
                    f"[compose.{name}]: {which} in {name_rows(conflicts)}; correct them, or write "
                    f'conflict = "first" (the order counts) or conflict = "missing" there',
                )
            )
            return
        values = values.mask(conflicts, "") if line.conflict == "missing" else values
        settled = "set missing" if line.conflict == "missing" else "the first in the mapping's order counts"
        log.findings.append(
            Finding("ambiguous", name, int(conflicts.sum()), f"{which}; {settled}, as the mapping says")
        )
    note = f"from {', '.join(line.parts)}: {how}"
    log.findings.append(Finding("composed", name, int((values != "").sum()), note))
    table.columns[name] = values


class _Composing:
    """The parts of one column as they are looked up; `failed` once one cannot be."""

    def __init__(self, name: str, table: Table, schema: Schema, log: Log) -> None:
        self.where, self.table, self.schema, self.log = f"[compose.{name}]", table, schema, log
        self.rows = len(next(iter(table.written.values()))) if table.written else 0
        self.before = len(log.problems)

    @property
    def failed(self) -> bool:
        return len(self.log.problems) > self.before

    def cells(self, part: str) -> pd.Series:
        """A part in the dictionary's words."""
        key = header_key(part)
        given = self.table.columns.get(part)
        if key not in self.table.recoded:
            return given if given is not None else self._absent(part)
        owner = self.table.owners[key]
        if given is not None and owner != part:
            self._problem(DataError, f"{part!r} is a header that gives {owner!r}, and a column; rename the header")
        return self.table.recoded[key]

    def is_filled(self, part: str) -> Mask:
        """Where a part holds anything that does not mean missing."""
        key = header_key(part)
        if key in self.table.recoded or key not in self.table.written:
            return np.asarray(self.cells(part) != "", dtype=bool)
        return ~self._is_blank(key)

    def by_level(self, line: ComposeLine) -> list[pd.Series]:
        """For each part its level where it says yes, and last what holds where all say no."""
        levels = dict(line.levels) or dict.fromkeys(line.any_of, "1")
        otherwise = line.otherwise if line.levels else "0"
        answers = [self._yes_and_known(part) for part in levels]
        yes, known = np.array([y for y, _ in answers]), np.array([k for _, k in answers])
        decided = known.all(axis=0) if line.gaps == "missing" else known.any(axis=0)
        nobody = ~yes.any(axis=0) & decided
        masks = [*yes, *([] if otherwise is None else [nobody])]
        texts = [*levels.values(), *([] if otherwise is None else [otherwise])]
        return [pd.Series(np.where(m, t, ""), dtype="object") for m, t in zip(masks, texts, strict=True)]

    def _yes_and_known(self, part: str) -> tuple[Mask, Mask]:
        if _is_condition(part):
            return self._condition(part)
        cells = self._flag(part)
        return np.asarray(cells == "1", dtype=bool), np.asarray(cells != "", dtype=bool)

    def _flag(self, part: str) -> pd.Series:
        key = header_key(part)
        if key in self.table.recoded or key not in self.table.written:
            column = self.table.owners.get(key, part)
            if column in self.schema and self.schema[column].kind != "flag":
                self._problem(
                    DataError, f"{part!r} is no flag; write a condition on its cells such as \"[{part}] = '1'\""
                )
            return self.cells(part)
        return recode_level(
            self.table.written[key],
            Column(part, "flag"),
            ColumnLine(column=part),
            header=part,
            field=None,
            is_time_event=False,
            missing=self.table.missing,
            log=self.log,
        )

    def _condition(self, text: str) -> tuple[Mask, Mask]:
        """Where a condition holds, and where no missing cell could have changed that."""
        condition = parse_branching(text)
        keys = [header_key(field) for field in condition.fields]
        absent = [key for key in keys if key not in self.table.written]
        if absent:
            self._problem(UnknownColumn, f"{text!r} looks at {', '.join(absent)}, which the table lacks")
            return np.zeros(self.rows, dtype=bool), np.zeros(self.rows, dtype=bool)
        said = {one or other for one, other in re.findall(r"'([^']*)'|\"([^\"]*)\"", text)}
        blank = {key: self._is_blank(key) & ~np.asarray(self.table.written[key].isin(said), dtype=bool) for key in keys}
        holds = condition.holds(lambda field: self.table.written[header_key(field)].mask(blank[header_key(field)], ""))
        some_blank = np.any(list(blank.values()), axis=0)
        if re.search(r"<>|!=|\bnot\b", text, re.IGNORECASE):  # a blank cell may be what makes it hold
            holds &= ~some_blank
        return holds, holds | ~some_blank

    def _is_blank(self, key: str) -> Mask:
        def is_blank(text: str) -> bool:
            word = plain_number(text.casefold())
            registry = re.fullmatch(r"-\d{1,3}", word) is not None and int(word) in MISSING_CODES
            return word in self.table.missing or word in MISSING_WORDS or registry

        return by_text(self.table.written[key], is_blank).astype(bool)

    def _absent(self, part: str) -> pd.Series:
        near = difflib.get_close_matches(header_key(part), self.table.headers, n=2)
        hint = f"; did you mean {' or '.join(repr(self.table.headers[key]) for key in near)}?" if near else ""
        self._problem(UnknownColumn, f"the table has no {part!r}, as a header or as a column it gives{hint}")
        return pd.Series([""] * self.rows, dtype="object")

    def _problem(self, kind: type[DataError], text: str) -> None:
        self.log.problems.append((kind, f"{self.where}: {text}"))


def _is_condition(part: str) -> bool:
    return part.startswith("[")


def _first_known(candidates: Sequence[pd.Series]) -> tuple[pd.Series, Mask]:
    """The first filled cell of each row, and the rows where a later one differs from it."""
    values = candidates[0]
    conflicts = np.zeros(len(values), dtype=bool)
    for candidate in candidates[1:]:
        conflicts |= np.asarray((values != "") & (candidate != "") & (values != candidate), dtype=bool)
        values = values.where(values != "", candidate)
    return values, conflicts
