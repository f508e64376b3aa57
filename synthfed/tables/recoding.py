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
from synthfed.tables.dates import Dates, read_dates
from synthfed.tables.dictionary import Dictionary, header_key, header_meanings, loose_key
from synthfed.tables.findings import Finding, Log, name_rows
from synthfed.tables.local_cells import recode_id, recode_level, recode_number
from synthfed.tables.mapping import ColumnLine, TableMapping
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
        recoded: dict[str, pd.Series] = {}
        for key, line in lines.items():
            recoded[line.column] = self._recode(key, line, self.mapping.decimal or marks)
        self._differences(recoded)
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
            name = meanings.get(key) or meanings.get(loose_key(key))
            reason = self._reason_to_leave_out(key, is_known=name is not None)
            if reason:
                self._finding("ignored", header, 0, reason)
            elif name is not None and name not in {line.column for line in (*declared.values(), *lines.values())}:
                lines[key] = ColumnLine(column=name)
                self._finding("unmapped", name, 0, "not in the mapping; known by its header")
            else:
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

    def _differences(self, recoded: dict[str, pd.Series]) -> None:
        read = {header: self._dates(header) for header in self.mapping.dates if header_key(header) in self.texts}
        for name, line in self.mapping.differences.items():
            start, end = read.get(line.start), read.get(line.end)
            if start is None or end is None:
                continue
            days = end - start
            if (days < 0).any():
                self._problem(
                    DataError,
                    f"{line.end!r} lies before {line.start!r} in {name_rows(days < 0)}; check order in [dates], "
                    "or which of the two is from and which is to",
                )
                continue
            known = ~np.isnan(days)
            texts = pd.Series([str(int(d)) if k else "" for d, k in zip(days, known, strict=True)], dtype="object")
            note = f"days from {line.start!r} to {line.end!r}; the dates themselves are not kept"
            self._finding("difference", name, int(known.sum()), note)
            recoded[name] = self._agreeing(name, recoded.get(name), texts)

    def _agreeing(self, name: str, given: pd.Series | None, computed: pd.Series) -> pd.Series:
        """A column that the file holds beside its dates must agree with them."""
        if given is None:
            return computed
        differ = np.asarray((given != computed) & (given != "") & (computed != ""), dtype=bool)
        if differ.any():
            self._problem(
                DataError,
                f"column {name!r} differs from the difference of its dates in {name_rows(differ)}; correct them",
            )
        return given.where(given != "", computed)

    def _dates(self, header: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
        line, texts = self.mapping.dates[header], self.texts[header_key(header)]
        dates: Dates = read_dates(
            texts,
            order=line.order,
            two_digit_years_from=line.two_digit_years_from,
            serials=line.serials,
            missing=frozenset((*self.mapping.missing, *line.missing)),
        )
        if dates.unclear:
            self._problem(DataError, f"column {header!r}: {dates.unclear}")
            return None
        if dates.unreadable.any():
            self._problem(
                DataError,
                f"column {header!r}: {name_rows(dates.unreadable)} hold no date in this order; check order on its line "
                "in [dates], correct the cells or add their code to missing = [...]",
            )
            return None
        for note, count in dates.notes:
            self._finding("dates", header, count, note)
        return dates.days

    def _problem(self, kind: type[DataError], text: str) -> None:
        self.log.problems.append((kind, text))

    def _finding(self, kind: str, column: str, count: int, note: str) -> None:
        self.log.findings.append(Finding(kind, column, count, note))
