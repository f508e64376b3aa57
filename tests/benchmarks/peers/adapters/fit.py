"""One fit of one tool: a program for that tool's own interpreter, started as `python fit.py JOB.json`.

The job names the module beside this file that knows the tool (`tool`), the training rows (`train`, a CSV), what is
public about the columns (`columns`), how many rows to draw (`rows`), the budget (`epsilon`, null for none; `delta`), a
`seed`, and the folder of the results (`out`). There come to lie the drawn rows and `done.json`: CPU seconds of fitting
and drawing, imports left out, and the largest resident memory of the process.

A tool's module has `prepare(job)`, which imports the tool, and `fit(job, rows)`, which gives the drawn rows as a table,
or as codes for those that are given codes.
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def main(job_path: str) -> None:
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    out = Path(job["out"])
    tool = importlib.import_module(job["tool"])
    tool.prepare(job)
    np.random.seed(job["seed"])  # what most tools draw with, where they take no seed
    rows = read_rows(job)
    began = _cpu_seconds()
    drawn = tool.fit(job, rows)
    seconds = _cpu_seconds() - began
    if isinstance(drawn, pd.DataFrame):
        drawn.to_csv(out / "drawn.csv", index=False)
    else:
        np.save(out / "drawn.npy", drawn)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    done = {"cpu_s": seconds, "peak_mb": peak / 1024}
    (out / "done.json").write_text(json.dumps(done), encoding="utf-8")


def read_rows(job: dict[str, Any]) -> pd.DataFrame:
    """Numbers as float64 with NaN, levels as text with None."""
    rows = pd.read_csv(job["train"], dtype={one["name"]: str for one in job["columns"] if one["levels"]})
    for one in job["columns"]:
        if one["levels"]:
            rows[one["name"]] = rows[one["name"]].astype(object).where(rows[one["name"]].notna(), None)
        else:
            rows[one["name"]] = rows[one["name"]].astype("float64")
    return rows


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.process_time() + used[1].ru_utime + used[1].ru_stime


if __name__ == "__main__":
    main(sys.argv[1])
