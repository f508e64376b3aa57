"""Read OMOP's measurement and observation tables as values with an analyte, a unit and a day.

What a row is about and its unit are taken from the source columns; of concepts only those count that were checked, and
only where the source is silent. Unit concepts are not used: public conversions give g/L the concept of g/dL.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from synthfed.tables.cells import MISSING_WORDS
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.codes import ANSWER_CONCEPTS, LOINC_CONCEPTS, OPERATOR_CONCEPTS, loinc_in
from synthfed.tables.formats.days import days_of
from synthfed.tables.formats.events import Analyte, Codes, Events, Value, combinations, pairs_of
from synthfed.tables.formats.omop_persons import Persons
from synthfed.tables.formats.omop_tables import plain_code, read_columns
from synthfed.tables.mapping_lines import TableMapping

_LOINC_OF_CONCEPT = {concept: code for code, concept in LOINC_CONCEPTS.items()}


def read_events(files: Mapping[str, Path], persons: Persons, mapping: TableMapping, log: Log) -> Events:
    """The values of both tables."""
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


def _events_of(file: Path, table: str, persons: Persons, mapping: TableMapping, log: Log) -> Events:
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
    analyte, pairs = pairs_of(source.codes, concept.codes)
    value, places = combinations([read[name].codes for name in (*fields, "unit_source_value")])
    words = [read[name].words for name in (*fields, "unit_source_value")]
    values = tuple(_value(*(words[i][place] for i, place in enumerate(row))) for row in places.tolist())
    day = days_of(read[f"{table}_date"], f"{table}_date", mapping, log)
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
    number = plain_code(concept)
    by_concept = _LOINC_OF_CONCEPT.get(int(number)) if number.isdigit() else None
    codes = tuple(code for code in (loinc_in(source), by_concept) if code)
    return Analyte(spellings_of(source, concept), codes)


def _value(number: str, source: str, string: str, concept: str, operator: str, unit: str) -> Value:
    concept, operator = plain_code(concept), plain_code(operator)
    sign = OPERATOR_CONCEPTS.get(int(operator), "") if operator.isdigit() else ""
    answer = ANSWER_CONCEPTS.get(int(concept), "") if concept.isdigit() else ""
    amount = f"{sign}{number}" if number and number.casefold() not in MISSING_WORDS else ""
    has_comma = "," in amount  # a spreadsheet's number: its decimal mark is to be found out
    return Value(
        number="" if has_comma else amount,
        words=tuple(word for word in (amount if has_comma else "", source, string, answer) if word),
        units=(unit,) if unit and unit.casefold() not in MISSING_WORDS else (),
    )


def spellings_of(source: str, concept: str) -> tuple[str, ...]:
    """The source's own word and, for mappings, the concept's number."""
    number = plain_code(concept)
    return tuple(word for word in (source, number if number != "0" else "") if word)
