"""Turn a hospital's own table into one with the dictionary's headers, units and levels, as its mapping declares.

The result is read by `tables.reading.type_table` like any other table. Every column of the file must have a meaning: a
line of the mapping, a header of the dictionary, or a place under `ignore`; everything that was done is a finding, and
everything undecided is a problem, all of them in one message.
"""

import difflib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from synthfed.errors import DataError, UnknownColumn
from synthfed.tables.branching import ALWAYS, BranchingError, parse_branching
from synthfed.tables.cells import Mark, Mask, as_text, decimal_mark
from synthfed.tables.composing import Table, compose_column, headers_of_parts
from synthfed.tables.dictionary import Dictionary, header_key, header_meanings, loose_key
from synthfed.tables.elapsed import add_differences
from synthfed.tables.findings import Finding, Log, name_rows
from synthfed.tables.local_cells import recode_id, recode_level, recode_number
from synthfed.tables.mapping_lines import ColumnLine, TableMapping
from synthfed.tables.redcap import Field, RedcapDictionary
from synthfed.tables.schema import Column


def recode_table(
    raw: pd.DataFrame,
    mapping: TableMapping,
    dictionary: Dictionary,
    *,
    origin: str,
    redcap: RedcapDictionary | None = None,
    extra: Sequence[str] = (),
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Recode a table of texts by its mapping.

    Args:
        origin: Names the table in messages.
        redcap: The project's data dictionary where the table is a REDCap export.
        extra: Headers that are kept as they are, such as the site's.

    Returns:
        The same rows in order, with the dictionary's headers and texts, and what was done.

    Raises:
        DataError: Everything undecided or contradictory, in one message that names the mapping lines to write.
    """
    return _Recoding(raw, mapping, dictionary, redcap, Log()).run(origin, extra)


class _Recoding:
    """One table on its way; the log collects what is met."""

    def __init__(
        self,
        raw: pd.DataFrame,
        mapping: TableMapping,
        dictionary: Dictionary,
        redcap: RedcapDictionary | None,
        log: Log,
    ) -> None:
        self.headers = {header_key(str(name)): str(name) for name in raw.columns}
        self.texts = {
            header_key(str(name)): as_text(raw.iloc[:, place]).reset_index(drop=True)
            for place, name in enumerate(raw.columns)
        }
        self.rows = len(raw)
        self.mapping, self.schema, self.ignored, self.redcap, self.log = (
            mapping,
            dictionary.schema,
            dictionary.ignored,
            redcap,
            log,
        )
        self.composed = dictionary.composed
        self.merged = {  # headers that are one of several sources of a column, and that column
            header_key(part): name for name, line in mapping.compose.items() for part in line.first_known
        }
        self.events = {endpoint.event for endpoint in self.schema.survivals}

    def run(self, origin: str, extra: Sequence[str]) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
        kept = {header_key(name) for name in extra} & set(self.texts)
        self._check_header_line(origin)
        lines = self._lines(kept)
        self._check_one_event()
        marks = decimal_mark(
            self.texts[key]
            for key, line in lines.items()
            if line.column in self.schema and self._column(line).is_number
        )
        pieces = {key: self._recode(key, line, self.mapping.decimal or marks) for key, line in lines.items()}
        recoded = {line.column: pieces[key] for key, line in lines.items() if key not in self.merged}
        add_differences(self.mapping, self.texts, recoded, self.log)
        self._compose(lines, pieces, recoded)
        self._leave_blank(recoded)
        self.log.raise_problems(origin)
        recoded |= {self.headers[key]: self.texts[key] for key in self.texts if key in kept}
        return pd.DataFrame(recoded, index=pd.RangeIndex(self.rows)), tuple(self.log.findings)

    def _check_header_line(self, origin: str) -> None:
        """Without a header line the first patient's values would stand there: do not repeat them."""
        named = {header_key(h) for h in (*self.mapping.columns, *self.mapping.dates, *self.mapping.ignore)}
        if not self.texts.keys() & (named | header_meanings(self.schema).keys()):
            raise UnknownColumn(
                f"{origin}: none of the {len(self.texts)} names in the first line is in the mapping or in the "
                f"{self.schema.disease!r} dictionary; the first line must hold the column names"
            )

    def _column(self, line: ColumnLine) -> Column:
        return self.schema[line.column]

    def _lines(self, kept: set[str]) -> dict[str, ColumnLine]:
        """What each column of the file is; the rest is left out with a finding or refused."""
        declared = {header_key(header): line for header, line in self.mapping.columns.items()}
        for header in (*self.mapping.columns, *self.mapping.dates):
            if header_key(header) not in self.texts:
                near = difflib.get_close_matches(header_key(header), self.texts, n=2)
                hint = f"; did you mean {' or '.join(repr(self.headers[key]) for key in near)}?" if near else ""
                self._problem(UnknownColumn, f"the mapping names column {header!r}, which the table lacks{hint}")
        dates = {header_key(header) for header in self.mapping.dates}
        meanings = header_meanings(self.schema)
        parts = headers_of_parts(self.mapping.compose)
        lines: dict[str, ColumnLine] = {}
        for key, header in self.headers.items():
            if key in kept or key in dates:
                continue
            if key in declared:
                lines[key] = declared[key]
                if header != declared[key].column:
                    note = "under another header in the file, as the mapping says"
                    self._finding("renamed", declared[key].column, 0, note)
                continue
            if key in self.merged:
                lines[key] = ColumnLine(column=self.merged[key])
                continue
            name = meanings.get(key) or meanings.get(loose_key(key))
            reason = self._reason_to_leave_out(key, is_known=name is not None)
            if reason:
                self._finding("ignored", header, 0, reason)
            elif name is not None and name not in {line.column for line in (*declared.values(), *lines.values())}:
                lines[key] = ColumnLine(column=name)
                self._finding("unmapped", name, 0, "not in the mapping; known by its header")
            elif key not in parts:
                self._problem(
                    UnknownColumn,
                    f"column {header!r} has no meaning yet; give it a line in [columns] or [dates] or put it in ignore",
                )
        return lines

    def _reason_to_leave_out(self, key: str, *, is_known: bool) -> str:
        if key in {header_key(name) for name in self.mapping.ignore}:
            return "left out, as the mapping says"
        if key in {header_key(name) for name in self.ignored}:
            return "known to the dictionary as not to be read"
        if self.redcap is None:
            return ""
        owner = self.redcap.owner(key)
        field = owner[0] if owner else None
        if self.redcap.is_administrative(key):
            return "added by REDCap's export; not about the patient"
        if field is not None and field.is_free_text:
            return "free text or a file; never read"
        if field is not None and field.identifier:
            return "marked as identifying; never read"
        if not is_known and field is not None and field.is_yes_or_no and key in self.redcap.asked_fields():
            return "tells which fields were asked"
        return ""

    def _check_one_event(self) -> None:
        events = self.texts.get("redcap_event_name")
        if self.redcap is not None and events is not None and events.nunique() > 1:
            self._problem(DataError, "the export holds several events per record; export one event")

    def _recode(self, key: str, line: ColumnLine, mark: Mark | None) -> pd.Series:
        column, header = self._column(line), self.headers[key]
        owner = self.redcap.owner(key) if self.redcap is not None else None
        field = owner[0] if owner else None
        missing = frozenset((*self.mapping.missing, *line.missing))
        texts = self._as_asked(key, line, column, field)
        if column.kind == "id":
            return recode_id(texts, missing)
        if column.has_levels:
            return recode_level(
                texts,
                column,
                line,
                header=header,
                field=field,
                is_time_event=column.name in self.events,
                missing=missing,
                log=self.log,
            )
        return recode_number(
            texts,
            column,
            line,
            header=header,
            field=field,
            file_mark=mark,
            missing=missing,
            log=self.log,
        )

    def _as_asked(self, key: str, line: ColumnLine, column: Column, field: Field | None) -> pd.Series:
        """The cells with those blanked that were never asked."""
        texts, where = self.texts[key], f"column {self.headers[key]!r} ({column.name})"
        is_box = "___" in key and column.kind == "flag"
        branching = field.branching if field is not None else ""
        if is_box and field is None and line.known_when is None:
            self._problem(
                DataError,
                f"{where} looks like one box of a REDCap checkbox, where 0 is also what was never asked; name the "
                'project\'s dictionary in redcap_dictionary, or write known_when = "[FIELD] = \'1\'" or "always" on '
                "its line in [columns]",
            )
            return texts
        if branching and line.known_when is not None and line.known_when != branching:
            self._problem(
                DataError,
                f"{where}: known_when differs from the form's branching logic, which counts; remove known_when",
            )
            return texts
        asked = self._asked(line.known_when or branching, where)
        if is_box and field is not None:
            asked &= ~self._boxes_for_missing(field)
            if not branching and line.known_when is None:
                self._check_untouched(field, where)
        written = np.asarray((texts != "") & (texts != "0" if is_box else True), dtype=bool)
        if (~asked).any():
            self._finding("not_asked", column.name, int((~asked).sum()), "not asked, so missing and not negative")
        if (written & ~asked).any():
            note = "written although not asked; left out"
            self._finding("not_asked", column.name, int((written & ~asked).sum()), note)
        return texts.where(asked, "")

    def _asked(self, condition: str, where: str) -> Mask:
        everyone = np.ones(self.rows, dtype=bool)
        if condition in ("", ALWAYS):
            return everyone
        try:
            parsed = parse_branching(condition)
        except BranchingError as error:
            self._problem(DataError, f"{where}: {error}; write known_when on its line in [columns]")
            return everyone
        absent = sorted(name for name in parsed.fields if header_key(name) not in self.texts)
        if absent:
            self._problem(DataError, f"{where} depends on {', '.join(absent)}, which the export lacks; export it, too")
            return everyone
        return parsed.holds(lambda name: self.texts[header_key(name)])

    def _boxes(self, field: Field, codes: Sequence[str]) -> pd.DataFrame:
        owners = {key: self.redcap.owner(key) for key in self.texts} if self.redcap is not None else {}
        keys = [key for key, owner in owners.items() if owner and owner[0] is field and owner[1] in codes]
        return pd.DataFrame({key: self.texts[key] == "1" for key in keys}, index=pd.RangeIndex(self.rows))

    def _boxes_for_missing(self, field: Field) -> Mask:
        return np.asarray(self._boxes(field, field.missing).any(axis=1), dtype=bool)

    def _check_untouched(self, field: Field, where: str) -> None:
        untouched = ~np.asarray(self._boxes(field, [code for code, _ in field.choices]).any(axis=1), dtype=bool)
        if untouched.any():
            self._problem(
                DataError,
                f"{where}: {name_rows(untouched)} have no box ticked and the form does not say whether it was asked; "
                'write known_when = "always" (none applies) or known_when = "[FIELD] = \'1\'" on its line',
            )

    def _compose(
        self, lines: dict[str, ColumnLine], pieces: dict[str, pd.Series], recoded: dict[str, pd.Series]
    ) -> None:
        owners = {key: line.column for key, line in lines.items()}
        table = Table(self.headers, self.texts, owners, pieces, recoded, frozenset(self.mapping.missing))
        for name, line in self.mapping.compose.items():
            compose_column(name, line, table, self.schema, self.log)

    def _leave_blank(self, recoded: dict[str, pd.Series]) -> None:
        """Columns that the hospital does not record."""
        for name in self.mapping.not_recorded:
            flags = [flag for recipe in self.composed if recipe.column == name for flag, _ in recipe.parts]
            given = [source for source in (name, *flags) if source in recoded]
            if given:
                self._problem(
                    DataError, f"not_recorded names {name!r}, but the table gives {', '.join(given)}; take it out there"
                )
                continue
            self._finding("not_recorded", name, 0, "not recorded here, as the mapping says; missing in every row")
            recoded[name] = pd.Series([""] * self.rows, dtype="object")

    def _problem(self, kind: type[DataError], text: str) -> None:
        self.log.problems.append((kind, text))

    def _finding(self, kind: str, column: str, count: int, note: str) -> None:
        self.log.findings.append(Finding(kind, column, count, note))
