"""Make one row per patient of values that came one per row: name them, convert them, choose among several.

Which column a value belongs to is decided by the mapping, else by the source's own name for it, else by its LOINC
number: a name is trusted over a concept, because public conversions hold wrong concepts. Units are converted by the
dictionary; a unit that it does not know is a problem with the choices, never a guess. Of several baseline values the
one nearest to the diagnosis counts, inside a declared window. Everything done is a finding; neither a finding nor a
problem holds a value, and names are shown only where at least `SHOWN_FROM` patients have them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import DataError, MissingColumn
from synthfed.tables.cells import MISSING_WORDS
from synthfed.tables.composing import Table, compose_column, headers_of_parts
from synthfed.tables.dictionary import Dictionary, header_key, header_meanings, loose_key
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.amounts import Reading, read_amounts, read_words
from synthfed.tables.formats.codes import AGE, DEATH_ENDPOINTS, SEX, column_by_loinc, column_with_loinc
from synthfed.tables.formats.events import Analyte, Codes, Days, Events, Patients
from synthfed.tables.mapping_lines import ColumnLine, TableMapping
from synthfed.tables.schema import Column, Survival

WINDOW = (-30, 14)  # days around the diagnosis in which a value counts as baseline, unless the mapping says otherwise
SHOWN_FROM = 10  # patients who must share a name before a message shows it
_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What one analyte is."""

    column: str
    line: ColumnLine
    own_words: bool  # it goes by the column's own name, so it speaks the dictionary's units and levels


def gather(
    patients: Patients, events: Events, dictionary: Dictionary, mapping: TableMapping, *, log: Log
) -> pd.DataFrame:
    """A table of texts with one row per patient, ready for `type_table`.

    Args:
        log: Collects findings and problems; the caller raises.
    """
    return _Gathering(patients, events, dictionary, mapping, log).run()


