"""Make one row per patient of values that came one per row: name them, convert them, choose among several.

`naming` tells which column a value belongs to, `amounts` puts it in the dictionary's unit or level, `choosing` takes
one of several, `persons` adds what persons' own records give. Everything done is a finding, everything undecided a
problem; neither holds a value, and names are shown only where at least `shown.SHOWN_FROM` patients have them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import DataError, MissingColumn
from synthfed.tables.composing import Table, compose_column, headers_of_parts
from synthfed.tables.dictionary import Dictionary, header_key
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.amounts import Reading, read_amounts, read_words
from synthfed.tables.formats.choosing import WINDOW, choose
from synthfed.tables.formats.events import Events, Patients
from synthfed.tables.formats.naming import Meaning, analytes_of, name_analytes, shown_name
from synthfed.tables.formats.persons import add_persons
from synthfed.tables.formats.shown import SHOWN_FROM, patients_of, shown_names
from synthfed.tables.mapping_lines import TableMapping
from synthfed.tables.schema import Column

Rows = npt.NDArray[np.intp]


def gather(
    patients: Patients, events: Events, dictionary: Dictionary, mapping: TableMapping, *, log: Log
) -> pd.DataFrame:
    """A table of texts with one row per patient, ready for `type_table`.

    Args:
        log: Collects findings and problems; the caller raises.
    """
    return _Gathering(patients, events, dictionary, mapping, log).run()


class _Gathering:
    """One source on its way to a table."""

    def __init__(
        self, patients: Patients, events: Events, dictionary: Dictionary, mapping: TableMapping, log: Log
    ) -> None:
        self.patients, self.events, self.mapping, self.log = patients, events, mapping, log
        self.schema = dictionary.schema
        self.window = mapping.timing.window_days or WINDOW
        self.time_events = {endpoint.event for endpoint in self.schema.survivals}

    def run(self) -> pd.DataFrame:
        meanings = name_analytes(self.events, self.schema, self.mapping, self.log)
        names = [column.name for column in self.schema.columns]
        place = {name: i for i, name in enumerate(names)}
        column_of = np.array([-1 if m is None else place[m.column] for m in meanings], dtype=np.int32)
        by_row = column_of[self.events.analyte] if len(self.events) else np.zeros(0, dtype=np.int32)
        order = np.argsort(by_row, kind="stable")
        starts = np.searchsorted(by_row[order], np.arange(len(names) + 1))
        table: dict[str, pd.Series] = {}
        for index, column in enumerate(self.schema.columns):
            rows = order[starts[index] : starts[index + 1]]
            if column.kind == "id":
                table[column.name] = self.patients.ids
            elif column.derived and len(rows):
                self._find("derived", column.name, 0, "computed by rule; the values given are not used")
            elif len(rows) or column.name in self.patients.held:
                table[column.name] = self._column(column, rows, meanings)
        self._check_known(table)
        add_persons(table, self.patients, self.schema, self.log)
        self._compose(table)
        self._leave_blank(table)
        silent = len(self.patients) - len(np.unique(self.events.patient[by_row >= 0]))
        if silent:
            self._find("no_values", "patients", silent, "persons without any value of the dictionary's columns")
        ordered = {name: table[name] for name in names if name in table}
        return pd.concat([pd.DataFrame(ordered, index=pd.RangeIndex(len(self.patients))), self.patients.extra], axis=1)

    def _column(self, column: Column, rows: Rows, meanings: Sequence[Meaning | None]) -> pd.Series:
        texts = np.full(len(rows), -1, dtype=np.int64)
        words: dict[str, int] = {}
        for meaning, analytes in analytes_of(column.name, meanings):
            group = np.flatnonzero(np.isin(self.events.analyte[rows], analytes))
            reading = self._read(column, meaning, rows[group]) if len(group) else Reading(texts[:0], ())
            if reading is None:
                return self._blank()
            place = np.array([words.setdefault(word, len(words)) for word in reading.words] + [-1], dtype=np.int64)
            texts[group] = place[reading.texts]  # -1 is the last place
        present = texts >= 0
        return self._chosen(column, rows[present], texts[present], list(words))

    def _read(self, column: Column, meaning: Meaning, rows: Rows) -> Reading | None:
        codes, places = np.unique(self.events.value[rows], return_inverse=True)
        values = [self.events.values[code] for code in codes.tolist()]
        counts = np.bincount(places, minlength=len(values))
        missing = frozenset((*self.mapping.missing, *meaning.line.missing))
        if column.is_number:
            units = {spelled: i for i, spelled in enumerate(dict.fromkeys(value.units for value in values))}
            unit = np.array([units[value.units] for value in values], dtype=np.int32)
            shown = patients_of(unit[places], self.events.patient[rows], len(units)) >= SHOWN_FROM
            read = read_amounts(
                values,
                counts,
                column,
                meaning.line,
                own_words=meaning.own_words,
                mark=meaning.line.decimal or self.mapping.decimal,
                missing=missing,
                is_shown=shown[unit],
                log=self.log,
            )
        else:
            read = read_words(
                values,
                counts,
                column,
                meaning.line,
                own_words=meaning.own_words,
                is_time_event=column.name in self.time_events,
                missing=missing,
                log=self.log,
            )
        return None if read is None else Reading(read.texts[places], read.words)

    def _chosen(self, column: Column, rows: Rows, texts: npt.NDArray[np.int64], words: Sequence[str]) -> pd.Series:
        """One text per patient."""
        rows, texts = rows[np.argsort(rows, kind="stable")], texts[np.argsort(rows, kind="stable")]
        patient = self.events.patient[rows]
        away = self.events.day[rows] - self.patients.diagnosed[patient]
        cells = choose(column, patient, away, texts, patients=len(self.patients), window=self.window, log=self.log)
        return pd.Series(np.array([*words, ""], dtype=object)[cells], dtype="object")

    def _blank(self) -> pd.Series:
        return pd.Series([""] * len(self.patients), dtype="object")

    def _check_known(self, table: Mapping[str, pd.Series]) -> None:
        if len(self.events) and not table.keys() - {c.name for c in self.schema.columns if c.kind == "id"}:
            names = [shown_name(analyte) for analyte in self.events.analytes]
            counts = patients_of(self.events.analyte, self.events.patient, len(names))
            self._problem(
                MissingColumn,
                f"none of the {len(names)} kinds of values is in the {self.schema.disease!r} dictionary: "
                f"{shown_names(names, counts)}; say what they are under [columns] of a mapping file",
            )

    def _compose(self, table: dict[str, pd.Series]) -> None:
        """Columns that the mapping puts together from others or from values that the dictionary does not know."""
        if not self.mapping.compose:
            return
        parts = headers_of_parts(self.mapping.compose)
        headers = {header_key(name): name for name in table}
        recoded = {header_key(name): cells for name, cells in table.items()}
        written = dict(recoded)
        for place, analyte in enumerate(self.events.analytes):
            for name in analyte.spellings:
                key = header_key(name)
                if key in parts and key not in written:
                    headers[key], written[key] = name, self._as_written(place)
        owners = {header_key(name): name for name in table}
        source = Table(headers, written, owners, recoded, table, frozenset(self.mapping.missing))
        for name, line in self.mapping.compose.items():
            compose_column(name, line, source, self.schema, self.log)

    def _as_written(self, analyte: int) -> pd.Series:
        """One analyte's values by patient, the nearest to the diagnosis, unread."""
        rows = np.flatnonzero(self.events.analyte == analyte)
        words = [next(iter((*value.words, value.number)), "") for value in self.events.values]
        nameless = Column(shown_name(self.events.analytes[analyte]), "category", levels=("0", "1"))
        return self._chosen(nameless, rows, self.events.value[rows].astype(np.int64), words)

    def _leave_blank(self, table: dict[str, pd.Series]) -> None:
        for name in self.mapping.not_recorded:
            if name in table and (table[name] != "").any():
                self._problem(DataError, f"not_recorded names {name!r}, but there are values of it; take it out there")
                continue
            self._find("not_recorded", name, 0, "not recorded here, as the mapping says; missing in every row")
            table[name] = self._blank()

    def _problem(self, kind: type[DataError], text: str) -> None:
        self.log.problems.append((kind, text))

    def _find(self, kind: str, column: str, count: int, note: str) -> None:
        self.log.findings.append(Finding(kind, column, count, note))
