"""How far noise in the sums of a noisy plan moves what is computed from them; public, and costs nothing."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from synthfed.secagg.analytics import Query


def cells_of(query: Query, question: int) -> slice:
    """Where a question's cells lie in the vector of a noisy plan."""
    sizes = [sum(part.cells for part in asked.parts((), query.plan.records)) for asked in query.plan.questions]
    start = sum(sizes[:question])
    return slice(start, start + sizes[question])


def standard_errors(
    query: Query, question: int, stddevs: npt.NDArray[np.float64], figures: Callable[[Any], Sequence[float]]
) -> tuple[float, ...]:
    """How far noise moves figures that were computed from one answer of a noisy plan, as standard deviations.

    First-order propagation: each cell is moved by its standard deviation, up and down, and what that does to a figure
    is added up in squares. NaN where a figure has no value at these sums or near them.

    Args:
        question: Its place in the plan.
        stddevs: Of the noise in each cell of the sum (of all sites together); float64[length].
        figures: From an answer of the question's class to numbers.
    """
    asked, records = query.plan.questions[question], query.plan.records
    (cells,) = query.known[question]

    def moved(at: int, step: int) -> npt.NDArray[np.float64]:
        sums = (*cells[:at], cells[at] + step, *cells[at + 1 :])
        return np.array(figures(asked.answer((sums,), records)), dtype=np.float64)

    effects = []
    for at, deviation in enumerate(stddevs[cells_of(query, question)].tolist()):
        step = max(round(deviation), 1)
        effects.append((moved(at, step) - moved(at, -step)) / 2 * (deviation / step))
    return tuple(np.sqrt(np.square(effects).sum(axis=0)).tolist())
