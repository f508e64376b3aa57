"""Gower's distance between rows, in blocks: one matrix product for the levels, one pass per number column.

The mean over columns of: 0/1 for levels (missing is a level), |difference| on the column's scale over the spread of
the reference rows for numbers, capped at 1; 1 where one of the two is missing, 0 where both are.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from synthfed.evaluation.association import one_hot
from synthfed.evaluation.rows import Floats, Rows, Shape

Single = npt.NDArray[np.float32]

_MISSING = 2.0  # beyond the 0..1 of observed values, so that observed and missing are 1 apart after the cap


@dataclass(frozen=True, slots=True)
class Gower:
    """Distances with a fixed scale per number column, learned from `spread_of`'s rows only."""

    lows: Floats
    spans: Floats
    log: tuple[bool, ...]
    used_numbers: tuple[int, ...]
    used_levels: tuple[int, ...]

    @classmethod
    def spread_of(cls, *tables: Rows) -> "Gower":
        """Take the 1 % to 99 % range of each number over the given rows; derived columns are left out."""
        shape = tables[0].shape
        numbers = np.vstack([rows.numbers for rows in tables])
        used = tuple(i for i, c in enumerate(shape.numbers) if not c.derived)
        log = tuple(c.scale == "log" for c in shape.numbers)
        lows, spans = np.zeros(len(shape.numbers)), np.ones(len(shape.numbers))
        for i in used:
            seen = _scaled(numbers[:, i], log[i])
            seen = seen[~np.isnan(seen)]
            if len(seen):
                low, high = np.quantile(seen, [0.01, 0.99])
                lows[i], spans[i] = low, max(high - low, 1e-9)
        levels = tuple(i for i, c in enumerate(shape.levels) if not c.derived)
        return cls(lows, spans, log, used, levels)

    def only(self, shape: Shape, names: Collection[str]) -> "Gower":
        """The same scales, over some of the columns."""
        return replace(
            self,
            used_numbers=tuple(i for i in self.used_numbers if shape.numbers[i].name in names),
            used_levels=tuple(i for i in self.used_levels if shape.levels[i].name in names),
        )

    def embed(self, rows: Rows) -> tuple[Single, Single]:
        """Numbers on 0..1 (missing at 2) and one-hot levels, both float32."""
        columns = []
        for i in self.used_numbers:
            scaled = np.clip((_scaled(rows.numbers[:, i], self.log[i]) - self.lows[i]) / self.spans[i], 0.0, 1.0)
            columns.append(np.where(np.isnan(scaled), _MISSING, scaled))
        numbers = np.column_stack(columns or [np.empty((len(rows), 0))]).astype(np.float32)
        widths = [len(rows.shape.levels[i].levels) for i in self.used_levels]
        levels, _ = one_hot(rows.codes[:, list(self.used_levels)], widths, missing=True)
        return numbers, levels.astype(np.float32)

    def between(self, first: Rows, second: Rows, *, block: int = 256) -> Single:
        """float32 (rows of first, rows of second), each in 0..1."""
        numbers_1, levels_1 = self.embed(first)
        numbers_2, levels_2 = self.embed(second)
        out = np.empty((len(first), len(second)), dtype=np.float32)
        columns = max(len(self.used_numbers) + len(self.used_levels), 1)
        transposed = np.ascontiguousarray(numbers_2.T)
        for start in range(0, len(first), block):
            rows = slice(start, start + block)
            total = len(self.used_levels) - levels_1[rows] @ levels_2.T
            for i in range(numbers_1.shape[1]):
                total += np.minimum(np.abs(numbers_1[rows, i, None] - transposed[i]), 1.0)
            out[rows] = total / columns
        return out


def nearest(distances: Single, neighbours: int = 1) -> Floats:
    """Mean distance to so many nearest columns, per row."""
    kept = min(neighbours, distances.shape[1])
    if kept == 1:
        return np.asarray(distances.min(axis=1), dtype=np.float64)
    return np.asarray(np.partition(distances, kept - 1, axis=1)[:, :kept].mean(axis=1), dtype=np.float64)


def _scaled(values: Floats, log: bool) -> Floats:
    return np.log(np.where(values > 0, values, np.nan)) if log else values
