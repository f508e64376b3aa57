"""Read a hospital's OMOP tables: person, measurement, observation, condition_occurrence, death, observation_period.

What a measurement is, its unit and a person's sex are taken from the source columns (`..._source_value`) and from
concepts only where the source is silent: public conversions hold wrong concepts (a unit mapped to a gene; g/L to the
concept of g/dL). Unit concepts are therefore not used at all. The diagnosis is the first condition with a code that the
mapping declares; without one, the only condition code there is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from synthfed.errors import UnreadableFile
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.codes import columns_of_persons
from synthfed.tables.formats.days import days_of
from synthfed.tables.formats.diagnoses import Conditions, diagnosis_codes, diagnosis_days
from synthfed.tables.formats.events import Patients, Survey, pairs_of
from synthfed.tables.formats.gathering import gather
from synthfed.tables.formats.omop_events import read_events, spellings_of
from synthfed.tables.formats.omop_persons import Persons, births_of, extreme_day, sexes_of
from synthfed.tables.formats.omop_tables import omop_files, read_columns
from synthfed.tables.mapping import mapping_path
from synthfed.tables.mapping_lines import TableMapping

SOURCE_VOCABULARY = "synthfed"  # how the vocabulary of our own source codes begins


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
    persons = Persons.read(files["person"], extra, log)
    log.raise_problems(folder.name)  # without persons nothing else can be told
    log.findings.insert(0, Finding("format", folder.name, len(persons.ids), note))
    events = read_events(files, persons, mapping, log)
    patients = _patients(files, persons, mapping, dictionary, log)
    frame = gather(patients, events, dictionary, mapping, log=log)
    log.raise_problems(f"{folder.name} (mapping file: {mapping_path(folder).name})")
    return frame, tuple(log.findings)


def survey_omop(folder: Path, dictionary: Dictionary) -> Survey:
    """What the tables hold, for drafting a mapping; problems are left to reading.

    Raises:
        UnreadableFile: A table is missing or cannot be read.
    """
    files, log, mapping = omop_files(folder), Log(), TableMapping()
    persons = Persons.read(files["person"], (), log)
    conditions = _conditions(files.get("condition_occurrence"), persons, mapping, log)
    return Survey(
        events=read_events(files, persons, mapping, log),
        conditions={next(iter(c), ""): int(n) for c, n in zip(conditions.codes, conditions.counts(), strict=True)},
        diagnosis_is_known=bool(diagnosis_codes(conditions, dictionary, mapping).any()) or not conditions.codes,
        from_persons=columns_of_persons(
            dictionary.schema,
            sex=bool((sexes_of(persons.table, log) != "").any()),
            age=bool(conditions.codes),
            death=bool(conditions.codes) and not files.keys().isdisjoint({"death", "observation_period"}),
        ),
    )


_READ = frozenset({"person", "measurement", "observation", "condition_occurrence", "death", "observation_period"})


def _patients(
    files: Mapping[str, Path], persons: Persons, mapping: TableMapping, dictionary: Dictionary, log: Log
) -> Patients:
    table = persons.table
    sources = table["person_source_value"]
    named = not (sources == "").any() and not sources.duplicated().any()
    born, year_only = births_of(table, mapping, log)
    conditions = _conditions(files.get("condition_occurrence"), persons, mapping, log)
    died = extreme_day(files.get("death"), "death_date", persons, mapping, log, last=False)
    seen = extreme_day(files.get("observation_period"), "observation_period_end_date", persons, mapping, log, last=True)
    return Patients(
        ids=sources if named else table["person_id"],
        sex=sexes_of(table, log),
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


def _conditions(file: Path | None, persons: Persons, mapping: TableMapping, log: Log) -> Conditions:
    if file is None:
        none = np.zeros(0, dtype=np.int32)
        return Conditions(none, none, np.zeros(0), ())
    names = ["person_id", "condition_start_date", "condition_source_value", "condition_concept_id"]
    read = read_columns(file, names, needed=names[:2])
    source, concept = read["condition_source_value"], read["condition_concept_id"]
    code, pairs = pairs_of(source.codes, concept.codes)
    return Conditions(
        patient=persons.positions(read["person_id"]),
        code=code,
        day=days_of(read["condition_start_date"], "condition_start_date", mapping, log),
        codes=tuple(spellings_of(source.words[s], concept.words[c]) for s, c in pairs),
    )


def _held(file: Path | None) -> frozenset[str]:
    """Columns that an export of ours names, even where nobody has a value."""
    if file is None:
        return frozenset()
    read = read_columns(file, ["source_code", "source_vocabulary_id"], needed=["source_code"])
    rows = zip(read["source_code"].series(), read["source_vocabulary_id"].series(), strict=True)
    return frozenset(code for code, vocabulary in rows if vocabulary.startswith(SOURCE_VOCABULARY))
