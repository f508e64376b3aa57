"""What a folder or file is, is told by its names; what could be two things is refused with the choices."""

import json
from pathlib import Path

import pytest

from synthfed.errors import MappingError, UnreadableFile
from synthfed.tables.formats.registry import writers
from synthfed.tables.handover import list_tables, read_handover, site_name
from synthfed.tables.writing import to_csv_bytes
from tests.tables.formats.simulated import dictionary, patients


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three hospitals, each in a format of its own."""
    table, known = patients("aml", 6), dictionary("aml")
    (tmp_path / "lyon.csv").write_bytes(to_csv_bytes(table, known.schema))
    (tmp_path / "berlin").mkdir()
    for name, content in writers()["omop"](table, known).items():
        (tmp_path / "berlin" / name).write_bytes(content)
    (tmp_path / "milano.json").write_bytes(writers()["fhir"](table, known)["synthetic.json"])
    (tmp_path / "st.mary").mkdir()
    for name, content in writers()["fhir-ndjson"](table, known).items():
        (tmp_path / "st.mary" / name).write_bytes(content)
    (tmp_path / "notes.json").write_text('{"about": "these tables"}')
    return tmp_path


def test_each_file_and_each_subfolder_is_a_hospital(folder: Path) -> None:
    tables = list_tables(folder, dictionary("aml"))
    assert [site_name(table) for table in tables] == ["berlin", "lyon", "milano", "st.mary"]
    read = [read_handover(table, dictionary("aml"))[0] for table in tables]
    assert {len(table) for table in read} == {6}
    assert all(table["os_days"].tolist() == read[0]["os_days"].tolist() for table in read)


@pytest.mark.parametrize("name", ["berlin", "st.mary"])
def test_a_folder_of_one_hospital_is_one_table(folder: Path, name: str) -> None:
    assert list_tables(folder / name, dictionary("aml")) == [folder / name]


def test_what_was_recognised_is_the_first_finding(folder: Path) -> None:
    _, findings = read_handover(folder / "berlin", dictionary("aml"))
    assert (findings[0].kind, findings[0].count) == ("format", 6)
    assert "read as OMOP tables: condition_occurrence, death" in findings[0].note
    _, findings = read_handover(folder / "milano.json", dictionary("aml"))
    assert findings[0].note.startswith("read as FHIR: 6 Patient, 6 Condition")


def test_one_hospitals_tables_among_others_are_refused(folder: Path) -> None:
    (folder / "berlin" / "lyon.csv").write_text("patient_id\n1\n")
    with pytest.raises(UnreadableFile, match=r"OMOP tables and other tables \(lyon.csv\)"):
        list_tables(folder / "berlin", dictionary("aml"))


def test_two_formats_in_one_folder_are_refused(folder: Path) -> None:
    (folder / "berlin" / "Patient.ndjson").write_text("{}")
    with pytest.raises(UnreadableFile, match=r"OMOP tables .* and FHIR resources"):
        list_tables(folder / "berlin", dictionary("aml"))


def test_one_table_twice_is_refused(folder: Path) -> None:
    (folder / "berlin" / "PERSON.tsv").write_text("person_id\n1\n")
    with pytest.raises(UnreadableFile, match="holds the table 'person' twice"):
        list_tables(folder / "berlin", dictionary("aml"))


@pytest.mark.parametrize(("lost", "says"), [("person", "but no person"), ("", "but no measurement or observation")])
def test_a_hospital_without_a_table_that_it_needs_is_not_passed_over(folder: Path, lost: str, says: str) -> None:
    for name in [lost] if lost else ["measurement", "observation"]:
        (folder / "berlin" / f"{name}.csv").unlink()
    with pytest.raises(UnreadableFile, match=says):
        list_tables(folder, dictionary("aml"))


def test_two_sources_of_one_hospital_are_refused(folder: Path) -> None:
    (folder / "lyon.json").write_text(json.dumps({"resourceType": "Bundle"}))
    with pytest.raises(UnreadableFile, match=r"two files for each of the sites \['lyon'\]"):
        list_tables(folder, dictionary("aml"))


def test_a_mapping_lies_beside_the_folder_and_bundle(folder: Path) -> None:
    (folder / "st.mary.mapping.toml").write_text('not_recorded = ["ecog"]\n')
    texts, findings = read_handover(folder / "st.mary", dictionary("aml"))
    assert set(texts["ecog"]) == {""}
    assert any(finding.kind == "not_recorded" for finding in findings)


def test_keys_without_a_place_in_long_sources_are_refused(folder: Path) -> None:
    (folder / "milano.mapping.toml").write_text('[dates]\na = {}\n[differences]\nos_days = { from = "a", to = "a" }\n')
    with pytest.raises(MappingError, match="differences have no place"):
        read_handover(folder / "milano.json", dictionary("aml"))
