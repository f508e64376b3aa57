"""Counts, sums and moments of one column.

Sums are taken from the middle of the public bounds, so that one record moves them by half the range at most. Exact
moments take a second round about the mean that the first one gave. The raw forms, for noise, are taken about the middle
in one round, which costs one share of a privacy budget instead of two, and in coarse units: each value is rounded to
1/4096 of the range.
"""

import math
from dataclasses import dataclass

import numpy as np

from synthfed.secagg.contexts import lp
from synthfed.secagg.questions.question import (
    RAW_UNITS,
    Bounds,
    Cells,
    Known,
    Part,
    Table,
    from_units,
    scale_bits,
    scaled_reach,
    to_integers,
    to_units,
)


@dataclass(frozen=True, slots=True)
class CountAnswer:
    """How many records."""

    count: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many records; one round, one cell. Commonly asked `Among` some of them."""

    def describe(self) -> bytes:
        return lp(b"count")

    def noisy(self) -> "Count":
        return self

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        return () if known else (Part(1, 1, one_of=True),)

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        return np.array([np.asarray(next(iter(table.values()))).size], dtype=np.int64)

    def answer(self, known: Known, records: int) -> CountAnswer:
        return CountAnswer(known[0][0])


@dataclass(frozen=True, slots=True)
class SumAnswer:
    """Of the present values, clipped: how many, their sum and mean (NaN when there are none)."""

    count: int
    missing: int
    outside: int
    total: float
    mean: float


@dataclass(frozen=True, slots=True)
class Sum:
    """Count, sum and mean of a column; one round, four cells. Error of the mean: at most 2**-(s + 1)."""

    of: Bounds

    def describe(self) -> bytes:
        return lp(b"sum", self.of.describe())

    def noisy(self) -> "RawSum":
        return RawSum(self.of)

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        # a value is inside the bounds, missing, or outside
        return () if known else (Part(3, 1, one_of=True), Part(1, scaled_reach(self.of.half, records)))

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        present, missing, outside = self.of.read(table)
        total = to_integers(present - self.of.middle, scale_bits(self.of.half, records))
        return np.array([present.size - outside, missing, outside, total], dtype=np.int64)

    def answer(self, known: Known, records: int) -> SumAnswer:
        inside, missing, outside, centred = known[0]
        count = inside + outside
        if not count:
            return SumAnswer(0, missing, outside, 0.0, math.nan)
        mean = self.of.middle + math.ldexp(centred / count, -scale_bits(self.of.half, records))
        return SumAnswer(count, missing, outside, mean * count, mean)


@dataclass(frozen=True, slots=True)
class MomentsAnswer:
    """`variance` divides by count - 1; skewness and kurtosis are those of the population (a normal has 0 and 3)."""

    count: int
    missing: int
    outside: int
    mean: float
    variance: float
    skewness: float
    kurtosis: float


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean, variance, skewness and kurtosis; two rounds: a `Sum`, then powers centred on the mean that it gave."""

    of: Bounds

    def describe(self) -> bytes:
        return lp(b"moments", self.of.describe())

    def noisy(self) -> "RawMoments":
        return RawMoments(self.of)

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        if not known:
            return Sum(self.of).parts(known, records)
        return () if len(known) > 1 else tuple(Part(1, scaled_reach(self._most(k), records)) for k in (2, 3, 4))

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        if not known:
            return Sum(self.of).fill(known, table, records)
        centred = self.of.read(table)[0] - self._centre(known, records)
        return np.array([to_integers(centred**k, self._bits(k, records)) for k in (2, 3, 4)], dtype=np.int64)

    def answer(self, known: Known, records: int) -> MomentsAnswer:
        first = Sum(self.of).answer(known, records)
        n = first.count
        second, third, fourth = (
            math.ldexp(cell / n, -self._bits(k, records)) if n else math.nan
            for k, cell in zip((2, 3, 4), known[1], strict=True)
        )
        spread = n > 1 and second > 0
        return MomentsAnswer(
            n,
            first.missing,
            first.outside,
            first.mean,
            variance=second * n / (n - 1) if n > 1 else math.nan,
            skewness=third / second**1.5 if spread else math.nan,
            kurtosis=fourth / second**2 if spread else math.nan,
        )

    def _centre(self, known: Known, records: int) -> float:
        mean = Sum(self.of).answer(known, records).mean
        return self.of.middle if math.isnan(mean) else min(max(mean, self.of.lower), self.of.upper)

    def _most(self, k: int) -> float:
        return float((2 * self.of.half) ** k)

    def _bits(self, k: int, records: int) -> int:
        return scale_bits(self._most(k), records)


@dataclass(frozen=True, slots=True)
class RawSumAnswer:
    """As in `SumAnswer`, but values outside the bounds are not told from those at the bounds."""

    count: int
    missing: int
    total: float
    mean: float


@dataclass(frozen=True, slots=True)
class RawSum:
    """Count, sum and mean in coarse units: one round, three cells. The form for noise."""

    of: Bounds

    def describe(self) -> bytes:
        return lp(b"raw_sum", self.of.describe())

    def noisy(self) -> "RawSum":
        return self

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        return () if known else (Part(2, 1, one_of=True), Part(1, RAW_UNITS))

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        present, missing, _ = self.of.read(table)
        return np.array([present.size, missing, to_units(present - self.of.middle, self.of.half)], dtype=np.int64)

    def answer(self, known: Known, records: int) -> RawSumAnswer:
        count, missing, centred = known[0]
        if count <= 0:
            return RawSumAnswer(count, missing, 0.0, math.nan)
        mean = self.of.middle + from_units(centred / count, self.of.half)
        return RawSumAnswer(count, missing, mean * count, mean)


@dataclass(frozen=True, slots=True)
class RawMomentsAnswer:
    """`variance` divides by count - 1; under noise it can come out below zero, which then says that it is small."""

    count: int
    missing: int
    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class RawMoments:
    """Mean and variance from sums about the middle of the bounds: one round, four cells. The form for noise."""

    of: Bounds

    def describe(self) -> bytes:
        return lp(b"raw_moments", self.of.describe())

    def noisy(self) -> "RawMoments":
        return self

    def parts(self, known: Known, records: int) -> tuple[Part, ...]:
        return () if known else (*RawSum(self.of).parts(known, records), Part(1, RAW_UNITS))

    def fill(self, known: Known, table: Table, records: int) -> Cells:
        square = to_units((self.of.read(table)[0] - self.of.middle) ** 2, self.of.half**2)
        return np.append(RawSum(self.of).fill(known, table, records), square).astype(np.int64)

    def answer(self, known: Known, records: int) -> RawMomentsAnswer:
        *first, squares = known[0]
        found = RawSum(self.of).answer((tuple(first),), records)
        n, variance = found.count, math.nan
        if n > 1:
            square = from_units(squares / n, self.of.half**2)
            variance = (square - (found.mean - self.of.middle) ** 2) * n / (n - 1)
        return RawMomentsAnswer(n, found.missing, found.mean, variance)
