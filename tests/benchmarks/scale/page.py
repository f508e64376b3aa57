"""Keeps what the benchmarks of scale measured, and writes their page and its picture."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.pages import ACCENT, GREY, RULE, drawing, page, rounded, table

FOLDER = Path(__file__).parents[3] / "reports" / "reference" / "scale"
STEPS = {
    "read_s": ("read and check", GREY),
    "train_s": ("train, all sites", ACCENT),
    "draw_s": ("draw", "#b35c00"),
    "score_s": ("score", "#3d7a37"),
    "sum_s": ("secure sum, all sites", ACCENT),
}
_AXES = {"rows": "patients", "columns": "columns", "sites": "sites", "numbers": "numbers in one sum"}

Points = Mapping[str, Mapping[str, float]]


def read() -> dict[str, dict[str, dict[str, float]]]:
    """Every point measured so far, by axis and size."""
    file = FOLDER / "measured.json"
    found: dict[str, dict[str, dict[str, float]]] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return found


def keep(axis: str, size: int, point: Mapping[str, float]) -> None:
    """Add one point."""
    measured = read()
    measured.setdefault(axis, {})[str(size)] = rounded(point, 4)
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(measured, indent=1, sort_keys=True)
    (FOLDER / "measured.json").write_text(text + "\n", encoding="utf-8")


def growth(points: Points, key: str) -> float:
    """The power of the size that `key` grows as between the two largest points."""
    (small, before), (large, after) = _sorted(points)[-2:]
    return math.log(after[key] / before[key]) / math.log(large / small)


def write() -> None:
    """`README.md` and `scale.png`, where every axis was measured."""
    measured = read()
    if set(measured) == set(_AXES):
        (FOLDER / "README.md").write_text(_page(measured), encoding="utf-8")
        _draw(measured, FOLDER / "scale.png")


def _sorted(points: Points) -> list[tuple[int, Mapping[str, float]]]:
    return sorted((int(size), point) for size, point in points.items())


def _page(measured: Mapping[str, Points]) -> str:
    parts = [
        "# What a run costs as it grows",
        """Invented patients, the tree (`marginal`), epsilon 10. Every point is a process of its own that reads one CSV,
        splits it over its sites, trains, draws as many patients as it read, and scores them: processor seconds of one
        thread, all sites and the coordinator together, and peak memory of the whole. "Grows as" is the power of the
        size between the two largest points; `tests/benchmarks/scale/test_scale.py` holds most of them. All numbers come
        from""",
        "    make bench-scale",
        "![Processor seconds of each step, by patients, columns, sites and numbers](scale.png)",
    ]
    for axis, words in _AXES.items():
        parts += [f"## {words[0].upper()}{words[1:]}", _NOTES[axis], _rows(measured[axis], axis, words)]
    return page(parts)


def _rows(points: Points, axis: str, words: str) -> str:
    (_, first), *_ = ordered = _sorted(points)
    keys = [key for key in STEPS if key in first]
    peak, sent = ("sum_mib", "bytes") if axis == "numbers" else ("score_mib", "bytes_up")
    heads = [words, *(f"{STEPS[key][0]}, s" for key in keys), "peak, MiB", "sent, MB"]
    rows = [
        [f"{size:,}", *(f"{point[key]:.3g}" for key in keys), f"{point[peak]:,.0f}", f"{point[sent] / 1e6:.3g}"]
        for size, point in ordered
    ]
    rows.append(["grows as", *(f"^{growth(points, key):.2f}" for key in (*keys, peak, sent))])
    return table(" | ".join(heads), [" | ".join(row) for row in rows])


_NOTES = {
    "rows": """20 columns, 3 sites. Likeness is scored on 10,000 patients and attacks know 20,000 at most, so scores
    grow less than the table; what is sent does not depend on the patients.""",
    "columns": """1,000 patients, 3 sites. Every pair of columns is counted under noise and compared, which tends to the
    square; so does what is sent. 300 is the widest that was measured.""",
    "sites": """100 patients at each, 10 columns. Every site agrees on a key with every other, so key agreements grow
    with the pairs of sites, and what one site sends with the number of others.""",
    "numbers": "One secure sum over 4 sites, without training: encode, hide, sign, add up, verify, open.",
}


def _draw(measured: Mapping[str, Points], path: Path) -> None:
    with drawing() as plt:
        figure, places = plt.subplots(2, 2, figsize=(9.0, 6.4), dpi=110)
        for axes, (axis, words) in zip(places.flat, _AXES.items(), strict=True):
            points = _sorted(measured[axis])
            sizes = [size for size, _ in points]
            for key in (key for key in STEPS if key in points[0][1]):
                name, color = STEPS[key]
                axes.plot(sizes, [p[key] for _, p in points], color=color, marker="o", markersize=4, label=name)
            axes.set(xscale="log", yscale="log", xlabel=words)
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.set_title(f"Processor seconds by {words}", loc="left", fontsize=10)
            axes.grid(axis="y", color=RULE, linewidth=0.6)
        figure.legend(*places.flat[0].get_legend_handles_labels(), frameon=False, ncols=4, loc="lower center")
        figure.tight_layout(rect=(0, 0.05, 1, 1))
        figure.savefig(path, metadata={"Software": None})
