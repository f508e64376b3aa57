"""A draft mapping is valid, leaves every doubt to a person, and says no more of the table than its headers."""

import re
from pathlib import Path

import pandas as pd
import pytest

from synthfed.cohorts.sites import read_cohort
from synthfed.errors import DataError
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.handover import draft_mappings
from synthfed.tables.mapping import load_mapping
from tests.tables.messify import COLUMNS, simulated_patients, write_redcap, write_spreadsheet, write_workbook

AML = load_dictionary("aml")
WRITERS = (write_spreadsheet, write_workbook, write_redcap)
KEY = bytes(32)


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    return simulated_patients(120)


@pytest.fixture
def folder(patients: pd.DataFrame, tmp_path: Path) -> Path:
    """Three hand-overs without their mappings."""
    for write in WRITERS:
        write(patients, tmp_path).with_suffix(".mapping.toml").unlink()
    return tmp_path


def test_each_table_gets_a_valid_draft_and_a_form_none(folder: Path) -> None:
    drafts = draft_mappings(folder, AML)
    assert [file.name for file in drafts] == ["berlin.mapping.toml", "lyon.mapping.toml", "milano.mapping.toml"]
    for file in drafts:
        load_mapping(file, AML)
    assert load_mapping(drafts[2], AML).redcap_dictionary == "milano_fields.csv"
    assert draft_mappings(folder, AML) == []


def test_a_draft_alone_is_refused_until_the_doubts_are_settled(folder: Path) -> None:
    for file in draft_mappings(folder, AML):
        table = next(f for f in folder.iterdir() if f.name in (f"{file.name.split('.')[0]}.csv", "berlin.xlsx"))
        with pytest.raises(DataError):
            read_cohort({"site": table}, columns=COLUMNS)


def test_a_confirmed_draft_loads_to_the_patients(folder: Path, patients: pd.DataFrame) -> None:
    draft_mappings(folder, AML)
    file = folder / "lyon.mapping.toml"
    text = re.sub(r"(?m)^(# CONFIRM [^\n]*\n)# ", r"\1", file.read_text(encoding="utf-8"))
    settled = {
        "ignore = []": 'ignore = ["Ward"]',
        '"Ward" = "..."\n': "",
        "1950": "2000",
        'codes = { CODE = "0" or "1" }': "codes = { 1 = 1, 0 = 0 }",
        '"Response" = "..."': '"Response" = "induction_response"',
    }
    for asked, answer in settled.items():
        assert asked in text
        text = text.replace(asked, answer)
    file.write_text(text, encoding="utf-8")
    read = read_cohort({"site": folder / "lyon.csv"}, columns=COLUMNS, split_key=KEY, holdout_fraction=1e-9).train
    truth = read_cohort({"site": patients}, columns=COLUMNS, split_key=KEY, holdout_fraction=1e-9).train
    pd.testing.assert_frame_equal(read, truth)


def test_doubts_are_comments_and_certainties_are_lines(folder: Path) -> None:
    draft_mappings(folder, AML)
    lyon = (folder / "lyon.mapping.toml").read_text(encoding="utf-8").splitlines()
    berlin = (folder / "berlin.mapping.toml").read_text(encoding="utf-8").splitlines()
    assert '"AGE" = "age_years"' in lyon
    assert '"Hb (g/L)" = { column = "hb_g_dl", unit = "g/L" }' in berlin
    place = next(i for i, line in enumerate(lyon) if '"HB"' in line)
    assert lyon[place].startswith("# ")
    assert lyon[place - 1] == '# CONFIRM the unit ("g/dL" or "g/L" or "mmol/L")'
    assert all(line.startswith("# ") for line in berlin if '"Vitalstatus"' in line or "os_days" in line)


def test_a_draft_holds_no_cell(folder: Path, patients: pd.DataFrame) -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in draft_mappings(folder, AML))
    assert not [name for name in patients["patient_id"] if name in text]
    assert "7B" not in text
    assert "seen" not in text


def test_columns_without_a_header_get_a_proposal_to_confirm(folder: Path) -> None:
    wanted = ["IDH2", "karyotype_known", "class_fusion", "prior_mds", "eln2022", "os_days", "age_years"]
    table = pd.read_csv(folder / "lyon.csv", sep=";", dtype=str).assign(**{"IDH2 R140": "0", "IDH2_R172": "1"})
    table.to_csv(folder / "lyon.csv", sep=";", index=False)
    form = folder / "milano_fields.csv"
    form.write_text(form.read_text(encoding="utf-8").replace("8, h", "8, Monosomy 7"), encoding="utf-8")
    draft_mappings(folder, AML, wanted=wanted)
    lyon = (folder / "lyon.mapping.toml").read_text(encoding="utf-8")
    assert '# IDH2 = { any = ["IDH2 R140", "IDH2_R172"] }' in lyon
    assert '# karyotype_known = { known = ["normal_karyotype", "mono7"] }' in lyon
    assert "# class_fusion is composed from" in lyon
    assert '# not_recorded = ["prior_mds"]' in lyon
    milano = (folder / "milano.mapping.toml").read_text(encoding="utf-8")
    assert "# karyotype_known = { any = [\"[cyto_done] = '1'\"] }" in milano
    for file in folder.glob("*.mapping.toml"):
        load_mapping(file, AML)


def test_headers_in_other_languages_are_proposed(tmp_path: Path) -> None:
    headers = {"Pat-Nr": "a", "Alter": "61", "Geschlecht (1=m, 2=w)": "1", "Plaquettes": "40"}
    pd.DataFrame({header: [cell] for header, cell in headers.items()}).to_csv(tmp_path / "lyon.csv", index=False)
    draft_mappings(tmp_path, AML)
    lines = (tmp_path / "lyon.mapping.toml").read_text(encoding="utf-8").splitlines()
    assert '# "Pat-Nr" = "patient_id"' in lines
    assert '# "Alter" = "age_years"' in lines
    assert '# "Plaquettes" = { column = "platelets_10e9_l", unit = "10^9/L" }' in lines
    assert any("Geschlecht" in line and 'codes = { 1 = "male", 2 = "female" }' in line for line in lines)


def test_hundreds_of_strange_headers_are_one_question(tmp_path: Path) -> None:
    names = [f"crf_{i}_q" for i in range(300)]
    frame = pd.DataFrame({"patient_id": ["P1", "P2"], "sex": ["male", "female"]} | dict.fromkeys(names, "7"))
    frame.to_csv(tmp_path / "lyon.csv", index=False)
    (draft,) = draft_mappings(tmp_path / "lyon.csv", AML)
    text = draft.read_text(encoding="utf-8")
    assert text.count("\n# CONFIRM ") == 1
    draft.write_text(text.replace("# ignore", "ignore"), encoding="utf-8")
    assert set(load_mapping(draft, AML).ignore) == set(names)
    assert len(read_cohort(tmp_path / "lyon.csv", columns=["patient_id", "sex"], holdout_fraction=0.0).train) == 2
