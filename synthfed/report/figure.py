"""What a figure is: the finding as the title, n and method as the caption, the data as a table below."""

from dataclasses import dataclass
from typing import Literal

from synthfed.report.drawing import Panel

Shape = Literal["single", "pair", "triple", "small"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One idea: a title that is the finding, panels, a caption, and the numbers behind it.

    Attributes:
        legend: Kinds of marks (`real`, `synthetic`, `band`) and what each means here.
        more: Panels behind a fold; the first ones carry the message.
        fold: What the fold says; empty: how many panels it hides.
        steps: Sentences that are numbered under the caption.
    """

    key: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shape: Shape = "single"
    legend: tuple[tuple[str, str], ...] = ()
    more: tuple[Panel, ...] = ()
    fold: str = ""
    steps: tuple[str, ...] = ()


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def percent(value: float | None) -> str:
    """A part of one, in per cent."""
    return "–" if value is None else f"{100 * value:.1f} %"
