"""The scorecard: five questions, each answered by metrics with their anchors, never by one number.

`Metric` and `Scorecard` are the values that `report.json` holds; everything a reader sees is a view of them.
Thresholds live in one table here, with their origin; a pipeline may tighten them, never loosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Question = Literal["valid", "faithful", "useful", "private", "guaranteed"]
Role = Literal["deciding", "if_measurable", "info"]
Light = Literal["green", "amber", "red", "grey"]
RowsUsed = Literal["none", "holdout", "train"]

QUESTIONS: tuple[Question, ...] = ("valid", "faithful", "useful", "private", "guaranteed")
WORDS: Mapping[Light, str] = {"green": "shown", "amber": "partly shown", "red": "not met", "grey": "not measurable"}


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
        rows_used: Which real rows it touched; anything but `none` stays inside the sites unless paid for.
    """

    id: str
    question: Question
    role: Role
    label: str
    value: float | None
    direction: Literal["higher", "lower"]
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
