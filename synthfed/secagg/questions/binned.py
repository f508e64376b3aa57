"""Quantiles from counts between public edges, in one round, with intervals that allow for noise."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp, u64
from synthfed.secagg.questions.question import Cells, Known, Part, Table, increasing, probabilities_of

_BLOCKS = (16, 4, 1)  # bins that are counted together
_MOST_EDGES = 1025
_SLACK = 1e-12  # of the count: what fitting in floating point may be off


@dataclass(frozen=True, slots=True)
class QuantilesAnswer:
    """Quantiles in the order asked, interpolated between neighbours; within half a step, exact for values on the grid.

    Values outside the bounds count at the bounds.
    """

    count: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BinnedQuantiles:
    """Quantiles from counts between public edges: one round; a record touches three cells. The form for noise.

    Counts of single bins, of blocks of 4 and of blocks of 16 bins are asked for, and fitted to each other by least
    squares. A quantile rests on a sum over many bins: with the blocks it gathers half the noise that 64 bins alone
    would give at the same cost (Hay et al., arXiv 0904.0942). Values outside the edges count in the first and last bin.
    """

    column: str
    edges: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", increasing(self.column, self.edges))
        object.__setattr__(self, "probabilities", probabilities_of(self.probabilities))
        if not all(0 < p < 1 for p in self.probabilities):
            raise ValueError("the smallest and the largest value belong to one record; ask for 0.01 and 0.99 instead")
        if len(self.edges) > _MOST_EDGES:
            raise ValueError(f"{len(self.edges)} edges of {self.column!r} are more than {_MOST_EDGES}; noise adds up")

    def describe(self) -> bytes:
        numbers = (repr(number).encode() for number in (*self.edges, *self.probabilities))
        return lp(b"binned_quantiles", self.column.encode(), u64(len(self.edges)), *numbers)

    def noisy(self) -> "BinnedQuantiles":
        return self

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        return () if known else tuple(Part(len(range(0, self._bins, width)), 1, one_of=True) for width in _BLOCKS)

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        values = np.asarray(table[self.column], dtype=np.float64)
        places = np.searchsorted(self.edges, values[~np.isnan(values)], side="right") - 1
        counts = np.bincount(np.clip(places, 0, self._bins - 1), minlength=self._bins)
        return np.concatenate([np.add.reduceat(counts, range(0, self._bins, width)) for width in _BLOCKS]).astype(
            np.int64
        )

    def answer(self, known: Known, records: int) -> QuantilesAnswer:
        """The middle between the first and the last place where the counts reach the quantile; without noise they
        are one."""
        counts = self._fitted(known)
        count = round(float(counts.sum()))
        if count <= 0:
            return QuantilesAnswer(count, (math.nan,) * len(self.probabilities))
        return QuantilesAnswer(count, tuple(self._crossing(counts, p) for p in self.probabilities))

    def intervals(self, known: Known, stddev: float, deviations: float) -> tuple[tuple[float, float], ...]:
        """Lower and upper edge around each quantile; both bounds for a quantile that noise hides altogether.

        Every edge is tested: is the quantile above it, below it, or may it be there? The interval reaches from the
        last edge below which it cannot be to the first edge above which it cannot be, so that it holds the quantile
        of the binned values at least as often as a normal stays within `deviations`.

        Args:
            stddev: Of the noise in one cell of the sum.
            deviations: 1.96 for 95 %.
        """
        counts = self._fitted(known)
        if counts.sum() <= 0:
            return ((self.edges[0], self.edges[-1]),) * len(self.probabilities)
        return tuple(self._interval(counts, p, stddev * deviations) for p in self.probabilities)

    @property
    def _bins(self) -> int:
        return len(self.edges) - 1

    def _design(self) -> npt.NDArray[np.float64]:
        """Which bins each cell adds up; float64[cells, bins]."""
        at = np.arange(self._bins)
        rows = [at // width == block for width in _BLOCKS for block in range(len(range(0, self._bins, width)))]
        return np.array(rows, dtype=np.float64)

    def _fitted(self, known: Known) -> npt.NDArray[np.float64]:
        """Counts of the bins that fit all cells best; float64[bins]."""
        cells = np.array(known[0], dtype=np.float64)
        return np.asarray(np.linalg.lstsq(self._design(), cells, rcond=None)[0], dtype=np.float64)

    def _crossing(self, counts: npt.NDArray[np.float64], p: float) -> float:
        excess = _excess(counts, p)
        last = self._bins - 1
        first_above = int(np.argmax(np.append(excess[1:] >= 0, True)))  # bin in which the counts first reach p
        last_below = last - int(np.argmax(np.append(excess[-2::-1] < 0, True)))
        return (self._within(excess, min(first_above, last)) + self._within(excess, max(last_below, 0))) / 2

    def _within(self, excess: npt.NDArray[np.float64], at: int) -> float:
        """Where the counts reach the quantile inside a bin, taken as evenly filled."""
        low, high = float(excess[at]), float(excess[at + 1])
        share = min(max(-low / (high - low), 0.0), 1.0) if high > low else 0.5
        return self.edges[at] + share * (self.edges[at + 1] - self.edges[at])

    def _interval(self, counts: npt.NDArray[np.float64], p: float, reach: float) -> tuple[float, float]:
        bins, excess, design = self._bins, _excess(counts, p), self._design()
        # an edge's excess weighs the bins before it by 1 - p and the others by -p
        weights = (np.arange(bins) < np.arange(bins + 1)[:, None]) - p
        variances = np.einsum("ij,jk,ik->i", weights, np.linalg.inv(design.T @ design), weights)
        margin = reach * np.sqrt(variances) + _SLACK * abs(float(counts.sum()))
        may_be_below = np.append(excess >= -margin, True)
        may_be_above = np.append((excess <= margin)[::-1], True)
        first, last = int(np.argmax(may_be_below)), bins - int(np.argmax(may_be_above))
        low, high = min(max(first - 1, 0), bins - 1), min(last + 1, bins)
        return self.edges[low], self.edges[max(high, low + 1)]


def _excess(counts: npt.NDArray[np.float64], p: float) -> npt.NDArray[np.float64]:
    """Records below each edge beyond those that a quantile there would have below it; float64[edges]."""
    below = np.concatenate([[0.0], np.cumsum(counts)])
    excess: npt.NDArray[np.float64] = below - p * below[-1]
    return excess
