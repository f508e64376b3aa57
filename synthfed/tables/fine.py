"""Fit an encoder to noisy histograms: the same public grid everywhere, finer where the patients are.

A `FineGrid` cuts every number between its public bounds into many cells and follows from the schema alone. A site
counts its rows on it, the counts are summed and noised elsewhere (this module knows how noisy, not how), and
`fit_transformer` turns the noisy counts into a `Transformer`: few codes per column, each with the histogram that
decoding draws from. The counts are the only path from rows to the transformer: equal counts give equal bytes, so the
transformer reveals what the counts reveal and nothing more.

Columns with published knots need none of this. Their cells are public and free, which is why a grid leaves them out
unless it is asked for them; neither do levels, which are coded as they stand.
"""

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.tables.blocks import Block, bounds, build_blocks
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import Transformer, public_transformer

CELLS = 96  # per number; a survival token has as many time intervals for each answer of its event
DEVIATIONS = 2.5  # of noise, below which a difference between two halves counts as nothing
_WEIGHT = 1_000_000  # histograms are kept in millionths of their sum, so that no last digit of a float is


@dataclass(frozen=True, slots=True)
class FineGrid:
    """The public cells on which sites count: one block per fitted column, levels excluded. Make it with `fine_grid`.

    Attributes:
        coding: A transformer whose codes are the fine cells.
    """

    coding: Transformer

    @property
    def names(self) -> tuple[str, ...]:
        return self.coding.names

    @property
    def cells(self) -> int:
        """Length of the count vector, missing cells included."""
        return sum(self.coding.widths)

    def encode(self, table: pd.DataFrame) -> npt.NDArray[np.int32]:
        """Fine cells of a typed table: (rows, blocks); raises as `Transformer.encode`."""
        return self.coding.encode(table)

    def count(self, table: pd.DataFrame) -> npt.NDArray[np.int64]:
        """All histograms of a typed table, one after the other: (cells,).

        One patient adds 1 to one cell of every block: L2 sensitivity sqrt(blocks), L1 blocks. The counts are exact,
        so they stay at the site until noise is on them.
        """
        codes = self.encode(table)
        starts = np.cumsum((0, *self.coding.widths[:-1]))[: len(self.names)]
        return np.bincount((codes + starts).ravel(), minlength=self.cells).astype(np.int64)


@dataclass(frozen=True, slots=True)
class NoisyHistograms:
    """Summed counts on a `FineGrid`, with the noise they carry.

    Attributes:
        counts: (cells,), as `FineGrid.count` lays them out; may be negative.
        stddev: Standard deviation of the noise in each cell of the sum; 0 for none.
    """

    counts: npt.NDArray[np.float64]
    stddev: float

    def __post_init__(self) -> None:
        if self.counts.ndim != 1 or not np.isfinite(self.counts).all() or not 0 <= self.stddev < math.inf:
            raise ValueError("noisy histograms are one vector of finite counts and a finite, non-negative deviation")


def fine_grid(schema: Schema, *, cells: int = CELLS, columns: Collection[str] | None = None) -> FineGrid:
    """The public grid of a schema.

    A number has `cells` equal steps of its scale; a survival time has `cells` intervals that grow like its square
    root, fine where most events are and never too fine to hold a whole day. Spikes get cells of their own.

    Args:
        columns: Names of the blocks to fit: numbers or survival endpoints; by default those without published knots.

    Raises:
        ValueError: `cells` is below 8, or `columns` names something else.
    """
    if cells < 8:
        raise ValueError(f"cells = {cells}; a fine grid needs at least 8")

    def number_knots(column: Column) -> tuple[float, ...]:
        lower, end = _ends(column)
        space = np.geomspace if column.scale == "log" else np.linspace
        return tuple(space(lower, end, cells + 1)[1:-1].tolist())

    def survival_knots(endpoint: Survival) -> tuple[float, ...]:
        lower, end = _ends(schema[endpoint.time])
        return tuple(lower + (end - lower) * (step / cells) ** 2 for step in range(1, cells))

    every = build_blocks(schema, number_knots=number_knots, survival_knots=survival_knots)
    numbers = {block.name: block for block in every if block.kind != "levels"}
    if columns is None:
        columns = [name for name, block in numbers.items() if not schema[block.columns[0]].knots]
    strange = sorted(set(columns) - set(numbers))
    if strange:
        raise ValueError(f"{strange} are not numbers or survival endpoints of this schema: {', '.join(numbers)}")
    return FineGrid(Transformer(schema, tuple(block for name, block in numbers.items() if name in columns)))


def _ends(column: Column) -> tuple[float, float]:
    """The first writable value and the first one beyond the last."""
    lower, upper = bounds(column)
    return lower, upper + 10.0**-column.decimals


def code_count(patients: int, blocks: int, epsilon: float) -> int:
    """How many codes a number gets: fewer where the same patients and budget must tell more codes apart.

    Args:
        patients: Publicly declared number of training patients.
        blocks: Blocks of the whole encoded row.
        epsilon: Budget of the whole run, as if one site held everybody's noise.
    """
    if blocks > 20 and epsilon <= 1:
        return 4
    return 6 if blocks > 20 or patients < 1500 else 10


def budget_share(grid: FineGrid, blocks: int) -> float:
    """The share of a run's mu^2 (Gaussian DP) that the histograms are worth: each as noisy as if all were counted.

    Args:
        blocks: Blocks of the whole encoded row: .15 of mu^2 up to 12 blocks, .4 above 20, linear between.
    """
    everything = float(np.interp(blocks, (12, 20), (0.15, 0.4)))
    return everything * len(grid.names) / blocks


