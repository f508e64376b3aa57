"""FHIR resources as hospitals' servers give them: every kind of value, code and wrapping of an Observation."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from synthfed.errors import DataError, UnreadableFile
from synthfed.tables.findings import Finding
from synthfed.tables.formats.fhir_reading import read_fhir
from synthfed.tables.mapping_lines import TableMapping
from tests.tables.formats.hospital import notes
from tests.tables.formats.simulated import dictionary

Resource = dict[str, Any]
Read = Callable[..., tuple[pd.DataFrame, tuple[Finding, ...]]]

ANNA = {"resourceType": "Patient", "id": "a", "gender": "female", "birthDate": "1950-06-15"}
BEN = {"resourceType": "Patient", "id": "b", "gender": "male", "birthDate": "1960"}


def condition(patient: str, date: str = "2015-03-10", code: str = "C92.0") -> Resource:
    return {
        "resourceType": "Condition",
        "subject": {"reference": f"Patient/{patient}"},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": code}]},
        "onsetDateTime": date,
    }


def observation(patient: str, loinc: str, date: str = "2015-03-10T08:00:00+01:00", **value: Any) -> Resource:
    return {
        "resourceType": "Observation",
        "status": "final",
        "subject": {"reference": f"Patient/{patient}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "effectiveDateTime": date,
        **value,
    }


def local(patient: str, name: str, **value: Any) -> Resource:
    return observation(patient, "", **value) | {"code": {"text": name}}


def quantity(value: float, code: str, **more: Any) -> Resource:
    return {"valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": code, **more}}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(*resources: Resource, people: Sequence[Resource] = (ANNA, BEN), **mapping: Any) -> Any:
        given = [*people, *(condition(p["id"]) for p in people if "id" in p), *resources]
        bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in given]}
        (tmp_path / "lyon.json").write_text(json.dumps(bundle))
        return read_fhir(tmp_path / "lyon.json", dictionary("aml"), TableMapping(**mapping))

    return read


def test_quantities_are_converted_by_their_ucum_unit(read: Read) -> None:
    table, findings = read(
        observation("a", "718-7", **quantity(83, "g/L")),
        observation("b", "718-7", **quantity(8.3, "g/dL")),
        observation("a", "6690-2", **quantity(4.5, "10*3/uL")),
        observation("b", "6690-2", **quantity(22.1, "10*9/L")),
        observation("a", "777-3", **quantity(43000, "/uL")),
        observation("b", "777-3", **quantity(43, "10*9{cells}/L")),
        observation("a", "2532-0", **quantity(8, "ukat/L")),
        observation("b", "14804-9", **quantity(480, "U/L")),
        observation("a", "26446-5", **quantity(0.4, "1", unit="fraction")),
        observation("b", "709-6", **quantity(40, "%")),
    )
    assert table["hb_g_dl"].tolist() == ["8.3", "8.3"]
    assert table["wbc_10e9_l"].tolist() == ["4.5", "22.1"]
    assert table["platelets_10e9_l"].tolist() == ["43", "43"]
    assert table["ldh_u_l"].tolist() == ["480", "480"]
    assert table["pb_blasts_pct"].tolist() == ["40", "40"]
    assert "converted from g/L to g/dL, x 0.1 (1)" in notes(findings, "hb_g_dl")


def test_a_unit_by_its_display_counts_where_there_is_no_code(read: Read) -> None:
    table, _ = read(observation("a", "6690-2", valueQuantity={"value": 22.1, "unit": "Gpt/L"}))
    assert table["wbc_10e9_l"].tolist() == ["22.1", ""]


def test_an_unknown_or_absent_unit_is_asked_for(read: Read) -> None:
    with pytest.raises(DataError, match=r"1 without a unit; write unit = \"g/dL\""):
        read(observation("a", "718-7", valueQuantity={"value": 8.3}))
    with pytest.raises(DataError, match="1 in a unit that the dictionary does not know"):
        read(observation("a", "718-7", **quantity(8.3, "mg/mL")))


def test_every_kind_of_value_is_read(read: Read) -> None:
    table, findings = read(
        local("a", "NPM1", valueBoolean=True),
        local("b", "NPM1", valueCodeableConcept={"coding": [{"code": "LA6577-6", "display": "Negative"}]}),
        local("a", "ecog", valueInteger=2),
        local("b", "ecog", valueCodeableConcept={"text": "1"}),
        local("a", "FLT3_ITD_allelic_ratio", valueRatio={"numerator": {"value": 1}, "denominator": {"value": 4}}),
        local("b", "FLT3_ITD_allelic_ratio", valueDecimal=0.5),
        local("a", "aml_type", valueString="de novo"),
        observation("a", "718-7", **quantity(5.0, "g/dL", comparator="<")),
        local("b", "aml_type", valueDateTime="2015-01-01"),
    )
    assert table["NPM1"].tolist() == ["1", "0"]
    assert table["ecog"].tolist() == ["2", "1"]
    assert table["FLT3_ITD_allelic_ratio"].tolist() == ["0.25", "0.5"]
    assert table["aml_type"].tolist() == ["de_novo", ""]
    assert "the limit is taken as the value (1)" in notes(findings, "hb_g_dl")
    assert "valueDateTime is not read; left out (1)" in notes(findings, "resources")


def test_components_are_values_of_their_own(read: Read) -> None:
    parts = [
        {"code": {"coding": [{"system": "http://loinc.org", "code": code}]}, **quantity(value, "%")}
        for code, value in (("26446-5", 30), ("77147-7", 70))
    ]
    table, _ = read(local("a", "Differential", component=parts))
    assert table.loc[0, ["pb_blasts_pct", "bm_blasts_pct"]].tolist() == ["30", "70"]


def test_a_loinc_number_outside_the_dictionary_is_not_overruled_by_a_text(read: Read) -> None:
    urine = observation("a", "5821-4", **quantity(3, "/[HPF]"))
    urine["code"]["text"] = "WBC"
    table, findings = read(urine, observation("a", "718-7", **quantity(8.3, "g/dL")))
    assert "wbc_10e9_l" not in table
    assert "left out: 1 of them (1)" in notes(findings, "other values")


def test_of_several_codes_the_known_one_counts(read: Read) -> None:
    both = observation("a", "718-7", **quantity(8.3, "g/dL"))
    both["code"]["coding"].insert(0, {"system": "http://hospital.example/lab", "code": "HB17"})
    table, _ = read(both)
    assert table["hb_g_dl"].tolist() == ["8.3", ""]


def test_own_codes_are_mapped(read: Read) -> None:
    own = local("a", "Labor 17", **quantity(83, "g/L"))
    table, _ = read(own, columns={"Labor 17": "hb_g_dl"})
    assert table["hb_g_dl"].tolist() == ["8.3", ""]


def test_absent_data_are_missing_and_withdrawn_data_left_out(read: Read) -> None:
    absent = {"coding": [{"code": "not-performed"}]}
    table, findings = read(
        observation("a", "718-7", dataAbsentReason=absent),
        observation("b", "718-7", **quantity(8.3, "g/dL")) | {"status": "entered-in-error"},
        observation("b", "777-3", **quantity(43, "10*9/L")),
    )
    assert table["hb_g_dl"].tolist() == ["", ""]
    assert "dataAbsentReason 'not-performed', read as missing (1)" in notes(findings, "Observation")
    assert "entered in error; left out (1)" in notes(findings, "resources")


def test_age_sex_and_survival_come_from_the_patient(read: Read) -> None:
    table, findings = read(people=[ANNA | {"deceasedDateTime": "2015-04-10T11:00:00Z"}, BEN | {"gender": "unknown"}])
    assert table["age_years"].tolist() == ["64", "55"]
    assert table["sex"].tolist() == ["female", ""]
    assert table["os_days"].tolist() == ["31", ""]
    assert table["os_event"].tolist() == ["1", ""]
    assert "up to a year too high (1)" in notes(findings, "age_years")


def test_references_are_resolved_however_they_are_written(read: Read, tmp_path: Path) -> None:
    seen = [
        observation("a", "718-7", **quantity(8.3, "g/dL")) | {"subject": {"reference": reference}}
        for reference in (
            "Patient/a",
            "http://fhir.example/r4/Patient/a",
            "Patient/a/_history/2",
            "urn:uuid:0b5f",
            "Patient/x",
        )
    ]
    entries = [{"fullUrl": "urn:uuid:0b5f", "resource": ANNA}, *({"resource": r} for r in [condition("a"), *seen])]
    (tmp_path / "a.json").write_text(json.dumps({"resourceType": "Bundle", "type": "batch-response", "entry": entries}))
    table, findings = read_fhir(tmp_path / "a.json", dictionary("aml"), TableMapping())
    assert table["hb_g_dl"].tolist() == ["8.3"]
    assert "Observations of Patients that are not here; left out (1)" in notes(findings, "Observation")


def test_ndjson_bundles_and_bulk_exports_give_the_same_table(tmp_path: Path) -> None:
    resources = [ANNA, BEN, condition("a"), condition("b"), observation("a", "718-7", **quantity(8.3, "g/dL"))]
    (tmp_path / "one.ndjson").write_text("\n".join(map(json.dumps, resources)) + "\n\n")
    pages = [{"resourceType": "Bundle", "entry": [{"resource": r}]} for r in resources]
    nested = {"resourceType": "Bundle", "entry": [{"resource": page} for page in pages]}
    (tmp_path / "two.json").write_text(json.dumps(nested))
    bulk = tmp_path / "three"
    bulk.mkdir()
    for resource in resources:
        with (bulk / f"{resource['resourceType']}.000.ndjson").open("a") as stream:
            stream.write(json.dumps(resource) + "\n")
    tables = [read_fhir(tmp_path / name, dictionary("aml"), TableMapping())[0] for name in ("one.ndjson", "two.json")]
    tables.append(read_fhir(bulk, dictionary("aml"), TableMapping())[0])
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_the_same_patient_twice_is_merged_and_a_contradicting_one_refused(read: Read) -> None:
    table, findings = read(people=[ANNA, ANNA])
    assert len(table) == 1
    assert "merged (1)" in notes(findings, "Patient")
    with pytest.raises(DataError, match="1 Patients come twice with different content") as caught:
        read(people=[ANNA, ANNA | {"birthDate": "1951-06-15"}])
    assert "1951" not in str(caught.value)


def test_which_condition_is_the_diagnosis_is_asked(read: Read) -> None:
    other = condition("a", "2001-01-01", "I10")
    with pytest.raises(DataError, match=r"diagnosis = \[codes\] under \[timing\]"):
        read(other)
    table, _ = read(other, timing={"diagnosis": ["C92.0"]})
    assert table["age_years"].tolist() == ["64", "55"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"resourceType": "Bundle", "entry": [{"resource": {"gen', "ends too early|Unterminated"),
        ('[{"resourceType": "Patient", "name": "Meier"}]', "no FHIR resource"),
        ('{"patients": ["Meier"]}', "it has no resourceType"),
        ('{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Medication"}}]}', "but 1 Medication"),
        ('{"resourceType": "Bundle"}', "holds no Patient but nothing"),
        ("Meier;Anna\n", "is not valid JSON"),
    ],
)
def test_what_is_no_patients_bundle_is_refused_without_its_content(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UnreadableFile, match=says) as caught:
        read_fhir(tmp_path / "x.json", dictionary("aml"), TableMapping())
    assert "Meier" not in f"{caught.value}{caught.value.__cause__}"


def test_a_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "x.ndjson").write_text(json.dumps(ANNA) + "\n{broken\n")
    with pytest.raises(UnreadableFile, match=r"x\.ndjson, line 2 is not valid JSON"):
        read_fhir(tmp_path / "x.ndjson", dictionary("aml"), TableMapping())
