"""Wide and tall tables are read, checked, held out and encoded in seconds, below 2 GiB; prints what it measured."""

import subprocess
import sys
from pathlib import Path

import pytest

from synthfed.cohorts.aml import simulate_aml
from tests.benchmarks.scale import invented
from tests.cli.command import environment

pytestmark = pytest.mark.benchmarks

SIZES = {"wide": (2_000, 600), "tall": (1_000_000, 50)}
MOST_MEMORY_MIB = 2048
# processor seconds, five times what one busy core needed; the clock of a shared machine says little
MOST_SECONDS = {"wide": 30, "tall": 100}

MEASURE = """
import re, sys, time
from pathlib import Path
from synthfed.cohorts.sites import read_cohort
from synthfed.tables.transform import public_transformer

table, dictionary = sys.argv[1:]
laps = [time.process_time()]
cohort = read_cohort(table, dictionary=dictionary)
laps.append(time.process_time())
encoder = public_transformer(cohort.schema)
codes = [encoder.encode(part) for part in (*cohort.sites.values(), *cohort.holdouts.values())]
laps.append(time.process_time())
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(*(later - earlier for earlier, later in zip(laps, laps[1:])), peak, sum(map(len, codes)), codes[0].shape[1])
"""


def measure(table: Path, dictionary: str | Path) -> tuple[str, list[int]]:
    """What reading and encoding took, in words, and the shape of the codes; the limits are checked."""
    words = (sys.executable, "-c", MEASURE, str(table), str(dictionary))
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment())
    read, encode, peak, rows, columns = map(float, done.stdout.split())
    assert peak < MOST_MEMORY_MIB
    assert read + encode < MOST_SECONDS["tall" if rows > 10_000 else "wide"]
    said = f"read and check {read:.1f} s, encode {encode:.1f} s of one core, {peak:,.0f} MiB at most"
    return said, [int(rows), int(columns)]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("size", list(SIZES))
def test_reading_checking_and_encoding_take_seconds_and_little_memory(
    size: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, columns = SIZES[size]
    invented.write(tmp_path, rows, columns)
    said, shape = measure(tmp_path / name, tmp_path / "dictionary.toml")
    with capsys.disabled():
        print(f"\n{size} {name}: {rows:,} x {columns}: {said}")
    assert shape == [rows, columns + 1]  # survival time and event are one block


def test_a_million_simulated_patients_pass_their_rules_in_little_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate_aml(1_000_000, seed=1).to_parquet(tmp_path / "t.parquet")
    said, shape = measure(tmp_path / "t.parquet", "aml")
    with capsys.disabled():
        print(f"\nAML: 1,000,000 x 50 with all rules: {said}")
    assert shape[0] == 1_000_000
