"""The report on one A4 page, for a file or a meeting: `summary.pdf`.

Five lights in words, the numbers that decided them between their anchors, what differential privacy promises, what an
attacker gains, two figures, and the table's hash. The page is untagged, so it names the HTML as the accessible
original. The same report gives the same bytes: no date of making stands in the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from synthfed.evaluation.scorecard import QUESTIONS, SYMBOLS
from synthfed.report.drawing import ACCENT, INK, LINE, PALETTE, REAL, SOFT
from synthfed.report.html import banner
from synthfed.report.strips import MARKS, anchored, apart
from synthfed.report.verdict import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE, _HIGH, _EDGE = 210.0, 297.0, 16.0  # A4 and its margin in mm
_POINT = 25.4 / 72  # mm
_MOST_NUMBERS = 7


def render_summary(report: Mapping[str, Any]) -> bytes:
    """Draw `summary.pdf`.

    Args:
        report: What `build_report` returned, or `report.json` read back.
    """
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # matplotlib brings it along
        "pdf.fonttype": 42,
        "text.parse_math": False,
        "text.color": INK,
        "hatch.linewidth": 0.5,
    }
    buffer = BytesIO()
    nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
    named = {"Title": f"{report['title']}: summary", "Subject": "The accessible original is report.html"}
    with matplotlib.rc_context(settings), PdfPages(buffer, metadata={**nothing, **named}) as pages:
        page = Figure(figsize=(_WIDE / 25.4, _HIGH / 25.4))
        axes = page.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, _WIDE), ylim=(_HIGH, 0))
        axes.axis("off")
        _draw(axes, report)
        pages.savefig(page)
    return buffer.getvalue()


def _draw(axes: "Axes", report: Mapping[str, Any]) -> None:
    inner = _WIDE - 2 * _EDGE
    kicker = (
        f"{report['title']} · {report['rows']:,} synthetic rows, {report['columns']} columns · {report['created'][:10]}"
    )
    y = _write(axes, _EDGE, 11, banner(report), inner, size=8, bold=True, most=2)
    y = _write(axes, _EDGE, y + 3, kicker, inner, size=8, colour=SOFT, most=2)
    y = _write(axes, _EDGE, y + 4, report["verdict"]["sentence"], inner, size=15, bold=True, most=3)
    y = _write(axes, _EDGE, y + 1, report["verdict"]["qualifier"], inner, size=8, colour=SOFT, most=3)
    y = _lights(axes, y + 4, report["lights"])
    y = _numbers(axes, y + 6, report["metrics"])
    y = _figures(axes, y + 5, report)
    half = (inner - 8) / 2
    left = _part(axes, _EDGE, y + 5, "What differential privacy promises", report["privacy"]["sentence"], half)
    right = _part(axes, _EDGE + half + 8, y + 5, "What an attacker gains", _attack(report), half)
    axes.plot([_EDGE, _WIDE - _EDGE], [278, 278], color=LINE, linewidth=0.8)
    assert max(left, right) < 278
    foot = (
        f"Table SHA-256 {report['table_sha256'] or 'not stated'}",
        f"Drawn by synthfed {report['software']['synthfed']} from report.json. This page is not tagged for screen "
        "readers: the accessible original, with every number, is report.html.",
    )
    y = 280.0
    for line in foot:
        y = _write(axes, _EDGE, y, line, inner, size=6.8, colour=SOFT)


def _lights(axes: "Axes", top: float, lights: Mapping[str, Mapping[str, Any]]) -> float:
    gap = 3.0
    wide = (_WIDE - 2 * _EDGE - gap * (len(QUESTIONS) - 1)) / len(QUESTIONS)
    bottoms = []
    for index, question in enumerate(QUESTIONS):
        light, left = lights[question], _EDGE + index * (wide + gap)
        colour = PALETTE.get(light["light"], SOFT)
        axes.plot([left, left + wide], [top, top], color=colour, linewidth=3, solid_capstyle="butt")
        y = _write(axes, left, top + 2, question.capitalize(), wide, size=9.5, bold=True)
        y = _write(
            axes, left, y, f"{SYMBOLS[light['light']]} {light['word']}", wide, size=8.5, bold=True, colour=colour
        )
        bottoms.append(_write(axes, left, y + 0.8, light["because"], wide - 1.5, size=6.8, most=6))
    return max(bottoms)


def _numbers(axes: "Axes", top: float, metrics: Sequence[Mapping[str, Any]]) -> float:
    """The deciding scores, one line each: floor, value, ceiling, wanted, light."""
    right = _WIDE - _EDGE
    columns = (("shuffled", right - 73), ("value", right - 54), ("fresh patients", right - 32), ("wanted", right - 13))
    y = _write(axes, _EDGE, top, "The scores that decide", 90, size=9.5, bold=True)
    for name, at in columns:
        axes.text(at, y - 1, name, ha="right", va="baseline", fontsize=6.8, color=SOFT)
    for metric in _leading(metrics):
        axes.plot([_EDGE, right], [y + 0.6, y + 0.6], color=LINE, linewidth=0.6)
        y += 4.7
        label = _lines(metric["label"], 98, size=7.5)
        axes.text(_EDGE, y, label[0] + ("…" if len(label) > 1 else ""), va="baseline", fontsize=7.5)
        colour = PALETTE.get(metric["light"], SOFT)
        wanted = metric["thresholds"]["green"]
        sign = "≥" if metric["direction"] == "higher" else "≤"
        cells = (
            number(metric["floor"]["value"]),
            number(metric["value"]),
            number(metric["ceiling"]["value"]),
            "–" if wanted is None else f"{sign} {number(wanted)}",
        )
        for (name, at), cell in zip(columns, cells, strict=True):
            axes.text(
                at, y, cell, ha="right", va="baseline", fontsize=7.5, fontweight="bold" if name == "value" else None
            )
        axes.text(right, y, SYMBOLS[metric["light"]], ha="right", va="baseline", fontsize=8, color=colour)
    return y


def _leading(metrics: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Deciding scores that were measured, every question first with its worst, in the order of the questions."""
    worst_first = ("red", "amber", "grey", "green")
    decided = [m for m in metrics if m["role"] == "deciding" and m["value"] is not None]
    decided.sort(key=lambda m: worst_first.index(m["light"]))
    by_question = {question: [m for m in decided if m["question"] == question] for question in QUESTIONS}
    first = [found[0] for found in by_question.values() if found]
    rest = [m for m in decided if m not in first]
    chosen = [*first, *rest][:_MOST_NUMBERS]
    return sorted(chosen, key=lambda m: QUESTIONS.index(m["question"]))


