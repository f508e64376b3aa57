"""Two pictures: what prediction costs by budget, and prediction against likeness."""

import math
from pathlib import Path
from typing import Any

from tests.benchmarks.pages import ACCENT, GREY, INK, RULE, drawing
from tests.benchmarks.peers.plan import Comparison
from tests.benchmarks.peers.summary import Cell, Summary

_COLOURS = {  # by the start of a name
    "synthfed marginal": ACCENT,
    "synthfed tvae": "#d55e00",
    "synthfed ctgan": "#009e73",
    "PGM": "#cc79a7",
    "mostlyai": "#e69f00",
    "SDV": INK,
    "smartnoise": GREY,
}
_MARKS = "osD^vP"
_PANELS = ("flchain", "beat aml")


def draw(plan: Comparison, summary: Summary, folder: Path) -> None:
    """`prediction.png` and `map.png`."""
    shown = [name for name in _PANELS if name in summary.sizes]
    if not shown or not summary.cells:
        return
    with drawing() as plt:
        for name, make in (("prediction", _prediction), ("map", _map)):
            figure = make(plt, plan, summary, shown)
            figure.savefig(folder / f"{name}.png", metadata={"Software": None})


def _look(plan: Comparison, name: str) -> dict[str, Any]:
    """A colour per family, a mark per contestant in it; ours with a suffix are dashed."""
    start = next(start for start in _COLOURS if name.startswith(start))
    family = [one.name for one in plan.contestants if one.name.startswith(start)]
    return {
        "color": _COLOURS[start],
        "marker": _MARKS[family.index(name)],
        "linestyle": "--" if "," in name else "-",
    }


def _prediction(plt: Any, plan: Comparison, summary: Summary, shown: list[str]) -> Any:
    budgets = sorted({one.epsilon for one in summary.cells})
    figure, places = plt.subplots(1, len(shown), figsize=(12.0, 4.8), dpi=110, squeeze=False, layout="constrained")
    for axes, table in zip(places[0], shown, strict=True):
        floor, ceiling = summary.floors[table].median("gap AUC"), summary.ceilings[table].median("gap AUC")
        assert floor is not None
        assert ceiling is not None
        axes.axhline(ceiling, color=INK, linewidth=0.8, linestyle=":")
        axes.axhline(floor, color=INK, linewidth=0.8, linestyle=":")
        axes.text(len(budgets) - 0.55, floor, "shuffled columns", color=INK, va="bottom", ha="right", fontsize=8.5)
        axes.text(len(budgets) - 0.55, ceiling, "fresh patients", color=INK, va="top", ha="right", fontsize=8.5)
        for number, contestant in enumerate(plan.contestants):
            mine = [summary.cell(table, contestant.name, epsilon) for epsilon in budgets]
            points = [(place, cell) for place, cell in enumerate(mine) if cell is not None and cell.runs]
            if not points:
                continue
            aside = 0.018 * (number - len(plan.contestants) / 2)  # so that ranges do not hide each other
            middles = [cell.median("gap AUC") for _, cell in points]
            look = _look(plan, contestant.name)
            for (place, cell), _ in zip(points, middles, strict=True):
                values = cell.values("gap AUC")
                axes.vlines(place + aside, min(values), max(values), color=look["color"], linewidth=1, alpha=0.45)
            axes.plot(
                [place + aside for place, _ in points],
                middles,
                label=contestant.name,
                markersize=6 if contestant.ours else 5,
                linewidth=1.8 if contestant.ours else 0.8,
                zorder=3 if contestant.ours else 2,
                **look,
            )
        axes.set_xticks(range(len(budgets)), ["no privacy" if math.isinf(e) else f"{e:g}" for e in budgets])
        axes.set_xlabel("epsilon of one patient, delta 1e-5")
        axes.set_title(f"{table}: gap in AUC to training on real rows", loc="left", fontsize=10.5)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
    _legend(figure, places[0])
    return figure


def _map(plt: Any, plan: Comparison, summary: Summary, shown: list[str]) -> Any:
    """Prediction against likeness at epsilon 3 (filled) and without privacy (hollow)."""
    figure, places = plt.subplots(1, len(shown), figsize=(12.0, 4.8), dpi=110, squeeze=False, layout="constrained")
    for axes, table in zip(places[0], shown, strict=True):
        for epsilon in (3.0, math.inf):
            for cell in summary.ranked(table, epsilon):
                if cell.runs:
                    _point(axes, plan, cell, hollow=math.isinf(epsilon))
        for label, cells in (("shuffled", summary.floors), ("fresh", summary.ceilings)):
            x, y = cells[table].median("TV2"), cells[table].median("gap AUC")
            axes.plot(x, y, color=INK, marker="+", markersize=9)
            axes.annotate(label, (x, y), xytext=(6, 4), textcoords="offset points", color=INK, fontsize=8.5)
        axes.set_xlabel("TV2: distance of pairs of columns")
        axes.set_ylabel("gap in AUC")
        axes.set_title(f"{table}: epsilon 3 filled, no privacy hollow", loc="left", fontsize=10.5)
        axes.grid(color=RULE, linewidth=0.6)
    _legend(figure, places[0])
    return figure


def _point(axes: Any, plan: Comparison, cell: Cell, *, hollow: bool) -> None:
    look = _look(plan, cell.contestant) | {"linestyle": ""}
    face = "none" if hollow else look["color"]
    x, y = cell.median("TV2"), cell.median("gap AUC")
    axes.plot(x, y, markerfacecolor=face, markersize=7, label=cell.contestant, **look)


def _legend(figure: Any, places: Any) -> None:
    """One for all panels, at the right."""
    handles: dict[str, Any] = {}
    for axes in places:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), frameon=False, fontsize=8.5, loc="outside right center")
