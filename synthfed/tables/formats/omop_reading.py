"""Read a hospital's OMOP tables: person, measurement, observation, condition_occurrence, death, observation_period.

What a measurement is, its unit and a person's sex are taken from the source columns (`..._source_value`) and from
concepts only where the source is silent: public conversions hold wrong concepts (a unit mapped to a gene; g/L to the
concept of g/dL). Unit concepts are therefore not used at all. The diagnosis is the first condition with a code that the
mapping declares; without one, the only condition code there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import DataError, UnreadableFile
from synthfed.tables.cells import MISSING_WORDS
from synthfed.tables.dictionary import Dictionary, header_key
from synthfed.tables.findings import Finding, Log, name_rows
from synthfed.tables.formats.codes import (
    ANSWER_CONCEPTS,
    LOINC_CONCEPTS,
    OPERATOR_CONCEPTS,
    SEX_CONCEPTS,
    columns_of_persons,
    loinc_in,
)
from synthfed.tables.formats.days import read_days
from synthfed.tables.formats.diagnoses import Conditions, diagnosis_codes, diagnosis_days
from synthfed.tables.formats.events import Analyte, Codes, Days, Events, Patients, Survey, Value
from synthfed.tables.formats.gathering import gather, sex_words
from synthfed.tables.formats.omop_tables import Texts, omop_files, read_columns
from synthfed.tables.mapping_lines import TableMapping
from synthfed.tables.numbers import plain_number

SOURCE_VOCABULARY = "synthfed"  # how the vocabulary of our own source codes begins
_LOINC_OF_CONCEPT = {concept: code for code, concept in LOINC_CONCEPTS.items()}
_UNKNOWN_SEX = frozenset(["u", "o", "unknown", "other", "not specified", "undifferentiated"])


def read_omop(
    folder: Path, dictionary: Dictionary, mapping: TableMapping, *, extra: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """A table of texts with one row per person, ready for `type_table`, and what was done.

    Args:
        extra: Columns of the person table that are kept as they are, such as the site's.

    Raises:
        UnreadableFile: A table is missing or cannot be read.
        DataError: Everything undecided or contradictory, in one message.
    """
    files = omop_files(folder)
    if not files:
        raise UnreadableFile(f"{folder} holds no OMOP tables; it needs person and measurement or observation (.csv)")
    log = Log()
    note = f"read as OMOP tables: {', '.join(sorted(files.keys() & _READ))}"
    persons = _Persons.read(files["person"], extra, log)
    log.raise_problems(folder.name)  # without persons nothing else can be told
    log.findings.insert(0, Finding("format", folder.name, len(persons.ids), note))
    events = _events(files, persons, mapping, log)
    patients = _patients(files, persons, mapping, dictionary, log)
    frame = gather(patients, events, dictionary, mapping, log=log)
    log.raise_problems(folder.name)
    return frame, tuple(log.findings)


def survey_omop(folder: Path, dictionary: Dictionary) -> Survey:
    """What the tables hold, for drafting a mapping; problems are left to reading.

    Raises:
        UnreadableFile: A table is missing or cannot be read.
    """
    files, log, mapping = omop_files(folder), Log(), TableMapping()
    persons = _Persons.read(files["person"], (), log)
    conditions = _conditions(files.get("condition_occurrence"), persons, mapping, log)
    return Survey(
        events=_events(files, persons, mapping, log),
        conditions={next(iter(c), ""): int(n) for c, n in zip(conditions.codes, conditions.counts(), strict=True)},
        diagnosis_is_known=bool(diagnosis_codes(conditions, dictionary, mapping).any()) or not conditions.codes,
        from_persons=columns_of_persons(
            dictionary.schema,
            sex=bool((_sexes(persons.table, log) != "").any()),
            age=bool(conditions.codes),
            death=bool(conditions.codes) and not files.keys().isdisjoint({"death", "observation_period"}),
        ),
    )


_READ = frozenset({"person", "measurement", "observation", "condition_occurrence", "death", "observation_period"})


@dataclass(frozen=True, slots=True)
class _Persons:
    """The person table, one row per person."""

    ids: list[str]
    table: pd.DataFrame
    extra: pd.DataFrame

    @classmethod
    def read(cls, file: Path, extra: Sequence[str], log: Log) -> "_Persons":
        names = ["person_id", "person_source_value", "gender_concept_id", "gender_source_value", "year_of_birth"]
        names += ["month_of_birth", "day_of_birth", "birth_datetime"]
        further = {header_key(name): name for name in extra if header_key(name) not in names}
        read = read_columns(file, [*names, *further], needed=["person_id"])
        table = pd.DataFrame({name: texts.series() for name, texts in read.items()})
        table["person_id"] = [_plain(text) for text in table["person_id"]]
        if (table["person_id"] == "").any():
            rows = np.asarray(table["person_id"] == "", dtype=bool)
            log.problems.append((DataError, f"{file.name}: {name_rows(rows)} have no person_id; add it"))
        once = table.drop_duplicates()
        if len(once) < len(table):
            note = "identical rows of the person table were merged"
            log.findings.append(Finding("duplicate", "person", len(table) - len(once), note))
        again = np.asarray(once["person_id"].duplicated(keep=False) & (once["person_id"] != ""), dtype=bool)
        if again.any():
            rows = np.zeros(len(table), dtype=bool)
            rows[once.index[again]] = True
            log.problems.append(
                (DataError, f"{file.name}: {name_rows(rows)} share a person_id and differ; keep one row per person")
            )
        if not len(table):
            log.problems.append((DataError, f"{file.name} holds no person"))
        once = once.reset_index(drop=True)
        present = {key: name for key, name in further.items() if (once[key] != "").any()}
        return cls(once["person_id"].tolist(), once, once[list(present)].rename(columns=present))

    def positions(self, texts: Texts) -> Codes:
        """The person of each row; -1 where the person table has none."""
        place = {name: i for i, name in enumerate(self.ids)}
        return np.array([place.get(_plain(word), -1) for word in texts.words], dtype=np.int32)[texts.codes]


def _patients(
    files: Mapping[str, Path], persons: _Persons, mapping: TableMapping, dictionary: Dictionary, log: Log
) -> Patients:
    table = persons.table
    sources = table["person_source_value"]
    named = not (sources == "").any() and not sources.duplicated().any()
    born, year_only = _births(table, mapping, log)
    conditions = _conditions(files.get("condition_occurrence"), persons, mapping, log)
    died = _extreme_day(files.get("death"), "death_date", persons, mapping, log, last=False)
    seen = _extreme_day(
        files.get("observation_period"), "observation_period_end_date", persons, mapping, log, last=True
    )
    return Patients(
        ids=sources if named else table["person_id"],
        sex=_sexes(table, log),
        born=born,
        year_only=year_only,
        diagnosed=diagnosis_days(
            conditions, len(persons.ids), dictionary, mapping, where="condition_occurrence", log=log
        ),
        died=died,
        seen=seen,
        held=_held(files.get("source_to_concept_map")),
        extra=persons.extra,
    )


def _sexes(table: pd.DataFrame, log: Log) -> pd.Series:
    words = []
    contrary = 0
    for own, concept in zip(table["gender_source_value"], table["gender_concept_id"], strict=True):
        standard = SEX_CONCEPTS.get(int(concept), "") if _plain(concept).isdigit() else ""
        if own.casefold() in _UNKNOWN_SEX:
            own = ""
        contrary += bool(standard) and own.casefold() in ("m", "f", "male", "female") and own[0].lower() != standard[0]
        words.append(sex_words(own, standard))
    if contrary:
        log.problems.append(
            (
                DataError,
                f"person: gender_source_value and gender_concept_id contradict each other for {contrary} persons; "
                "correct one",
            )
        )
    return pd.Series(words, dtype="object")


def _births(table: pd.DataFrame, mapping: TableMapping, log: Log) -> tuple[Days, npt.NDArray[np.bool_]]:
    """Days of birth, from the date or its parts; the first day of the year where only that is known."""
    parts = []
    for year, month, day in zip(table["year_of_birth"], table["month_of_birth"], table["day_of_birth"], strict=True):
        year, month, day = _plain(year), _plain(month), _plain(day)
        parts.append(f"{year:>04}-{month or 1:>02}-{day or 1:>02}" if year.isdigit() else "")
    given = table["birth_datetime"]
    texts = given.where(given != "", pd.Series(parts, dtype="object"))
    codes, words = pd.factorize(texts)
    days = read_days(list(words), "birth_datetime", mapping, counts=np.bincount(codes).tolist(), log=log)
    coarse = np.asarray((given == "") & ((table["month_of_birth"] == "") | (table["day_of_birth"] == "")), dtype=bool)
    return days[codes], coarse


def _extreme_day(
    file: Path | None, header: str, persons: _Persons, mapping: TableMapping, log: Log, *, last: bool
) -> Days:
    """The first or last day per person in a table of dates; NaN where there is none."""
    result = np.full(len(persons.ids), np.nan)
    if file is None:
        return result
    read = read_columns(file, ["person_id", header], needed=["person_id", header])
    person, day = persons.positions(read["person_id"]), _days(read[header], header, mapping, log)
    known = (person >= 0) & ~np.isnan(day)
    if last:
        np.fmax.at(result, person[known], day[known])
        return result
    np.fmin.at(result, person[known], day[known])
    several = known & (day != result[person])
    if several.any():
        count = len(np.unique(person[several]))
        log.problems.append(
            (DataError, f"{file.name}: {count} persons have several dates of death; keep one row per person")
        )
    return result


def _conditions(file: Path | None, persons: _Persons, mapping: TableMapping, log: Log) -> Conditions:
    if file is None:
        none = np.zeros(0, dtype=np.int32)
        return Conditions(none, none, np.zeros(0), ())
    names = ["person_id", "condition_start_date", "condition_source_value", "condition_concept_id"]
    read = read_columns(file, names, needed=names[:2])
    source, concept = read["condition_source_value"], read["condition_concept_id"]
    code, pairs = _pairs(source.codes, concept.codes)
    return Conditions(
        patient=persons.positions(read["person_id"]),
        code=code,
        day=_days(read["condition_start_date"], "condition_start_date", mapping, log),
        codes=tuple(_spelled(source.words[s], concept.words[c]) for s, c in pairs),
    )


def _held(file: Path | None) -> frozenset[str]:
    """Columns that an export of ours names, even where nobody has a value."""
    if file is None:
        return frozenset()
    read = read_columns(file, ["source_code", "source_vocabulary_id"], needed=["source_code"])
    rows = zip(read["source_code"].series(), read["source_vocabulary_id"].series(), strict=True)
    return frozenset(code for code, vocabulary in rows if vocabulary.startswith(SOURCE_VOCABULARY))


# ------------------------------------------------------------------------------------------ measurements


def _events(files: Mapping[str, Path], persons: _Persons, mapping: TableMapping, log: Log) -> Events:
    parts = [
        _events_of(files[name], name, persons, mapping, log) for name in ("measurement", "observation") if name in files
    ]
    analytes: tuple[Analyte, ...] = ()
    values: tuple[Value, ...] = ()
    shifted: list[tuple[Codes, Codes]] = []
    for part in parts:
        shifted.append((part.analyte + len(analytes), part.value + len(values)))
        analytes, values = (*analytes, *part.analytes), (*values, *part.values)
    return Events(
        patient=np.concatenate([part.patient for part in parts]),
        analyte=np.concatenate([a for a, _ in shifted]).astype(np.int32),
        value=np.concatenate([v for _, v in shifted]).astype(np.int32),
        day=np.concatenate([part.day for part in parts]),
        analytes=analytes,
        values=values,
    )


def _events_of(file: Path, table: str, persons: _Persons, mapping: TableMapping, log: Log) -> Events:
    own = ["concept_id", "source_value", "date"]
    fields = ["value_as_number", "value_source_value", "value_as_string", "value_as_concept_id", "operator_concept_id"]
    names = ["person_id", *(f"{table}_{name}" for name in own), *fields, "unit_source_value"]
    read = read_columns(file, names, needed=["person_id"])
    patient = persons.positions(read["person_id"])
    strange = patient < 0
    if strange.any():
        note = f"rows of {file.name} about persons whom the person table lacks; left out"
        log.findings.append(Finding("unknown_person", table, int(strange.sum()), note))
    source, concept = read[f"{table}_source_value"], read[f"{table}_concept_id"]
    analyte, pairs = _pairs(source.codes, concept.codes)
    value, places = _combinations([read[name].codes for name in (*fields, "unit_source_value")])
    words = [read[name].words for name in (*fields, "unit_source_value")]
    values = tuple(_value(*(words[i][place] for i, place in enumerate(row))) for row in places.tolist())
    day = _days(read[f"{table}_date"], f"{table}_date", mapping, log)
    kept = slice(None) if not strange.any() else ~strange
    return Events(
        patient=patient[kept],
        analyte=analyte[kept],
        value=value[kept],
        day=day[kept],
        analytes=tuple(_analyte(source.words[s], concept.words[c]) for s, c in pairs),
        values=values,
    )


def _analyte(source: str, concept: str) -> Analyte:
    number = _plain(concept)
    by_concept = _LOINC_OF_CONCEPT.get(int(number)) if number.isdigit() else None
    codes = tuple(code for code in (loinc_in(source), by_concept) if code)
    return Analyte(_spelled(source, concept), codes)


def _spelled(source: str, concept: str) -> tuple[str, ...]:
    """The source's own word and, for mappings, the concept's number."""
    number = _plain(concept)
    return tuple(word for word in (source, number if number != "0" else "") if word)


def _value(number: str, source: str, string: str, concept: str, operator: str, unit: str) -> Value:
    concept, operator = _plain(concept), _plain(operator)
    sign = OPERATOR_CONCEPTS.get(int(operator), "") if operator.isdigit() else ""
    answer = ANSWER_CONCEPTS.get(int(concept), "") if concept.isdigit() else ""
    words = tuple(word for word in (source, string, answer) if word)
    return Value(
        number=f"{sign}{number}" if number and number.casefold() not in MISSING_WORDS else "",
        words=words,
        units=(unit,) if unit and unit.casefold() not in MISSING_WORDS else (),
    )


def _plain(text: str) -> str:
    """`1.0` as `1`; most identifiers and concepts are whole already."""
    return text if text.isdigit() else plain_number(text)


def _days(texts: Texts, header: str, mapping: TableMapping, log: Log) -> Days:
    counts = np.bincount(texts.codes, minlength=len(texts.words)).tolist()
    return read_days(texts.words, header, mapping, counts=counts, log=log)[texts.codes]


def _pairs(first: Codes, second: Codes) -> tuple[Codes, list[tuple[int, int]]]:
    """Each row's pair of codes as a position among the distinct pairs."""
    place, rows = _combinations([first, second])
    return place, [(int(a), int(b)) for a, b in rows]


def _combinations(columns: Sequence[Codes]) -> tuple[Codes, npt.NDArray[np.int32]]:
    """Each row's codes as a position among the distinct rows of codes."""
    place = np.zeros(len(columns[0]), dtype=np.int64)
    size = 1
    for codes in columns:
        width = int(codes.max(initial=0)) + 1
        if width == 1:
            continue
        place, distinct = pd.factorize(place * width + codes)
        size = len(distinct)
    first = np.zeros(size, dtype=np.int64)
    first[place[::-1]] = np.arange(len(place) - 1, -1, -1)
    if not len(place):
        return place.astype(np.int32), np.zeros((0, len(columns)), dtype=np.int32)
    return place.astype(np.int32), np.stack([codes[first] for codes in columns], axis=1)