def _figures(axes: "Axes", top: float, report: Mapping[str, Any]) -> float:
    """Survival and the anchored scores; where a figure has no data, what the budget went into."""
    half, high = (_WIDE - 2 * _EDGE - 8) / 2, 76.0
    drawn = 0
    for draw in (_survival, _anchors, _budget):
        if drawn < 2 and draw(axes, _EDGE + drawn * (half + 8), top, half, high, report):
            drawn += 1
    return top + (high if drawn else 0.0)


def _survival(axes: "Axes", left: float, top: float, wide: float, high: float, report: Mapping[str, Any]) -> bool:
    curves = [c for c in report["figures"]["survival"] or () if c["group"] == "all" and c["synthetic"]]
    if not curves:
        return False
    curve = curves[0]
    gap = curve["km_area"]
    said = f": {100 * gap:.1f} points apart on average" if gap is not None else " of the synthetic patients"
    _write(axes, left, top, f"{curve['label']}{said}", wide, size=8, bold=True, most=1)
    zero, bottom, tall, span = left + 9, top + high - 5, high - 15, wide - 10
    for share in (0.0, 0.5, 1.0):
        axes.plot([zero, zero + span], [bottom - share * tall] * 2, color=LINE, linewidth=0.6)
        axes.text(zero - 1, bottom - share * tall, f"{share:.0%}", ha="right", va="center", fontsize=6.5, color=SOFT)
    years = curve["tau_days"] / 365.25
    for year in range(int(years + 0.01) + 1):
        axes.text(zero + span * year / years, bottom + 1, f"{year}", ha="center", va="top", fontsize=6.5, color=SOFT)
    axes.text(zero + span, bottom + 3.6, "years", ha="right", va="top", fontsize=6.5, color=SOFT)
    shown = (("real", "patients", REAL, 2.2), ("synthetic", "synthetic", ACCENT, 1.3))
    for place, (key, name, colour, thick) in enumerate(shown):
        line = curve[key]
        if not line:
            continue
        x = [zero + span * day / curve["tau_days"] for day in line["days"]]
        heights = [bottom - tall * (0.0 if value is None else value) for value in line["survival"]]
        axes.step(x, heights, where="post", color=colour, linewidth=thick)
        y = top + 7.5 + 3.6 * place
        axes.plot([zero + span - 22, zero + span - 17], [y, y], color=colour, linewidth=thick)
        axes.text(zero + span - 16, y, name, va="center", fontsize=6.8, color=SOFT)
    return True


