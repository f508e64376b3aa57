"""Exact counts of small tables at a site, and the noisy sums of them that everything after rests on.

`count` is the one function of this package that sees patient rows. A record touches exactly one cell of every table, so
adding or removing a record moves the whole vector by one in that many cells, and nowhere else. The caller adds noise of
each table's `stddev` to its cells and pays `mu_squared`; no count may leave a site before that.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.generators.base import Codes, Layout

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Groups = tuple[int, ...]  # per level of a block, the group it counts for


@dataclass(frozen=True, slots=True)
class CountTable:
    """One table of counts: its blocks, how coarse, and its noise.

    Attributes:
        blocks: Indices into the layout, one to three of them, strictly increasing.
        stddev: Standard deviation of the noise that protects one patient, in each cell; 0 for none. Each site adds
            all of it, or, where noise is shared, so many sites together.
        groups: Per block, the group of each level where the table is coarser than the layout, else `()`. Public. Left
            out: no block is grouped.
    """

    blocks: tuple[int, ...]
    stddev: float
    groups: tuple[Groups, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.blocks) <= 3 or list(self.blocks) != sorted(set(self.blocks)) or self.blocks[0] < 0:
            raise ValueError(f"table over blocks {self.blocks}; give one to three block indices, strictly increasing")
        if not (math.isfinite(self.stddev) and self.stddev >= 0):
            raise ValueError(f"table over blocks {self.blocks}: stddev is {self.stddev}; it must be finite and >= 0")
        if self.groups and len(self.groups) != len(self.blocks):
            raise ValueError(f"table over blocks {self.blocks} has groups for {len(self.groups)} of them")

    def groups_of(self, place: int) -> Groups:
        """The groups of the block at `place` in `blocks`; empty when it is counted level by level."""
        return self.groups[place] if self.groups else ()

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """Cells along each block."""
        return tuple(
            max(self.groups_of(place)) + 1 if self.groups_of(place) else layout.widths[block]
            for place, block in enumerate(self.blocks)
        )


@dataclass(frozen=True, slots=True)
class NoisyTables:
    """Sums over all sites of noised counts: public, and all that fitting sees.

    Attributes:
        counts: float64 (cells,), the tables' cells, row-major, one table after the other.
        sites: How many sites added noise.
        shares: How many sites' noise together has each table's `stddev`: 1 unless it is shared.
    """

    tables: tuple[CountTable, ...]
    counts: Floats
    sites: int
    shares: int = 1

    @property
    def spread(self) -> float:
        """Variance of the noise in the sum over what protects one patient."""
        return self.sites / self.shares

    def noise_stddev(self, table: CountTable) -> float:
        """Standard deviation of the noise in a cell of the sum."""
        return table.stddev * math.sqrt(self.spread)

    def arrays(self, layout: Layout) -> Iterator[tuple[CountTable, Floats, float]]:
        """Each table, its noisy counts in its own shape, and the variance of their noise.

        Raises:
            ValueError: The vector's length is not the tables' number of cells.
        """
        if self.counts.shape != (cells_of(self.tables, layout),):
            raise ValueError(
                f"noisy counts have shape {self.counts.shape}, the tables have {cells_of(self.tables, layout)} cells"
            )
        offset = 0
        for table in self.tables:
            shape = table.shape(layout)
            size = math.prod(shape)
            yield table, self.counts[offset : offset + size].reshape(shape), self.noise_stddev(table) ** 2
            offset += size


def cells_of(tables: Sequence[CountTable], layout: Layout) -> int:
    """Length of the vector that `count` returns."""
    return sum(math.prod(table.shape(layout)) for table in tables)


def count(codes: Codes, layout: Layout, tables: Sequence[CountTable]) -> Ints:
    """Count one site's rows: not private, must not leave the site without noise.

    Args:
        codes: int32 (rows, blocks); no row at all is fine.

    Returns:
        int64 (cells,): the tables' cells, row-major, concatenated in order. One record more or less changes exactly
        one cell of each table by one: L2 sensitivity sqrt(len(tables)), or `mu_squared` when noises differ.

    Raises:
        ValueError: The codes do not fit the layout; the message holds no row.
    """
    if codes.ndim != 2 or codes.shape[1] != len(layout.widths):
        raise ValueError(f"codes have shape {codes.shape}; the layout has {len(layout.widths)} blocks per row")
    if ((codes < 0) | (codes >= np.asarray(layout.widths))).any():
        raise ValueError("codes lie outside the widths of their blocks; encode with the run's own transformer")
    return np.concatenate([np.zeros(0, dtype=np.int64), *(_count_one(codes, layout, table) for table in tables)])


def mu_squared(tables: Sequence[CountTable]) -> float:
    """What one release of the tables costs one patient: the sum of 1 / stddev^2.

    This is mu^2 of Gaussian differential privacy (arXiv 1905.02383) under add/remove of one record at one site, since
    a record moves one cell of each table by one. Infinite when a table has no noise.
    """
    return sum(1 / table.stddev**2 if table.stddev > 0 else math.inf for table in tables)


def _count_one(codes: Codes, layout: Layout, table: CountTable) -> Ints:
    shape = table.shape(layout)
    cell = np.zeros(len(codes), dtype=np.int64)
    for place, (block, width) in enumerate(zip(table.blocks, shape, strict=True)):
        groups = table.groups_of(place)
        level = np.asarray(groups, dtype=np.int64)[codes[:, block]] if groups else codes[:, block]
        cell = cell * width + level
    return np.bincount(cell, minlength=math.prod(shape)).astype(np.int64)
