"""What the sums say, as figures to print: with 95 % intervals where there was noise, and without small counts.

An interval is about the noise: how far the figure may be from the one that all rows together give. It does not say how
well these patients stand for others. Means, variances and coefficients get theirs by first-order propagation
(`uncertainty.standard_errors`), quantiles by testing every edge of their bins (`BinnedQuantiles.intervals`).

Everything here comes after the noise and costs nothing. A count below the smallest that may be shown is withheld, and
so is every figure about fewer patients than that; no count is negative.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from synthfed.run.asking.language import Asking
from synthfed.run.asking.planning import Planned, limits
from synthfed.secagg.analytics import Query
from synthfed.secagg.questions import Among, BinnedQuantiles
from synthfed.secagg.uncertainty import cells_of, standard_errors
from synthfed.tables.arrays import as_number
from synthfed.tables.schema import Column, Schema

DEVIATIONS = 1.959963984540054  # of a normal, around 95 %
_HIDDEN = "hidden by the noise"
_UNKNOWN = "not determined"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of an answer.

    Attributes:
        value: None where it is withheld or has no value; `note` says why.
        low, high: 95 % interval; None where the answer is exact.
        decimals: Digits worth printing after the point.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    kind: Literal["count", "number"] = "number"
    decimals: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one asking found."""

    asking: Asking
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class _Cell:
    """A number of an answer, before noise and smallness are considered."""

    name: str
    value: float
    decimals: int = 0
    lower: float = -math.inf
    upper: float = math.inf
    count: bool = False
    root: bool = False  # printed as its square root
    divisors: tuple[float, ...] = ()  # what it was divided by: noise that could turn one to zero hides the figure


def read_answers(
    planned: Planned,
    query: Query,
    schema: Schema,
    *,
    stddevs: npt.NDArray[np.float64] | None,
    smallest_count: int,
) -> tuple[Answer, ...]:
    """The figures of every asking.

    Args:
        query: The plan with all its sums.
        stddevs: Of the noise in each cell of the sum; None where the answers are exact.
        smallest_count: Counts below it are withheld.
    """
    answers = query.answers()
    return tuple(
        Answer(
            asking,
            _figures(asking, place, answers[place], query, schema, stddevs=stddevs, smallest_count=smallest_count),
        )
        for asking, place in zip(planned.askings, planned.places, strict=True)
    )


def _figures(
    asking: Asking,
    place: int,
    answer: Any,
    query: Query,
    schema: Schema,
    *,
    stddevs: npt.NDArray[np.float64] | None,
    smallest_count: int,
) -> tuple[Figure, ...]:
    asked = query.plan.questions[place]
    read = _READERS[asking.verb]
    columns = [schema[name] for name in asking.columns]
    cells = read(answer, asking, columns) if asking.verb != "quantiles" else _quantiles(answer, asking, columns, asked)
    if "count" in type(answer).__dataclass_fields__ and answer.count < smallest_count:
        note = f"fewer than {smallest_count} patients"
        return tuple(Figure(cell.name, None, kind=_kind(cell), note=note) for cell in cells)
    intervals: Sequence[tuple[float, float] | None] = [None] * len(cells)
    if stddevs is not None and asking.verb == "quantiles":
        intervals = _quantile_intervals(asking, place, query, stddevs)
    elif stddevs is not None:
        errors = iter(
            standard_errors(
                query,
                place,
                stddevs,
                lambda found: [
                    number for cell in read(found, asking, columns) for number in (cell.value, *cell.divisors)
                ],
            )
        )
        intervals = [_interval(cell, next(errors), [next(errors) for _ in cell.divisors]) for cell in cells]
    return tuple(_figure(cell, interval, smallest_count) for cell, interval in zip(cells, intervals, strict=True))


def _interval(cell: _Cell, error: float, of_divisors: Sequence[float]) -> tuple[float, float]:
    if not all(found > DEVIATIONS * off for found, off in zip(cell.divisors, of_divisors, strict=True)):
        return math.nan, math.nan
    return cell.value - DEVIATIONS * error, cell.value + DEVIATIONS * error


def _figure(cell: _Cell, interval: tuple[float, float] | None, smallest_count: int) -> Figure:
    if cell.count and cell.value < smallest_count:
        return Figure(cell.name, None, kind="count", note=f"fewer than {smallest_count}")
    value, *ends = (_shaped(cell, number) for number in (cell.value, *(interval or ())))
    if not all(map(math.isfinite, (value, *ends))):
        return Figure(cell.name, None, kind=_kind(cell), note=_UNKNOWN if interval is None else _HIDDEN)
    low, high = ends or (None, None)
    return Figure(cell.name, value, low, high, _kind(cell), cell.decimals)


def _shaped(cell: _Cell, number: float) -> float:
    """Within what the figure can be; counts whole."""
    if math.isnan(number):
        return number
    number = min(max(number, cell.lower), cell.upper)
    if cell.count:
        return float(max(round(number), 0)) if math.isfinite(number) else number
    return math.sqrt(number) if cell.root else number


def _kind(cell: _Cell) -> Literal["count", "number"]:
    return "count" if cell.count else "number"


# --- what each kind of answer holds -----------------------------------------------------------------------------------


def _patients(answer: Any, asking: Asking, columns: list[Column]) -> list[_Cell]:
    return [_n("patients", answer.count)]


def _levels(answer: Any, asking: Asking, columns: list[Column]) -> list[_Cell]:
    (column,) = columns
    cells = [_n(level, count) for level, count in zip(answer.levels, answer.counts, strict=True)]
    return [*cells, *([] if column.missing == "never" else [_n("missing", answer.missing)])]


