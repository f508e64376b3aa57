"""A small public layout, rows that hang together, and a measured run of both rounds with numpy's noise."""

import numpy as np

from synthfed.generators.base import Codes, Layout
from synthfed.generators.marginal import (
    REMEASURE_SHARE,
    MarginalModel,
    NoisyTables,
    Table,
    Workload,
    count,
    fit,
    remeasure,
    shot,
)
from synthfed.generators.marginal.axes import Axis

LAYOUT = Layout(("sex", "age", "os", "NPM1", "wbc"), (2, 4, 6, 3, 5))
AXES = (
    Axis((0, 0)),
    Axis((0, 0, 0, 0), (0, 1, 2, 3)),
    Axis((0, 1, 0, 1, 0, 1), (0, 0, 1, 1, 2, 2), True),
    Axis((0, 0, 1)),
    Axis((0, 0, 0, 0, 1), (0, 1, 2, 3, 0)),
)
WORKLOAD = Workload(centre=2, outcomes=(3,), focus=(), axes=AXES)


def make_codes(rows: int, seed: int = 0) -> Codes:
    """Rows with one hidden class, so that all blocks depend on each other."""
    rng = np.random.default_rng(seed)
    hidden = rng.integers(0, 3, size=rows)
    columns = [
        np.where(rng.random(rows) < 0.4, rng.integers(0, width, size=rows), hidden % width) for width in LAYOUT.widths
    ]
    return np.stack(columns, axis=1).astype(np.int32)


def noised(codes: Codes, tables: tuple[Table, ...], rng: np.random.Generator, layout: Layout = LAYOUT) -> NoisyTables:
    """One site's sums with rounded Gaussian noise."""
    counts = count(codes, layout, tables).astype(np.float64)
    spread = np.concatenate([np.full(int(np.prod(table.shape(layout))), table.stddev) for table in tables])
    return NoisyTables(tables, counts + np.rint(rng.normal(size=len(counts)) * spread), 1)


def measure(
    codes: Codes, workload: Workload, mu: float, seed: int = 0, layout: Layout = LAYOUT
) -> tuple[NoisyTables, ...]:
    """Both rounds at one site."""
    rng = np.random.default_rng(seed)
    first = noised(codes, shot(layout, workload, mu=mu * np.sqrt(1 - REMEASURE_SHARE), sites=1), rng, layout)
    again = remeasure(layout, workload, first, mu=mu * np.sqrt(REMEASURE_SHARE))
    return (first, noised(codes, again, rng, layout)) if again else (first,)


def fitted(codes: Codes, workload: Workload = WORKLOAD, mu: float = np.inf, seed: int = 0) -> MarginalModel:
    return fit(LAYOUT, workload, measure(codes, workload, mu, seed), patients=len(codes))


def shares(codes: Codes, blocks: tuple[int, ...], layout: Layout = LAYOUT) -> np.ndarray:
    """Joint shares of some blocks among rows."""
    table = np.zeros([layout.widths[block] for block in blocks])
    np.add.at(table, tuple(codes[:, block] for block in blocks), 1 / len(codes))
    return table
