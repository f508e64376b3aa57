"""Run fits one after the other, each in a process of its own, and keep what each found; no finished one runs again.

Training rows, jobs and drawn tables lie under the work folder and nowhere else. A record is a small JSON file: scores,
CPU seconds and memory, or why there are none.
"""

import json
import math
import resource
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthfed.evaluation.copies import exact_copies
from synthfed.evaluation.membership import infer_membership
from synthfed.evaluation.rows import Shape, read_rows
from synthfed.evaluation.validity import valid_cells
from synthfed.pipeline import Pipeline
from synthfed.privacy.budget import gdp_mu
from tests.benchmarks.peers.environments import NotInstalled, environment_of, interpreter, why
from tests.benchmarks.peers.plan import HERE, Comparison, Fit
from tests.benchmarks.scores import likeness, score, shuffled
from tests.benchmarks.tables import Table, load_table

ADAPTERS = HERE / "adapters"
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything lies: environments, splits and fits under `work`."""

    plan: Comparison
    work: Path

    def python_of(self, fit: Fit) -> Path:
        """The interpreter of a fit; `NotInstalled` says why there is none."""
        name = fit.contestant.environment
        return interpreter(name, self.plan.environments[name], self.work / "environments")

    def record_of(self, fit: Fit) -> Path:
        return self.work / "records" / f"{fit.name}.json"


def run_all(bench: Bench, fits: Iterable[Fit]) -> None:
    """Run what is not done yet; a table that is not on this machine is left out.

    Who failed on the first split of a table is not run on its others at that budget.
    """
    splits: dict[tuple[str, int], Table | None] = {}
    for fit in fits:
        file = bench.record_of(fit)
        if file.exists():
            continue
        key = (fit.table, fit.seed)
        if key not in splits:
            splits = {key: _split(*key)}  # one at a time in memory
        table = splits[key]
        if table is None:
            continue
        anchors(bench, fit.table, fit.seed, table)
        record = _gave_up(bench, fit) or _run(bench, fit, table)
        _write(file, record)
        said = record.get("failure") or "  ".join(f"{name} {value:.3f}" for name, value in record["scores"].items())
        print(f"{fit.table:14} {fit.contestant.name:28} {fit.epsilon:4g} {fit.seed}  {said}", flush=True)


def anchors(bench: Bench, name: str, seed: int, table: Table) -> None:
    """Scores of the training rows, of fresh patients and of shuffled columns in a synthetic table's place."""
    file = bench.work / "records" / f"{name.replace(' ', '-')}-anchors-{seed}.json"
    if file.exists():
        return
    count = min(len(table.train), len(table.fresh) // 2)
    sample, rest = table.fresh.iloc[:count], table.fresh.iloc[count:]
    apart = replace(table, fresh=rest.reset_index(drop=True))  # nobody is predicted by a model that saw them
    ceiling = {**score(apart, sample.reset_index(drop=True)), **likeness(table, sample)}
    record = {
        "table": name,
        "seed": seed,
        "train": len(table.train),
        "fresh": len(table.fresh),
        "columns": len(table.schema.modelled),
        "real": score(table, table.train),
        "real on the rest": score(apart, table.train),
        "fresh patients": {**ceiling, **_attacked(apart, sample)},
        "shuffled": {**score(table, shuffled(table.train, seed)), **_attacked(table, shuffled(table.train, seed))},
    }
    _write(file, record)


def read_records(bench: Bench) -> tuple[list[Record], list[Record]]:
    """Anchors and fits so far."""
    every = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((bench.work / "records").glob("*.json"))]
    return [one for one in every if "real" in one], [one for one in every if "contestant" in one]


def _split(name: str, seed: int) -> Table | None:
    try:
        return load_table(name, seed)
    except pytest.skip.Exception as absent:
        print(f"{name}: left out, {absent}", flush=True)
        return None


def _gave_up(bench: Bench, fit: Fit) -> Record | None:
    """The record of the first split, where that is a failure."""
    first = bench.record_of(replace(fit, seed=0))
    if fit.seed == 0 or not first.exists():
        return None
    record: Record = json.loads(first.read_text(encoding="utf-8"))
    return {**record, "seed": fit.seed} if "failure" in record else None


def _run(bench: Bench, fit: Fit, table: Table) -> Record:
    known = {"table": fit.table, "contestant": fit.contestant.name, "epsilon": _plain(fit.epsilon), "seed": fit.seed}
    try:
        python = bench.python_of(fit)
    except NotInstalled as refused:
        return known | {"failure": f"not installed: {refused}"}
    out = bench.work / "fits" / fit.name
    out.mkdir(parents=True, exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    job = _job(bench, fit, table, out)
    (out / "job.json").write_text(json.dumps(job), encoding="utf-8")
    limit = bench.plan.cpu_seconds
    began = time.monotonic()
    try:
        with (out / "log.txt").open("w") as log:
            ended = subprocess.run(
                [str(python), str(ADAPTERS / "fit.py"), str(out / "job.json")],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment_of(fit.contestant.tool),
                timeout=bench.plan.wall_seconds,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5)),
                check=False,
            )
    except subprocess.TimeoutExpired:
        return known | {"failure": f"stopped after {bench.plan.wall_seconds} s"}
    wall = time.monotonic() - began
    if not (out / "done.json").exists():
        said = why((out / "log.txt").read_text(encoding="utf-8", errors="replace"))
        killed = ended.returncode in (-9, -24)  # SIGKILL, SIGXCPU
        return known | {"failure": f"stopped after {limit} CPU s" if killed else said}
    done = json.loads((out / "done.json").read_text(encoding="utf-8"))
    drawn, inside = _drawn(table, fit, out)
    scores = {**score(table, drawn), **_attacked(table, drawn), "inside": inside}
    return known | {"scores": scores, "wall_s": wall, **done}


