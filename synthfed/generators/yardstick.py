"""Noisy counts as a yardstick: how well rows agree with what a run has already bought, at no further cost.

A run that counts first holds noisy sums with noise of known size. Whatever draws rows can be held against them: the
misfit of a cell is (count - expected) / noise, and its mean square over many cells is 1 for the patients themselves,
larger for rows that miss what the counts say, and below 1 for a model that has learned the counts' noise by heart.

That last point is why the counts are split. The tree was fitted to most of them; it, and a network distilled from it,
look better there than they are. *Held back* are pairs of columns that the tree does not join. Of these the model uses
row and column sums, so what is compared is the rest (`_interaction`), whose noise no model has learned. They were
looked at once, when the tree's edges were chosen: a pair is left out because its counts show little, which is a slight
head start for the tree. All of this is post-processing of noisy sums and of models: nobody learns more from it.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from synthfed.generators.base import Codes, Layout
from synthfed.generators.marginal import (
    CountTable,
    MarginalModel,
    NoisyTables,
    PackedTable,
    Table,
    Workload,
    count,
)

Floats = npt.NDArray[np.float64]
Draw = Callable[[int, int], Codes]  # (rows, seed) -> codes
Kind = Literal["single", "outcome", "joined", "held back"]

KINDS: tuple[Kind, ...] = ("single", "outcome", "joined", "held back")
FITTED: tuple[Kind, ...] = ("single", "outcome", "joined")
HELD_BACK: tuple[Kind, ...] = ("held back",)
PIECES, PIECE = 10, 10_000  # draws that stand for a model: their own error is a small part of the counts' noise
_LEAST_VARIANCE = 1 / 12  # of counting whole patients, where there is no noise


@dataclass(frozen=True, slots=True)
class Gap:
    """Two models against the counts of some kinds.

    Attributes:
        cells: Independent numbers compared.
        one, other: Mean square misfit of each model; NaN without cells.
        error: Standard deviation of `other - one` that the counts' noise makes.
    """

    cells: int
    one: float
    other: float
    error: float


@dataclass(frozen=True, slots=True)
class Part:
    """Cells of one table and one kind.

    Attributes:
        place: Where the table lies in the vector of all cells.
        chosen: Which of the table's cells, flat; None: all of them.
        counts: Noisy counts over their noise, in the table's shape, or (cells,) where some are chosen.
        noise: Standard deviation of the noise, in the table's own units.
    """

    kind: Kind
    place: slice
    chosen: npt.NDArray[np.bool_] | None
    counts: Floats
    noise: float

    @property
    def degrees(self) -> int:
        """Independent numbers in it."""
        if self._centred:
            return math.prod(width - 1 for width in self.counts.shape)
        return self.counts.size

    def misfit(self, expected: Floats) -> Floats:
        """(count - expected) / noise, given the expected counts of all cells."""
        wanted = expected[self.place]
        if self.chosen is not None:
            wanted = wanted[self.chosen]
        found = self.counts - wanted.reshape(self.counts.shape) / self.noise
        return _interaction(found) if self._centred else found

    @property
    def _centred(self) -> bool:
        return self.kind == "held back" and self.counts.ndim == 2


@dataclass(frozen=True, slots=True)
class Yardstick:
    """All noisy sums of a run, table by table.

    Attributes:
        total: Estimated number of patients: from the sums, too.
    """

    layout: Layout
    tables: tuple[Table, ...]
    parts: tuple[Part, ...]
    total: float

    @classmethod
    def of(cls, rounds: Sequence[NoisyTables], model: MarginalModel, workload: Workload) -> "Yardstick":
        """The yardstick of a run.

        Args:
            rounds: The sums of its counting rounds.
            model: The tree that was fitted to them.
        """
        joined = {
            (min(block, parent), max(block, parent))
            for block, parents in zip(model.structure.order, model.structure.parents, strict=True)
            for parent in parents
        }
        outcomes = {*workload.outcomes, *(() if workload.centre is None else (workload.centre,))}
        parts, offset = [], 0
        for noisy in rounds:
            for table, counts, variance in noisy.arrays(model.layout):
                noise = math.sqrt(max(variance, _LEAST_VARIANCE))
                place = slice(offset, offset + counts.size)
                offset += counts.size
                for kind, chosen in _kinds(table, joined, outcomes):
                    scaled = counts / noise if chosen is None else counts.ravel()[chosen] / noise
                    parts.append(Part(kind, place, chosen, scaled, noise * table.unit))
        tables = tuple(table for noisy in rounds for table in noisy.tables)
        return cls(model.layout, tables, tuple(parts), _total(rounds, model.layout))

    def expected(self, draw: Draw, *, seed: int) -> Floats:
        """What as many of a model's rows as there are patients would count: (cells of all tables,).

        Args:
            draw: Give two networks of one shape the same seed: their rows then differ only where the networks do.
        """
        total: Floats = np.zeros(sum(math.prod(table.shape(self.layout)) for table in self.tables))
        for piece in range(PIECES):
            state = np.random.SeedSequence([seed, piece]).generate_state(1)
            total += count(draw(PIECE, int(state[0])), self.layout, self.tables)
        return total * (self.total / (PIECES * PIECE))

    def compare(self, one: Floats, other: Floats, kinds: Collection[Kind]) -> Gap:
        """Hold what two models expect against the counts of some kinds."""
        first = second = moved = 0.0
        cells = 0
        for part in self.parts:
            if part.kind in kinds:
                misfits = part.misfit(one), part.misfit(other)
                cells += part.degrees
                first += float((misfits[0] ** 2).sum())
                second += float((misfits[1] ** 2).sum())
                moved += float(((misfits[1] - misfits[0]) ** 2).sum())
        if not cells:
            return Gap(0, math.nan, math.nan, math.nan)
        return Gap(cells, first / cells, second / cells, 2 * math.sqrt(moved) / cells)


def shuffled(draw: Draw) -> Draw:
    """The same rows with every column permuted on its own: right single columns, nothing together."""

    def drawn(rows: int, seed: int) -> Codes:
        rng = np.random.default_rng([seed, 0x5F])
        return np.stack([rng.permutation(column) for column in draw(rows, seed).T], axis=1)

    return drawn


def _kinds(
    table: Table, joined: Collection[tuple[int, int]], outcomes: Collection[int]
) -> Iterator[tuple[Kind, npt.NDArray[np.bool_] | None]]:
    if isinstance(table, PackedTable) and table.by is None:
        inside = np.array([pair in joined for pair in combinations(table.blocks, 2)])
        yield "joined", inside
        yield "held back", ~inside
    elif not isinstance(table, CountTable) or set(table.blocks) & set(outcomes):
        yield "outcome", None
    elif len(table.blocks) == 1:
        yield "single", None
    else:
        yield ("joined" if set(combinations(table.blocks, 2)) <= set(joined) else "held back"), None


def _interaction(values: Floats) -> Floats:
    """What is left of a table without the means of its rows and columns."""
    rest: Floats = values - values.mean(0, keepdims=True) - values.mean(1, keepdims=True) + values.mean()
    return rest


def _total(rounds: Sequence[NoisyTables], layout: Layout) -> float:
    """Every plain table's own sum, by inverse variance."""
    summed = trust = 0.0
    for noisy in rounds:
        for table, counts, variance in noisy.arrays(layout):
            if isinstance(table, CountTable):
                spread = counts.size * max(variance, _LEAST_VARIANCE)
                summed += float(counts.sum()) / spread
                trust += 1 / spread
    return max(summed / trust, 1.0) if trust else 1.0
