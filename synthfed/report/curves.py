"""Charts of curves: survival by group with numbers at risk, and what a membership attack finds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synthfed.report.drawing import ACCENT, LINE, PAPER, REAL, SOFT, TEXT, Panel, canvas, filled, place, style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
            low, high = filled(curve["low"]), filled(curve["high"])
            if name == "real":
                axes.fill_between(
                    days,
                    low,
                    high,
                    step="post",
                    facecolor="none",
                    hatch="////",
                    edgecolor=colour,
                    linewidth=0,
                    alpha=0.8,
                )
            else:
                axes.fill_between(days, low, high, step="post", color=colour, alpha=0.14, linewidth=0)
            thick = 2.8 if name == "real" else 1.8
            axes.step(days, filled(curve["survival"]), where="post", color=colour, linewidth=thick)
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
        who = entry["group_label"]
        svg = to_svg(drawing, key, title=f"Survival, {who}", description=f"Kaplan-Meier curves, {said}.")
    note = f"{100 * entry['km_area']:.1f} points apart on average" if entry.get("km_area") is not None else ""
    return Panel(svg, key, heading=who, note=note, width=width)


def noisy_survival(entry: Mapping[str, Any], key: str) -> Panel:
    """A curve from noisy counts, dashed in its band, and the synthetic one in the same intervals."""
    width, height = 344, 214
    years = [day / 365.25 for day in entry["days"]]
    with style(key):
        drawing, axes = canvas(width, height)
        place(axes, left=40, right=10, top=8, bottom=34)
        low, high = filled(entry["low"]), filled(entry["high"])
        axes.fill_between(years, low, high, facecolor="none", hatch="////", edgecolor=REAL, linewidth=0, alpha=0.8)
        axes.plot(years, filled(entry["patients"]), color=REAL, linewidth=2.4, linestyle=(0, (4, 2)))
        axes.plot(years, filled(entry["synthetic"]), color=ACCENT, linewidth=1.8)
        axes.set(xlim=(0, years[-1]), ylim=(0, 1.02))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25", "50", "75", "100 %"])
        ticks = _year_ticks(years[-1])
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.tick_params(length=3)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel("years", labelpad=3)
        ends = [filled(entry[name])[-1] for name in ("patients", "synthetic")]
        said = f"Noisy held-out patients: {ends[0]:.0%} at the end; synthetic: {ends[1]:.0%}."
        svg = to_svg(drawing, key, title=f"{entry['label']}, held-out patients from noisy counts", description=said)
    return Panel(svg, key, heading=entry["label"], width=width)


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


def membership(data: Mapping[str, Any], key: str) -> Panel:
    """The attacker's ROC on log axes, with the band that guessing fills."""
    import numpy as np

    width, height, least = 344, 260, 1e-3
    fpr, tpr, low, high = (np.array(filled(data[name])) for name in ("fpr", "tpr", "band_low", "band_high"))
    with style(key):
        drawing, axes = canvas(width, height)
        place(axes, left=46, right=14, top=8, bottom=40)
        x = np.maximum(fpr, least)
        axes.fill_between(
            x,
            np.maximum(low, least),
            np.maximum(high, least),
            facecolor="none",
            hatch="////",
            edgecolor=REAL,
            linewidth=0,
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
        sentence = (point or {}).get(
            "sentence"
        ) or "Share of patients found against share of outsiders wrongly accused."
        svg = to_svg(drawing, key, title="Membership attack", description=sentence)
    return Panel(svg, key, heading="patients found, by outsiders wrongly accused", width=width)
