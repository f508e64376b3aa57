"""What the kinds of rules mean: how each finds a broken row, and how it makes a broken row right.

| kind          | says                                                                   | a repair writes     |
|---------------|------------------------------------------------------------------------|---------------------|
| `range`       | every known value of `columns` lies between `lower` and `upper`        | the nearest bound   |
| `order`       | known values of `columns` never fall by more than `slack`              | all but the last, or |
|               | (the last one times `factor`; `moves = "later"`: the later ones move)  | all but the first   |
| `equal`       | known values of the two `columns` agree within `tolerance`             | the first           |
| `implies`     | where `when` holds, `then` is not false                                | columns of `then`   |
| `structural`  | `columns` are blank unless `when` surely holds (`fill`: and not blank) | blanks, or the fill |
| `at_most_one` | no more than one of the flags `columns` is 1                           | later flags to 0    |
| `sum`         | the known shares `columns` add up to `total` within `tolerance`        | the first, else all |
| `parts`       | the known parts `columns` add up to no more than the number `whole`    | all, in proportion  |

The kinds that compute a column which is never learned stand in `tables.derived_kinds`.
A missing operand breaks no rule, except where a blank is the point: `structural`, and what is derived.
A repair changes broken rows only. Before it `structural` exchanges values between synthetic rows, and so do, with
`swap`, `implies`, `order` and (for the share it names) `sum` (`tables.exchange`). Where no row is broken neither does
anything: so enforcing is idempotent.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from synthfed.tables.conditions import Condition, Demand, Grid, Mask, Values

ROUNDING = 1e-6
ALWAYS = Condition()


class Body(Protocol):
    """The meaning of one rule."""

    @property
    def reads(self) -> frozenset[str]:
        """Columns that decide, but are never written."""

    @property
    def writes(self) -> tuple[str, ...]:
        """Columns that a repair may change."""

    def violated(self, grid: Grid, rows: int) -> Mask:
        """Rows that break the rule."""

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        """New values of the written columns; rows outside `broken` keep theirs."""

    def without(self, absent: Iterable[str]) -> "Body | None":
        """The strongest rule that follows from this one and needs none of `absent`; None when nothing is left."""


@dataclass(frozen=True, slots=True)
class Range:
    bounds: tuple[tuple[str, float, float], ...]
    when: Condition = ALWAYS

    @property
    def reads(self) -> frozenset[str]:
        return self.when.columns

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.bounds)

    def violated(self, grid: Grid, rows: int) -> Mask:
        outside = np.zeros(rows, dtype=bool)
        for name, lower, upper in self.bounds:
            outside |= (grid[name] < lower) | (grid[name] > upper)
        return outside & self.when.truth(grid, rows)[0]

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        return {name: np.where(broken, np.clip(grid[name], low, high), grid[name]) for name, low, high in self.bounds}

    def without(self, absent: Iterable[str]) -> "Range | None":
        gone = set(absent)
        kept = tuple(bound for bound in self.bounds if bound[0] not in gone)
        when = self.when.without(gone)
        return replace(self, bounds=kept, when=when) if kept and when is not None else None


@dataclass(frozen=True, slots=True)
class Order:
    """Values that never fall along the columns.

    Attributes:
        slack: How much a value may exceed a later one; below 0 it must stay that far under it.
        factor: What the last column is multiplied by, such as 12 for years against months.
        decimals: Of each column; a value that is moved keeps them.
        raises: A repair raises the later columns instead of lowering the earlier ones.
        swap: Among synthetic rows, values of the first of two columns are exchanged first (`exchange`).
    """

    columns: tuple[str, ...]
    slack: float = 0.0
    when: Condition = ALWAYS
    factor: float = 1.0
    decimals: tuple[int, ...] = ()
    raises: bool = False
    swap: bool = False

    @property
    def reads(self) -> frozenset[str]:
        return self.when.columns | {self.columns[0] if self.raises else self.columns[-1]}

    @property
    def writes(self) -> tuple[str, ...]:
        return self.columns[1:] if self.raises else self.columns[:-1]

    def violated(self, grid: Grid, rows: int) -> Mask:
        falls = np.zeros(rows, dtype=bool)
        for i, low in enumerate(self.columns):
            for j, high in enumerate(self.columns[i + 1 :], start=i + 1):
                falls |= grid[low] > grid[high] * self._scale(j) + self.slack + ROUNDING
        return falls & self.when.truth(grid, rows)[0]

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        return self._raised(grid, broken) if self.raises else self._lowered(grid, broken)

    def _scale(self, place: int) -> float:
        return self.factor if place == len(self.columns) - 1 else 1.0

    def _lowered(self, grid: Grid, broken: Mask) -> Grid:
        ceiling = np.full(len(broken), np.inf)
        changed: Grid = {}
        for place in reversed(range(len(self.columns))):
            name = self.columns[place]
            kept = grid[name] * self._scale(place)
            capped = np.where(np.isnan(kept), np.nan, np.minimum(kept, ceiling))
            if place < len(self.columns) - 1:
                unit = 10.0 ** (self.decimals[place] if self.decimals else 6)
                capped = np.where(capped < kept, np.floor(capped * unit + ROUNDING) / unit, capped)
                changed[name] = np.where(broken, capped, grid[name])
            ceiling = np.fmin(ceiling, capped + self.slack)
        return changed

    def _raised(self, grid: Grid, broken: Mask) -> Grid:
        floor = np.full(len(broken), -np.inf)
        changed: Grid = {}
        for place, name in enumerate(self.columns):
            lifted = np.where(np.isnan(grid[name]), np.nan, np.maximum(grid[name], floor))
            if place:
                changed[name] = np.where(broken, lifted, grid[name])
            floor = np.fmax(floor, lifted - self.slack)
        return changed

    def without(self, absent: Iterable[str]) -> "Order | None":
        gone = set(absent)
        kept = [place for place, name in enumerate(self.columns) if name not in gone]
        when = self.when.without(gone)
        if len(kept) < 2 or when is None or (self.factor != 1.0 and len(self.columns) - 1 not in kept):
            return None
        columns = tuple(self.columns[place] for place in kept)
        return replace(
            self, columns=columns, decimals=tuple(self.decimals[p] for p in kept if self.decimals), when=when
        )


@dataclass(frozen=True, slots=True)
class Equal:
    target: str
    source: str
    tolerance: float = 0.0
    when: Condition = ALWAYS

    @property
    def reads(self) -> frozenset[str]:
        return self.when.columns | {self.source}

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.target,)

    def violated(self, grid: Grid, rows: int) -> Mask:
        differ = np.abs(grid[self.target] - grid[self.source]) > self.tolerance + ROUNDING
        return differ & self.when.truth(grid, rows)[0]

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        return {self.target: np.where(broken, grid[self.source], grid[self.target])}

    def without(self, absent: Iterable[str]) -> "Equal | None":
        gone = set(absent)
        when = self.when.without(gone)
        return None if {self.target, self.source} & gone or when is None else replace(self, when=when)


@dataclass(frozen=True, slots=True)
class Implies:
    """Where `when` surely holds, `then` is not surely false.

    Attributes:
        swap: Among synthetic rows, values that are not allowed are exchanged with rows that are free (`exchange`).
    """

    when: Condition
    then: Condition
    swap: bool = False

    @property
    def reads(self) -> frozenset[str]:
        return self.when.columns

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(sorted(self.then.columns))

    @property
    def demands(self) -> tuple[Demand, ...]:
        """What a hard rule asks of the written columns."""
        return self.then.alternatives[0]

    def violated(self, grid: Grid, rows: int) -> Mask:
        return self.when.truth(grid, rows)[0] & self.then.truth(grid, rows)[1]

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        changed: Grid = {}
        for demand in self.demands:
            wrong = broken & demand.truth(grid)[1]
            changed[demand.column] = np.where(wrong, demand.satisfy(grid[demand.column]), grid[demand.column])
        return changed

    def without(self, absent: Iterable[str]) -> "Implies | None":
        gone = set(absent)
        when = self.when.without(gone)
        if when is None:
            return None
        if len(self.then.alternatives) > 1:
            return None if self.then.columns & gone else replace(self, when=when)
        kept = tuple(demand for demand in self.demands if demand.column not in gone)
        return replace(self, when=when, then=Condition((kept,))) if kept else None


@dataclass(frozen=True, slots=True)
class Structural:
    children: tuple[str, ...]
    when: Condition
    fill: float | None = None

    @property
    def reads(self) -> frozenset[str]:
        return self.when.columns

    @property
    def writes(self) -> tuple[str, ...]:
        return self.children

    def violated(self, grid: Grid, rows: int) -> Mask:
        open_ = self.when.truth(grid, rows)[0]
        wrong = np.zeros(rows, dtype=bool)
        for child in self.children:
            blank = np.isnan(grid[child])
            wrong |= ~open_ & ~blank
            if self.fill is not None:
                wrong |= open_ & blank
        return wrong

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        open_ = self.when.truth(grid, len(broken))[0]
        changed: Grid = {}
        for child in self.children:
            values = np.where(broken & ~open_, np.nan, grid[child])
            if self.fill is not None:
                values = np.where(broken & open_ & np.isnan(values), self.fill, values)
            changed[child] = values
        return changed

    def without(self, absent: Iterable[str]) -> "Structural | None":
        gone = set(absent)
        kept = tuple(child for child in self.children if child not in gone)
        # fewer reasons to be open would blank more cells, which is a stronger rule: keep all reasons or none
        return replace(self, children=kept) if kept and not self.when.columns & gone else None


@dataclass(frozen=True, slots=True)
class AtMostOne:
    flags: tuple[str, ...]

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    @property
    def writes(self) -> tuple[str, ...]:
        return self.flags

    def violated(self, grid: Grid, rows: int) -> Mask:
        raised = np.zeros(rows)
        for name in self.flags:
            raised += grid[name] == 1
        return raised > 1

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        earlier = np.zeros(len(broken), dtype=bool)
        changed: Grid = {}
        for name in self.flags:
            raised = grid[name] == 1
            changed[name] = np.where(broken & earlier & raised, 0.0, grid[name])
            earlier |= raised
        return changed

    def without(self, absent: Iterable[str]) -> "AtMostOne | None":
        kept = tuple(name for name in self.flags if name not in set(absent))
        return AtMostOne(kept) if len(kept) > 1 else None


@dataclass(frozen=True, slots=True)
class Sum:
    """Shares of a whole.

    Attributes:
        shares: (column, lower bound, upper bound, decimals); the first takes what rounding leaves over.
        input_tolerance: How far a table that is read may be off and still be rescaled instead of blanked.
        swap: The share whose values are exchanged among synthetic rows first (`exchange`); none where it is empty.
    """

    shares: tuple[tuple[str, float, float, int], ...]
    total: float
    tolerance: float
    input_tolerance: float = 0.0
    swap: str = ""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(share[0] for share in self.shares)

    def added(self, grid: Grid) -> Values:
        """The sum of every row, NaN where a share is missing."""
        return np.sum([grid[name] for name in self.writes], axis=0)  # type: ignore[no-any-return]

    def violated(self, grid: Grid, rows: int) -> Mask:
        return np.abs(self.added(grid) - self.total) > self.tolerance + ROUNDING

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        """The first share takes what is left over; where the others exceed the whole, all are scaled."""
        first, lower, upper, decimals = self.shares[0]
        rest = np.round(self.total - (self.added(grid) - grid[first]), decimals)
        fits = broken & (rest >= lower) & (rest <= upper)
        scaled = self.scaled(grid, broken & ~fits)
        return scaled | {first: np.where(fits, rest, scaled[first])}

    def scaled(self, grid: Grid, broken: Mask) -> Grid:
        """All shares in proportion; the first takes what rounding leaves over."""
        added = self.added(grid)
        factor = np.where(broken & (added > 0), self.total / np.where(added > 0, added, 1.0), 1.0)
        changed: Grid = {}
        for name, lower, upper, decimals in self.shares:
            scaled = np.round(np.clip(grid[name] * factor, lower, upper), decimals)
            changed[name] = np.where(broken, scaled, grid[name])
        first, lower, upper, decimals = self.shares[0]
        left = self.total - self.added(changed)
        rest = np.round(np.clip(changed[first] + left, lower, upper), decimals)
        changed[first] = np.where(broken, rest, changed[first])
        return changed

    def without(self, absent: Iterable[str]) -> "Sum | None":
        return None if set(self.writes) & set(absent) else self


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts that together are no more than a whole; a part that is missing counts as nothing.

    Attributes:
        parts: (column, decimals).
    """

    parts: tuple[tuple[str, int], ...]
    whole: str

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.whole})

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)

    def violated(self, grid: Grid, rows: int) -> Mask:
        return self._added(grid) > grid[self.whole] + ROUNDING

    def repair(self, grid: Grid, broken: Mask) -> Grid:
        added = self._added(grid)
        factor = np.where(broken, grid[self.whole] / np.where(added > 0, added, 1.0), 1.0)
        changed: Grid = {}
        for name, decimals in self.parts:
            unit = 10.0**decimals
            changed[name] = np.where(broken, np.floor(grid[name] * factor * unit + ROUNDING) / unit, grid[name])
        return changed

    def without(self, absent: Iterable[str]) -> "Parts | None":
        gone = set(absent)
        kept = tuple(part for part in self.parts if part[0] not in gone)
        return Parts(kept, self.whole) if kept and self.whole not in gone else None

    def _added(self, grid: Grid) -> Values:
        return np.asarray(np.sum([np.nan_to_num(grid[name]) for name, _ in self.parts], axis=0))
