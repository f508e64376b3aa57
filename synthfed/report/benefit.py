"""The figure of what each hospital gained over training alone; for the hospitals, never for a release."""

from collections.abc import Mapping, Sequence
from typing import Any

from synthfed.report.drawing import ACCENT, INK, LINE, SOFT, TEXT, Panel, canvas, place, style, to_svg
from synthfed.report.figure import Figure
from synthfed.report.verdict import capital, number

_MARKS = {"gains": "o", "loses": "X", "no difference shown": "D"}


def benefit_figure(rows: Sequence[Mapping[str, Any]] | None) -> Figure | None:
    """Per site and measure the difference to the site's own table, with its interval; None where none was measured."""
    if not rows:
        return None
    measures = list(dict.fromkeys(row["label"] for row in rows))
    panels = [
        _panel(label, chosen, f"benefit-{place_}")
        for place_, label in enumerate(measures)
        if (chosen := [row for row in rows if row["label"] == label and row["gain"] is not None])
    ]
    told = [row for row in rows if row["word"] != "not measurable"]
    better, worse = (sum(row["word"] == word for row in told) for word in ("gains", "loses"))
    title = (
        f"In {better} of {len(told)} comparisons a hospital gains from the federation, in {worse} it loses"
        if told
        else "Too few patients are held out at each hospital to say what it gains"
    )
    return Figure(
        key="benefit",
        title=title,
        caption="Right of the line the table made together is better than the one that the hospital makes alone, with "
        "the same generator and epsilon, on its own held-out patients. Bars: 95 % intervals over these patients, one "
        "training each. Circle: gains; cross: loses; diamond: no difference shown.",
        panels=tuple(panels),
        head=("site", "measure", "together", "alone", "difference", "95 % interval", "patients", "says"),
        rows=tuple(
            (
                row["site"],
                capital(row["label"]),
                number(row["federated"]),
                number(row["alone"]),
                number(row["gain"]),
                "–" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}",
                str(row["rows"]),
                row["reason"] or row["word"],
            )
            for row in rows
        ),
        shape="pair" if len(panels) > 1 else "single",
    )


def _panel(label: str, rows: Sequence[Mapping[str, Any]], key: str) -> Panel:
    width, step, top = 344, 34, 22
    height = top + step * len(rows) + 10
    ends = [abs(row[name]) for row in rows for name in ("gain", "low", "high") if row[name] is not None]
    reach = max([*ends, 0.05]) * 1.1
    with style(key):
        drawing, axes = canvas(width, height)
        place(axes, left=0, right=0, top=0, bottom=0)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        middle, half = 190.0, 96.0
        axes.plot([middle, middle], [14, height - 4], color=SOFT, linewidth=1)
        axes.text(middle - half, 10, "alone better", ha="left", va="center", color=SOFT, fontsize=TEXT - 1.5)
        axes.text(middle + half, 10, "together better", ha="right", va="center", color=SOFT, fontsize=TEXT - 1.5)
        for index, row in enumerate(rows):
            y = top + step * index + 16
            axes.text(0, y, row["site"], ha="left", va="center", color=INK)
            axes.plot([middle - half, middle + half], [y, y], color=LINE, linewidth=1)
            if row["low"] is not None and row["high"] is not None:
                at = [middle + half * row[name] / reach for name in ("low", "high")]
                axes.plot(at, [y, y], color=ACCENT, linewidth=3.5, alpha=0.45)
            mark = _MARKS.get(row["word"], "s")
            axes.plot([middle + half * row["gain"] / reach], [y], mark, color=ACCENT, markersize=7.5, zorder=4)
            axes.text(width, y, number(row["gain"]), ha="right", va="center", color=ACCENT, fontweight="bold")
        said = "; ".join(f"{row['site']} {number(row['gain'])}, {row['word']}" for row in rows)
        svg = to_svg(drawing, key, title=f"Gain of each hospital: {label}", description=f"{said}.")
    return Panel(svg, key, heading=capital(label), width=width)
