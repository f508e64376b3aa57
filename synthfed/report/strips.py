"""Charts of one row per thing, on a line: scores between anchors, risks, budgets and their parts; one quantity over the
rounds.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synthfed.report.drawing import ACCENT, INK, LINE, PALETTE, REAL, SOFT, TEXT, Panel, canvas, place, style, to_svg
from synthfed.report.verdict import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = {"green": "o", "amber": "D", "red": "X", "grey": "s"}
RISK_LINE = 0.09  # EMA Policy 0070 and Health Canada: re-identification probability, used here by analogy


def light_colour(light: str) -> str:
    """The drawing colour of a light; grey lights are drawn like text of second rank."""
    return PALETTE.get(light, SOFT)


def anchors(rows: Sequence[Mapping[str, Any]], key: str) -> Panel:
    """Each score between its floor (0) and its ceiling (1), with the band of perfect data."""
    width, step, top = 360, 44, 24
    height = top + step * len(rows) + 8
    with style(key):
        drawing, axes = canvas(width, height)
        place(axes, left=0, right=0, top=0, bottom=0)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        left, right = 86.0, 290.0
        span = right - left
        axes.text(left, 12, "shuffled", ha="center", color=SOFT, fontsize=TEXT - 1)
        axes.text(right, 12, "fresh patients", ha="center", color=SOFT, fontsize=TEXT - 1)
        for index, row in enumerate(rows):
            y = top + step * index + 30
            axes.text(0, y - 14, row["label"], ha="left", color=INK)
            axes.plot([left - 31, right + 31], [y, y], color=LINE, linewidth=1)
            axes.plot([left, left], [y - 6, y + 6], color=SOFT, linewidth=1)
            low, high = sorted(_clip(anchored(row, row[end])) for end in ("low", "high"))
            if low < high:
                _hatched(axes, left + span * low, left + span * high, y - 6, y + 6)
            axes.plot([right, right], [y - 6, y + 6], color=SOFT, linewidth=1)
            place_of = _clip(anchored(row, row["value"]))
            colour = light_colour(row["light"])
            axes.plot([left + span * place_of], [y], MARKS[row["light"]], color=colour, markersize=9, zorder=4)
            axes.text(width, y + 4, number(row["value"]), ha="right", color=colour, fontweight="bold")
            axes.text(0, y + 4, number(row["floor"]), ha="left", color=SOFT, fontsize=TEXT - 1)
        said = "; ".join(
            f"{r['label']} {number(r['value'])}, floor {number(r['floor'])}, ceiling {number(r['ceiling'])}"
            for r in rows
        )
        svg = to_svg(drawing, key, title="Scores between floor and ceiling", description=said)
    return Panel(svg, key, width=width)


def apart(row: Mapping[str, Any]) -> bool:
    """Floor and ceiling further apart than three half-widths of the band, else a place between them means nothing."""
    if row["low"] is None or row["high"] is None:
        return True
    return bool(abs(row["ceiling"] - row["floor"]) > 1.5 * abs(row["high"] - row["low"]))


def anchored(row: Mapping[str, Any], value: float | None) -> float:
    """`value` on the scale where the floor is 0 and the ceiling is 1."""
    if value is None:
        return 1.0
    return float((value - row["floor"]) / (row["ceiling"] - row["floor"]))


def _clip(share: float) -> float:
    return min(1.15, max(-0.15, share))


def _hatched(axes: "Axes", left: float, right: float, low: float, high: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((left, low), right - left, high - low, fill=False, hatch="////", edgecolor=REAL, linewidth=0)
    )


def risks(rows: Sequence[Mapping[str, Any]], key: str) -> Panel:
    """Each attack's risk with its interval, and the line regulators use for re-identification."""
    width, step, top = 360, 42, 26
    height = top + step * len(rows) + 8
    values = [v for row in rows for v in (row["value"], row["high"]) if v is not None]
    limit = max(0.12, *values) * 1.1 if values else 0.12
    with style(key):
        drawing, axes = canvas(width, height)
        place(axes, left=0, right=0, top=0, bottom=0)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        left, right = 10.0, 300.0

        def spot(value: float) -> float:
            return left + (right - left) * max(0.0, value) / limit

        axes.plot([spot(RISK_LINE)] * 2, [18, height - 6], color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
        axes.text(spot(RISK_LINE), 12, "0.09", ha="center", color=SOFT, fontsize=TEXT - 1)
        axes.text(left, 12, "0", ha="center", color=SOFT, fontsize=TEXT - 1)
        for index, row in enumerate(rows):
            y = top + step * index + 28
            axes.text(left, y - 13, row["label"], ha="left", color=INK)
            axes.plot([left, right], [y, y], color=LINE, linewidth=1)
            if row["low"] is not None and row["high"] is not None:
                axes.plot([spot(row["low"]), spot(row["high"])], [y, y], color=ACCENT, linewidth=3.5, alpha=0.45)
            if row.get("ceiling") is not None:
                axes.plot([spot(row["ceiling"])] * 2, [y - 6, y + 6], color=REAL, linewidth=2.2)
            if row["value"] is None:
                axes.text(width, y + 4, "not measured", ha="right", color=SOFT)
                continue
            axes.plot([spot(row["value"])], [y], "o", color=ACCENT, markersize=8, zorder=4)
            axes.text(width, y + 4, number(row["value"]), ha="right", color=ACCENT, fontweight="bold")
        said = "; ".join(f"{row['label']} {number(row['value'])}" for row in rows)
        svg = to_svg(drawing, key, title="Risks of the attacks that were run", description=said)
    return Panel(svg, key, width=width)


def bars(rows: Sequence[tuple[str, float]], key: str, *, title: str, limit: float, limit_label: str) -> Panel:
    """Horizontal bars with a labelled limit: the budget spent at each site."""
    width, step, top = 360, 38, 26
    height = top + step * len(rows) + 6
    most = max(limit, *(value for _, value in rows)) * 1.02
    with style(key):
        drawing, axes = canvas(width, height)
        place(axes, left=0, right=0, top=0, bottom=0)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        right = 300.0
        for index, (name, value) in enumerate(rows):
            y = top + step * index + 14
            axes.text(0, y, name, ha="left", color=INK)
            axes.barh(y + 11, right * value / most, height=9, left=0, color=ACCENT, linewidth=0)
            axes.text(width, y + 15, number(value), ha="right", color=ACCENT, fontweight="bold")
        spot = right * limit / most
        axes.plot([spot, spot], [20, height - 4], color=INK, linewidth=1, linestyle=(0, (3, 3)))
        axes.text(spot, 12, limit_label, ha="right" if spot > 120 else "left", color=SOFT, fontsize=TEXT - 1)
        said = "; ".join(f"{name} {number(value)}" for name, value in rows)
        svg = to_svg(drawing, key, title=title, description=said)
    return Panel(svg, key, width=width)


def shares(rows: Sequence[tuple[str, float]], key: str, *, title: str) -> Panel:
    """Horizontal bars of parts of one whole."""
    width, step, top = 360, 38, 4
    height = top + step * len(rows) + 6
    with style(key):
        drawing, axes = canvas(width, height)
        place(axes, left=0, right=0, top=0, bottom=0)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        right = 300.0
        for index, (name, share) in enumerate(rows):
            y = top + step * index + 14
            axes.text(0, y, name, ha="left", color=INK)
            axes.barh(y + 11, right, height=9, left=0, color=LINE, linewidth=0)
            axes.barh(y + 11, right * share, height=9, left=0, color=ACCENT, linewidth=0)
            axes.text(width, y + 15, f"{100 * share:.0f} %", ha="right", color=ACCENT, fontweight="bold")
        said = "; ".join(f"{name} {100 * share:.0f} %" for name, share in rows)
        svg = to_svg(drawing, key, title=title, description=said)
    return Panel(svg, key, width=width)


def line(x: Sequence[float], y: Sequence[float], key: str, *, heading: str, unit: str, words: str) -> Panel:
    """One quantity over the rounds."""
    width, height = 344, 170
    with style(key):
        drawing, axes = canvas(width, height)
        place(axes, left=46, right=12, top=10, bottom=36)
        axes.plot(x, y, color=ACCENT, linewidth=1.8)
        axes.set_xlim(min(x), max(max(x), min(x) + 1))
        axes.set_ylim(0, max(max(y), 1e-12) * 1.08)
        axes.locator_params(nbins=5)
        axes.tick_params(length=3)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel("round", labelpad=3)
        svg = to_svg(drawing, key, title=heading, description=words)
    return Panel(svg, key, heading=heading, note=unit, width=width)