def _anchors(axes: "Axes", left: float, top: float, wide: float, high: float, report: Mapping[str, Any]) -> bool:
    usable = [
        row
        for row in report["figures"]["anchors"] or ()
        if row["light"] != "grey"
        and None not in (row["value"], row["floor"], row["ceiling"])
        and abs(row["ceiling"] - row["floor"]) > 1e-9
        and apart(row)
    ][:6]
    if not usable:
        return False
    _write(axes, left, top, "Shuffled columns (left), fresh patients (right)", wide, size=8, bold=True, most=1)
    zero, span, step = left + 2, wide - 12, (high - 9) / 6
    for index, row in enumerate(usable):
        y = top + 12.5 + step * index
        axes.text(left, y - 2.4, _lines(row["label"], wide, size=6.8)[0], va="baseline", fontsize=6.8)
        axes.plot([zero, zero + span], [y, y], color=LINE, linewidth=0.8)
        for end in (zero, zero + span):
            axes.plot([end, end], [y - 1.1, y + 1.1], color=SOFT, linewidth=0.8)
        at = zero + span * min(1.04, max(0.0, anchored(row, row["value"])))
        colour = PALETTE.get(row["light"], SOFT)
        axes.plot([at], [y], MARKS[row["light"]], color=colour, markersize=5)
        axes.text(left + wide, y, number(row["value"]), ha="right", va="center", fontsize=6.8, color=colour)
    return True


def _budget(axes: "Axes", left: float, top: float, wide: float, high: float, report: Mapping[str, Any]) -> bool:
    spent = [event for event in report["privacy"]["events"] if event["population"] == "train"]
    parts = [(event["purpose"], event["share"]) for event in spent if event.get("share")][:6]
    if not parts:
        return False
    _write(axes, left, top, "What the training patients' budget went into", wide, size=8, bold=True, most=1)
    for index, (purpose, share) in enumerate(parts):
        y = top + 12.5 + (high - 9) / 6 * index
        axes.text(left, y - 2.4, _lines(purpose, wide, size=6.8)[0], va="baseline", fontsize=6.8)
        axes.plot([left, left + wide - 12], [y, y], color=LINE, linewidth=4, solid_capstyle="butt")
        axes.plot([left, left + (wide - 12) * share], [y, y], color=ACCENT, linewidth=4, solid_capstyle="butt")
        axes.text(left + wide, y, f"{share:.0%}", ha="right", va="center", fontsize=6.8, color=ACCENT)
    return True


def _attack(report: Mapping[str, Any]) -> str:
    membership = report["figures"]["membership"]
    point = (membership or {}).get("point") or {}
    if point.get("sentence"):
        return str(point["sentence"])
    if report["edition"] == "release":
        return (
            "Attacks compare with patients' rows, so they run at the sites; their numbers lie outside the differential "
            "privacy guarantee and are not printed in this edition."
        )
    return "The membership attack was not run, or could not be measured with the patients at hand."


def _part(axes: "Axes", left: float, top: float, head: str, words: str, wide: float) -> float:
    y = _write(axes, left, top, head, wide, size=9.5, bold=True)
    return _write(axes, left, y + 0.5, words, wide, size=8, most=9)


def _write(
    axes: "Axes",
    left: float,
    top: float,
    words: str,
    wide: float,
    *,
    size: float,
    bold: bool = False,
    colour: str = INK,
    most: int = 12,
) -> float:
    """Write lines from `top` downwards, at most so many; returns where the next may begin."""
    lines = _lines(words, wide, size=size, bold=bold)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1].rstrip('.,; ')} …"]
    step = size * _POINT * 1.32
    for index, line in enumerate(lines):
        y = top + step * (index + 0.8)
        axes.text(left, y, line, va="baseline", fontsize=size, color=colour, fontweight="bold" if bold else "normal")
    return top + step * len(lines)


def _lines(words: str, wide: float, *, size: float, bold: bool = False) -> list[str]:
    return list(_wrapped(words.split(), wide, size=size, bold=bold)) or [""]


def _wrapped(words: Sequence[str], wide: float, *, size: float, bold: bool) -> Iterator[str]:
    """Lines that fit `wide` mm, measured in the font that is drawn; a longer word is cut."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")))
    font.set_size(size, 72)

    def width(text: str) -> float:
        font.set_text(text, 0.0)
        return float(font.get_width_height()[0]) / 64 * _POINT

    line = ""
    for word in words:
        longer = f"{line} {word}" if line else word
        if width(longer) <= wide:
            line = longer
            continue
        if line:
            yield line
        while width(word) > wide:
            cut = next(i for i in range(len(word) - 1, 0, -1) if width(word[:i]) <= wide)
            yield word[:cut]
            word = word[cut:]
        line = word
    if line:
        yield line
