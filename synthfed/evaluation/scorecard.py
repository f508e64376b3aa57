"""The scorecard: five questions, each answered by metrics with their anchors, never by one number.

`Metric` and `Scorecard` are the values that `report.json` holds; everything a reader sees is a view of them.
Thresholds live in one table in `thresholds`, with their origin; a pipeline may tighten them, never loosen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.table import Table

Question = Literal["valid", "faithful", "useful", "private", "guaranteed"]
Role = Literal["deciding", "if_measurable", "info"]
Light = Literal["green", "amber", "red", "grey"]
RowsUsed = Literal["none", "holdout", "train"]
Direction = Literal["higher", "lower"]

QUESTIONS: tuple[Question, ...] = ("valid", "faithful", "useful", "private", "guaranteed")
WORDS: Mapping[Light, str] = {"green": "shown", "amber": "partly shown", "red": "not met", "grey": "not measurable"}
SYMBOLS: Mapping[Light, str] = {"green": "✓", "amber": "~", "red": "✗", "grey": "?"}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a number computed from held-out patients cost each of them.

    Attributes:
        epsilon: Infinity where exact sums left the sites, which no epsilon covers.
        ledger_event: Purpose of the charge in the sites' ledgers, to population `holdout`; empty where there is none.
    """

    epsilon: float
    delta: float
    ledger_event: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One number with what it means.

    Attributes:
        id: Dotted name, `question.metric` or `question.metric.subject`.
        value: The synthetic table's score, `None` where it could not be measured (`reason` says why).
        direction: `higher` or `lower` is better.
        ceiling: The same score for fresh real patients (the hold-out) in the synthetic table's place.
        floor: The same score for the synthetic table with its columns shuffled independently.
        low, high: 95 % interval of the ceiling under resampling, where computed.
        green, amber: Thresholds on the scale of `value`; a band of perfect data beyond `green` moves it.
        anchored: `(value - floor) / (ceiling - floor)`, where floor and ceiling are far enough apart to tell.
        rows_used: Which real rows it touched; anything but `none` stays inside the sites unless paid for.
        value_low, value_high: 95 % interval of `value` itself, where computed.
        cost: What was paid so that the number may leave the sites; `None` where nothing was.
    """

    id: str
    question: Question
    role: Role
    label: str
    value: float | None
    direction: Direction
    ceiling: float | None = None
    floor: float | None = None
    low: float | None = None
    high: float | None = None
    green: float | None = None
    amber: float | None = None
    threshold_origin: str = ""
    light: Light = "grey"
    reason: str = ""
    n: Mapping[str, int] | None = None
    rows_used: RowsUsed = "none"
    anchored: float | None = None
    value_low: float | None = None
    value_high: float | None = None
    cost: Cost | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; numbers keep six significant digits, what is unknown is `null`."""
        return {
            "id": self.id,
            "question": self.question,
            "role": self.role,
            "label": self.label,
            "value": significant(self.value),
            "value_low": significant(self.value_low),
            "value_high": significant(self.value_high),
            "direction": self.direction,
            "ceiling": significant(self.ceiling),
            "floor": significant(self.floor),
            "low": significant(self.low),
            "high": significant(self.high),
            "anchored": significant(self.anchored),
            "green": significant(self.green),
            "amber": significant(self.amber),
            "threshold_origin": self.threshold_origin,
            "light": self.light,
            "word": WORDS[self.light],
            "reason": self.reason,
            "n": dict(self.n) if self.n is not None else None,
            "rows_used": self.rows_used,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """A question's light and the metric that set it (`None` when no metric of the question was run)."""

    light: Light
    leading: Metric | None

    @property
    def word(self) -> str:
        return WORDS[self.light]

    @property
    def because(self) -> str:
        """Why the light has its colour, in one clause."""
        if self.leading is None:
            return "no metric of this question was run"
        if self.leading.value is None:
            return f"{self.leading.label}: {self.leading.reason}"
        text = f"{self.leading.label} = {self.leading.value:.3g}"
        return f"{text} ({self.leading.reason})" if self.leading.reason else text


@dataclass(frozen=True, slots=True)
class Scorecard:
    """All metrics of one synthetic table, and the data of its figures.

    Attributes:
        figures: JSON values to draw (`evaluation.figures`); real rows only where the edition had them.
        seed: Drives every resampling; the same tables and seed give the same scorecard.
    """

    metrics: tuple[Metric, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    rows: Mapping[str, int | None] = field(default_factory=dict)

    def __getitem__(self, metric_id: str) -> Metric:
        for metric in self.metrics:
            if metric.id == metric_id:
                return metric
        raise KeyError(metric_id)

    @property
    def lights(self) -> Mapping[Question, Light]:
        """One light per question, in the order of `QUESTIONS`."""
        return {question: self.answer(question).light for question in QUESTIONS}

    def answer(self, question: Question) -> Answer:
        """The worst deciding light; a grey deciding metric greys a question without amber or red.

        Metrics marked `if_measurable` decide unless they are grey; `info` never decides.
        """
        asked = [m for m in self.metrics if m.question == question]
        counted = [m for m in asked if m.role == "deciding" or (m.role == "if_measurable" and m.light != "grey")]
        worst_first: tuple[Light, ...] = ("red", "amber", "grey", "green")
        leading = min(counted, key=lambda m: worst_first.index(m.light), default=None)
        return Answer(leading.light if leading else "grey", leading)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: no NaN, six significant digits, `null` with a reason for what was not measured."""
        lights = {}
        for question in QUESTIONS:
            answer = self.answer(question)
            lights[question] = {
                "light": answer.light,
                "word": answer.word,
                "leading_metric": answer.leading.id if answer.leading else None,
                "because": answer.because,
            }
        return {
            "schema": "synthfed.scorecard/1",
            "seed": self.seed,
            "rows": dict(self.rows),
            "lights": lights,
            "metrics": [metric.to_dict() for metric in self.metrics],
            "figures": dict(self.figures),
        }

    def __rich__(self) -> "Table":
        """A table for terminals: value between floor and ceiling, light in words and symbol, colour last."""
        from rich.table import Table
        from rich.text import Text

        colours = {"green": "green", "amber": "yellow", "red": "red", "grey": "bright_black"}
        table = Table(title="Scorecard", title_justify="left", header_style="bold", pad_edge=False)
        table.add_column("metric", no_wrap=True)
        for name in ("shuffled", "value", "fresh patients"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("light", no_wrap=True)
        for question in QUESTIONS:
            asked = [metric for metric in self.metrics if metric.question == question]
            light = self.lights[question]
            head = Text(f"{SYMBOLS[light]} {WORDS[light]}", style=f"bold {colours[light]}")
            table.add_section()
            table.add_row(Text(question, style="bold"), "", "", "", head)
            for metric in asked:
                shown = (
                    Text("information")
                    if metric.role == "info"
                    else Text(f"{SYMBOLS[metric.light]} {WORDS[metric.light]}", style=colours[metric.light])
                )
                table.add_row(
                    f"  {metric.id}", _short(metric.floor), _short(metric.value), _short(metric.ceiling), shown
                )
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=110, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


def significant(value: float | None, digits: int = 6) -> float | None:
    """`value` with so many significant digits; `None` for what is unknown or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def rounded(values: Sequence[float], digits: int = 4) -> list[float | None]:
    """Figure data: so many digits after the point, `None` for what is not finite."""
    return [round(float(v), digits) if math.isfinite(v) else None for v in values]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
