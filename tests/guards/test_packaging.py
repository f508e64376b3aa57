"""A wheel and a source archive hold code and settings, never a row of a table."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = {".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".feather", ".sqlite", ".db", ".synthfed", ".npz", ".pkl"}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    out = tmp_path_factory.mktemp("dist")
    planted = ROOT / "datasets" / "aml" / "planted_rows.csv"  # git-ignored, as a careless user would leave it
    planted.write_text("age\n1\n")
    try:
        for target in ("wheel", "sdist"):
            command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    finally:
        planted.unlink()
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return zipfile.ZipFile(wheel).namelist(), tarfile.open(sdist).getnames()


def test_no_archive_holds_rows(archives: tuple[list[str], list[str]]) -> None:
    for names in archives:
        assert names
        assert [name for name in names if Path(name).suffix in ROWS] == []


def test_wheel_carries_what_a_run_needs(archives: tuple[list[str], list[str]]) -> None:
    wheel, _ = archives
    for wanted in (
        "synthfed/_bundled/pipelines/aml.toml",
        "synthfed/_bundled/datasets/aml/dictionary.toml",
        "synthfed/_bundled/datasets/aml/rules.toml",
        "synthfed/_bundled/datasets/scd/dictionary.toml",
        "synthfed/_bundled/reports/templates/report.html.j2",
    ):
        assert wanted in wheel
