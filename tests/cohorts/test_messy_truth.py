"""Three real hand-overs load to the clean truth, cell for cell; skipped where the tables are absent.

The tables are linked, never copied, and a failure names columns and counts only.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthfed.cohorts.sites import Cohort, read_cohort
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.files import read_frame
from synthfed.tables.reading import type_table
from tests.tables.messy_mappings import GERMAN_WORKBOOK, REDCAP, SPREADSHEET

FILES = {
    "hospital_a.csv": SPREADSHEET,
    "hospital_b.xlsx": GERMAN_WORKBOOK,
    "hospital_c_redcap_data.csv": REDCAP.replace("{dictionary}", "hospital_c_redcap_dictionary.csv"),
}
PATIENTS = {"hospital_a.csv": 230, "hospital_b.xlsx": 127, "hospital_c_redcap_data.csv": 175}


@pytest.fixture
def messy(beat_aml: Path) -> Path:
    return beat_aml.parent / "messy"


@pytest.fixture
def folder(messy: Path, tmp_path: Path) -> Path:
    """A site's folder: links to the tables, and the mapping files beside them."""
    for name, text in FILES.items():
        (tmp_path / name).symlink_to(messy / name)
        (tmp_path / name).with_suffix(".mapping.toml").write_text(text, encoding="utf-8")
    dictionary = "hospital_c_redcap_dictionary.csv"
    (tmp_path / dictionary).symlink_to(messy / dictionary)
    return tmp_path


def declared(messy: Path, name: str) -> list[str]:
    """The canonical columns that the truth covers for a file."""
    lines = pd.read_csv(messy / "mapping.csv", dtype=str)
    columns = lines.loc[lines["file"] == name, "canonical_column"]
    return [column for column in columns if not column.startswith("(")] + (
        [] if "os_days" in set(columns) else ["os_days"]
    )


def compare(messy: Path, name: str, cohort: Cohort, columns: list[str]) -> tuple[int, dict[str, int]]:
    """Cells compared, and mismatches by column outside the lossy cells."""
    known = load_dictionary("aml")
    clean, _ = type_table(
        read_frame(messy.parent / "beataml_adult_newly_diagnosed.csv"),
        known,
        ["patient_id", *columns],
        origin="truth",
        extra=["wave"],
    )
    key = pd.read_csv(messy / "key.csv", dtype=str).query("file == @name").set_index("local_id")["patient_id"]
    lossy = pd.read_csv(messy / "lossy_cells.csv", dtype=str).query("file == @name")
    forgiven = {(key[row.local_id], row.canonical_column) for row in lossy.itertuples()}
    read = pd.concat([cohort.train, cohort.holdout], ignore_index=True)
    read.index = pd.Index(read["patient_id"].map(key))
    truth = clean.set_index("patient_id").loc[list(read.index)]
    assert set(read.index) == set(key)
    wrong, cells = {}, 0
    for column in columns:
        ours, theirs = read[column].astype("object").to_numpy(), truth[column].astype("object").to_numpy()
        counted = np.array([(patient, column) not in forgiven for patient in read.index])
        gone = pd.isna(ours), pd.isna(theirs)
        same = np.where(gone[0], "", ours) == np.where(gone[1], "", theirs)
        cells += int(counted.sum())
        if int((counted & ~same).sum()):
            wrong[column] = int((counted & ~same).sum())
    return cells, wrong


@pytest.mark.parametrize("name", list(FILES))
def test_every_cell_is_the_truth(name: str, messy: Path, folder: Path) -> None:
    columns = declared(messy, name)
    cohort = read_cohort({"site": folder / name}, columns=["patient_id", *columns])
    cells, wrong = compare(messy, name, cohort, columns)
    assert wrong == {}
    assert cells > 4000
    assert len(cohort.train) + len(cohort.holdout) == PATIENTS[name]
