"""What is written is read back cell for cell: missing is missing, numbers keep their digits, levels their names."""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.tables.formats.omop import REFERENCE
from synthfed.tables.formats.omop_tables import COLUMNS
from synthfed.tables.formats.registry import formats, writers
from synthfed.tables.handover import read_handover
from synthfed.tables.reading import type_table
from tests.tables.formats.simulated import dictionary, patients
from tests.tables.test_writing import random_table

LONG = ["omop", "fhir", "fhir-ndjson"]


def write(files: Mapping[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def read_back(table: pd.DataFrame, disease: str, name: str) -> pd.DataFrame:
    known = dictionary(disease)
    with TemporaryDirectory() as place:
        texts, _ = read_handover(write(writers()[name](table, known), Path(place)), known)
    asked = [column for column in table.columns if not known.schema[column].derived]
    again, _ = type_table(texts, known, asked, origin="t")
    return again


@pytest.mark.parametrize("disease", ["aml", "scd"])
@pytest.mark.parametrize("name", ["omop", "fhir-ndjson"])
@settings(max_examples=3, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 30))
def test_simulated_patients_come_back(name: str, disease: str, seed: int, count: int) -> None:
    table = patients(disease, count, seed)
    again = read_back(table, disease, name)
    pd.testing.assert_frame_equal(again, table[list(again.columns)])


@pytest.mark.parametrize(("name", "disease"), [("omop", "aml"), ("omop", "scd"), ("fhir", "scd"), ("fhir", "aml")])
def test_any_allowed_values_come_back(name: str, disease: str) -> None:
    """Every level and every digit that the dictionary allows, whether it makes sense together or not."""
    known = dictionary(disease).schema
    _, table = random_table(disease)
    times = [column for survival in known.survivals for column in (survival.time, survival.event)]
    table = table.drop(columns=[column for column in times if column in table])  # the formats refuse nonsense there
    again = read_back(table, disease, name)
    again = again[[column for column in again.columns if known[column].kind != "id"]]
    pd.testing.assert_frame_equal(again, table[list(again.columns)])


@pytest.mark.parametrize("name", LONG)
def test_a_column_without_any_value_comes_back(name: str) -> None:
    table = patients("aml", 12)
    for column in ("FLT3_ITD_allelic_ratio", "hb_g_dl", "NPM1", "cause_of_death"):
        table[column] = pd.Series([None] * 12, dtype=table[column].dtype)
    again = read_back(table, "aml", name)
    pd.testing.assert_frame_equal(again, table[list(again.columns)])


@pytest.mark.parametrize("name", LONG)
def test_equal_tables_give_equal_bytes(name: str) -> None:
    first = writers()[name](patients("scd", 10), dictionary("scd"))
    table = patients("scd", 10)
    again = writers()[name](table[table.columns[::-1]].set_axis(range(5, 15)), dictionary("scd"))
    assert first == again


def test_omop_tables_have_the_columns_of_the_model() -> None:
    files = writers()["omop"](patients("aml", 5), dictionary("aml"))
    for name, content in files.items():
        table = name.removesuffix(".csv")
        header, *rows = content.decode().splitlines()
        assert tuple(header.split(",")) == COLUMNS[table]
        assert all(row.count(",") >= len(COLUMNS[table]) - 1 for row in rows)
    required = pd.read_csv(io.BytesIO(files["measurement.csv"]))
    filled = [
        "measurement_id",
        "person_id",
        "measurement_concept_id",
        "measurement_date",
        "measurement_type_concept_id",
    ]
    assert required[filled].notna().all(axis=None)
    assert required["measurement_id"].is_unique


def test_omop_writes_no_concept_that_was_not_checked() -> None:
    files = writers()["omop"](patients("aml", 30), dictionary("aml"))
    measured = pd.read_csv(io.BytesIO(files["measurement.csv"]))
    concepts = measured.groupby("measurement_source_value")["measurement_concept_id"].unique()
    known = {"hb_g_dl": 3000963, "wbc_10e9_l": 3000905, "platelets_10e9_l": 3024929}
    assert {name: list(found) for name, found in concepts.items()} == {
        name: [known.get(name, 0)] for name in concepts.index
    }


def test_omop_says_that_patients_are_synthetic_and_the_date_means_nothing() -> None:
    table = patients("aml", 5).drop(columns="patient_id")
    files = writers()["omop"](table, dictionary("aml"))
    assert b"Every patient is synthetic" in files["cdm_source.csv"]
    assert files["person.csv"].count(b"SYNTHETIC-") == 5
    assert str(REFERENCE) in " ".join(formats()["omop"].losses(table, dictionary("aml")))


def test_deaths_agree_with_the_survival_columns() -> None:
    table = patients("aml", 50)
    files = writers()["omop"](table, dictionary("aml"))
    died = pd.read_csv(io.BytesIO(files["death.csv"]))
    dead = table[(table["os_event"] == 1) & table["os_days"].notna()]
    assert len(died) == len(dead)
    days = (pd.to_datetime(died["death_date"]) - pd.Timestamp(REFERENCE)).dt.days
    assert days.tolist() == dead["os_days"].tolist()


@pytest.mark.parametrize("name", ["fhir", "fhir-ndjson"])
def test_every_resource_is_labelled_as_test_data(name: str) -> None:
    files = writers()[name](patients("scd", 3), dictionary("scd"))
    resources = [json.loads(line) for text in files.values() for line in _resources(text, name)]
    assert len(resources) == 3 * (2 + len(patients("scd", 3).columns) - 1)
    for resource in resources:
        for labels in (resource["meta"]["security"], resource["meta"]["tag"]):
            assert labels == [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
                    "code": "HTEST",
                    "display": "test health data",
                }
            ]
        assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", resource["id"])


def test_a_genotype_gives_the_code_of_the_condition() -> None:
    table = patients("scd", 30)
    files = writers()["fhir-ndjson"](table, dictionary("scd"))
    codes = [
        [coding["code"] for coding in json.loads(line)["code"]["coding"]]
        for line in files["Condition.ndjson"].splitlines()
    ]
    known = {"HbSS": ["127040003", "scd"], "HbSC": ["35434009", "scd"]}
    assert codes == [known.get(level, ["scd"]) for level in table["genotype"]]


def test_a_fhir_cell_has_its_loinc_number_and_its_ucum_unit() -> None:
    table = patients("aml", 20)
    files = writers()["fhir-ndjson"](table, dictionary("aml"))
    observations = [json.loads(line) for line in files["Observation.ndjson"].splitlines()]
    white = [o for o in observations if o["code"]["coding"][0].get("code") == "6690-2"]
    assert len(white) == 20
    for resource, value in zip(white, table["wbc_10e9_l"], strict=True):
        if pd.isna(value):
            assert resource["dataAbsentReason"]["coding"][0]["code"] == "unknown"
            continue
        quantity = resource["valueQuantity"]
        assert (quantity["value"], quantity["code"]) == (value, "10*9/L")
        assert quantity["system"] == "http://unitsofmeasure.org"


def _resources(text: bytes, name: str) -> list[str]:
    if name == "fhir-ndjson":
        return text.decode().splitlines()
    bundle = json.loads(text)
    assert bundle["type"] == "collection"
    assert len({entry["fullUrl"] for entry in bundle["entry"]}) == len(bundle["entry"])
    return [json.dumps(entry["resource"]) for entry in bundle["entry"]]
