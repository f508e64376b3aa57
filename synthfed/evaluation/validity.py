"""Is every record possible? Computed from the synthetic table, its dictionary and its rules alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import beta

from synthfed.evaluation.anchors import light_of
from synthfed.evaluation.rows import Rows
from synthfed.evaluation.scorecard import Direction, Light, Metric
from synthfed.evaluation.thresholds import THRESHOLDS
from synthfed.tables.schema import Column, Schema


def valid_cells(table: pd.DataFrame, schema: Schema) -> tuple[int, int]:
    """Cells inside the dictionary (column, type, code, range, decimals, missing where allowed), and all cells.

    Identity columns do not count; every cell of an absent column is invalid.
    """
    columns = [column for column in schema.columns if column.kind != "id"]
    good = sum(int(_allowed(table[c.name], c).sum()) for c in columns if c.name in table.columns)
    return good, len(columns) * len(table)


def _allowed(values: pd.Series, column: Column) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    missing = values.isna().to_numpy(dtype=bool)
    allowed_missing = missing & (column.missing != "never")
    if column.kind in ("category", "ordinal"):
        fits = values.astype("object").isin(list(column.levels)).to_numpy(dtype=bool)
        return np.asarray((fits & ~missing) | allowed_missing)
    numeric = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(invalid="ignore"):
        if column.kind == "flag":
            fits = np.isin(numeric, (0.0, 1.0))
        else:
            lower, upper = bounds(column)
            steps = numeric * 10.0**column.decimals
            written = np.abs(steps - np.round(steps)) <= 1e-6 * np.maximum(np.abs(steps), 1.0)
            fits = (numeric >= lower) & (numeric <= upper) & written
    return np.asarray((fits & ~missing) | allowed_missing)


def bounds(column: Column) -> tuple[float, float]:
    """A number column's public bounds; `Column` refuses one without them."""
    assert column.lower is not None
    assert column.upper is not None
    return column.lower, column.upper


def structure_metric(table: pd.DataFrame, schema: Schema) -> Metric:
    """`valid.structure`."""
    good, total = valid_cells(table, schema)
    value = good / total if total else None
    return _exact("valid.structure", "cells inside the dictionary", value, "higher", {"synthetic": len(table)})


def hard_rules_metric(broken: pd.DataFrame | None, rows: int) -> Metric:
    """`valid.hard_rules`: share of rows that break at least one hard rule, with its exact upper 95 % bound.

    Args:
        broken: Hard rules only; `None` where the rules could not be checked.
    """
    label = "records that break a hard rule"
    if broken is None or not rows:
        reason = "the rules could not be applied to this table: see valid.structure"
        return Metric("valid.hard_rules", "valid", "deciding", label, None, "lower", reason=reason)
    count = int(broken.to_numpy(dtype=bool).any(axis=1).sum()) if broken.shape[1] else 0
    metric = _exact("valid.hard_rules", label, count / rows, "lower", {"synthetic": rows, "rules": broken.shape[1]})
    upper = float(beta.ppf(0.95, count + 1, rows - count)) if count < rows else 1.0
    return replace(metric, value_low=None, value_high=upper)


def duplicates(rows: Rows) -> float:
    """Share of rows that repeat an earlier row."""
    if not len(rows):
        return float("nan")
    table = np.hstack([np.nan_to_num(rows.numbers, nan=-1e300), rows.codes.astype(np.float64)])
    return 1 - len(np.unique(table, axis=0)) / len(table)


def _exact(metric_id: str, label: str, value: float | None, direction: Direction, n: dict[str, int]) -> Metric:
    """A metric whose perfect value is known, so that its band is a point."""
    rule = THRESHOLDS[metric_id]
    perfect = rule.green
    light: Light = "grey"
    if value is not None:
        light = light_of(
            value,
            green=rule.green,
            amber=rule.amber,
            low=perfect,
            high=perfect,
            direction=direction,
        )
    return Metric(
        id=metric_id,
        question="valid",
        role="deciding",
        label=label,
        value=value,
        direction=direction,
        ceiling=perfect,
        green=rule.green,
        amber=rule.amber,
        threshold_origin=rule.origin,
        light=light,
        n=n,
    )
