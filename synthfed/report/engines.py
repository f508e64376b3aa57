"""Which engine wins: the network that drew the table beside the tree that it started from, in words.

A run that counts first holds both. Where real rows may be used they are scored alike; in every edition they are held
against the noisy totals that the run has bought (`generators.yardstick`), which costs nothing more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from synthfed.generators.start import Judged, Kept
from synthfed.report.verdict import capital, number

Better = Literal["network", "tree", "neither", "unknown"]

# Scores that decide what a table is good for, in the order of the page; those of single targets follow their stem.
COMPARED = (
    "faithful.association",
    "useful.tstr",
    "faithful.coverage",
    "survival.km_area",
    "genomics.cooccurrence",
    "faithful.shapes",
    "faithful.missing",
)
_NAMED = 2  # ties that a sentence names; the table below it has all of them
_SIDES: tuple[Better, ...] = ("tree", "network")
LABELS: Mapping[str, str] = {
    "single": "single columns",
    "outcome": "columns by outcome",
    "joined": "pairs of columns that the tree joins",
    "held back": "other pairs of columns, held back",
}


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One score of both tables; None where it could not be measured."""

    id: str
    label: str
    direction: str
    network: float | None
    tree: float | None
    floor: float | None
    ceiling: float | None
    low: float | None
    high: float | None

    @property
    def better(self) -> Better:
        """Who is closer to fresh patients by more than half the width of their band; beyond them is no merit."""
        if self.network is None or self.tree is None:
            return "unknown"
        sign = 1.0 if self.direction == "higher" else -1.0
        network, tree = (
            sign * value if self.ceiling is None else min(sign * value, sign * self.ceiling)
            for value in (self.network, self.tree)
        )
        width = 0.0 if self.low is None or self.high is None else abs(self.high - self.low)
        if abs(network - tree) <= width / 2:
            return "neither"
        return "network" if network > tree else "tree"


@dataclass(frozen=True, slots=True)
class CountRow:
    """Mean square misfit of both engines to the noisy totals of one kind; 1 is what the noise alone makes.

    Attributes:
        shuffled: The same of rows whose columns hang together in nothing.
        error: Standard deviation of the difference.
        learned: The engines were fitted to these totals, the tree first: it looks better on them than it is.
    """

    kind: str
    cells: int
    network: float
    tree: float
    shuffled: float
    error: float
    learned: bool

    @property
    def better(self) -> Better:
        """Who agrees better by more than two standard errors; being ahead on totals learned by heart is no merit."""
        if abs(self.network - self.tree) <= 2 * self.error:
            return "neither"
        if self.network < self.tree:
            return "network"
        return "unknown" if self.learned else "tree"


def engines_block(
    kind: str,
    *,
    kept: Kept,
    judged: Judged | None,
    counts: Sequence[CountRow],
    scores: Sequence[ScoreRow],
    real_patients: bool,
) -> dict[str, Any]:
    """The entry `engines` of `report.json`.

    Args:
        kind: Of the network.
        kept: Which of its states ships.
        judged: Start against trained network; None where nothing was trained.
        scores: Empty where no real row may be used.
        real_patients: Whether `scores` were measured on patients, so that they stay inside.
    """
    return {
        "network": kind,
        "kept": kept,
        "judged": None if judged is None else _judged(judged),
        "winner": _winner(counts, scores),
        "sentences": [*_of_training(kept, judged), _of_cost(bool(scores) and real_patients)],
        "scores": [{**asdict(row), "label": capital(row.label), "better": row.better} for row in scores],
        "counts": [{**asdict(row), "label": capital(LABELS[row.kind]), "better": row.better} for row in counts],
    }


def _judged(judged: Judged) -> dict[str, Any]:
    return {
        name: {"cells": gap.cells, "start": gap.one, "trained": gap.other, "error": gap.error} if gap.cells else None
        for name, gap in (("held_back", judged.held_back), ("learned", judged.learned))
    }


def _winner(counts: Sequence[CountRow], scores: Sequence[ScoreRow]) -> str:
    """One sentence: who is better at what; without scores, what the noisy totals can tell."""
    if not scores:
        return _by_totals(counts)
    ahead: dict[Better, list[str]] = {"tree": [], "network": [], "neither": [], "unknown": []}
    for row in scores:
        ahead[row.better].append(f"“{row.label}”")
    if not ahead["tree"] and not ahead["network"]:
        if not ahead["neither"]:
            return "Nothing could be measured on both."
        return f"A tie: on {_listed(ahead['neither'])} the two differ by no more than chance."
    said = [f"the {side} is ahead on {_listed(ahead[side])}" for side in _SIDES if ahead[side]]
    if ahead["neither"]:
        close = ahead["neither"]
        where = _listed(close) if len(close) <= _NAMED else f"the other {len(close)} scores"
        said.append(f"on {where} they differ by no more than chance")
    return f"{capital('; '.join(said))}."


def _by_totals(counts: Sequence[CountRow]) -> str:
    told: Better = next((row.better for row in counts if not row.learned), "unknown")
    if told == "unknown":
        return "The noisy totals cannot tell: both engines were made from all of them."
    agree = "with the noisy totals on pairs of columns that neither was fitted to"
    if told == "neither":
        return f"A tie, as far as noisy totals can tell: both agree equally well {agree}."
    return f"The {told} is ahead, as far as noisy totals can tell: it agrees better {agree}."


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:-1]) + f" and {labels[-1]}" if len(labels) > 1 else labels[0]


def _of_training(kept: Kept, judged: Judged | None) -> list[str]:
    if judged is None:
        return []
    parts = [
        f"{_digits(gap.one)} before it and {_digits(gap.other)} after on the totals {which}"
        for which, gap in (("held back", judged.held_back), ("that its start was made from", judged.learned))
        if gap.cells
    ]
    misfits = f"misfit {', '.join(parts)}"
    if kept == "trained":
        said = "Training on patients' rows brought the network closer to the patients"
        return [f"{said} ({misfits}): it ships as trained."]
    return [
        f"That training on patients' rows brought the network closer to the patients is not shown ({misfits}): what "
        "ships is the network as it was before, and what the training spent has bought nothing."
    ]


def _digits(misfit: float) -> str:
    """Enough of them to tell two misfits apart."""
    return f"{misfit:.4f}" if misfit < 10 else number(misfit)


def _of_cost(on_patients: bool) -> str:
    said = "The tree comes from the same noisy totals: drawing from it, and holding both against the totals, cost no "
    said += "extra privacy."
    if on_patients:
        said += " The scores were measured on patients' rows and stay at the site."
    return said + (
        " To release the tree, set generator.kind = 'marginal' in the next run: it then gets the whole budget."
    )