def fit_transformer(grid: FineGrid, noisy: NoisyHistograms, *, codes: int) -> Transformer:
    """Turn noisy histograms into a transformer: post-processing, so it costs nothing beyond the counts.

    Each fitted block gets `codes` cells (all of its fine ones, if they are fewer) of about equal estimated weight, a
    survival token as many intervals for each answer of its event, and the estimate itself to draw from. Other blocks
    are those of `public_transformer`.

    Raises:
        ValueError: The counts are not on this grid, or `codes` is below 2.
    """
    if codes < 2 or noisy.counts.shape != (grid.cells,):
        raise ValueError(f"{noisy.counts.shape} counts and {codes} codes; wanted ({grid.cells},) and at least 2")
    fitted: dict[str, Block] = {}
    start = 0
    for block in grid.coding.blocks:
        fitted[block.name] = _fitted(block, noisy.counts[start : start + block.width], noisy.stddev, codes)
        start += block.width
    public = public_transformer(grid.coding.schema)
    return replace(public, blocks=tuple(fitted.get(block.name, block) for block in public.blocks))


def _fitted(block: Block, counts: npt.NDArray[np.float64], stddev: float, codes: int) -> Block:
    known = [float(count) for count in counts[: block.width - block.has_missing]]
    halves = [known[half :: _halves(block)] for half in range(_halves(block))]
    steps = [_step(block, place) for place in range(block.cells)]
    weights = _estimate([count for half in halves for count in half], steps * len(halves), stddev)
    by_cell = [sum(weights[place :: block.cells]) for place in range(block.cells)]
    total = sum(weights)
    return _with_edges(block, _equal_parts(by_cell, codes), [round(_WEIGHT * weight / total) for weight in weights])


def _halves(block: Block) -> int:
    """Histograms of a block: a survival token has one for each answer of its event."""
    return 2 if block.kind == "survival" else 1


def _with_edges(block: Block, inner: Sequence[int], mass: list[int]) -> Block:
    """Keep only the inner edges at these places; the cells and their weights live on inside the codes."""
    places = (0, *inner, block.cells)
    return replace(
        block,
        width=_halves(block) * (len(places) - 1) + block.has_missing,
        edges=tuple(block.edges[place] for place in places),
        fine=block.edges,
        mass=tuple(_fill_empty(mass, places)),
    )


def _step(block: Block, place: int) -> float:
    """Width of a fine cell on the scale of its grid."""
    low, high = block.edges[place], block.edges[place + 1]
    if block.scale == "log":
        return math.log(high) - math.log(low)
    if block.kind == "survival":
        return math.sqrt(high - block.edges[0]) - math.sqrt(low - block.edges[0])
    return float(high - low)


def _estimate(counts: Sequence[float], steps: Sequence[float], stddev: float) -> list[float]:
    """Non-negative weights: even over the scale, except where the counts say otherwise beyond their noise.

    From the whole downwards a range is halved. What its left half holds more than its share of the range is shrunk by
    `1 - (DEVIATIONS * noise / excess)^2`, or to nothing: a non-negative garrote on an unbalanced Haar transform
    (Gao, J Comput Graph Stat 1998;7:469). Without noise the counts come back. The whole is never taken to be lighter
    than its own noise.
    """
    sums = [0.0, *np.cumsum(counts).tolist()]
    lengths = [0.0, *np.cumsum(steps).tolist()]
    weights = [0.0] * len(counts)
    total = max(sums[-1], DEVIATIONS * stddev * math.sqrt(len(counts)), 1.0)
    waiting = [(0, len(counts), total)]
    while waiting:
        start, end, weight = waiting.pop()
        if end - start == 1:
            weights[start] = weight
            continue
        middle = (start + end) // 2
        share = (lengths[middle] - lengths[start]) / (lengths[end] - lengths[start])
        excess = (1 - share) * (sums[middle] - sums[start]) - share * (sums[end] - sums[middle])
        noise = stddev * math.sqrt((1 - share) ** 2 * (middle - start) + share**2 * (end - middle))
        left = share * weight + excess * _kept(excess, noise)
        left = min(max(left, 0.0), weight)
        waiting += [(start, middle, left), (middle, end, weight - left)]
    return weights


def _kept(excess: float, noise: float) -> float:
    return max(0.0, 1.0 - (DEVIATIONS * noise / excess) ** 2) if excess else 0.0


def _equal_parts(weights: Sequence[float], parts: int) -> tuple[int, ...]:
    """Inner edges, as places of fine cells, of `parts` ranges of about equal weight, or of all cells if they are fewer.

    How many ranges there are is public: where equal weights would fall together, the longest ranges are halved.
    """
    before = np.concatenate(([0.0], np.cumsum(weights)))
    wanted = before[-1] * np.arange(1, parts) / parts
    nearest = np.clip(np.searchsorted(before, wanted), 1, len(weights) - 1)
    lower = np.maximum(nearest - 1, 1)
    places = {int(place) for place in np.where(wanted - before[lower] < before[nearest] - wanted, lower, nearest)}
    while len(places) < min(parts, len(weights)) - 1:
        ends = [0, *sorted(places), len(weights)]
        start, end = max(itertools.pairwise(ends), key=lambda pair: pair[1] - pair[0])
        places.add((start + end) // 2)
    return tuple(sorted(places))


def _fill_empty(mass: list[int], edges: Sequence[int]) -> list[int]:
    """Give the fine cells of an empty range one unit each, so that every code can be drawn."""
    cells = edges[-1]
    for half in range(0, len(mass), cells):
        for low, high in itertools.pairwise(edges):
            if not any(mass[half + low : half + high]):
                mass[half + low : half + high] = [1] * (high - low)
    return mass