def patients_of(column: npt.NDArray[np.integer], patient: npt.NDArray[np.integer], size: int) -> npt.NDArray[np.int_]:
    """How many different patients each code has; code -1 is left out."""
    kept = column >= 0
    pairs = np.unique(column[kept].astype(np.int64) * (int(patient.max(initial=0)) + 1) + patient[kept])
    return np.bincount(pairs // (int(patient.max(initial=0)) + 1), minlength=size)


def shown_names(names: Sequence[str], counts: npt.NDArray[np.int_]) -> str:
    """The most frequent names that enough patients share, and how many more there are."""
    order = np.argsort(-counts, kind="stable")
    shown = [names[i] for i in order if counts[i] >= SHOWN_FROM and names[i]][:_NAMES_SHOWN]
    rest = len(names) - len(shown)
    return ", ".join([*map(repr, shown), *([f"{rest} more" if shown else f"{rest} of them"] if rest else [])])


class _Gathering:
    """One source on its way to a table."""

    def __init__(
        self, patients: Patients, events: Events, dictionary: Dictionary, mapping: TableMapping, log: Log
    ) -> None:
        self.patients, self.events, self.schema, self.mapping, self.log = (
            patients,
            events,
            dictionary.schema,
            mapping,
            log,
        )
        self.window = mapping.timing.window_days or WINDOW
        self.time_events = {endpoint.event for endpoint in self.schema.survivals}

    def run(self) -> pd.DataFrame:
        meanings = self._name_analytes()
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
        self._sex(table)
        self._age(table)
        self._survival(table)
        self._compose(table)
        self._leave_blank(table)
        silent = len(self.patients) - len(np.unique(self.events.patient[by_row >= 0]))
        if silent:
            self._find("no_values", "patients", silent, "persons without any value of the dictionary's columns")
        ordered = {name: table[name] for name in names if name in table}
        return pd.concat([pd.DataFrame(ordered, index=pd.RangeIndex(len(self.patients))), self.patients.extra], axis=1)

    # ------------------------------------------------------------------------------------------ what is what

    def _name_analytes(self) -> list[_Meaning | None]:
        declared = {header_key(header): line for header, line in self.mapping.columns.items()}
        ignored = {header_key(header) for header in self.mapping.ignore}
        headers, numbers = header_meanings(self.schema), column_by_loinc(self.schema)
        meanings: list[_Meaning | None] = []
        used: set[str] = set()
        parts = headers_of_parts(self.mapping.compose)
        left_out = np.zeros(len(self.events.analytes), dtype=bool)
        for place, analyte in enumerate(self.events.analytes):
            keys = [header_key(name) for name in (*analyte.spellings, *analyte.loincs)]
            used |= set(keys)
            line = next((declared[key] for key in keys if key in declared), None)
            by_name = next((n for k in keys if (n := headers.get(k) or headers.get(loose_key(k)))), None)
            by_code = next((numbers[code] for code in analyte.loincs if code in numbers), None)
            if analyte.loincs and by_code is None and by_name not in analyte.spellings:
                by_name = None  # its code says that it is something else: "WBC" counted in urine
            if line is None and not ignored.isdisjoint(keys):
                meanings.append(None)
            elif line is not None:
                meanings.append(_Meaning(line.column, line, False))
            elif by_name is not None or by_code is not None:
                name = by_name or by_code or ""
                meanings.append(_Meaning(name, ColumnLine(column=name), name in analyte.spellings))
                if by_name and by_code and by_name != by_code:
                    note = f"its code means {by_code!r}; the source's own name counts"
                    self._find("code", by_name, 0, note)
                elif by_name is None:
                    self._find("renamed", name, 0, f"known by LOINC {', '.join(analyte.loincs)}")
            else:
                meanings.append(None)
                left_out[place] = parts.isdisjoint(keys)
        for header in self.mapping.columns:
            if header_key(header) not in used:
                note = f"the mapping names {header!r}, of which there is no value"
                self._find("unused", header, 0, note)
        self._note_left_out(left_out)
        return meanings

    def _note_left_out(self, left_out: npt.NDArray[np.bool_]) -> None:
        if not left_out.any() or not len(self.events):
            return
        rows = left_out[self.events.analyte]
        counts = patients_of(self.events.analyte[rows], self.events.patient[rows], len(left_out))
        names = [_shown(analyte) for analyte in self.events.analytes]
        kept = np.flatnonzero(left_out)
        shown = shown_names([names[i] for i in kept], counts[kept])
        note = f"not in the dictionary nor in the mapping, so left out: {shown}"
        self._find("left_out", "other values", int(rows.sum()), note)

    # ------------------------------------------------------------------------------------------ one column

    def _column(self, column: Column, rows: npt.NDArray[np.intp], meanings: Sequence[_Meaning | None]) -> pd.Series:
        texts = np.full(len(rows), -1, dtype=np.int64)
        words: list[str] = []
        for meaning, analytes in _groups(meanings, column.name):
            chosen = np.flatnonzero(np.isin(self.events.analyte[rows], analytes))
            if not len(chosen):
                continue
            reading = self._read(column, meaning, rows[chosen])
            if reading is None:
                return pd.Series([""] * len(self.patients), dtype="object")
            known = reading.texts >= 0
            texts[chosen[known]] = reading.texts[known] + len(words)
            words += reading.words
        present = texts >= 0
        cells = self._choose(column, rows[present], texts[present])
        shown = np.array([*words, ""], dtype=object)
        return pd.Series(shown[cells], dtype="object")

    def _read(self, column: Column, meaning: _Meaning, rows: npt.NDArray[np.intp]) -> Reading | None:
        codes, places = np.unique(self.events.value[rows], return_inverse=True)
        values = [self.events.values[code] for code in codes]
        counts = np.bincount(places, minlength=len(values))
        missing = frozenset((*self.mapping.missing, *meaning.line.missing))
        if column.is_number:
            patients = patients_of(places, self.events.patient[rows], len(values))
            read = read_amounts(
                values,
                counts,
                column,
                meaning.line,
                own_words=meaning.own_words,
                mark=meaning.line.decimal or self.mapping.decimal,
                missing=missing,
                is_shown=patients >= SHOWN_FROM,
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

    def _choose(self, column: Column, rows: npt.NDArray[np.intp], texts: npt.NDArray[np.int64]) -> Codes:
        """The text of each patient; -1 where there is none."""
        patient, day = self.events.patient[rows], self.events.day[rows]
        index = self.patients.diagnosed[patient]
        away = day - index  # NaN where either is not known
        if column.known_at == "baseline":
            inside = np.isnan(away) | ((away >= self.window[0]) & (away <= self.window[1]))
            if not inside.all():
                low, high = self.window
                where = f"outside {low} to {high} days around the diagnosis"
                self._find("window", column.name, int((~inside).sum()), f"{where}; left out")
                if not inside.any():
                    self._problem(
                        DataError,
                        f"column {column.name!r}: all {len(inside)} values lie {where}; check the date of the "
                        "diagnosis, or write window_days = [before, after] under [timing] in the mapping",
                    )
            rows, texts, patient, away = rows[inside], texts[inside], patient[inside], away[inside]
        order = np.lexsort((rows, away > 0, np.nan_to_num(np.abs(away), nan=np.inf), patient))
        patient, texts, away = patient[order], texts[order], away[order]
        first = np.ones(len(patient), dtype=bool)
        first[1:] = patient[1:] != patient[:-1]
        cells = np.full(len(self.patients), -1, dtype=np.int32)
        cells[patient[first]] = texts[first]
        differ = texts != cells[patient]
        if differ.any():
            self._settle(column, cells, patient, away, differ, first)
        return cells

    def _settle(
        self,
        column: Column,
        cells: Codes,
        patient: Codes,
        away: Days,
        differ: npt.NDArray[np.bool_],
        first: npt.NDArray[np.bool_],
    ) -> None:
        """Patients with different values: the nearest counts if a date tells, else nothing does."""
        several = np.unique(patient[differ])
        if column.known_at != "baseline":
            self._problem(
                DataError,
                f"column {column.name!r}: {len(several)} patients have several different values, and after the "
                "diagnosis nothing says which counts; keep one row per patient",
            )
            return
        undated = np.isnan(self.patients.diagnosed[several])
        if undated.all():
            self._problem(
                DataError,
                f"column {column.name!r}: {len(several)} patients have several different values and no date of "
                "diagnosis to choose by; add the conditions, or write diagnosis = [codes] in [timing] of the mapping",
            )
        elif undated.any():
            cells[several[undated]] = -1
            note = "several different values and no date of diagnosis to choose by; left missing"
            self._find("ambiguous", column.name, int(undated.sum()), note)
        if undated.all():
            return
        low, high = self.window
        note = f"several values from {low} to {high} days around the diagnosis; the nearest counts"
        self._find("several", column.name, int((~undated).sum()), note)
        nearest = np.full(len(self.patients), np.nan)
        nearest[patient[first]] = away[first]
        tied = np.unique(patient[differ & (away == nearest[patient])])
        if len(tied):
            note = "different values on the nearest day; the first in the file counts"
            self._find("ambiguous", column.name, len(tied), note)

    # ------------------------------------------------------------------------------------------ persons

    def _check_known(self, table: Mapping[str, pd.Series]) -> None:
        if len(self.events) and not table.keys() - {c.name for c in self.schema.columns if c.kind == "id"}:
            names = [_shown(analyte) for analyte in self.events.analytes]
            counts = patients_of(self.events.analyte, self.events.patient, len(names))
            self._problem(
                MissingColumn,
                f"none of the {len(names)} kinds of values is in the {self.schema.disease!r} dictionary: "
                f"{shown_names(names, counts)}; say what they are under [columns] of a mapping file",
            )

    def _sex(self, table: dict[str, pd.Series]) -> None:
        column = column_with_loinc(self.schema, SEX)
        if column is not None and column.name not in table and (self.patients.sex != "").any():
            table[column.name] = self.patients.sex
            self._find("person", column.name, 0, "from the person's record")

    def _age(self, table: dict[str, pd.Series]) -> None:
        column = column_with_loinc(self.schema, AGE)
        if column is None or column.name in table or np.isnan(self.patients.born).all():
            return
        years = _years_between(self.patients.born, self.patients.diagnosed, column.decimals)
        known = ~np.isnan(years)
        table[column.name] = pd.Series(
            [f"{age:.{column.decimals}f}" if ok else "" for age, ok in zip(years, known, strict=True)], dtype="object"
        )
        self._find("person", column.name, int(known.sum()), "from birth to the diagnosis")
        coarse = int((self.patients.year_only & known).sum())
        if coarse:
            self._find("rounded", column.name, coarse, "only the year of birth is known; up to a year too high")

    def _survival(self, table: dict[str, pd.Series]) -> None:
        """Time and event of death from the persons' dates, where no value gives them."""
        endpoint = next((s for s in self.schema.survivals if s.name in DEATH_ENDPOINTS), None)
        if endpoint is None:
            return
        dead = ~np.isnan(self.patients.died)
        given = table.get(endpoint.event)
        if given is not None:
            alive = dead & np.asarray(given.isin(["0", "no"]), dtype=bool)
            if alive.any():
                self._problem(
                    DataError,
                    f"{int(alive.sum())} patients have a date of death while {endpoint.event!r} says that they live; "
                    "correct one of them",
                )
        if endpoint.event in table or endpoint.time in table:
            return
        ends = np.where(dead, self.patients.died, self.patients.seen)
        days = ends - self.patients.diagnosed
        if np.isnan(days).all():
            return
        self._fill_survival(table, endpoint, days, dead)

    def _fill_survival(
        self, table: dict[str, pd.Series], endpoint: Survival, days: Days, dead: npt.NDArray[np.bool_]
    ) -> None:
        early = days < 0
        if early.any():
            self._problem(
                DataError,
                f"{int(early.sum())} patients died or were last seen before their diagnosis; correct the dates",
            )
        known = ~np.isnan(days)
        table[endpoint.time] = pd.Series(
            [str(int(d)) if ok else "" for d, ok in zip(days, known, strict=True)], dtype="object"
        )
        table[endpoint.event] = pd.Series(
            [("1" if gone else "0") if ok else "" for gone, ok in zip(dead, known, strict=True)], dtype="object"
        )
        note = "from the diagnosis to the date of death, else to the last contact"
        self._find("difference", endpoint.time, int(known.sum()), note)

    # ------------------------------------------------------------------------------------------ as the mapping says

    def _compose(self, table: dict[str, pd.Series]) -> None:
        """Columns that the mapping puts together from others or from values that the dictionary does not know."""
        if not self.mapping.compose:
            return
        parts = headers_of_parts(self.mapping.compose)
        written = {header_key(name): cells for name, cells in table.items()}
        headers = {header_key(name): name for name in table}
        for place, analyte in enumerate(self.events.analytes):
            for name in analyte.spellings:
                key = header_key(name)
                if key in parts and key not in written:
                    headers[key], written[key] = name, self._as_written(place)
        source = Table(
            headers=headers,
            written=written,
            owners={header_key(name): name for name in table},
            recoded={header_key(name): cells for name, cells in table.items()},
            columns=table,
            missing=frozenset(self.mapping.missing),
        )
        for name, line in self.mapping.compose.items():
            compose_column(name, line, source, self.schema, self.log)

    def _as_written(self, analyte: int) -> pd.Series:
        """One analyte's values by patient, the nearest to the diagnosis, unread."""
        rows = np.flatnonzero(self.events.analyte == analyte)
        words = [next(iter((*value.words, value.number)), "") for value in self.events.values]
        nameless = Column(self.events.analytes[analyte].spellings[0], "category", levels=("0", "1"))
        cells = self._choose(nameless, rows, self.events.value[rows].astype(np.int64))
        return pd.Series(np.array([*words, ""], dtype=object)[cells], dtype="object")

    def _leave_blank(self, table: dict[str, pd.Series]) -> None:
        for name in self.mapping.not_recorded:
            if name in table and (table[name] != "").any():
                self._problem(DataError, f"not_recorded names {name!r}, but there are values of it; take it out there")
                continue
            self._find("not_recorded", name, 0, "not recorded here, as the mapping says; missing in every row")
            table[name] = pd.Series([""] * len(self.patients), dtype="object")

    def _problem(self, kind: type[DataError], text: str) -> None:
        self.log.problems.append((kind, text))

    def _find(self, kind: str, column: str, count: int, note: str) -> None:
        self.log.findings.append(Finding(kind, column, count, note))


def sex_words(word: str, fallback: str) -> str:
    """A source's own word for the sex, unless it is missing or only a digit; else the standard's."""
    own = word.casefold()
    return fallback if own in MISSING_WORDS or (own.isdigit() and fallback) else word


def _groups(meanings: Sequence[_Meaning | None], column: str) -> list[tuple[_Meaning, list[int]]]:
    """Analytes of a column by the line that explains them."""
    groups: list[tuple[_Meaning, list[int]]] = []
    for place, meaning in enumerate(meanings):
        if meaning is None or meaning.column != column:
            continue
        same = next((places for other, places in groups if other == meaning), None)
        if same is None:
            groups.append((meaning, [place]))
        else:
            same.append(place)
    return groups


def _years_between(born: Days, then: Days, decimals: int) -> Days:
    """Completed years; with decimals, completed parts of an average year."""
    years = np.full(len(born), np.nan)
    known = ~np.isnan(born) & ~np.isnan(then)
    if decimals:
        parts = 10**decimals
        years[known] = np.floor((then - born)[known] / 365.25 * parts) / parts
        return years
    first, last = (pd.DatetimeIndex(_as_dates(days[known])) for days in (born, then))
    before = (last.month < first.month) | ((last.month == first.month) & (last.day < first.day))
    years[known] = last.year - first.year - before
    return years


def _as_dates(days: Days) -> npt.NDArray[np.datetime64]:
    return (days - 719_163).astype(np.int64).astype("datetime64[D]")  # day 719163 is 1970-01-01


def _shown(analyte: Analyte) -> str:
    return next(iter((*analyte.spellings, *analyte.loincs)), "")
