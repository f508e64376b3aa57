"""Data of the report's figures as JSON values, four digits; nothing is drawn here.

Real rows enter only where `train` is given. Never a single row, a nearest pair, or a real minimum or maximum: edges
come from the dictionary.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthfed.evaluation.anchors import Anchored
from synthfed.evaluation.association import associations
from synthfed.evaluation.cells import cell_shares, public_edges
from synthfed.evaluation.membership import Membership
from synthfed.evaluation.rows import Floats, Rows
from synthfed.evaluation.scorecard import Metric, rounded
from synthfed.evaluation.survival import Curve, Group, curve_of, large_groups
from synthfed.tables.schema import Schema, Survival

POINTS = 64


def figures(
    *,
    schema: Schema,
    groups: Sequence[str],
    synthetic: Rows,
    train: Rows | None,
    holdout: Rows | None,
    scores: Mapping[str, Anchored],
    metrics: Sequence[Metric],
    membership: Membership | None,
) -> dict[str, Any]:
    """All figures' data; real parts are `None` where `train` is."""
    return {
        "marginals": _marginals(synthetic, train, scores),
        "associations": _associations(schema, synthetic, train),
        "survival": _survival(schema, groups, synthetic, train, holdout, scores),
        "membership": _membership(membership),
        "risks": [_risk(metric) for metric in metrics if metric.question == "private" and metric.value is not None],
        "anchors": [_anchors(metric) for metric in metrics if metric.value is not None and metric.floor is not None],
    }


def _marginals(synthetic: Rows, train: Rows | None, scores: Mapping[str, Anchored]) -> list[dict[str, Any]]:
    out = []
    for place, column in enumerate(synthetic.shape.columns):
        found = scores.get(f"shape:{column.name}")
        out.append(
            {
                "column": column.name,
                "label": column.label or column.name,
                "unit": column.unit,
                "kind": "number" if column.is_number else "levels",
                **({"edges": public_edges(column)} if column.is_number else {"levels": list(column.levels)}),
                "real": None if train is None else rounded(list(cell_shares(train, place))),
                "synthetic": rounded(list(cell_shares(synthetic, place))),
                "score": rounded([found.value])[0] if found else None,
                "ceiling": rounded([found.ceiling])[0] if found else None,
            }
        )
    return sorted(out, key=lambda m: (m["score"] is None, m["score"] or 0.0))


def _associations(schema: Schema, synthetic: Rows, train: Rows | None) -> dict[str, Any]:
    names = [column.name for column in synthetic.shape.columns]
    in_order = [names.index(name) for name in schema.names if name in names]

    def matrix(rows: Rows) -> list[list[float | None]]:
        values: Floats = associations(rows).values[np.ix_(in_order, in_order)]
        np.fill_diagonal(values, 1.0)
        return [rounded(list(row)) for row in values]

    return {
        "columns": [names[i] for i in in_order],
        "real": None if train is None else matrix(train),
        "synthetic": matrix(synthetic),
    }


def _survival(
    schema: Schema,
    groups: Sequence[str],
    synthetic: Rows,
    train: Rows | None,
    holdout: Rows | None,
    scores: Mapping[str, Anchored],
) -> list[dict[str, Any]]:
    out = []
    for endpoint in schema.survivals:
        tables = [synthetic] if train is None else [train] if holdout is None else [train, holdout]
        shown: list[Group | None] = [None, *large_groups(groups, endpoint, tables)]
        for group in shown:
            key = f"km:{endpoint.name}" + (f":{group.text}" if group else "")
            found = scores.get(key)
            out.append(
                {
                    "name": endpoint.name,
                    "label": endpoint.label or endpoint.name,
                    "group": group.text if group else "all",
                    "tau_days": endpoint.horizon_days,
                    "real": None if train is None else curve_points(train, endpoint, group),
                    "synthetic": curve_points(synthetic, endpoint, group),
                    "km_area": rounded([found.value])[0] if found else None,
                }
            )
    return out


def curve_points(rows: Rows, endpoint: Survival, group: Group | None) -> dict[str, Any] | None:
    """A survival curve as `report.json` holds it; None without a patient."""
    curve = curve_of(rows, endpoint, group)
    if not len(curve.times):
        return None
    days = np.linspace(0.0, endpoint.horizon_days, POINTS)
    low, high = _interval(curve, days)
    marks = np.linspace(0.0, endpoint.horizon_days, 6)
    return {
        "days": rounded(list(days), 1),
        "survival": rounded(list(curve.at(days))),
        "low": rounded(list(low)),
        "high": rounded(list(high)),
        "at_risk": [
            [round(float(day), 1), int(n)] for day, n in zip(marks, curve.under_observation(marks), strict=True)
        ],
    }


def _interval(curve: Curve, days: Floats) -> tuple[Floats, Floats]:
    """Pointwise 95 % interval on the log-log scale; the estimate itself where it is 0 or 1."""
    estimate = curve.at(days)
    inside = (estimate > 0) & (estimate < 1)
    log = np.log(np.where(inside, estimate, 0.5))
    width = 1.959964 * np.sqrt(curve.greenwood(days)) / np.abs(log)
    low = np.where(inside, np.exp(log * np.exp(width)), estimate)
    high = np.where(inside, np.exp(log * np.exp(-width)), estimate)
    return low, high


def _membership(found: Membership | None) -> dict[str, Any] | None:
    if found is None:
        return None
    point = {"fpr": found.rate, "tpr": rounded([found.found])[0], "sentence": found.sentence}
    return {**found.curve, "point": point}


def _risk(metric: Metric) -> dict[str, Any]:
    value, low, high = metric.value, metric.value_low, metric.value_high
    return {
        "id": metric.id,
        "label": metric.label,
        "value": _four(value),
        "low": _four(low),
        "high": _four(high),
        "ceiling": _four(metric.ceiling),
    }


def _anchors(metric: Metric) -> dict[str, Any]:
    return {
        "id": metric.id,
        "label": metric.label,
        "floor": _four(metric.floor),
        "ceiling": _four(metric.ceiling),
        "low": _four(metric.low),
        "high": _four(metric.high),
        "value": _four(metric.value),
        "direction": metric.direction,
        "light": metric.light,
    }


def _four(value: float | None) -> float | None:
    return rounded([value if value is not None else math.nan])[0]