def _job(bench: Bench, fit: Fit, table: Table, out: Path) -> dict[str, Any]:
    """All that a tool may know: the training rows, and what is public about them."""
    columns: list[dict[str, Any]] = [
        {
            "name": column.name,
            "levels": list(column.levels) if column.has_levels else [],
            "lower": column.lower,
            "upper": column.upper,
            "scale": column.scale if column.is_number else "linear",
            "missing": column.missing != "never",
        }
        for column in table.schema.modelled
    ]
    train = out / "train.csv"
    table.train[[one["name"] for one in columns]].to_csv(train, index=False)
    job: dict[str, Any] = {
        "tool": fit.contestant.tool,
        "kind": fit.contestant.kind,
        "sites": fit.contestant.sites,
        "passes": fit.contestant.passes,
        "train": str(train),
        "out": str(out),
        "rows": bench.plan.rows,
        "epsilon": None if math.isinf(fit.epsilon) else fit.epsilon,
        "delta": bench.plan.delta,
        "seed": fit.seed,
        "patients": round(len(table.train), -2),
        "columns": columns,
        "targets": list(table.targets),
    }
    if fit.contestant.ours:
        disease = table.schema.disease if table.rules.rules else None
        groups = list(Pipeline.load(disease).evaluation.groups) if disease else []
        job |= {"schema": table.schema.to_dict(), "rules": disease, "groups": groups}
    if fit.contestant.coded:
        np.save(out / "codes.npy", table.transformer.encode(table.train))
        mu = gdp_mu(fit.epsilon, bench.plan.delta)
        job |= {"codes": str(out / "codes.npy"), "widths": list(map(int, table.transformer.widths)), "mu": mu}
    return job


def _drawn(table: Table, fit: Fit, out: Path) -> tuple[pd.DataFrame, float]:
    """The drawn rows as a typed table, and the share of cells that lay inside the dictionary before."""
    if fit.contestant.coded:
        rows = table.transformer.decode(np.load(out / "drawn.npy"), np.random.default_rng(fit.seed))
        return rows, 1.0
    return typed(pd.read_csv(out / "drawn.csv", dtype=str, keep_default_na=False, na_values=[""]), table)


def typed(texts: pd.DataFrame, table: Table) -> tuple[pd.DataFrame, float]:
    """Read what a tool wrote: numbers are clipped to the public bounds and rounded, unknown levels become missing.

    Also the share of cells that needed neither. Both are free under any budget, and in favour of the tool.
    """
    schema = table.schema.select([column.name for column in table.schema.modelled])
    found: dict[str, pd.Series] = {}
    for column in schema.columns:
        values = texts[column.name]
        if column.is_number:
            found[column.name] = pd.to_numeric(values, errors="coerce")
        else:
            plain = values.str.removesuffix(".0") if column.kind == "flag" else values
            found[column.name] = plain.where(plain.isin(column.levels))
    raw = pd.DataFrame(found)
    good, cells = valid_cells(raw, schema)
    for column in schema.columns:
        if column.is_number:
            raw[column.name] = raw[column.name].clip(column.lower, column.upper).round(column.decimals)
        else:
            if column.missing != "never":  # else its gaps are outside already
                good -= int((raw[column.name].isna() & texts[column.name].notna()).sum())
            if column.kind == "flag":
                raw[column.name] = pd.to_numeric(raw[column.name])
    return schema.cast(raw), good / cells


def _attacked(table: Table, rows: pd.DataFrame) -> dict[str, float]:
    """What an attacker gains: members found beyond guessing, and training rows copied beyond what fresh rows are."""
    shape = Shape.of(table.schema.select([column.name for column in table.schema.modelled]))
    train, fresh, drawn = (read_rows(one, shape) for one in (table.train, table.fresh, rows))
    found = infer_membership(train, fresh, drawn, seed=0)
    gained = {} if found is None else {"members": found.found - found.rate, "by chance": found.guess - found.rate}
    return {**gained, "copies": exact_copies(train, fresh, drawn).value}


def _plain(epsilon: float) -> float | str:
    return "inf" if math.isinf(epsilon) else epsilon


def _write(file: Path, record: Record) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(record, allow_nan=False), encoding="utf-8")
    fresh.replace(file)
