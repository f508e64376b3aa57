"""Invented patients of any number of rows and columns, with a dictionary and a pipeline: what a scale is measured on.

Columns of every kind, a tenth of their cells missing, hang together through one hidden number per patient, as does
survival; so there is something to learn at every width.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

KINDS = ("continuous", "count", "flag", "flag", "category")
_KEYS = {
    "continuous": "bounds = [0, 1000]\ndecimals = 1",
    "count": "bounds = [0, 100]",
    "category": 'levels = ["a", "b", "c", "d"]',
    "flag": "",
}
_HEAD = """disease = "invented"
[[survival]]
name = "os"
time = "os_days"
event = "os_event"
label = "Overall survival"
horizon_days = 1000
primary = true
[[column]]
name = "patient_id"
kind = "id"
missing = "never"
[[column]]
name = "os_days"
kind = "count"
bounds = [1, 2000]
[[column]]
name = "os_event"
kind = "flag"
"""
_PIPELINE = """title = "Invented patients"
disease = "{dictionary}"
seed = 7
[cohort]
min_rows = 10
columns = {names}
[generator]
kind = "marginal"
[privacy]
epsilon = 10.0
delta = 1e-7
expected_patients = {patients}
[release]
rows = {patients}
[evaluation]
targets = ["os_event"]
"""


def write(folder: Path, rows: int, columns: int, sites: int = 1) -> None:
    """`t.csv`, `t.parquet`, `dictionary.toml` and `pipeline.toml` in `folder`.

    With several sites the column `centre` names a row's.

    Args:
        columns: Besides the identity, the site and the two of survival.
    """
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal(rows)
    lines = [_HEAD]
    died = rng.random(rows) < 1 / (1 + np.exp(-hidden))
    table: dict[str, object] = {
        "patient_id": [f"P{i:08d}" for i in range(rows)],
        "centre": np.array([f"centre{i:02d}" for i in range(sites)])[rng.integers(0, sites, rows)],
        "os_days": 1 + (1998 * rng.random(rows) ** (1 + died)).astype(int),
        "os_event": died.astype(int),
    }
    for place in range(columns):
        kind, name, known = KINDS[place % len(KINDS)], f"x{place}", rng.random(rows) > 0.1
        lines.append(f'[[column]]\nname = "{name}"\nkind = "{kind}"\n{_KEYS[kind]}')
        share = 1 / (1 + np.exp(-(hidden * rng.normal() + rng.standard_normal(rows))))
        if kind == "continuous":
            table[name] = pd.Series(share * 1000).round(1).where(known)
        elif kind == "category":
            table[name] = pd.Series(np.array(list("abcd"))[(share * 4).astype(int).clip(0, 3)]).where(known)
        else:
            top = 100 if kind == "count" else 2
            table[name] = pd.Series((share * top).astype(int).clip(0, top - 1)).astype("Int64").where(known)
    names = json.dumps([name for name in table if name != "centre"])  # a TOML list of strings is written as JSON has it
    frame = pd.DataFrame(table).drop(columns=["centre"] if sites == 1 else [])
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    (folder / "dictionary.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "rules.toml").touch()
    pipeline = _PIPELINE.format(dictionary=folder / "dictionary.toml", patients=rows, names=names)
    (folder / "pipeline.toml").write_text(pipeline, encoding="utf-8")
