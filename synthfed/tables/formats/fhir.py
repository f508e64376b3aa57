"""Write a synthetic table as FHIR R4: a Patient, a Condition and one Observation per cell.

As one `collection` bundle or as NDJSON, one file per kind of resource. Every resource and the bundle carry HL7's label
for test data, `HTEST` of v3-ActReason ("test health data"): in `meta.security`, where servers look for such labels, and
in `meta.tag`, where people search. A missing cell is an Observation with a `dataAbsentReason`, so that a column without
any value stays a column. The table knows no dates, only days since the diagnosis: they are counted from the same
reference date as in OMOP, which means nothing. Codes are those of the dictionary; a column without one has its name.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from synthfed.tables.dictionary import Dictionary
from synthfed.tables.formats.codes import (
    AGE,
    DEATH_ENDPOINTS,
    DIAGNOSES,
    DIAGNOSIS_LEVELS,
    SEX,
    column_with_loinc,
    loincs_of,
    ucum_of,
)
from synthfed.tables.formats.fhir_reading import PATIENT_SYSTEM
from synthfed.tables.formats.fhir_values import LOINC_SYSTEM, UCUM_SYSTEM
from synthfed.tables.formats.flat import SYNTHETIC
from synthfed.tables.formats.omop import REFERENCE, last_days
from synthfed.tables.schema import Column, Schema
from synthfed.tables.writing import cell_texts, table_columns

SNOMED_SYSTEM = "http://snomed.info/sct"

_BASE = "http://synthfed.invalid"  # a domain that never exists (RFC 2606)
_LABEL = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "code": "HTEST",
    "display": "test health data",
}
_META = {"security": [_LABEL], "tag": [_LABEL]}
_STATUS = "http://terminology.hl7.org/CodeSystem/condition-"


def write_bundle(table: pd.DataFrame, dictionary: Dictionary) -> Mapping[str, bytes]:
    """`synthetic.json`: one bundle of the type `collection`."""
    entries = (
        _json({"fullUrl": f"{_BASE}/{kind}/{identity}"})[:-1] + f',"resource":{text}}}'
        for kind, identity, text in _resources(table, dictionary)
    )
    head = _json({"resourceType": "Bundle", "meta": _META, "type": "collection"})[:-1]
    body = ",\n".join(entries)
    return {"synthetic.json": f'{head},"entry":[\n{body}\n]}}\n'.encode() if body else f"{head}}}\n".encode()}


def write_ndjson(table: pd.DataFrame, dictionary: Dictionary) -> Mapping[str, bytes]:
    """`Patient.ndjson`, `Condition.ndjson`, `Observation.ndjson`, as a bulk export names them."""
    lines: dict[str, list[str]] = {"Patient": [], "Condition": [], "Observation": []}
    for kind, _, text in _resources(table, dictionary):
        lines[kind].append(text)
    return {f"{kind}.ndjson": "".join(f"{line}\n" for line in texts).encode() for kind, texts in lines.items()}


def fhir_losses(table: pd.DataFrame, dictionary: Dictionary) -> tuple[str, ...]:
    """What the resources do not say."""
    schema = dictionary.schema.select(table.columns)
    valued = [column for column in schema.columns if column.kind != "id"]
    coded = [column for column in valued if loincs_of(column)]
    return (
        f"dates: the table holds days since the diagnosis, so every diagnosis is dated {REFERENCE}",
        f"codes: {len(coded)} of {len(valued)} columns have a LOINC number; the others have their name only",
        "dates of birth: the reference year less the whole years of age",
    )


def _resources(table: pd.DataFrame, dictionary: Dictionary) -> Iterator[tuple[str, str, str]]:
    """Kind, id and JSON of every resource, patient by patient."""
    schema = dictionary.schema.select(table.columns)
    columns = table_columns(table, schema)
    texts = {column.name: cell_texts(table[column.name], column) for column in columns}
    valued = [column for column in columns if column.kind != "id"]
    people = _patients(schema, columns, texts, len(table))
    observed = [_observations(column, number, schema, texts[column.name]) for number, column in enumerate(valued, 1)]
    conditions = _conditions(schema, texts, len(table))
    for i, patient in enumerate(people):
        identity = str(i + 1)
        yield "Patient", identity, patient
        yield "Condition", identity, conditions[i].replace("\0", identity)
        for number, lines in enumerate(observed, 1):
            yield "Observation", f"{identity}-{number}", lines[i].replace("\0", identity)


def _patients(schema: Schema, columns: tuple[Column, ...], texts: Mapping[str, list[str]], rows: int) -> Iterator[str]:
    identities = next((texts[column.name] for column in columns if column.kind == "id"), None)
    age, sex = column_with_loinc(schema, AGE), column_with_loinc(schema, SEX)
    endpoint = next((s for s in schema.survivals if s.name in DEATH_ENDPOINTS), None)
    ends, dead = last_days(schema, texts, rows)
    died = set(dead)
    for i in range(rows):
        patient: dict[str, Any] = {"resourceType": "Patient", "id": str(i + 1), "meta": _META}
        if identities is not None:
            patient["identifier"] = [{"system": PATIENT_SYSTEM, "value": identities[i]}]
        if sex is not None and texts[sex.name][i] in ("male", "female"):
            patient["gender"] = texts[sex.name][i]
        if age is not None and texts[age.name][i]:
            patient["birthDate"] = str(REFERENCE.year - int(float(texts[age.name][i])))
        if i in died:
            patient["deceasedDateTime"] = str(ends[i])
        elif endpoint is not None and texts[endpoint.event][i] == "0":
            patient["deceasedBoolean"] = False
        yield _json(patient)


def _conditions(schema: Schema, texts: Mapping[str, list[str]], rows: int) -> list[str]:
    """Each patient's diagnosis, with a mark where the patient's number goes."""
    column, codes = DIAGNOSIS_LEVELS.get(schema.disease, ("", {}))
    levels = texts.get(column, [""] * rows)
    shown = {level: _condition(schema, codes.get(level, "")) for level in set(levels)}
    return [shown[level] for level in levels]


def _condition(schema: Schema, code: str) -> str:
    """A diagnosis with the code of the patient's level, else of the disease, beside the dictionary's own."""
    general, name = DIAGNOSES.get(schema.disease, ("", ""))
    codings = [{"system": SNOMED_SYSTEM, "code": code}] if code else []
    codings += [{"system": SNOMED_SYSTEM, "code": general, "display": name}] if general and not code else []
    codings.append({"system": f"{_BASE}/disease", "code": schema.disease})
    return _marked(
        {
            "resourceType": "Condition",
            "id": "\0",
            "meta": _META,
            "clinicalStatus": {"coding": [{"system": f"{_STATUS}clinical", "code": "active"}]},
            "verificationStatus": {"coding": [{"system": f"{_STATUS}ver-status", "code": "confirmed"}]},
            "code": {"coding": codings, "text": schema.title or schema.disease},
            "subject": {"reference": "Patient/\0"},
            "onsetDateTime": str(REFERENCE),
            "note": [{"text": SYNTHETIC}],
        }
    )


def _observations(column: Column, number: int, schema: Schema, texts: list[str]) -> list[str]:
    """One Observation per patient, with a mark where the patient's number goes."""
    codings = [{"system": LOINC_SYSTEM, "code": code} for code in loincs_of(column)[:1]]
    codings.append({"system": f"{_BASE}/{schema.disease}", "code": column.name})
    fixed = {
        "resourceType": "Observation",
        "id": f"\0-{number}",
        "meta": _META,
        "status": "final",
        "code": {"coding": codings, "text": column.label or column.name},
        "subject": {"reference": "Patient/\0"},
        "effectiveDateTime": str(REFERENCE),
    }
    head = _marked(fixed)[:-1]
    shown = {text: f"{head},{_value(column, schema, text)}}}" for text in set(texts)}
    return [shown[text] for text in texts]


def _value(column: Column, schema: Schema, text: str) -> str:
    """The JSON of a cell: its key and its content; numbers as they are written."""
    if not text:
        reason = "not-applicable" if column.missing == "structural" else "unknown"
        system = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
        return _pair("dataAbsentReason", {"coding": [{"system": system, "code": reason}]})
    if column.kind == "flag":
        return _pair("valueBoolean", text == "1")
    if column.kind == "count" and not column.unit:
        return f'"valueInteger":{text}'
    if column.is_number:
        unit = {"unit": column.unit or "1", "system": UCUM_SYSTEM, "code": ucum_of(column.unit)}
        return f'"valueQuantity":{{"value":{text},{_json(unit)[1:]}'
    coding = {"system": f"{_BASE}/{schema.disease}/{column.name}", "code": text}
    return _pair("valueCodeableConcept", {"coding": [coding], "text": text})


def _pair(key: str, content: object) -> str:
    return f'"{key}":{_json(content)}'


def _marked(content: object) -> str:
    """JSON that keeps the mark as the one letter that no text holds."""
    return _json(content).replace("\\u0000", "\0")


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
