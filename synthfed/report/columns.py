"""Charts of columns: one small picture per column, and the square of all pairs."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from synthfed.report.drawing import ACCENT, LINE, REAL, SOFT, TEXT, Panel, canvas, filled, place, style, to_svg
from synthfed.report.verdict import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def marginal(panel: Mapping[str, Any], key: str) -> Panel:
    """One column: shares of real patients in grey, of synthetic rows in the accent colour, missing last."""
    with style(key):
        drawing = _levels(panel) if panel["kind"] == "levels" else _histogram(panel)
        score = f"similarity {number(panel['score'])}" if panel["score"] is not None else "synthetic rows"
        svg = to_svg(drawing, key, title=f"Distribution of {panel['label']}", description=_marginal_words(panel, score))
    note = "" if panel["score"] is None else number(panel["score"])
    if note and panel.get("ceiling") is not None:
        note += f" · fresh {number(panel['ceiling'])}"
    heading = panel["label"] + (f" ({unit_text(panel['unit'])})" if panel["unit"] else "")
    return Panel(svg, key, heading=heading, note=note, width=160)


def unit_text(unit: str) -> str:
    """A unit with its exponent raised: `10^9/L` as 10⁹/L."""
    raised = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
    return re.sub(r"\^(-?\d+)", lambda hit: hit[1].translate(raised), unit)


def _histogram(panel: Mapping[str, Any]) -> Any:
    width, height = 160, 104
    drawing, axes = canvas(width, height)
    place(axes, left=4, right=4, top=6, bottom=18)
    synthetic, real = filled(panel["synthetic"]), filled(panel["real"])
    cells = len(synthetic) - 1
    gap, thick = cells * 0.11, cells * 0.13
    top = max(max(synthetic[:-1]), max(real[:-1]) if real is not None else 0.0, 1e-6)
    end = cells + gap + thick
    axes.set(xlim=(-0.3, end + 0.02 * cells), ylim=(0, top * 1.05))
    if real is not None:
        axes.bar(range(cells), real[:-1], width=1.0, align="edge", color=REAL, alpha=0.55, linewidth=0)
        axes.bar([cells + gap], [real[-1] * top], width=thick, align="edge", color=REAL, alpha=0.55, linewidth=0)
    axes.stairs(synthetic[:-1], range(cells + 1), color=ACCENT, linewidth=1.7)
    axes.bar([cells + gap], [top], width=thick, align="edge", fill=False, edgecolor=LINE, linewidth=0.8)
    axes.plot([cells + gap, end], [synthetic[-1] * top] * 2, color=ACCENT, linewidth=2.2, solid_capstyle="butt")
    edges = panel["edges"]
    middle = cells // 2
    labels = [number(edges[0]), number(edges[middle])]
    for x, text, side in zip((0, middle), labels, ("left", "center"), strict=True):
        axes.text(x, -0.05 * top, text, ha=side, va="top", color=SOFT, fontsize=TEXT - 1.5)
    axes.text(end, -0.05 * top, "missing", ha="right", va="top", color=SOFT, fontsize=TEXT - 1.5)
    _bare(axes)
    return drawing


def _levels(panel: Mapping[str, Any]) -> Any:
    width, height = 160, 104
    drawing, axes = canvas(width, height)
    names = [*level_names(panel["levels"]), "missing"]
    synthetic, real = filled(panel["synthetic"]), filled(panel["real"])
    if synthetic[-1] == 0 and (real is None or real[-1] == 0):
        names, synthetic, real = names[:-1], synthetic[:-1], real[:-1] if real is not None else None
    size = min(TEXT - 1, (height - 8) / len(names) * 0.95)
    place(axes, left=64, right=4, top=2, bottom=2)
    thick = 0.38
    for index, name in enumerate(names):
        if real is not None:
            axes.barh(index - thick / 2, real[index], height=thick, color=REAL, alpha=0.7, linewidth=0)
        offset = thick / 2 if real is not None else 0.0
        axes.barh(index + offset, synthetic[index], height=thick, color=ACCENT, linewidth=0)
        axes.text(-0.02, index, _short(name), ha="right", va="center", color=SOFT, fontsize=size)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6))
    _bare(axes)
    axes.spines["left"].set_visible(True)
    axes.spines["left"].set_color(LINE)
    axes.spines["bottom"].set_visible(False)
    return drawing


def level_names(levels: Sequence[Any]) -> list[str]:
    """Levels as people read them: a flag's 0 and 1 are no and yes."""
    if [str(level) for level in levels] == ["0", "1"]:
        return ["no", "yes"]
    return [str(level).replace("_", " ") for level in levels]


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"


def _bare(axes: "Axes") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(LINE)


def _marginal_words(panel: Mapping[str, Any], score: str) -> str:
    synthetic = filled(panel["synthetic"])
    real = filled(panel["real"])
    names = cell_names(panel)
    if real is None:
        most = max(range(len(synthetic)), key=synthetic.__getitem__)
        return f"{score}; most frequent: {names[most]}, {synthetic[most]:.0%} of synthetic rows."
    worst = max(range(len(synthetic)), key=lambda i: abs(synthetic[i] - real[i]))
    gap = f"{real[worst]:.0%} of patients, {synthetic[worst]:.0%} synthetic"
    return f"{score}; largest difference at {names[worst]}: {gap}."


def cell_names(panel: Mapping[str, Any]) -> list[str]:
    """A name for every share of a marginal, missing last."""
    if panel["kind"] == "levels":
        return [*level_names(panel["levels"]), "missing"]
    edges = panel["edges"]
    cells = [f"{number(low)} to {number(high)}" for low, high in pairwise(edges)]
    return [*cells, "missing"]


def matrix(
    values: Sequence[Sequence[float | None]], groups: Sequence[str], key: str, *, title: str, words: str
) -> Panel:
    """A square of associations; strength is opacity, so that it reads on light and dark paper."""
    import numpy as np
    from matplotlib.colors import to_rgb

    width = 232
    grid = np.array([[np.nan if v is None else float(v) for v in row] for row in values], dtype=float)
    strength = np.clip(np.abs(np.nan_to_num(grid)), 0.0, 1.0)
    colours = np.zeros((*grid.shape, 4))
    colours[..., :3] = np.where((np.nan_to_num(grid) < 0)[..., None], to_rgb("#d55e00"), to_rgb("#0072b2"))
    colours[..., 3] = strength**0.7
    with style(key):
        drawing, axes = canvas(width, width)
        place(axes, left=2, right=2, top=2, bottom=2)
        axes.imshow(colours, interpolation="none", aspect="auto")
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_color(LINE)
        axes.set_xticks([])
        axes.set_yticks([])
        for edge in group_edges(groups)[1:-1]:
            axes.axhline(edge - 0.5, color=SOFT, linewidth=0.6)
            axes.axvline(edge - 0.5, color=SOFT, linewidth=0.6)
        svg = to_svg(drawing, key, title=title, description=words)
    return Panel(svg, key, heading=title, width=width)


def group_edges(groups: Sequence[str]) -> list[int]:
    """Indices where a new group of columns begins, and the end."""
    starts = [i for i in range(len(groups)) if i == 0 or groups[i] != groups[i - 1]]
    return [*starts, len(groups)]
