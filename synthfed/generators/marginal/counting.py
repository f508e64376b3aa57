"""Exact counts of small tables at a site, and the noisy sums of them that everything after rests on.

This is the one module of this package that sees patient rows. A record touches exactly one cell of every plain table,
so adding or removing a record moves the whole vector by one in that many cells. A packed table counts many rare flags
at once: a record touches one cell per flag that it has, and the more it has, the less each weighs. A score table adds
up one short vector per record, cut to a public length. The caller adds noise of each table's `stddev` to its cells and
pays `mu_squared`; no count may leave a site before that.
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

MOST_BLOCKS = 4  # of one table
UNIT = 16  # a patient's weight in a cell of a packed table: whole numbers are secure sums' and rounded noise's
SCORE_UNIT = 256  # a score of one: finer, since scores are fractions and what a product loses is cut off
_HIGHEST_SCORE = 4 * SCORE_UNIT


@dataclass(frozen=True, slots=True)
class CountTable:
    """One table of counts: its blocks, how coarse, and its noise.

    Attributes:
        blocks: Indices into the layout, one to four of them, strictly increasing.
        stddev: Standard deviation of the noise that protects one patient, in each cell; 0 for none. Each site adds
            all of it, or, where noise is shared, so many sites together.
        groups: Per block, the group of each level where the table is coarser than the layout, else `()`. Public. Left
            out: no block is grouped.
    """

    blocks: tuple[int, ...]
    stddev: float
    groups: tuple[Groups, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.blocks)
        if not 1 <= count <= MOST_BLOCKS or list(self.blocks) != sorted(set(self.blocks)) or self.blocks[0] < 0:
            raise ValueError(f"table over blocks {self.blocks}; give one to four block indices, strictly increasing")
        if not (math.isfinite(self.stddev) and self.stddev >= 0):
            raise ValueError(f"table over blocks {self.blocks}: stddev is {self.stddev}; it must be finite and >= 0")
        if self.groups and len(self.groups) != len(self.blocks):
            raise ValueError(f"table over blocks {self.blocks} has groups for {len(self.groups)} of them")

    def groups_of(self, place: int) -> Groups:
        """The groups of the block at `place` in `blocks`; empty when it is counted level by level."""
        return self.groups[place] if self.groups else ()

    @property
    def reach_squared(self) -> float:
        """Square of the most that one record moves the cells by: it adds one to one cell."""
        return 1.0

    @property
    def unit(self) -> int:
        """What a patient counts for in a cell."""
        return 1

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """Cells along each block."""
        return tuple(
            max(self.groups_of(place)) + 1 if self.groups_of(place) else layout.widths[block]
            for place, block in enumerate(self.blocks)
        )


@dataclass(frozen=True, slots=True)
class PackedTable:
    """How many records have each of many flags, by the groups of another block; or have both of each pair of them.

    A plain table per flag costs as much for a patient without the flag as for one with it. Here a record adds to one
    cell per flag, or pair of flags, that it has: k cells. With at most c of them, which is `cap`, or the pairs of `cap`
    flags, it adds `UNIT` to each; with more it adds w = floor(UNIT sqrt(c / k)). So adding or removing a record moves
    the vector by sqrt(k) w <= UNIT sqrt(c) (L2), whatever the record holds: that is `reach_squared`, and what a patient
    loses is at most (UNIT / stddev)^2 c in mu^2.

    Attributes:
        blocks: Indices of the flags, at least two, strictly increasing; level 1 of each is the one that is counted.
        by: The block whose groups are counted apart, not one of the flags; None: pairs of flags are counted.
        cap: How many flags a record may have before each weighs less. Public: from the number of flags alone.
        stddev: As that of `CountTable`, in cells' units (1 / UNIT of a patient).
        by_groups: The group of each level of `by`; empty: level by level.
    """

    blocks: tuple[int, ...]
    by: int | None
    cap: int
    stddev: float
    by_groups: Groups = ()

    def __post_init__(self) -> None:
        if len(self.blocks) < 2 or list(self.blocks) != sorted(set(self.blocks)) or self.blocks[0] < 0:
            raise ValueError(f"packed table over blocks {self.blocks}; give two or more, strictly increasing")
        if self.by is not None and (self.by < 0 or self.by in self.blocks):
            raise ValueError(f"packed table over blocks {self.blocks} by block {self.by}; count by another block")
        if self.by is None and self.by_groups:
            raise ValueError(f"packed table over pairs of blocks {self.blocks} has groups; they need a block to be of")
        if not (1 if self.by is not None else 2) <= self.cap <= len(self.blocks):
            raise ValueError(f"packed table over {len(self.blocks)} flags has cap {self.cap}; give 1 (pairs: 2) to all")
        if not (math.isfinite(self.stddev) and self.stddev >= 0):
            raise ValueError(f"packed table over blocks {self.blocks}: stddev is {self.stddev}; it must be >= 0")

    @property
    def reach_squared(self) -> float:
        """Square of the most that one record moves the cells by (L2)."""
        return float(UNIT**2 * self.full)

    @property
    def full(self) -> int:
        """In how many cells a record counts at full weight."""
        return self.cap if self.by is not None else math.comb(self.cap, 2)

    @property
    def unit(self) -> int:
        """What a patient counts for in a cell."""
        return UNIT

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """Flags, groups of `by`; or pairs of flags, in the order of `itertools.combinations`."""
        if self.by is None:
            return (math.comb(len(self.blocks), 2),)
        return len(self.blocks), max(self.by_groups) + 1 if self.by_groups else layout.widths[self.by]


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Sums of public scores of blocks' levels times a public contrast of one more block: how the blocks go with it.

    A table of counts spreads what it says over many noisy cells; where it is known beforehand what to look for, a trend
    along a scale or more of one level, one number says it through the same noise. A record's vector holds the scores
    of its levels, cut to the length sqrt(`reach`) where it is longer, times its contrast, which is at most one. So
    adding or removing a record moves the sums by at most sqrt(`reach`) (L2), whatever the record holds.

    Attributes:
        blocks: Indices, strictly increasing.
        scores: Per block, rows of one whole number per level, in `SCORE_UNIT`.
        by: The block whose contrast is taken, not one of the others.
        contrast: Per level of `by`, in `SCORE_UNIT`, at most one either way.
        reach: Squared length that a record's vector is cut to, in `SCORE_UNIT` squared.
        stddev: As that of `CountTable`, in `SCORE_UNIT`.
    """

    blocks: tuple[int, ...]
    scores: tuple[tuple[Groups, ...], ...]
    by: int
    contrast: Groups
    reach: int
    stddev: float

    def __post_init__(self) -> None:
        if not self.blocks or list(self.blocks) != sorted(set(self.blocks)) or self.blocks[0] < 0:
            raise ValueError(f"score table over blocks {self.blocks}; give block indices, strictly increasing")
        if self.by < 0 or self.by in self.blocks:
            raise ValueError(f"score table over blocks {self.blocks} by block {self.by}; contrast another block")
        if len(self.scores) != len(self.blocks) or not all(map(_are_scores, self.scores)):
            raise ValueError(
                f"score table over blocks {self.blocks}: give each rows of one score per level, at most "
                f"{_HIGHEST_SCORE} either way"
            )
        if max(map(abs, self.contrast), default=0) > SCORE_UNIT or not 0 < self.reach < 2**40:
            raise ValueError(
                f"score table over blocks {self.blocks}: contrasts are at most {SCORE_UNIT} either way, reach is in 1 "
                f"to 2**40 (found {self.reach})"
            )
        if not (math.isfinite(self.stddev) and self.stddev >= 0):
            raise ValueError(f"score table over blocks {self.blocks}: stddev is {self.stddev}; it must be >= 0")

    @property
    def reach_squared(self) -> float:
        """Square of the most that one record moves the sums by (L2)."""
        return float(self.reach)

    @property
    def unit(self) -> int:
        """A score of one."""
        return SCORE_UNIT

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """One sum per row of scores."""
        return (sum(map(len, self.scores)),)


