"""A comparison as one picture: a panel per measure, the kinds between shuffled columns and fresh patients."""

import io
import math
from typing import TYPE_CHECKING

from synthfed.report.drawing import INK, LINE, PALETTE, REAL, SOFT, style
from synthfed.run.comparing.comparison import Comparison, Measure
from synthfed.run.comparing.pages import short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe-Ito by family, so that colour blind readers tell them apart; the start is told by the marker
_COLOURS = {"marginal": PALETTE["green"], "tvae": PALETTE["accent"], "ctgan": "#d55e00"}
_MARKERS = {"": "o", "counts": "D", "cold": "o"}
_COLUMNS = 3
_DPI = 150


def draw(comparison: Comparison) -> bytes:
    """PNG bytes; the same comparison gives the same picture.

    Each panel: a dot per seed, a large mark at the median, a line from budget to budget; solid and shaded what fresh
    patients score with its 95 % band, dashed what shuffled columns score.
    """
    from matplotlib.figure import Figure

    measures = [m for m in comparison.measures if any(comparison.measured(m.id, e) for e in comparison.epsilons)]
    rows = max(1, math.ceil(len(measures) / _COLUMNS))
    height = 1.75 + 2.35 * rows
    with style("comparison"):
        figure = Figure(figsize=(11.5, height), dpi=_DPI, facecolor="white")
        grid = figure.add_gridspec(
            rows, _COLUMNS, left=0.055, right=0.985, top=1 - 1.45 / height, bottom=0.62 / height, hspace=0.5, wspace=0.2
        )
        for index, measure in enumerate(measures):
            _panel(figure.add_subplot(grid[index // _COLUMNS, index % _COLUMNS]), comparison, measure)
        figure.text(0.055, 1 - 0.36 / height, comparison.title, fontsize=15, fontweight="bold", color=INK, va="center")
        patients = "simulated patients" if comparison.simulated else "measured on patients: stays at the site"
        count = len(comparison.seeds)
        seeds = f"small dots: {count} seeds, large: their median" if count > 1 else "1 seed"
        figure.text(
            0.055,
            1 - 0.64 / height,
            f"{comparison.sites} sites, {patients}; {seeds}, ★ wins",
            fontsize=10.5,
            color=SOFT,
            va="center",
        )
        figure.legend(
            handles=_legend(comparison),
            loc="upper left",
            bbox_to_anchor=(0.05, 1 - 0.74 / height),
            ncols=len(comparison.kinds) + 2,
            frameon=False,
            fontsize=10.5,
            handletextpad=0.5,
            columnspacing=1.6,
            borderaxespad=0.2,
        )
        content = io.BytesIO()
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _panel(axes: "Axes", comparison: Comparison, measure: Measure) -> None:
    better = "higher is better" if measure.direction == "higher" else "lower is better"
    axes.set_title(short_name(measure), loc="left", fontweight="bold", color=INK, pad=7)
    axes.set_title(better, loc="right", fontsize=9.5, color=SOFT, pad=7)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    last = len(comparison.epsilons) - 1
    for place, epsilon in enumerate(comparison.epsilons):
        anchors = comparison.anchors(measure.id, epsilon)
        left, right = place - 0.5, place + 0.5
        if anchors.low is not None and anchors.high is not None:
            axes.fill_between([left, right], anchors.low, anchors.high, color=REAL, alpha=0.2, linewidth=0)
        if anchors.ceiling is not None:
            axes.hlines(anchors.ceiling, left, right, color=SOFT, linewidth=1.6)
        if anchors.floor is not None:
            axes.hlines(anchors.floor, left, right, color=PALETTE["red"], linewidth=1.4, linestyles=(0, (4, 3)))
    for index, kind in enumerate(comparison.kinds):
        _series(axes, comparison, measure, kind, _offset(index, len(comparison.kinds)))
    axes.set_xlim(-0.5, last + 0.5)
    if last:
        axes.set_xticks(range(last + 1), [f"epsilon {epsilon:g}" for epsilon in comparison.epsilons])
    else:
        places = [_offset(index, len(comparison.kinds)) for index in range(len(comparison.kinds))]
        failed = {kind for kind in comparison.kinds if not comparison.cells_of(kind, comparison.epsilons[0])}
        names = [f"{kind}\nfailed" if kind in failed else kind.replace("-", "\n") for kind in comparison.kinds]
        axes.set_xticks(places, names)


def _series(axes: "Axes", comparison: Comparison, measure: Measure, kind: str, offset: float) -> None:
    colour, marker, face = _look(kind)
    places, medians = [], []
    for place, epsilon in enumerate(comparison.epsilons):
        values = [
            cell.scores[measure.id].value for cell in comparison.cells_of(kind, epsilon) if measure.id in cell.scores
        ]
        known = [value for value in values if value is not None]
        spread = comparison.spread(measure.id, kind, epsilon)
        if spread is None:
            continue
        x = place + offset
        if comparison.winner(measure.id, epsilon) == kind:
            axes.annotate("★", (x, spread.median), (8, 3), textcoords="offset points", fontsize=11, color=INK)
        axes.vlines(x, spread.low, spread.high, color=colour, linewidth=1.4, alpha=0.6)
        axes.scatter([x] * len(known), known, s=9, color=colour, alpha=0.7, linewidths=0, zorder=3)
        places.append(x)
        medians.append(spread.median)
    axes.plot(places, medians, color=colour, linewidth=0.8, alpha=0.45, zorder=2)
    axes.scatter(places, medians, s=52, marker=marker, facecolor=face, edgecolor=colour, linewidths=1.7, zorder=4)


def _offset(index: int, kinds: int) -> float:
    return (index - (kinds - 1) / 2) * 0.9 / max(kinds, 3)


def _look(kind: str) -> tuple[str, str, str]:
    """Colour, marker and face: the family's colour; hollow where the network starts cold."""
    family, _, start = kind.partition("-")
    colour = _COLOURS.get(family, INK)
    return colour, _MARKERS.get(start, "s"), "white" if start == "cold" else colour


def _legend(comparison: Comparison) -> list[object]:
    from matplotlib.lines import Line2D

    handles: list[object] = []
    for kind in comparison.kinds:
        if not any(comparison.cells_of(kind, epsilon) for epsilon in comparison.epsilons):
            continue
        colour, marker, face = _look(kind)
        handles.append(
            Line2D([], [], linestyle="", marker=marker, markersize=7, color=colour, markerfacecolor=face, label=kind)
        )
    handles.append(Line2D([], [], color=SOFT, linewidth=1.6, label="fresh patients (95 % band)"))
    handles.append(Line2D([], [], color=PALETTE["red"], linewidth=1.4, linestyle=(0, (4, 3)), label="shuffled columns"))
    return handles
