"""What is counted of held-out patients: tables of cells, fixed in public before any of their rows is touched.

A patient falls into exactly one cell of each table, so a table moves by 1 in L2 when a patient comes or goes, whatever
the cells are. Table t gets a share w_t of the budget mu^2 (Gaussian differential privacy, arXiv 1905.02383), hence
normal noise of standard deviation 1/(mu sqrt(w_t)) on each of its cells, and all tables together cost mu.

Edges and groups come from the dictionary and from the released synthetic table S: never from the rows that are counted.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Block = Literal["columns", "pairs", "survival", "groups", "rules"]
Kind = Literal["number", "level", "rule"]
MOST_CELLS = 1 << 16  # of a plan
MOST_PAIRS = 20


@dataclass(frozen=True, slots=True)
class Axis:
    """A column, or a soft rule, cut into cells.

    Attributes:
        name: The column, or the rule's id.
        kind: `number`: cell i holds values with i edges at or below them. `level`: `cells[code]`. `rule`: 0 kept,
            1 broken.
        edges: Of a number; increasing.
        cells: Of a column with levels: the cell of each code; several codes may share one.
    """

    name: str
    kind: Kind
    edges: tuple[float, ...] = ()
    cells: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False))
        if not rising or not all(map(math.isfinite, self.edges)):
            raise ValueError(f"the edges of {self.name!r} must increase and be finite")
        if self.kind == "level" and sorted(set(self.cells)) != list(range(max(self.cells, default=0) + 1)):
            raise ValueError(f"the cells of {self.name!r} must be numbered from 0 without a gap")

    @property
    def size(self) -> int:
        """Cells without the one of missing values."""
        return {"number": len(self.edges) + 1, "level": max(self.cells, default=0) + 1, "rule": 2}[self.kind]


@dataclass(frozen=True, slots=True)
class CountTable:
    """One cell per combination of its axes, and a last one for patients who lack any of them.

    Attributes:
        name: Unique in the plan, such as `sex` or `NPM1 x TP53` or `os by eln2022`.
        share: Of the budget mu^2.
    """

    name: str
    block: Block
    axes: tuple[Axis, ...]
    share: float

    def __post_init__(self) -> None:
        if not self.axes or not 0 < self.share <= 1:
            raise ValueError(f"table {self.name!r} needs an axis, and a share of the budget in (0, 1]")

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells per axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def cells(self) -> int:
        """All cells, with the last."""
        return math.prod(self.shape) + 1


@dataclass(frozen=True, slots=True)
class CountPlan:
    """All tables, in the order of the vector."""

    tables: tuple[CountTable, ...]

    def __post_init__(self) -> None:
        if not self.tables or len({table.name for table in self.tables}) != len(self.tables):
            raise ValueError("a count plan needs tables, each with a name of its own")
        if self.cells > MOST_CELLS:
            raise ValueError(f"the plan has {self.cells} cells, at most {MOST_CELLS} fit; count less")
        if math.fsum(table.share for table in self.tables) > 1 + 1e-9:
            raise ValueError("the tables' shares of the budget add up to more than 1")

    @property
    def cells(self) -> int:
        """Length of the vector."""
        return sum(table.cells for table in self.tables)

    @property
    def rules(self) -> tuple[str, ...]:
        """Ids of the soft rules that are counted, in order."""
        return tuple(axis.name for table in self.tables for axis in table.axes if axis.kind == "rule")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are counted."""
        named = [axis.name for table in self.tables for axis in table.axes if axis.kind != "rule"]
        return tuple(dict.fromkeys(named))

    def slices(self) -> Iterator[tuple[CountTable, slice]]:
        """Each table with its place in the vector."""
        at = 0
        for table in self.tables:
            yield table, slice(at, at + table.cells)
            at += table.cells

    def block(self, block: Block) -> list[tuple[CountTable, slice]]:
        """The tables of one block with their places."""
        return [(table, place) for table, place in self.slices() if table.block == block]

    def stddevs(self, mu: float) -> npt.NDArray[np.float64]:
        """Standard deviation of each cell's noise so that the whole vector costs `mu`; float64[cells], 0 for inf.

        One patient moves each table by 1 in L2, and sum over t of (1/sigma_t)^2 = mu^2 sum w_t <= mu^2.
        """
        return np.concatenate([np.full(table.cells, 1 / (mu * math.sqrt(table.share))) for table in self.tables])

    def to_json(self) -> str:
        """Canonical text: the same plan, the same text."""
        return _text(self)

    @classmethod
    def from_json(cls, text: str) -> "CountPlan":
        """Rebuild a plan from exactly the text that `to_json` writes.

        Raises:
            ValueError: Anything else.
        """
        return _parsed(text)


@lru_cache(maxsize=8)
def _text(plan: CountPlan) -> str:
    return json.dumps(asdict(plan), sort_keys=True, separators=(",", ":"), allow_nan=False)


@lru_cache(maxsize=8)
def _parsed(text: str) -> CountPlan:
    try:
        raw = json.loads(text)
        plan = CountPlan(tuple(_table(table) for table in raw["tables"]))
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"this is not the text of a count plan ({type(error).__name__})") from error
    if plan.to_json() != text:
        raise ValueError("this is not the canonical text of its count plan; write plans with `to_json`")
    return plan


def _table(raw: dict[str, Any]) -> CountTable:
    axes = tuple(
        Axis(
            str(axis["name"]),
            axis["kind"],
            tuple(float(edge) for edge in axis["edges"]),
            tuple(int(cell) for cell in axis["cells"]),
        )
        for axis in raw["axes"]
    )
    if raw["block"] not in ("columns", "pairs", "survival", "groups", "rules"):
        raise ValueError(f"block {raw['block']!r} is not one of this version")
    return CountTable(str(raw["name"]), raw["block"], axes, float(raw["share"]))
