"""A draft proposes what names tell, asks for the rest, and shows nothing that only few patients have."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.handover import draft_mappings, read_handover
from synthfed.tables.mapping import load_mapping
from tests.tables.formats.hospital import DEATH, Hospital
from tests.tables.formats.simulated import dictionary

PEOPLE = range(1, 15)
WANTED = ["age_years", "sex", "hb_g_dl", "wbc_10e9_l", "platelets_10e9_l", "NPM1", "os_days", "os_event"]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    folder = tmp_path / "hospital"
    folder.mkdir()
    hospital = Hospital(folder)
    hospital.persons = [(i, 8507, "M", 1950, 6, 15) for i in PEOPLE]
    hospital.conditions = [(i, "2015-03-10", "C92.0") for i in PEOPLE]
    hospital.conditions += [(i, "2010-03-10", "I10") for i in PEOPLE] + [(1, "2010-03-10", "Q99")]
    hospital.measurements = [
        (i, 0, "2015-03-10", value, name, unit)
        for i in PEOPLE
        for value, name, unit in (
            (8.3, "Hemoglobin", "g/dL"),
            (22.1, "WBC", ""),
            (43, "Thrombocytes count", "G/L"),
            (140, "Natrium", "mmol/L"),
        )
    ]
    hospital.measurements.append((1, 0, "2015-03-10", 1, "Anna's own test", ""))
    hospital.add("death", DEATH, [(1, "2016-03-10")])
    hospital.write()
    return hospital


def draft(path: Path, wanted: Sequence[str] = WANTED) -> tuple[Path, str]:
    (file,) = draft_mappings(path, dictionary("aml"), wanted=wanted)
    return file, file.read_text(encoding="utf-8")


def test_a_draft_asks_what_names_do_not_tell(hospital: Hospital) -> None:
    file, text = draft(hospital.folder)
    assert file.name == "hospital.mapping.toml"
    assert '# diagnosis = ["C92.0", "I10"]' in text
    assert '# "WBC" = { column = "wbc_10e9_l", unit = "10^9/L" or ' in text
    assert '# CONFIRM what "Thrombocytes count" is\n# "Thrombocytes count" = "platelets_10e9_l"' in text
    assert '# "Natrium" is in no dictionary and left out' in text
    assert '# not_recorded = ["NPM1"]' in text
    assert "Hemoglobin" not in text  # nothing to decide


def test_a_draft_shows_nothing_that_few_patients_have(hospital: Hospital) -> None:
    _, text = draft(hospital.folder)
    assert "Anna" not in text
    assert "Q99" not in text
    assert "# 1 further names, each of fewer than 10 patients, are not shown" in text


def test_a_confirmed_draft_reads(hospital: Hospital) -> None:
    file, text = draft(hospital.folder)
    load_mapping(file, dictionary("aml"), shared=True)
    confirmed = (
        text.replace('# diagnosis = ["C92.0", "I10"]', 'diagnosis = ["C92.0"]')
        .replace('# "Thrombocytes', '"Thrombocytes')
        .replace(
            '# "WBC" = { column = "wbc_10e9_l", unit = "10^9/L" or', '"WBC" = { column = "wbc_10e9_l", unit = "G/L" } #'
        )
    )
    file.write_text(confirmed, encoding="utf-8")
    table, _ = read_handover(hospital.folder, load_dictionary("aml"))
    assert set(table["wbc_10e9_l"]) == {"22.1"}
    assert set(table["platelets_10e9_l"]) == {"43"}


def test_a_bundle_is_drafted_for_in_the_same_way(tmp_path: Path) -> None:
    resources = [{"resourceType": "Patient", "id": str(i), "gender": "male"} for i in PEOPLE]
    for i in PEOPLE:
        about = {"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/{i}"}}
        resources.append(about | {"code": {"text": "Thrombocytes count"}, "valueQuantity": {"value": 43}})
    bundle = {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in resources]}
    (tmp_path / "lyon.json").write_text(json.dumps(bundle))
    file, text = draft(tmp_path / "lyon.json", wanted=["sex", "platelets_10e9_l"])
    assert file.name == "lyon.mapping.toml"
    assert '# "Thrombocytes count" = "platelets_10e9_l"' in text
    assert "diagnosis" not in text.replace("around the diagnosis", "")
    assert "not_recorded" not in text
