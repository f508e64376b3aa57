"""The scores of a comparison, and what may be concluded from them: who wins, who ties, who failed.

Rules, the same for every kind and fixed before any is run:

- A score counts up to the ceiling: closer to the training rows than fresh patients are is no merit.
- A measure on which shuffled columns score as fresh patients may tells nothing here and has no winner.
- What shuffling leaves alone (single columns, membership inference) has no floor; there a score counts up to the band:
  what fresh patients, or guessing, may reach by chance.
- Two kinds tie where their medians differ by less than the seed range: the larger of the best kind's own range over
  seeds and the median range of all kinds (of few seeds one kind's range alone may be small by luck).
- The kind recommended is best or tied with the best most often on what shuffled columns fail by construction
  (associations, Cox, prediction); if several are, on all measures; if several still are, it is the quickest of them.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from synthfed.errors import UnreadableFile

SCHEMA = "synthfed.comparison/1"
_FIT = 0.5  # of the way from shuffled columns to fresh patients: below it on most measures, nothing is recommended


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the table.

    Attributes:
        direction: `higher` or `lower` is better.
        decides: Shuffled columns fail it by construction, so it decides what is recommended.
    """

    id: str
    label: str
    direction: str
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """One measure of one synthetic table; None where it could not be measured (`evaluation.scorecard.Metric`)."""

    value: float | None
    floor: float | None
    ceiling: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind at one budget with one seed: its scores and what they cost, or why there are none.

    Attributes:
        epsilon_spent: What one training patient lost; for simulated patients, what secret noise as large would cost.
        epsilon_local: The same against all other sites together; larger where the sites share the noise.
        seconds: Of training, all sites in one process.
        bytes_moved: To and from all sites together.
        spent_over_runs: What the sites' ledgers held after it; None where none is kept.
        failure: The first sentence of the error that stopped it; empty when it ran.
    """

    kind: str
    epsilon: float
    seed: int
    scores: Mapping[str, Score] = field(default_factory=dict)
    epsilon_spent: float | None = None
    epsilon_local: float | None = None
    rounds: int = 0
    seconds: float = 0.0
    bytes_moved: int = 0
    spent_over_runs: float | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and range over seeds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        known = [value for value in values if value is not None]
        return cls(median(known), min(known), max(known)) if known else None

    @property
    def range(self) -> float:
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Anchors:
    """What shuffled columns and fresh patients score, medians over the cells of one budget; None where unknown."""

    floor: float | None
    ceiling: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All cells of a comparison, with what they have in common.

    Attributes:
        name: Of the pipeline, as it was asked for.
        origin: Where the rows come from, in words.
        cells: One per seed, budget and kind, failed ones too.
        digest, version: Of the pipeline that all kinds were made from (SHA-256, hex), and of synthfed.
    """

    name: str
    title: str
    digest: str
    version: str
    origin: str
    simulated: bool
    sites: int
    delta: float
    kinds: tuple[str, ...]
    epsilons: tuple[float, ...]
    seeds: tuple[int, ...]
    measures: tuple[Measure, ...]
    cells: tuple[Cell, ...]

    def cells_of(self, kind: str, epsilon: float) -> tuple[Cell, ...]:
        """The cells of one kind at one budget that ran, by seed."""
        return tuple(c for c in self.cells if (c.kind, c.epsilon) == (kind, epsilon) and not c.failure)

    def failures(self, kind: str, epsilon: float) -> tuple[Cell, ...]:
        """The cells of one kind at one budget that did not."""
        return tuple(c for c in self.cells if (c.kind, c.epsilon) == (kind, epsilon) and c.failure)

    def spread(self, measure: str, kind: str, epsilon: float) -> Spread | None:
        """Median and range over seeds; None where nothing was measured."""
        return Spread.of(c.scores[measure].value for c in self.cells_of(kind, epsilon) if measure in c.scores)

    def measured(self, measure: str, epsilon: float) -> bool:
        """Whether any kind has a value."""
        return any(self.spread(measure, kind, epsilon) is not None for kind in self.kinds)

    def anchors(self, measure: str, epsilon: float) -> Anchors:
        """Floor, ceiling and the band of perfect data."""
        found = [c.scores[measure] for c in self.cells if c.epsilon == epsilon and measure in c.scores]

        def middle(values: Iterable[float | None]) -> float | None:
            spread = Spread.of(values)
            return None if spread is None else spread.median

        return Anchors(
            middle(s.floor for s in found),
            middle(s.ceiling for s in found),
            middle(s.low for s in found),
            middle(s.high for s in found),
        )

    def best(self, measure: str, epsilon: float) -> tuple[str, ...]:
        """The best kind and all that tie with it, best first; empty where the measure tells nothing."""
        row, anchors = self._measure(measure), self.anchors(measure, epsilon)
        worst = anchors.low if row.direction == "higher" else anchors.high
        limit = worst if anchors.floor is None else anchors.ceiling
        if anchors.floor is not None and not _tells(anchors):
            return ()
        sign = 1.0 if row.direction == "higher" else -1.0
        spreads = {kind: self.spread(measure, kind, epsilon) for kind in self.kinds}
        merits = {
            kind: min(sign * spread.median, sign * limit if limit is not None else math.inf)
            for kind, spread in spreads.items()
            if spread is not None
        }
        if not merits:
            return ()
        order = sorted(merits, key=lambda kind: (-merits[kind], self.kinds.index(kind)))
        ranges = {kind: spread.range for kind, spread in spreads.items() if spread is not None}
        tie = max(ranges[order[0]], median(ranges.values()))
        return tuple(kind for kind in order if merits[order[0]] - merits[kind] <= tie)

    def winner(self, measure: str, epsilon: float | None = None) -> str | None:
        """The kind that is alone at the top; None for a tie.

        Args:
            epsilon: One of `epsilons`; without it the kind must win at all of them.

        Raises:
            KeyError: `measure` is not one of `measures`.
        """
        tops = [self.best(measure, e) for e in (self.epsilons if epsilon is None else (epsilon,))]
        alone = {top[0] if len(top) == 1 else None for top in tops}
        return alone.pop() if len(alone) == 1 else None

    def standing(self, epsilon: float, *, deciding: bool) -> dict[str, tuple[int, int]]:
        """How often each whole kind is best or tied with the best, of how many measures that tell."""
        tops = [self.best(m.id, epsilon) for m in self.measures if m.decides or not deciding]
        telling = [top for top in tops if top]
        return {kind: (sum(kind in top for top in telling), len(telling)) for kind in self._whole(epsilon)}

    def recommended(self, epsilon: float) -> str | None:
        """The kind to use at this budget by the rules above; None when every kind failed."""
        deciding, every = self.standing(epsilon, deciding=True), self.standing(epsilon, deciding=False)

        def rank(kind: str) -> tuple[float, ...]:
            return (-deciding[kind][0], -every[kind][0], median(c.seconds for c in self.cells_of(kind, epsilon)))

        return min(every, key=rank, default=None)

    def is_fit(self, kind: str, epsilon: float) -> bool:
        """Whether on most deciding measures the kind comes at least half of the way from the floor to the ceiling."""
        ways = []
        for measure in self.measures:
            anchors, spread = self.anchors(measure.id, epsilon), self.spread(measure.id, kind, epsilon)
            if measure.decides and spread is not None and _tells(anchors):
                assert anchors.floor is not None  # _tells
                assert anchors.ceiling is not None  # it lies in the band
                ways.append((spread.median - anchors.floor) / (anchors.ceiling - anchors.floor))
        return bool(ways) and 2 * sum(way >= _FIT for way in ways) > len(ways)

    def table(self) -> str:
        """The table and its verdict as plain text, as `synthfed compare` prints them."""
        from synthfed.run.comparing.pages import as_text

        return as_text(self)

    def to_json(self) -> str:
        """All of it as JSON; numbers keep six significant digits."""
        plain = asdict(self) | {"schema": SCHEMA}
        return json.dumps(six_digits(plain), indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """Read what `to_json` wrote.

        Raises:
            UnreadableFile: It is not a comparison of this version.
        """
        try:
            plain = _endless(json.loads(text))
            if plain.pop("schema") != SCHEMA:
                raise UnreadableFile(f"this is no {SCHEMA} file; read it with the synthfed that wrote it")
            return cls(
                **plain
                | {name: tuple(plain[name]) for name in ("kinds", "epsilons", "seeds")}
                | {"measures": tuple(Measure(**row) for row in plain["measures"])}
                | {"cells": tuple(cell_from(cell) for cell in plain["cells"])}
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreadableFile(f"this is no {SCHEMA} file ({type(error).__name__}): {error}") from error

    def _measure(self, measure: str) -> Measure:
        for row in self.measures:
            if row.id == measure:
                return row
        raise KeyError(measure)

    def _whole(self, epsilon: float) -> tuple[str, ...]:
        """Kinds that ran with every seed."""
        return tuple(kind for kind in self.kinds if len(self.cells_of(kind, epsilon)) == len(self.seeds))


def cell_from(plain: Mapping[str, Any]) -> Cell:
    """A cell from its JSON values."""
    scores = {name: Score(**score) for name, score in plain["scores"].items()}
    return Cell(**{**_endless(dict(plain)), "scores": scores})


def _tells(anchors: Anchors) -> bool:
    """Whether shuffled columns score outside what fresh patients may."""
    if anchors.floor is None or anchors.low is None or anchors.high is None:
        return False
    return not anchors.low <= anchors.floor <= anchors.high


def six_digits(value: Any) -> Any:
    """Six significant digits; an endless budget, which JSON has no number for, as the text `inf`."""
    if isinstance(value, float):
        return "inf" if math.isinf(value) else float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: six_digits(entry) for key, entry in value.items()}
    return [six_digits(entry) for entry in value] if isinstance(value, list | tuple) else value


def _endless(plain: dict[str, Any]) -> dict[str, Any]:
    """The text `inf` as the number again, where a budget may be endless."""

    def number(value: Any) -> Any:
        return math.inf if value == "inf" else value

    keys = ("epsilon", "epsilon_spent", "epsilon_local", "spent_over_runs")
    read = {key: number(value) if key in keys else value for key, value in plain.items()}
    if "epsilons" in read:
        read["epsilons"] = [number(value) for value in read["epsilons"]]
    return read
