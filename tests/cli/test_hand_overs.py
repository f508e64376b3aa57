"""Hospitals' own tables with a mapping beside each are checked and trained on by the ordinary words."""

from pathlib import Path

import pytest

from tests.cli.test_bad_input import synthfed
from tests.tables.messify import simulated_patients, write_redcap, write_spreadsheet, write_workbook


@pytest.fixture(scope="module")
def hand_overs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hand-overs")
    patients = simulated_patients(450)
    for place, write in enumerate((write_spreadsheet, write_workbook, write_redcap)):
        write(patients.iloc[150 * place : 150 * (place + 1)].reset_index(drop=True), folder)
    return folder


def test_check_lists_every_conversion(hand_overs: Path, tmp_path: Path) -> None:
    done = synthfed("check", "smoke", "--data", str(hand_overs), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ldh_u_l: converted from ukat/L to U/L, x 60" in done.stdout
    assert "t_15_17" in done.stdout
    assert "not asked, so missing and not negative" in done.stdout
    assert "ready" in done.stdout


def test_one_hospitals_table_fits_though_it_cannot_run_alone(hand_overs: Path, tmp_path: Path) -> None:
    for file in hand_overs.glob("berlin.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    done = synthfed("check", "smoke", "--data", "berlin.xlsx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one hospital's table, and it fits; to take part in a federation: synthfed site init" in done.stdout


def test_a_hand_over_without_its_mapping_is_refused(hand_overs: Path, tmp_path: Path) -> None:
    (tmp_path / "berlin.xlsx").write_bytes((hand_overs / "berlin.xlsx").read_bytes())
    done = synthfed("check", "smoke", "--data", "berlin.xlsx", cwd=tmp_path)
    assert done.returncode == 2
    assert "Leukozyten" in done.stderr


def test_a_mapping_is_drafted_beside_the_table(hand_overs: Path, tmp_path: Path) -> None:
    (tmp_path / "lyon.csv").write_bytes((hand_overs / "lyon.csv").read_bytes())
    done = synthfed("check", "smoke", "--data", "lyon.csv", "--suggest-mapping", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "# CONFIRM" in done.stdout
    assert "lyon.csv" in (tmp_path / "lyon.mapping.toml").read_text(encoding="utf-8")
    done = synthfed("check", "smoke", "--data", "lyon.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "[columns]" in done.stderr