def _pairs(answer: Any, asking: Asking, columns: list[Column]) -> list[_Cell]:
    one, two = columns
    cells = [
        _n(f"{one.name} {first}, {two.name} {second}", count)
        for first, row in zip(one.levels, answer.counts, strict=False)
        for second, count in zip(two.levels, row, strict=False)
    ]
    return [*cells, _n("either missing", answer.missing)]


def _moments(answer: Any, asking: Asking, columns: list[Column]) -> list[_Cell]:
    (column,) = columns
    lower, upper = limits(column, asking.where)
    digits = column.decimals + (3 if column.kind == "flag" else 1)
    cells = [_n("n", answer.count), _n("missing", answer.missing)]
    if asking.verb == "sum":
        total = answer.mean * answer.count
        return [*cells, _Cell("sum", total, column.decimals)]
    cells.append(_Cell("mean", answer.mean, digits, lower, upper, divisors=(answer.count,)))
    largest = (upper - lower) ** 2 / 2  # of any values between the bounds, dividing by n - 1
    if asking.verb == "variance":
        cells.append(_Cell("variance", answer.variance, digits + 1, 0.0, largest, divisors=(answer.count,)))
    elif asking.verb == "sd":
        cells.append(_Cell("sd", answer.variance, digits, 0.0, largest, root=True, divisors=(answer.count,)))
    return cells


def _histogram(answer: Any, asking: Asking, columns: list[Column]) -> list[_Cell]:
    edges = [f"{edge:.{columns[0].decimals}f}" for edge in answer.edges]
    cells = [_n(f"{low} to {high}", count) for low, high, count in zip(edges, edges[1:], answer.counts, strict=False)]
    return [*cells, *([] if columns[0].missing == "never" else [_n("missing", answer.missing)])]


def _covariance(answer: Any, asking: Asking, columns: list[Column]) -> list[_Cell]:
    names = list(asking.columns)
    at = [answer.columns.index(_in_plan(column)) for column in columns]
    correlated = asking.verb == "correlation"
    matrix = answer.correlation() if correlated else answer.matrix
    limit = 1.0 if correlated else math.inf
    cells = [_n("n", answer.count)]
    for i in range(len(at)):
        for j in range(i + 1 if correlated else i, len(at)):
            name = f"{names[i]}, {names[j]}"
            divisors = (answer.matrix[at[i]][at[i]], answer.matrix[at[j]][at[j]]) if correlated else ()
            cells.append(_Cell(name, matrix[at[i]][at[j]], 3, -limit, limit, divisors=(answer.count, *divisors)))
    return cells


def _regression(answer: Any, asking: Asking, columns: list[Column]) -> list[_Cell]:
    target, *others = columns
    try:
        fit = answer.least_squares(_in_plan(target))
    except ValueError:
        fit = {}
    divisors = (answer.count, *_left_over(answer, others))
    names = {"intercept": "intercept"} | {column.name: _in_plan(column) for column in others}
    slopes = [_Cell(name, fit.get(at, math.nan), 4, divisors=divisors) for name, at in names.items()]
    return [_n("n", answer.count), *slopes]


def _left_over(answer: Any, columns: list[Column]) -> tuple[float, ...]:
    """The variance of each column that the others do not explain; NaN where they determine each other."""
    at = [answer.columns.index(_in_plan(column)) for column in columns]
    try:
        inverse = np.linalg.inv(np.array(answer.matrix)[np.ix_(at, at)])
    except np.linalg.LinAlgError:
        return (math.nan,) * len(at)
    return tuple(float(1 / cell) if cell else math.nan for cell in np.diag(inverse))


def _quantiles(answer: Any, asking: Asking, columns: list[Column], asked: Any) -> list[_Cell]:
    (column,) = columns
    lower, upper = limits(column, asking.where)
    places = _places(asking, asked)
    return [
        _Cell("median" if p == 0.5 else f"{p * 100:g} %", answer.values[place], column.decimals, lower, upper)
        for p, place in zip(asking.probabilities, places, strict=True)
    ]


def _quantile_intervals(
    asking: Asking, place: int, query: Query, stddevs: npt.NDArray[np.float64]
) -> list[tuple[float, float]]:
    asked = _inner(query.plan.questions[place])
    assert isinstance(asked, BinnedQuantiles)
    spread = float(stddevs[cells_of(query, place)][0])
    intervals = asked.intervals(query.known[place], spread, DEVIATIONS)
    return [intervals[at] for at in _places(asking, asked)]


def _places(asking: Asking, asked: Any) -> list[int]:
    return [_inner(asked).probabilities.index(p) for p in asking.probabilities]


def _inner(asked: Any) -> Any:
    return asked.question if isinstance(asked, Among) else asked


def _in_plan(column: Column) -> str:
    return as_number(column.name) if column.kind == "flag" else column.name


def _n(name: str, count: float) -> _Cell:
    return _Cell(name, count, lower=0.0, count=True)


_READERS: dict[str, Callable[[Any, Asking, list[Column]], list[_Cell]]] = {
    "count": _patients,
    "levels": _levels,
    "pairs": _pairs,
    "mean": _moments,
    "sum": _moments,
    "sd": _moments,
    "variance": _moments,
    "histogram": _histogram,
    "correlation": _covariance,
    "covariance": _covariance,
    "regression": _regression,
    "quantiles": lambda answer, asking, columns: [],
}
