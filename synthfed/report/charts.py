"""Every chart of the report, one function each: figure data of `report.json` in, an SVG panel out.

Real is grey, synthetic is the accent colour, what chance or perfect data would give is a hatched band. Widths are in
CSS pixels of a phone. A function draws and describes; which charts make a figure is decided in `figures.py`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synthfed.report.drawing import PALETTE, TEXT, Panel, canvas, place, style, to_svg
from synthfed.report.verdict import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, LINE = PALETTE["ink"], PALETTE["soft"], PALETTE["line"]
REAL, ACCENT, PAPER = PALETTE["real"], PALETTE["accent"], PALETTE["paper"]
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
            f"{r['label']} {number(r['value'])}, floor {number(r['floor'])}, ceiling {number(r['ceiling'])}" for r in rows
        )
        svg = to_svg(drawing, key, title="Scores between floor and ceiling", description=said)
    return Panel(svg, key, width=width)


def anchored(row: Mapping[str, Any], value: float | None) -> float:
    """`value` on the scale where the floor is 0 and the ceiling is 1."""
    if value is None:
        return 1.0
    return float((value - row["floor"]) / (row["ceiling"] - row["floor"]))


def _clip(share: float) -> float:
    return min(1.15, max(-0.15, share))


def _hatched(axes: "Axes", left: float, right: float, low: float, high: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((left, low), right - left, high - low, fill=False, hatch="////", edgecolor=REAL, linewidth=0))


def marginal(panel: Mapping[str, Any], key: str) -> Panel:
    """One column: shares of real patients in grey, of synthetic rows in the accent colour, missing last."""
    with style(key):
        drawing = _levels(panel) if panel["kind"] == "levels" else _histogram(panel)
        score = f"similarity {number(panel['score'])}" if panel["score"] is not None else "synthetic rows"
        svg = to_svg(drawing, key, title=f"Distribution of {panel['label']}", description=_marginal_words(panel, score))
    note = "" if panel["score"] is None else number(panel["score"])
    if note and panel.get("ceiling") is not None:
        note += f" · fresh {number(panel['ceiling'])}"
    heading = panel["label"] + (f" ({panel['unit']})" if panel["unit"] else "")
    return Panel(svg, key, heading=heading, note=note, width=160)


def _histogram(panel: Mapping[str, Any]) -> Any:
    width, height = 160, 104
    drawing, axes = canvas(width, height)
    place(axes, left=4, right=4, top=6, bottom=18)
    synthetic, real = _shares(panel["synthetic"]), _shares(panel["real"])
    cells = len(synthetic) - 1
    gap = cells * 0.08
    if real is not None:
        axes.bar(range(cells), real[:-1], width=1.0, align="edge", color=REAL, alpha=0.55, linewidth=0)
        axes.bar([cells + gap], [real[-1]], width=gap * 1.4, align="edge", color=REAL, alpha=0.55, linewidth=0)
    axes.stairs(synthetic[:-1], range(cells + 1), color=ACCENT, linewidth=1.7)
    axes.stairs([synthetic[-1]], [cells + gap, cells + gap * 2.4], color=ACCENT, linewidth=1.7)
    axes.set_xlim(-0.3, cells + gap * 2.6)
    top = max(max(synthetic), max(real) if real is not None else 0.0, 1e-6)
    axes.set_ylim(0, top * 1.05)
    edges = panel["edges"]
    middle = cells // 2
    labels = [number(edges[0]), number(edges[middle]), number(edges[-1])]
    for x, text, side in zip((0, middle, cells), labels, ("left", "center", "right"), strict=True):
        axes.text(x, -0.05 * top, text, ha=side, va="top", color=SOFT, fontsize=TEXT - 1.5)
    axes.text(cells + gap * 2.6, -0.05 * top, "miss.", ha="right", va="top", color=SOFT, fontsize=TEXT - 1.5)
    _bare(axes)
    return drawing


def _levels(panel: Mapping[str, Any]) -> Any:
    width, height = 160, 104
    drawing, axes = canvas(width, height)
    names = [*level_names(panel["levels"]), "missing"]
    synthetic, real = _shares(panel["synthetic"]), _shares(panel["real"])
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


def _shares(values: Sequence[float | None] | None) -> Any:
    return None if values is None else [0.0 if value is None else float(value) for value in values]


def _marginal_words(panel: Mapping[str, Any], score: str) -> str:
    synthetic = _shares(panel["synthetic"])
    real = _shares(panel["real"])
    names = cell_names(panel)
    if real is None:
        most = max(range(len(synthetic)), key=synthetic.__getitem__)
        return f"{score}; most frequent: {names[most]}, {synthetic[most]:.0%} of synthetic rows."
    worst = max(range(len(synthetic)), key=lambda i: abs(synthetic[i] - real[i]))
    return f"{score}; largest difference at {names[worst]}: {real[worst]:.0%} of patients, {synthetic[worst]:.0%} synthetic."


def cell_names(panel: Mapping[str, Any]) -> list[str]:
    """A name for every share of a marginal, missing last."""
    if panel["kind"] == "levels":
        return [*level_names(panel["levels"]), "missing"]
    edges = panel["edges"]
    cells = [f"{number(low)} to {number(high)}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return [*cells, "missing"]


def matrix(values: Sequence[Sequence[float | None]], groups: Sequence[str], key: str, *, title: str, words: str) -> Panel:
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


def survival(entry: Mapping[str, Any], key: str) -> Panel:
    """Kaplan-Meier curves with 95 % bands and numbers at risk below."""
    width, height = 344, 246
    curves = [(name, entry[name]) for name in ("real", "synthetic") if entry.get(name)]
    years = entry["tau_days"] / 365.25
    with style(key):
        drawing, axes = canvas(width, height)
        below = 42 + 14 * len(curves)
        place(axes, left=40, right=10, top=8, bottom=below)
        for name, curve in curves:
            colour = REAL if name == "real" else ACCENT
            days = [day / 365.25 for day in curve["days"]]
            low, high = _shares(curve["low"]), _shares(curve["high"])
            if name == "real":
                axes.fill_between(
                    days, low, high, step="post", facecolor="none", hatch="////", edgecolor=colour, linewidth=0, alpha=0.8
                )
            else:
                axes.fill_between(days, low, high, step="post", color=colour, alpha=0.14, linewidth=0)
            thick = 2.8 if name == "real" else 1.8
            axes.step(days, _shares(curve["survival"]), where="post", color=colour, linewidth=thick)
        axes.set(xlim=(0, years), ylim=(0, 1.02))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25", "50", "75", "100 %"])
        ticks = _year_ticks(years)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.tick_params(length=3)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        row = -22.0 / (height - 8 - below) * 1.02
        axes.text(years, row, "years", ha="right", va="top", color=SOFT, fontsize=TEXT - 1)
        axes.text(0, row, "at risk", ha="left", va="top", color=SOFT, fontsize=TEXT - 1)
        _numbers_at_risk(axes, curves, years, height - 8 - below)
        said = "; ".join(f"{name}: {_last(curve):.0%} at the end" for name, curve in curves)
        svg = to_svg(drawing, key, title=f"Survival, {group_label(entry)}", description=f"Kaplan-Meier curves, {said}.")
    note = f"mean gap {number(entry['km_area'])}" if entry.get("km_area") is not None else ""
    return Panel(svg, key, heading=group_label(entry), note=note, width=width)


def _numbers_at_risk(axes: "Axes", curves: Sequence[tuple[str, Mapping[str, Any]]], years: float, tall: float) -> None:
    for line, (name, curve) in enumerate(curves):
        y = -(37.0 + 14.0 * line) / tall
        colour = SOFT if name == "real" else ACCENT
        for day, count in curve["at_risk"]:
            x = day / 365.25
            side = "left" if x == 0 else "right" if x > 0.97 * years else "center"
            axes.text(x, y, f"{count}", ha=side, va="top", color=colour, fontsize=TEXT - 1.5)


def _year_ticks(years: float) -> list[float]:
    step = next(s for s in (0.25, 0.5, 1, 2, 5, 10, 20) if years / s <= 7)
    return [step * i for i in range(int(years / step + 0.01) + 1)]


def _last(curve: Mapping[str, Any]) -> float:
    return float(next((v for v in reversed(curve["survival"]) if v is not None), 0.0))


def group_label(entry: Mapping[str, Any]) -> str:
    """The group of a curve for people: `eln2022=adverse` becomes `eln2022: adverse`."""
    group = str(entry["group"])
    return "all patients" if group == "all" else group.replace("=", ": ").replace("_", " ")


def membership(data: Mapping[str, Any], key: str) -> Panel:
    """The attacker's ROC on log axes, with the band that guessing fills."""
    import numpy as np

    width, height, least = 344, 260, 1e-3
    fpr, tpr, low, high = (np.array(_shares(data[name])) for name in ("fpr", "tpr", "band_low", "band_high"))
    with style(key):
        drawing, axes = canvas(width, height)
        place(axes, left=46, right=14, top=8, bottom=40)
        x = np.maximum(fpr, least)
        axes.fill_between(
            x, np.maximum(low, least), np.maximum(high, least), facecolor="none", hatch="////", edgecolor=REAL, linewidth=0
        )
        axes.plot([least, 1], [least, 1], color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
        axes.step(x, np.maximum(tpr, least), where="post", color=ACCENT, linewidth=1.9)
        axes.set(xscale="log", yscale="log", xlim=(least, 1.05), ylim=(least, 1.1))
        ticks, names = [0.001, 0.01, 0.1, 1.0], ["1 in 1000", "1 in 100", "1 in 10", "all"]
        axes.set_xticks(ticks, names)
        axes.set_yticks(ticks, ["0.1 %", "1 %", "10 %", "100 %"])
        axes.minorticks_off()
        axes.tick_params(length=3)
        axes.get_xticklabels()[-1].set_horizontalalignment("right")
        axes.set_xlabel("outsiders wrongly accused", labelpad=4)
        point = data.get("point")
        if point and point.get("fpr") is not None:
            axes.plot(
                [max(point["fpr"], least)], [max(point["tpr"], least)], "o", color=ACCENT, markersize=8,
                markeredgecolor=PAPER, markeredgewidth=1.5, zorder=5,
            )  # fmt: skip
        sentence = (point or {}).get("sentence") or "Share of patients found against share of outsiders wrongly accused."
        svg = to_svg(drawing, key, title="Membership attack", description=sentence)
    return Panel(svg, key, heading="patients found, by outsiders wrongly accused", width=width)


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
