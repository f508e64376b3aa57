"""Write a synthetic table as OMOP common data model 5.4, and nothing that the table does not say.

Every cell becomes one row of `measurement` (laboratory, karyotype, mutations) or `observation` (the rest) under the
column's own name as source value; a missing cell has no row. The table knows no dates, only days since the diagnosis:
they are counted from `REFERENCE`, a date declared here and without meaning. A concept id is written only where it was
checked against a second source, else 0 (the model's "no matching concept"); `source_to_concept_map` lists the columns
with their public codes. `cdm_source` and every `person_source_value` say that the persons are synthetic.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import pandas as pd

from synthfed.tables.dictionary import Dictionary
from synthfed.tables.formats.codes import (
    AGE,
    DEATH_ENDPOINTS,
    DIAGNOSES,
    LOINC_CONCEPTS,
    SEX,
    SEX_CONCEPTS,
    column_with_loinc,
    loincs_of,
    ucum_of,
)
from synthfed.tables.formats.flat import SYNTHETIC
from synthfed.tables.formats.omop_reading import SOURCE_VOCABULARY
from synthfed.tables.formats.omop_tables import COLUMNS
from synthfed.tables.schema import Column, Schema
from synthfed.tables.writing import cell_texts, table_columns

REFERENCE = date(2000, 1, 1)  # stands for every diagnosis
_MEASURED = frozenset(["laboratory", "haemoglobin", "karyotype", "mutation"])
_LONGEST = 50  # letters of a source value in the model's definition


def write_omop(table: pd.DataFrame, dictionary: Dictionary) -> Mapping[str, bytes]:
    """Eight comma-separated tables."""
    schema = dictionary.schema.select(table.columns)
    columns = table_columns(table, schema)
    texts = {column.name: cell_texts(table[column.name], column) for column in columns}
    rows = len(table)
    valued = [column for column in columns if column.kind != "id"]
    ends, dead = last_days(schema, texts, rows)
    return {
        "person.csv": _csv("person", _persons(schema, columns, texts, rows)),
        "condition_occurrence.csv": _csv("condition_occurrence", _conditions(schema, rows)),
        "measurement.csv": _values("measurement", [c for c in valued if c.group in _MEASURED], texts),
        "observation.csv": _values("observation", [c for c in valued if c.group not in _MEASURED], texts),
        "death.csv": _csv("death", ({"person_id": i + 1, "death_date": ends[i]} for i in dead)),
        "observation_period.csv": _csv("observation_period", _periods(ends)),
        "source_to_concept_map.csv": _csv("source_to_concept_map", _codes(schema, valued)),
        "cdm_source.csv": _csv("cdm_source", [_source(schema)]),
    }


def omop_losses(table: pd.DataFrame, dictionary: Dictionary) -> tuple[str, ...]:
    """What the tables do not say."""
    schema = dictionary.schema.select(table.columns)
    valued = [column for column in schema.columns if column.kind != "id"]
    coded = [column for column in valued if _concept(column)]
    lines = [
        f"dates: the table holds days since the diagnosis, so every diagnosis is dated {REFERENCE}",
        f"standard concepts: {len(coded)} of {len(valued)} columns have a checked one; the others are concept 0 with "
        "their name as source value",
    ]
    age = column_with_loinc(schema, AGE)
    lines.append(
        "dates of birth: year_of_birth is the reference year less the whole years of age"
        if age is not None
        else "year_of_birth: the table has no age, and the model requires one; fill it before loading"
    )
    long = [c.name for c in valued if max(map(len, (c.name, *c.levels))) > _LONGEST]
    if long:
        lines.append(f"lengths: names or levels of {', '.join(long)} exceed the model's {_LONGEST} letters")
    return tuple(lines)


def _concept(column: Column) -> int:
    return next((LOINC_CONCEPTS[code] for code in loincs_of(column) if code in LOINC_CONCEPTS), 0)


def _persons(
    schema: Schema, columns: Sequence[Column], texts: Mapping[str, list[str]], rows: int
) -> Iterable[dict[str, object]]:
    identity = next((texts[column.name] for column in columns if column.kind == "id"), None)
    age, sex = column_with_loinc(schema, AGE), column_with_loinc(schema, SEX)
    ages = texts[age.name] if age is not None else [""] * rows
    sexes = texts[sex.name] if sex is not None else [""] * rows
    concepts = {word: concept for concept, word in SEX_CONCEPTS.items()}
    for i in range(rows):
        yield {
            "person_id": i + 1,
            "gender_concept_id": concepts.get(sexes[i], 0),
            "gender_source_value": sexes[i],
            "year_of_birth": REFERENCE.year - int(float(ages[i])) if ages[i] else "",
            "race_concept_id": 0,
            "ethnicity_concept_id": 0,
            "person_source_value": identity[i] if identity is not None else f"SYNTHETIC-{i + 1}",
        }


def _conditions(schema: Schema, rows: int) -> Iterable[dict[str, object]]:
    code, _ = DIAGNOSES.get(schema.disease, (schema.disease, ""))
    for i in range(rows):
        yield {
            "condition_occurrence_id": i + 1,
            "person_id": i + 1,
            "condition_concept_id": 0,
            "condition_start_date": REFERENCE,
            "condition_type_concept_id": 0,
            "condition_source_value": code,
        }


def _values(name: str, columns: Sequence[Column], texts: Mapping[str, list[str]]) -> bytes:
    """One line per known cell, column by column: the same line but for the person and the value."""
    blocks = [",".join(COLUMNS[name]) + "\n"]
    number = 0
    for column in columns:
        fixed = {
            f"{name}_concept_id": str(_concept(column)),
            f"{name}_date": str(REFERENCE),
            f"{name}_type_concept_id": "0",
            f"{name}_source_value": _quoted(column.name[:_LONGEST]),
            "unit_source_value": _quoted(ucum_of(column.unit)) if column.is_number and column.unit else "",
        }
        is_numeric = column.is_number or column.kind == "flag"
        holders = ["value_as_number"] if is_numeric else ["value_source_value"]
        if name == "observation" and not is_numeric:
            holders.append("value_as_string")
        marks = {f"{name}_id": "\0", "person_id": "\1"} | dict.fromkeys(holders, "\2")
        # the line between its three changing parts
        line = ",".join(marks.get(field, fixed.get(field, "")) for field in COLUMNS[name]) + "\n"
        first, second = line.removeprefix("\0").split("\1")
        before, *afters = second.split("\2")
        shown = {text: before + _quoted(text).join(["", *afters]) for text in set(texts[column.name]) if text}
        known = [(person, text) for person, text in enumerate(texts[column.name], start=1) if text]
        blocks.append(
            "".join(f"{row}{first}{person}{shown[text]}" for row, (person, text) in enumerate(known, number + 1))
        )
        number += len(known)
    return "".join(blocks).encode()


def last_days(schema: Schema, texts: Mapping[str, list[str]], rows: int) -> tuple[list[date], list[int]]:
    """Each person's last known day, and who died on it."""
    endpoint = next((s for s in schema.survivals if s.name in DEATH_ENDPOINTS), None)
    if endpoint is None:
        return [REFERENCE] * rows, []
    ends = [REFERENCE + timedelta(days=int(float(days or 0))) for days in texts[endpoint.time]]
    dead = [i for i in range(rows) if texts[endpoint.event][i] == "1" and texts[endpoint.time][i]]
    return ends, dead


