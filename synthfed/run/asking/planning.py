"""From what is asked to one plan: bounds, edges, levels and steps come from the dictionary, never from the rows.

Questions that one answer can serve are asked once: `mean age_years` and `sd age_years` share their sums, quantiles of
one column share their counts. With noise this halves what is paid for.
"""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from synthfed.run.asking.language import Asking, QuestionError
from synthfed.secagg.analytics import Plan, noisy_plan
from synthfed.secagg.questions import (
    Among,
    BinnedQuantiles,
    Bounds,
    Contingency,
    Count,
    Covariance,
    Every,
    Frequency,
    Histogram,
    Is,
    Moments,
    Not,
    Present,
    Quantiles,
    Question,
    Some,
    Sum,
    Within,
)
from synthfed.secagg.questions.among import Condition
from synthfed.tables.arrays import as_number
from synthfed.tables.conditions import Demand
from synthfed.tables.schema import Column, Schema
from synthfed.tables.where import Joined, Node, Where

MOST_RECORDS = 1 << 20  # public cap on one site's rows; sums are as precise as it leaves room for
_BINS = 64  # of noisy quantiles: noise adds up over bins, so more of them would blur what they sharpen
_SHOWN_BINS = 10


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and which of its questions answers what was asked.

    Attributes:
        places: For each asking, the place of its question in the plan.
    """

    plan: Plan
    askings: tuple[Asking, ...]
    places: tuple[int, ...]


def make_plan(askings: Iterable[Asking], schema: Schema, *, exact: bool) -> Planned:
    """One plan for all askings.

    Args:
        exact: Whether sites answer without noise, so that questions may take several rounds.

    Raises:
        QuestionError: Nothing is asked, or more than one round can carry.
    """
    asked = tuple(askings)
    if not asked:
        raise QuestionError("nothing is asked; the tables have no column to describe")
    places: dict[tuple[object, ...], int] = {}
    shared: list[list[Asking]] = []
    for asking in asked:
        key = _sharing(asking)
        if key not in places:
            places[key] = len(shared)
            shared.append([])
        shared[places[key]].append(asking)
    questions = tuple(_among(_question(group, schema, exact=exact), group[0].where) for group in shared)
    try:
        plan = Plan(questions, MOST_RECORDS)
        plan = plan if exact else noisy_plan(plan)
    except ValueError as error:
        raise QuestionError(f"the plan cannot be asked: {error}") from error
    return Planned(plan, asked, tuple(places[_sharing(asking)] for asking in asked))


def _sharing(asking: Asking) -> tuple[object, ...]:
    """Askings with the same key are answered by one question."""
    kind: str = asking.verb
    if kind in ("mean", "sum", "sd", "variance"):
        kind = "moments"
    if kind in ("correlation", "covariance", "regression"):
        return ("covariance", frozenset(asking.columns), asking.where)
    return (kind, asking.columns, asking.bins, asking.where)


def _question(group: list[Asking], schema: Schema, *, exact: bool) -> Question:
    first = group[0]
    columns = [schema[name] for name in first.columns]
    match first.verb:
        case "count":
            return Count()
        case "levels":
            return Frequency(columns[0].name, columns[0].levels)
        case "pairs":
            one, two = columns
            return Contingency(Frequency(one.name, one.levels), Frequency(two.name, two.levels))
        case "mean" | "sum" | "sd" | "variance":
            spread = any(asking.verb in ("sd", "variance") for asking in group)
            bounds = _bounds(columns[0], first.where)
            return Moments(bounds) if spread else Sum(bounds)
        case "quantiles":
            wanted = tuple(sorted({p for asking in group for p in asking.probabilities}))
            return _quantiles(columns[0], first, wanted, exact=exact)
        case "histogram":
            return Histogram(columns[0].name, _edges(columns[0], first))
        case "correlation" | "covariance" | "regression":
            return Covariance(tuple(_bounds(column, first.where) for column in columns))


def limits(column: Column, where: Where | None) -> tuple[float, float]:
    """Public bounds of a number or flag: the dictionary's, or what the condition leaves of them.

    `mean wbc_10e9_l where wbc_10e9_l < 200` so has bounds of 0.1 and 200, and a fifth of the noise.
    """
    if column.lower is None or column.upper is None:
        return 0.0, 1.0  # a flag: the schema gives every number its bounds
    lower, upper = float(column.lower), float(column.upper)
    demands = [demand for demand in _all_hold(where.node) if demand.column == column.name] if where else []
    low = max([lower, *(demand.lower for demand in demands)])
    high = min([upper, *(demand.upper for demand in demands)])
    return (low, high) if low < high else (lower, upper)


def _all_hold(node: Node) -> tuple[Demand, ...]:
    """Demands that every patient of a condition meets."""
    if isinstance(node, Demand):
        return (node,)
    return tuple(demand for part in node.parts for demand in _all_hold(part)) if node.how == "and" else ()


def _bounds(column: Column, where: Where | None) -> Bounds:
    name = as_number(column.name) if column.kind == "flag" else column.name
    return Bounds(name, *limits(column, where))


def _quantiles(column: Column, asking: Asking, probabilities: tuple[float, ...], *, exact: bool) -> Question:
    bounds = _bounds(column, asking.where)
    step = 10.0**-column.decimals
    if exact:
        return Quantiles(bounds, min(step, bounds.upper - bounds.lower), probabilities)
    return BinnedQuantiles(column.name, _fine_edges(column, bounds, step), probabilities)


def _fine_edges(column: Column, bounds: Bounds, step: float) -> tuple[float, ...]:
    """About 64 bins, equally many between each two of the dictionary's published quantiles.

    Values come in steps, so edges lie half a step off: a bin then begins and ends between two values.
    """
    lower, upper = bounds.lower, bounds.upper
    marks = [lower, *_inside(column.knots, bounds), upper]
    each = max(1, round(_BINS / (len(marks) - 1)))
    edges = [
        edge
        for low, high in pairwise(marks)
        for edge in _spaced(low, high, each, logarithmic=column.scale == "log")[:-1]
    ]
    steps = sorted({math.floor((edge - lower) / step + 0.5) for edge in (*edges, upper)} | {0})
    last = math.floor((upper - lower) / step + 0.5)
    return tuple(round(lower + (count - 0.5) * step, 12) for count in (*steps, last + 1))


def _inside(knots: tuple[float, ...], bounds: Bounds) -> list[float]:
    return [knot for knot in knots if bounds.lower < knot < bounds.upper]


def _edges(column: Column, asking: Asking) -> tuple[float, ...]:
    """Edges to show: the published quantiles of the dictionary where it has some, else or on demand equal bins."""
    bounds, bins = _bounds(column, asking.where), asking.bins
    lower, upper = bounds.lower, bounds.upper
    if not bins and (knots := _inside(column.knots, bounds)):
        return (lower, *knots, upper)
    edges = _spaced(lower, upper, bins or _SHOWN_BINS, logarithmic=column.scale == "log")
    rounded = sorted({r for edge in edges if lower < (r := round(edge, column.decimals)) < upper})
    return (lower, *rounded, upper)


def _spaced(low: float, high: float, bins: int, *, logarithmic: bool) -> list[float]:
    space = np.geomspace if logarithmic and low > 0 else np.linspace
    return [float(edge) for edge in space(low, high, bins + 1)]


def _among(question: Question, where: Where | None) -> Question:
    return question if where is None else Among(question, _condition(where.node))


def _condition(node: Node) -> Condition:
    if isinstance(node, Joined):
        parts = tuple(_condition(part) for part in node.parts)
        if node.how == "not":
            return Not(parts[0])
        return Every(parts) if node.how == "and" else Some(parts)
    return _demand(node)


def _demand(demand: Demand) -> Condition:
    if demand.present is not None:
        return Present(demand.column) if demand.present else Not(Present(demand.column))
    if demand.values is not None:
        return Is(demand.column, demand.values)
    most = sys.float_info.max  # plans travel as JSON, which has no infinity
    return Within(demand.column, max(demand.lower, -most), min(demand.upper, most))
