"""From records of single fits to one cell per contestant, table and budget: medians over splits, and what failed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.benchmarks.peers.plan import Comparison, Contestant

GAPS = ("AUC", "AUC b", "AUC t", "C")
Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Cell:
    """All splits of one contestant on one table at one budget.

    Attributes:
        runs: Scores per split that ran, with `gap NAME` (what the training rows reach less what the drawn rows reach),
            CPU seconds and MB.
        failures: Why the others have none.
    """

    table: str
    contestant: str
    epsilon: float
    runs: tuple[Scores, ...]
    failures: tuple[str, ...] = ()

    def median(self, score: str) -> float | None:
        """None where no split has it."""
        known = self.values(score)
        return median(known) if known else None

    def values(self, score: str) -> list[float]:
        return [run[score] for run in self.runs if score in run]


@dataclass(frozen=True, slots=True)
class Aim:
    """A median that was aimed at, beside the one that was reached."""

    table: str
    contestant: str
    epsilon: float
    score: str
    aimed: float
    reached: float
    splits: int

    @property
    def met(self) -> bool:
        """Judged at the three digits that are printed."""
        return round(self.reached, 3) <= self.aimed


@dataclass(frozen=True, slots=True)
class Summary:
    """What the page is made of.

    Attributes:
        floors, ceilings: Per table, shuffled columns and fresh patients in a synthetic table's place.
        real: Per table, scores of the training rows.
    """

    cells: tuple[Cell, ...]
    floors: Mapping[str, Cell]
    ceilings: Mapping[str, Cell]
    real: Mapping[str, Cell]
    sizes: Mapping[str, tuple[int, int, int]]

    def cell(self, table: str, contestant: str, epsilon: float) -> Cell | None:
        for one in self.cells:
            if (one.table, one.contestant, one.epsilon) == (table, contestant, epsilon):
                return one
        return None

    def ranked(self, table: str, epsilon: float, score: str = "gap AUC") -> list[Cell]:
        """The cells of one table and budget, best median first; those without one last."""
        found = [one for one in self.cells if (one.table, one.epsilon) == (table, epsilon)]
        return sorted(found, key=lambda one: (not one.runs, one.median(score) or 0.0))


def summarise(plan: Comparison, anchors: Sequence[Mapping[str, Any]], records: Iterable[Mapping[str, Any]]) -> Summary:
    """Group records by cell, in the order of the plan."""
    real = {(one["table"], one["seed"]): one["real"] for one in anchors}
    grouped: dict[tuple[str, str, float], list[Mapping[str, Any]]] = {}
    for record in sorted(records, key=lambda one: int(one["seed"])):
        if (record["table"], record["seed"]) in real:
            grouped.setdefault((record["table"], record["contestant"], float(record["epsilon"])), []).append(record)
    order = {one.name: place for place, one in enumerate(plan.contestants)}
    tables = list(plan.tables)
    keys = sorted(grouped, key=lambda key: (tables.index(key[0]), key[2], order[key[1]]))
    cells = [_cell(key, grouped[key], real) for key in keys]

    def anchored(name: str, reference: str) -> dict[str, Cell]:
        return {
            table: Cell(
                table,
                name,
                math.nan,
                tuple(_with_gaps(one[name], one[reference]) for one in anchors if one["table"] == table),
            )
            for table in tables
            if any(one["table"] == table for one in anchors)
        }

    return Summary(
        cells=tuple(cells),
        floors=anchored("shuffled", "real"),
        ceilings=anchored("fresh patients", "real on the rest"),
        real=anchored("real", "real"),
        sizes={one["table"]: (one["train"], one["fresh"], one["columns"]) for one in anchors},
    )


def check_aims(plan: Comparison, summary: Summary) -> list[Aim]:
    """Every aim whose cell has a median."""
    found = []
    for table, contestant, epsilon, score, aimed in plan.aims:
        cell = summary.cell(table, contestant, epsilon)
        reached = None if cell is None else cell.median(score)
        if cell is not None and reached is not None:
            found.append(Aim(table, contestant, epsilon, score, aimed, reached, len(cell.runs)))
    return found


def sits_out(contestant: Contestant, summary: Summary) -> str | None:
    """Why a contestant has no number anywhere; None where it has one, or was never tried."""
    mine = [cell for cell in summary.cells if cell.contestant == contestant.name]
    if not mine or any(cell.runs for cell in mine):
        return None
    return mine[0].failures[0]


def _cell(key: tuple[str, str, float], records: Sequence[Mapping[str, Any]], real: Mapping[Any, Scores]) -> Cell:
    runs = tuple(
        {
            **_with_gaps(one["scores"], real[one["table"], one["seed"]]),
            "cpu_s": one["cpu_s"],
            "peak_mb": one["peak_mb"],
        }
        for one in records
        if "scores" in one
    )
    return Cell(*key, runs, tuple(one["failure"] for one in records if "failure" in one))


def _with_gaps(scores: Scores, real: Scores) -> Scores:
    return {**scores, **{f"gap {name}": real[name] - scores[name] for name in GAPS if name in scores}}
