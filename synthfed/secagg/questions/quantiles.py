"""Quantiles by a search that narrows intervals round by round: exact, for a public step."""

import math
from dataclasses import dataclass

import numpy as np

from synthfed.secagg.contexts import lp
from synthfed.secagg.questions.binned import BinnedQuantiles, QuantilesAnswer
from synthfed.secagg.questions.question import Bounds, Cells, Known, Part, Table, probabilities_of

_BINS = 64  # of the noisy form


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Any quantiles of a column, to a public step, by search: each round splits an interval into up to 256 parts.

    All quantiles asked for share their rounds. What the sums show on the way: counts of ever smaller intervals around
    each quantile, down to single steps. So this is for exact answers; noise belongs on a `Histogram`.
    """

    of: Bounds
    step: float
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0 < self.step <= self.of.upper - self.of.lower:
            raise ValueError(f"step {self.step} of {self.of.column!r} is outside (0, upper - lower]")
        object.__setattr__(self, "step", float(self.step))
        object.__setattr__(self, "probabilities", probabilities_of(self.probabilities))

    def describe(self) -> bytes:
        numbers = (self.step, *self.probabilities)
        return lp(b"quantiles", self.of.describe(), *(repr(number).encode() for number in numbers))

    @property
    def rounds(self) -> int:
        """How often the interval must be split."""
        points, rounds = round((self.of.upper - self.of.lower) / self.step) + 1, 1
        while 256**rounds < points:
            rounds += 1
        return rounds

    def noisy(self) -> "BinnedQuantiles":
        """One histogram of equal bins; a dictionary that knows better edges asks `BinnedQuantiles` itself."""
        edges = np.linspace(self.of.lower, self.of.upper, _BINS + 1).tolist()
        return BinnedQuantiles(self.of.column, tuple(edges), self.probabilities)

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        # searches split different intervals, so a record falls in one part of one of them, or in none
        return () if len(known) == self.rounds else (Part(self._branches * self._searches(known), 1, one_of=True),)

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        width = self._width(len(known))
        points = np.rint((self.of.read(table)[0] - self.of.lower) / self.step).astype(np.int64)
        counts = []
        for start in self._starts(known):
            inside = points[(points >= start) & (points < start + width * self._branches)]
            counts.append(np.bincount((inside - start) // width, minlength=self._branches))
        idle = np.zeros(self._branches * (self._searches(known) - len(counts)))
        return np.concatenate([*counts, idle]).astype(np.int64)

    def answer(self, known: Known, records: int) -> QuantilesAnswer:
        count = self._count(known)
        if count <= 0:
            return QuantilesAnswer(0, (math.nan,) * len(self.probabilities))
        values = []
        for p in self.probabilities:
            low, part = divmod(p * (count - 1), 1)
            below, above = (self._value(known, min(int(low) + k, count - 1)) for k in (0, 1))
            values.append(below + part * (above - below))
        return QuantilesAnswer(count, tuple(values))

    @property
    def _branches(self) -> int:
        """The least b such that b to the power of `rounds` covers the grid."""
        points = round((self.of.upper - self.of.lower) / self.step) + 1
        branches = 2
        while branches**self.rounds < points:
            branches += 1
        return branches

    def _width(self, done: int) -> int:
        """Grid points per part in the round after `done` rounds."""
        return int(self._branches ** (self.rounds - 1 - done))

    def _count(self, known: Known) -> int:
        return sum(known[0])

    def _ranks(self, known: Known) -> list[int]:
        """Order statistics wanted, from 0: the two neighbours of each quantile."""
        last = self._count(known) - 1
        low = (int(p * last) for p in self.probabilities)
        return sorted({min(rank, last) for k in low for rank in (k, k + 1)})

    def _searches(self, known: Known) -> int:
        """Intervals to split next: as many as there can be, so that the length of no round depends on sums."""
        return 2 * len(self.probabilities) if known else 1

    def _starts(self, known: Known) -> list[int]:
        """First grid points of the intervals to split next, increasing."""
        if not known:
            return [0]
        if self._count(known) <= 0:
            return [0]
        return sorted({self._place(known, rank) for rank in self._ranks(known)})

    def _place(self, known: Known, rank: int) -> int:
        """First grid point of the part that holds an order statistic, after all rounds of `known`."""
        start = 0
        for done, sums in enumerate(known):
            at = self._starts(known[:done]).index(start) * self._branches
            branch = 0
            while branch < self._branches - 1 and rank >= sums[at + branch]:
                rank -= sums[at + branch]
                branch += 1
            start += branch * self._width(done)
        return start

    def _value(self, known: Known, rank: int) -> float:
        return min(self.of.lower + self._place(known, rank) * self.step, self.of.upper)
