"""What a run costs as patients, columns, sites and numbers grow; every point is a process of its own.

`make bench-scale` runs this file; `page.py` writes the page, its numbers and the pictures. Points measured before are
kept in `measured.json` and not measured again unless the file is removed.
"""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.benchmarks.scale import invented, page
from tests.cli.command import environment

pytestmark = pytest.mark.benchmarks

ROWS = (1_000, 10_000, 100_000, 1_000_000)
COLUMNS = (10, 30, 100, 300)
SITES = (3, 6, 12, 25, 50)
NUMBERS = (100_000, 1_000_000, 10_000_000)

# how fast a step may grow between the two largest points, as a power of the size, and why
MOST_GROWTH = {
    "rows": {"read": 1.2, "train": 1.2, "draw": 1.2, "score": 1.2},
    "columns": {"read": 1.3, "train": 2.2, "draw": 1.3, "score": 2.2},  # every pair of columns is counted and compared
    "sites": {"train": 2.2},  # every site shares a key with every other
    "numbers": {"sum": 1.2},
}


def measure(axis: str, size: int, module: str, words: Sequence[object]) -> None:
    """Run one point and keep what it printed."""
    kept = page.read()
    if str(size) in kept.get(axis, {}):
        return
    call = (sys.executable, "-m", f"tests.benchmarks.scale.{module}", *map(str, words))
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr[-2000:]
    page.keep(axis, size, json.loads(done.stdout.splitlines()[-1]))


def run(axis: str, size: int, folder: Path, *, rows: int, columns: int, sites: int) -> None:
    invented.write(folder, rows, columns, sites)
    measure(axis, size, "point", [folder])


@pytest.mark.parametrize("rows", ROWS)
def test_patients(rows: int, tmp_path: Path) -> None:
    run("rows", rows, tmp_path, rows=rows, columns=20, sites=3)


@pytest.mark.parametrize("columns", COLUMNS)
def test_columns(columns: int, tmp_path: Path) -> None:
    run("columns", columns, tmp_path, rows=1_000, columns=columns, sites=3)


@pytest.mark.parametrize("sites", SITES)
def test_sites(sites: int, tmp_path: Path) -> None:
    run("sites", sites, tmp_path, rows=100 * sites, columns=10, sites=sites)


@pytest.mark.parametrize("numbers", NUMBERS)
def test_numbers(numbers: int) -> None:
    measure("numbers", numbers, "sum_point", [numbers, 4])


@pytest.mark.parametrize("axis", list(MOST_GROWTH))
def test_nothing_grows_faster_than_it_must(axis: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The last of the file: reads what the others kept, and writes the page."""
    measured = page.read()
    for step, most in MOST_GROWTH[axis].items():
        power = page.growth(measured[axis], f"{step}_s")
        with capsys.disabled():
            print(f"\n{axis}: {step} grows as size^{power:.2f} (at most {most})", end="")
        assert math.isfinite(power)
        assert power <= most, f"{step} grows as {axis}^{power:.2f}"
    page.write()
