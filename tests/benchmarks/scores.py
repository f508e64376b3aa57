"""How good a table is, on one scale for every generator: scores of typed rows against training rows and fresh ones.

| score | meaning                                                                                                  |
|-------|----------------------------------------------------------------------------------------------------------|
| TV1   | mean one-way total variation to the training table, 8 quantile cells per number and missing              |
| TV2   | the same for all pairs of columns                                                                        |
| KM    | largest distance of its survival curve to that of the training table, up to 90 % of the times            |
| C     | Harrell's C on fresh rows, ridge Cox regression fitted to the table                                      |
| AUC   | boosted trees trained on the table, the event predicted on fresh rows; time and cause of death removed   |
| AUC b | the same from what is known at the start                                                                 |
| AUC t | the same for the other declared targets                                                                  |

TV1, TV2 and KM cannot tell a good table from shuffled columns where there are few rows; C and AUC can.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from tests.benchmarks.tables import Table

LATE = ("cause_of_death",)  # says itself whether the patient died


def likeness(table: Table, rows: pd.DataFrame) -> dict[str, float]:
    (times, events, known), (others, ends, seen) = _times(table, table.train), _times(table, rows)
    grid = np.linspace(0, np.quantile(times[known], 0.9), 200)
    gap = np.abs(_curve(times[known], events[known], grid) - _curve(others[seen], ends[seen], grid)).max()
    one, two = _total_variation(table, rows)
    return {"TV1": one, "TV2": two, "KM": float(gap)}


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


def _total_variation(table: Table, rows: pd.DataFrame) -> tuple[float, float]:
    """Mean over columns, and over pairs of columns."""
    real, other = _cells(table, table.train), _cells(table, rows)

    def distance(*columns: int) -> float:
        shares = []
        for cells in (real, other):
            place = np.zeros(len(cells[0][0]), dtype=np.int64)
            size = 1
            for column in columns:
                place, size = place * real[column][1] + cells[column][0], size * real[column][1]
            shares.append(np.bincount(place, minlength=size) / len(place))
        return float(0.5 * np.abs(shares[0] - shares[1]).sum())

    every = range(len(real))
    return (
        float(np.mean([distance(column) for column in every])),
        float(np.mean([distance(a, b) for a, b in combinations(every, 2)])),
    )


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
    features = _features(table, known, hidden).dropna(axis="columns", how="all")  # no bins of a column without values
    model.fit(features, labels)
    guesses = model.predict_proba(_features(table, fresh, hidden)[features.columns])[:, 1]
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
