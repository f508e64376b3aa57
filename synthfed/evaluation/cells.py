"""Columns cut into the dictionary's public cells: what histograms are drawn from and divergences computed on."""

import numpy as np

from synthfed.evaluation.fidelity import level_shares
from synthfed.evaluation.rows import Floats, Rows
from synthfed.evaluation.validity import bounds
from synthfed.tables.schema import Column

CELLS = 20


def public_edges(column: Column) -> list[float]:
    """Cell edges of a number column: bounds and knots where declared, else equal steps on its scale."""
    lower, upper = bounds(column)
    if column.knots:
        return [lower, *column.knots, upper]
    steps = np.geomspace(lower, upper, CELLS + 1) if column.scale == "log" else np.linspace(lower, upper, CELLS + 1)
    return [float(step) for step in steps]


def cell_shares(rows: Rows, place: int) -> Floats:
    """Share of rows per cell or level of a column, by its place in `Shape.columns`; the last is missing."""
    shape = rows.shape
    if place >= len(shape.numbers):
        i = place - len(shape.numbers)
        return level_shares(rows.codes[:, i], len(shape.levels[i].levels))
    edges = public_edges(shape.numbers[place])
    values = rows.numbers[:, place]
    cell = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return level_shares(np.where(np.isnan(values), -1, cell).astype(np.int64), len(edges) - 1)


def jensen_shannon(first: Floats, second: Floats) -> float:
    """Divergence of two distributions over the same cells in bits, 0 to 1.

    Biased up by about (cells - 1) / (8 ln 2) (1 / n_first + 1 / n_second): compare at equal numbers of rows.
    """
    middle = (first + second) / 2
    return 0.5 * (_relative_entropy(first, middle) + _relative_entropy(second, middle))


def _relative_entropy(first: Floats, second: Floats) -> float:
    seen = first > 0
    return float((first[seen] * np.log2(first[seen] / second[seen])).sum())


def divergence_score(reference: Rows, candidate: Rows) -> dict[str, float]:
    """`js_bins`: mean Jensen-Shannon divergence over all columns."""
    columns = range(len(reference.shape.columns))
    found = [jensen_shannon(cell_shares(reference, i), cell_shares(candidate, i)) for i in columns]
    return {"js_bins": float(np.mean(found))}
