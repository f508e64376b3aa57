"""A Castor export is known by the columns it adds; its codes for missing never become values."""

from pathlib import Path

import pandas as pd
import pytest

from synthfed.cohorts.sites import read_cohort
from synthfed.errors import DataError
from synthfed.tables.handover import draft_mappings, read_handover
from synthfed.tables.mapping import load_mapping
from synthfed.tables.reading import type_table
from tests.tables.formats.simulated import dictionary, patients

AML = dictionary("aml")
COLUMNS = ["patient_id", "age_years", "sex", "wbc_10e9_l", "ldh_u_l", "NPM1", "os_days", "os_event"]
MAPPING = """
[columns]
"base_age" = "age_years"
"base_sex" = { column = "sex", codes = { 1 = "male", 2 = "female" } }
"lab_wbc" = { column = "wbc_10e9_l", unit = "10^9/L" }
"lab_ldh" = { column = "ldh_u_l", unit = "U/L" }
"fu_dead" = { column = "os_event", codes = { 0 = 0, 1 = 1 } }

[dates]
"dx_date" = {}
"fu_date" = {}

[differences]
os_days = { from = "dx_date", to = "fu_date" }
"""


def put(folder: Path, *, mapping: str = MAPPING) -> tuple[Path, pd.DataFrame]:
    """Simulated patients as Castor hands them out, with every way of saying that a value is missing."""
    table = patients("aml", 80)[COLUMNS].reset_index(drop=True)
    start = pd.Series(pd.Timestamp("2012-03-04"), index=table.index) + pd.to_timedelta(table.index * 11, unit="D")
    days = table["os_days"].astype("float64")
    end = (start + pd.to_timedelta(days.fillna(0), unit="D")).dt.strftime("%d-%m-%Y")
    reasons = pd.Series([f"##USER_MISSING_{95 + i % 5}##" for i in table.index])
    numbers = pd.Series([str(-95 - i % 5) for i in table.index])
    frame = pd.DataFrame(
        {
            "Participant Id": table["patient_id"],
            "Participant Status": "Not Set",
            "Site Abbreviation": "LYO",
            "Participant Creation Date": "01-02-2020 10:11:12",
            "base_age": table["age_years"].map("{:g}".format),
            "base_sex": (table["sex"] == "female").astype(int) + 1,
            "lab_wbc": table["wbc_10e9_l"].map("{:g}".format).where(table["wbc_10e9_l"].notna(), reasons),
            "lab_ldh": table["ldh_u_l"].astype("string").where(table["ldh_u_l"].notna(), numbers),
            "NPM1": table["NPM1"].astype("string").fillna("Missing (not done)"),
            "dx_date": start.dt.strftime("%d-%m-%Y"),
            "fu_date": end.where(days.notna(), [f"01-01-{2995 + i % 5}" for i in table.index]),
            "fu_dead": table["os_event"].astype("string").fillna("##USER_MISSING_99##"),
        }
    )
    path = folder / "lyon.csv"
    frame.to_csv(path, sep=";", index=False)
    if mapping:
        path.with_suffix(".mapping.toml").write_text(mapping, encoding="utf-8")
    return path, table


def test_an_export_loads_to_the_patients(tmp_path: Path) -> None:
    path, table = put(tmp_path)
    frame, findings = read_handover(path, AML)
    again, _ = type_table(frame, AML, COLUMNS, origin="lyon")
    pd.testing.assert_frame_equal(again, table[[name for name in AML.schema.names if name in COLUMNS]])
    assert findings[0].column == "Castor EDC export"
    left_out = {f.column for f in findings if f.kind == "ignored"}
    assert left_out == {"Participant Status", "Site Abbreviation", "Participant Creation Date"}


def test_the_site_column_can_still_name_the_sites(tmp_path: Path) -> None:
    path, _ = put(tmp_path)
    assert read_cohort(path, columns=COLUMNS, site_column="Site Abbreviation").site_names == ("LYO",)


def test_without_a_mapping_the_open_columns_are_asked_for(tmp_path: Path) -> None:
    path, _ = put(tmp_path, mapping="")
    with pytest.raises(DataError, match="'base_age' has no meaning yet") as raised:
        read_handover(path, AML)
    assert "Participant" not in str(raised.value)


def test_a_draft_names_what_castor_adds_only_once(tmp_path: Path) -> None:
    path, _ = put(tmp_path, mapping="")
    draft_mappings(path, AML)
    text = path.with_suffix(".mapping.toml").read_text(encoding="utf-8")
    assert "# A Castor export: Participant Id is the patient" in text
    assert '"Site Abbreviation"' not in text
    load_mapping(path.with_suffix(".mapping.toml"), AML)