def _periods(ends: Sequence[date]) -> Iterable[dict[str, object]]:
    for i, end in enumerate(ends):
        yield {
            "observation_period_id": i + 1,
            "person_id": i + 1,
            "observation_period_start_date": REFERENCE,
            "observation_period_end_date": end,
            "period_type_concept_id": 0,
        }


def _codes(schema: Schema, columns: Sequence[Column]) -> Iterable[dict[str, object]]:
    for column in columns:
        about = f"{column.label or column.name}; {column.code}" if column.code else column.label or column.name
        yield {
            "source_code": column.name,
            "source_concept_id": 0,
            "source_vocabulary_id": f"{SOURCE_VOCABULARY} {schema.disease}"[:20],
            "source_code_description": about[:255],
            "target_concept_id": _concept(column),
            "target_vocabulary_id": "LOINC" if _concept(column) else "None",
            "valid_start_date": REFERENCE,
            "valid_end_date": "2099-12-31",
        }


def _source(schema: Schema) -> dict[str, object]:
    return {
        "cdm_source_name": f"Synthetic patients ({schema.title or schema.disease})",
        "cdm_source_abbreviation": "SYNTHETIC",
        "cdm_holder": "synthfed",
        "source_description": f"{SYNTHETIC} Every diagnosis is dated {REFERENCE}, which means nothing.",
        "source_release_date": REFERENCE,
        "cdm_release_date": REFERENCE,
        "cdm_version": "v5.4",
        "cdm_version_concept_id": 0,
        "vocabulary_version": "none",
    }


def _csv(name: str, rows: Iterable[Mapping[str, object]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS[name], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\n') else text
