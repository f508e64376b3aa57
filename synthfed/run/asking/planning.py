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
from synthfed.run.asking.rows import as_number
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
            return Moments(_bounds(columns[0])) if spread else Sum(_bounds(columns[0]))
        case "quantiles":
            wanted = tuple(sorted({p for asking in group for p in asking.probabilities}))
            return _quantiles(columns[0], wanted, exact=exact)
        case "histogram":
            return Histogram(columns[0].name, _edges(columns[0], first.bins))
        case "correlation" | "covariance" | "regression":
            return Covariance(tuple(_bounds(column) for column in columns))


def _limits(column: Column) -> tuple[float, float]:
    if column.kind == "flag":
        return 0.0, 1.0
    if column.lower is None or column.upper is None:
        raise QuestionError(f"column {column.name!r} has no public bounds in the dictionary; add bounds = [L, U]")
    return float(column.lower), float(column.upper)


def _bounds(column: Column) -> Bounds:
    name = as_number(column.name) if column.kind == "flag" else column.name
    return Bounds(name, *_limits(column))


def _quantiles(column: Column, probabilities: tuple[float, ...], *, exact: bool) -> Question:
    step = 10.0**-column.decimals
    if exact:
        return Quantiles(_bounds(column), step, probabilities)
    return BinnedQuantiles(column.name, _fine_edges(column, step), probabilities)


def _fine_edges(column: Column, step: float) -> tuple[float, ...]:
    """About 64 bins, equally many between each two of the dictionary's published quantiles.

    Values come in steps, so edges lie half a step off: a bin then begins and ends between two values.
    """
    lower, upper = _limits(column)
    marks = [lower, *column.knots, upper]
    each = max(1, round(_BINS / (len(marks) - 1)))
    edges = [
        edge
        for low, high in pairwise(marks)
        for edge in _spaced(low, high, each, logarithmic=column.scale == "log")[:-1]
    ]
    steps = sorted({math.floor((edge - lower) / step + 0.5) for edge in (*edges, upper)} | {0})
    last = math.floor((upper - lower) / step + 0.5)
    return tuple(round(lower + (count - 0.5) * step, 12) for count in (*steps, last + 1))


def _edges(column: Column, bins: int) -> tuple[float, ...]:
    """Edges to show: the published quantiles of the dictionary where it has some, else or on demand equal bins."""
    lower, upper = _limits(column)
    if not bins and column.knots:
        return (lower, *column.knots, upper)
    edges = _spaced(lower, upper, bins or _SHOWN_BINS, logarithmic=column.scale == "log")
    rounded = sorted({round(edge, column.decimals) for edge in edges[1:-1]} - {lower, upper})
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
