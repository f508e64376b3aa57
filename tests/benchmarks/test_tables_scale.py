"""Wide and tall tables are read, checked and encoded in seconds, below two gigabytes; prints what it measured."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.command import environment

pytestmark = pytest.mark.benchmarks

SIZES = {"wide": (2_000, 600), "tall": (1_000_000, 50)}
KINDS = ("continuous", "count", "flag", "flag", "category")
MOST_MEMORY_MIB = 2048
# processor seconds, five times what one busy core needed; the clock of a shared machine says little
MOST_SECONDS = {"wide": 30, "tall": 100}

MEASURE = """
import resource, sys, time
from pathlib import Path
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.handover import read_handover
from synthfed.tables.reading import type_table
from synthfed.tables.transform import public_transformer

table = Path(sys.argv[1])
dictionary = load_dictionary(table.with_name("dictionary.toml"))
laps = [time.process_time()]
texts, _ = read_handover(table, dictionary)
laps.append(time.process_time())
typed, _ = type_table(texts, dictionary, list(dictionary.schema.names), origin="t")
del texts
laps.append(time.process_time())
codes = public_transformer(dictionary.schema).encode(typed)
laps.append(time.process_time())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
print(*(later - earlier for earlier, later in zip(laps, laps[1:])), peak, *codes.shape)
"""


def write(folder: Path, rows: int, columns: int) -> None:
    """An invented table of every kind of column, a tenth of it missing, and its dictionary."""
    rng = np.random.default_rng(0)
    lines = ['disease = "invented"', '[[column]]\nname = "patient_id"\nkind = "id"\nmissing = "never"']
    table: dict[str, object] = {"patient_id": [f"P{i:08d}" for i in range(rows)]}
    keys = {"continuous": "bounds = [0, 1000]\ndecimals = 1", "count": "bounds = [0, 100]"}
    keys |= {"category": 'levels = ["a", "b", "c", "d"]', "flag": ""}
    for place in range(columns - 1):
        kind, name, known = KINDS[place % 5], f"x{place}", rng.random(rows) > 0.1
        lines.append(f'[[column]]\nname = "{name}"\nkind = "{kind}"\n{keys[kind]}')
        if kind == "continuous":
            table[name] = pd.Series(rng.random(rows) * 1000).round(1).where(known)
        elif kind == "category":
            table[name] = pd.Series(rng.choice(list("abcd"), rows), dtype="object").where(known)
        else:
            top = 100 if kind == "count" else 2
            table[name] = pd.Series(rng.integers(0, top, rows)).astype("Int64").where(known)
    frame = pd.DataFrame(table)
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    (folder / "dictionary.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("size", list(SIZES))
def test_reading_checking_and_encoding_take_seconds_and_little_memory(
    size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, columns = SIZES[size]
    write(tmp_path, rows, columns)
    for name in ("t.csv", "t.parquet"):
        words = (sys.executable, "-c", MEASURE, str(tmp_path / name))
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment())
        read, check, encode, peak, *shape = map(float, done.stdout.split())
        with capsys.disabled():
            print(f"\n{size} {name}: {rows:,} x {columns}: read {read:.1f} s, check {check:.1f} s, ", end="")
            print(f"encode {encode:.1f} s of one core, {peak:,.0f} MiB at most")
        assert shape == [rows, columns - 1]
        assert read + check + encode < MOST_SECONDS[size]
        assert peak < MOST_MEMORY_MIB