def _are_scores(rows: tuple[Groups, ...]) -> bool:
    levels = len(rows[0]) if rows else 0
    return levels > 0 and all(len(row) == levels and max(map(abs, row)) <= _HIGHEST_SCORE for row in rows)


Table = CountTable | PackedTable | ScoreTable


@dataclass(frozen=True, slots=True)
class NoisyTables:
    """Sums over all sites of noised counts: public, and all that fitting sees.

    Attributes:
        counts: float64 (cells,), the tables' cells, row-major, one table after the other.
        sites: How many sites added noise.
        shares: How many sites' noise together has each table's `stddev`: 1 unless it is shared.
    """

    tables: tuple[Table, ...]
    counts: Floats
    sites: int
    shares: int = 1

    @property
    def spread(self) -> float:
        """Variance of the noise in the sum over what protects one patient."""
        return self.sites / self.shares

    def noise_stddev(self, table: Table) -> float:
        """Standard deviation of the noise in a cell of the sum."""
        return table.stddev * math.sqrt(self.spread)

    def arrays(self, layout: Layout) -> Iterator[tuple[Table, Floats, float]]:
        """Each table, its noisy counts of patients in its own shape, and the variance of their noise.

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
            counts = self.counts[offset : offset + size].reshape(shape) / table.unit
            yield table, counts, (self.noise_stddev(table) / table.unit) ** 2
            offset += size


def cells_of(tables: Sequence[Table], layout: Layout) -> int:
    """Length of the vector that `count` returns."""
    return sum(math.prod(table.shape(layout)) for table in tables)


def count(codes: Codes, layout: Layout, tables: Sequence[Table]) -> Ints:
    """Count one site's rows: not private, must not leave the site without noise.

    Args:
        codes: int32 (rows, blocks); no row at all is fine.

    Returns:
        int64 (cells,): the tables' cells, row-major, concatenated in order. One record more or less changes the cells
        of a table by at most sqrt(`reach_squared`) (L2), those of a plain table in exactly one place.

    Raises:
        ValueError: The codes do not fit the layout; the message holds no row.
    """
    if codes.ndim != 2 or codes.shape[1] != len(layout.widths):
        raise ValueError(f"codes have shape {codes.shape}; the layout has {len(layout.widths)} blocks per row")
    if ((codes < 0) | (codes >= np.asarray(layout.widths))).any():
        raise ValueError("codes lie outside the widths of their blocks; encode with the run's own transformer")
    return np.concatenate([np.zeros(0, dtype=np.int64), *(_count_one(codes, layout, table) for table in tables)])


def mu_squared(tables: Sequence[Table]) -> float:
    """What one release of the tables costs one patient: the sum of reach_squared / stddev^2.

    This is mu^2 of Gaussian differential privacy (arXiv 1905.02383) under add/remove of one record at one site, since
    a record moves no table by more than its reach. Infinite when a table has no noise.
    """
    return sum(table.reach_squared / table.stddev**2 if table.stddev > 0 else math.inf for table in tables)


def _count_one(codes: Codes, layout: Layout, table: Table) -> Ints:
    if isinstance(table, PackedTable):
        return _count_packed(codes, layout, table)
    if isinstance(table, ScoreTable):
        return _add_scores(codes, table)
    return np.bincount(touched_cells(codes, layout, table), minlength=math.prod(table.shape(layout))).astype(np.int64)


def touched_cells(codes: Codes, layout: Layout, table: CountTable) -> Ints:
    """int64 (rows,): the one cell of a plain table, counted row-major, that each record adds to."""
    cell = np.zeros(len(codes), dtype=np.int64)
    for place, (block, width) in enumerate(zip(table.blocks, table.shape(layout), strict=True)):
        groups = table.groups_of(place)
        level = np.asarray(groups, dtype=np.int64)[codes[:, block]] if groups else codes[:, block]
        cell = cell * width + level
    return cell


def _count_packed(codes: Codes, layout: Layout, table: PackedTable) -> Ints:
    positive = codes[:, list(table.blocks)] == 1  # (rows, flags)
    touched = positive.sum(1)
    if table.by is None:
        touched = touched * (touched - 1) // 2
    weights = np.array([_weight(cells, table.full) for cells in range(touched.max(initial=0) + 1)], dtype=np.int64)
    added = positive * weights[touched][:, None]
    if table.by is None:
        together: Ints = added.T @ positive.astype(np.int64)
        return together[np.triu_indices(len(together), 1)]
    groups = np.asarray(table.by_groups or range(layout.widths[table.by]), dtype=np.int64)
    member = groups[codes[:, table.by]][:, None] == np.arange(groups.max() + 1)  # (rows, groups)
    counts: Ints = added.T @ member.astype(np.int64)
    return counts.ravel()


def _weight(cells: int, full: int) -> int:
    """What a record adds to each of the `cells` that it touches: cells * weight^2 <= UNIT^2 * full."""
    return UNIT if cells <= full else math.isqrt(UNIT**2 * full // cells)


def _add_scores(codes: Codes, table: ScoreTable) -> Ints:
    vectors = np.concatenate(
        [np.asarray(rows)[:, codes[:, block]] for block, rows in zip(table.blocks, table.scores, strict=True)]
    ).T.astype(np.int64)  # (rows, sums)
    # Floats may be off in the last bit, but a sum of squared whole numbers is whole, and reach is below 2^40: it holds.
    kept = np.sqrt(np.minimum(1.0, table.reach / np.maximum((vectors**2).sum(1), 1)))
    vectors = np.trunc(vectors * kept[:, None]).astype(np.int64)
    products = vectors * np.asarray(table.contrast, dtype=np.int64)[codes[:, table.by]][:, None]
    sums: Ints = (np.sign(products) * (np.abs(products) // SCORE_UNIT)).sum(0)
    return sums
