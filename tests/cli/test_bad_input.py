"""Bad input ends with one clear message and exit code 2, before any training, and nothing is written."""

from pathlib import Path

import pandas as pd
import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.pipeline import Pipeline
from synthfed.tables.writing import to_csv_bytes
from tests.cli.command import synthfed


@pytest.fixture(scope="module")
def clean_csv(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A simulated table with a hospital column, as CSV text."""
    settings = Pipeline.load("smoke").cohort
    cohort = load_cohort("aml", sites=3, patients=240, seed=3, columns=settings.columns)
    parts = [pd.concat([rows, cohort.holdouts[site]]).assign(hospital=site) for site, rows in cohort.sites.items()]
    table = pd.concat(parts, ignore_index=True)
    typed = to_csv_bytes(table.drop(columns="hospital"), cohort.schema).decode().splitlines()
    lines = [typed[0] + ",hospital"] + [
        f"{line},{site}" for line, site in zip(typed[1:], table["hospital"], strict=True)
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str, column: str, value: str, row: int = 5) -> str:
    lines = text.splitlines()
    position = lines[0].split(",").index(column)
    cells = lines[row].split(",")
    cells[position] = value
    lines[row] = ",".join(cells)
    return "\n".join(lines) + "\n"


def _refused(text: str, tmp_path: Path, *options: str) -> str:
    file = tmp_path / "patients.csv"
    file.write_text(text)
    done = synthfed("run", "smoke", "--data", str(file), *options, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("synthfed: ")
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patients.csv"]
    return done.stderr


def test_unknown_column_is_named_with_a_suggestion(clean_csv: str, tmp_path: Path) -> None:
    message = _refused(clean_csv.replace("NPM1", "NPM1x"), tmp_path, "--site-column", "hospital")
    assert "NPM1x" in message
    assert "NPM1" in message


def test_level_outside_the_dictionary_names_the_levels_and_not_the_value(clean_csv: str, tmp_path: Path) -> None:
    message = _refused(_cell(clean_csv, "sex", "zzpatientzz"), tmp_path, "--site-column", "hospital")
    assert "sex" in message
    assert "male" in message
    assert "zzpatientzz" not in message


def test_value_outside_the_bounds_names_the_bounds_and_not_the_value(clean_csv: str, tmp_path: Path) -> None:
    message = _refused(_cell(clean_csv, "age_years", "731"), tmp_path, "--site-column", "hospital")
    assert "age_years" in message
    assert "100" in message
    assert "731" not in message


def test_two_sites_are_too_few(clean_csv: str, tmp_path: Path) -> None:
    lines = clean_csv.splitlines()
    third = lines[-1].rsplit(",", 1)[1]
    two = "\n".join(line for line in lines if not line.endswith("," + third)) + "\n"
    assert "--split-sites" in _refused(two, tmp_path, "--site-column", "hospital")


def test_site_with_too_few_rows_is_named(clean_csv: str, tmp_path: Path) -> None:
    lines = clean_csv.splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ",tiny"
    assert "tiny" in _refused("\n".join(lines) + "\n", tmp_path, "--site-column", "hospital")


def test_missing_site_column_lists_what_there_is(clean_csv: str, tmp_path: Path) -> None:
    assert "clinic" in _refused(clean_csv, tmp_path, "--site-column", "clinic")


def test_budget_too_small_says_what_would_do(clean_csv: str, tmp_path: Path) -> None:
    message = _refused(clean_csv, tmp_path, "--site-column", "hospital", "--set", "privacy.epsilon=0.001")
    assert "epsilon" in message


def test_wrong_key_is_named(clean_csv: str, tmp_path: Path) -> None:
    message = _refused(clean_csv, tmp_path, "--site-column", "hospital", "--set", "privacy.epsilo=1")
    assert "privacy.epsilo" in message


def test_unreadable_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "patients.xlsx"
    file.write_bytes(b"not a workbook")
    done = synthfed("run", "smoke", "--data", str(file), "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "patients.xlsx" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_file_is_said(tmp_path: Path) -> None:
    done = synthfed("run", "smoke", "--data", "nowhere.csv", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere.csv" in done.stderr
