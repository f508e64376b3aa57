"""How every figure looks: matplotlib to an inline SVG that follows the page's colours and repeats byte for byte.

Figures are drawn in the colours of `PALETTE`; `to_svg` turns each into a CSS variable, so that one drawing serves the
light page, the dark page and print. Text stays text. Widths are those of a phone, since a figure may grow but a
reader's eyes do not.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Okabe-Ito (jfly.uni-koeln.de/color) darkened to 4.5:1 where they carry text; dark values live in report.css.
PALETTE = {
    "ink": "#1d2530",
    "soft": "#566070",
    "line": "#d3d8de",
    "real": "#7d8590",
    "accent": "#0068a3",
    "green": "#006b4e",
    "amber": "#8a5a01",
    "red": "#a83602",
    "paper": "#fffffe",
}
INK, SOFT, LINE, PAPER = PALETTE["ink"], PALETTE["soft"], PALETTE["line"], PALETTE["paper"]
REAL, ACCENT = PALETTE["real"], PALETTE["accent"]
TEXT = 11.0  # user units; one unit is one CSS pixel at the drawing's own width


@dataclass(frozen=True, slots=True)
class Panel:
    """One SVG of a figure with the words that stand for it."""

    svg: str
    name: str
    heading: str = ""
    note: str = ""
    width: int = 360


@contextmanager
def style(key: str) -> Iterator[None]:
    """The look of all figures; `key` salts the ids so that two figures of one page never share one."""
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"synthfed {key}",
        "font.family": "sans-serif",
        "font.size": TEXT,
        "axes.titlesize": TEXT,
        "axes.labelsize": TEXT,
        "xtick.labelsize": TEXT - 1,
        "ytick.labelsize": TEXT - 1,
        "axes.edgecolor": PALETTE["soft"],
        "axes.labelcolor": PALETTE["soft"],
        "text.color": PALETTE["ink"],
        "xtick.color": PALETTE["soft"],
        "ytick.color": PALETTE["soft"],
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "hatch.linewidth": 0.7,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "path.simplify": True,
        "text.parse_math": False,  # a dictionary label is text, not a formula
    }
    with matplotlib.rc_context(settings):
        yield


def canvas(width: int, height: int) -> "tuple[Canvas, Axes]":
    """A figure of `width` x `height` CSS pixels with one pair of axes filling it."""
    from matplotlib.figure import Figure as Canvas

    drawing = Canvas(figsize=(width / 72, height / 72), dpi=72)
    return drawing, drawing.add_axes((0.0, 0.0, 1.0, 1.0))


def place(axes: "Axes", *, left: float, right: float, top: float, bottom: float) -> None:
    """Set margins in CSS pixels."""
    width, height = axes.get_figure(root=True).get_size_inches() * 72  # type: ignore[union-attr]
    axes.set_position((left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height))


def filled(values: Sequence[float | None] | None) -> Any:
    """Figure data without gaps: an unknown share is drawn as none."""
    return None if values is None else [0.0 if value is None else float(value) for value in values]


def to_svg(drawing: "Canvas", key: str, *, title: str, description: str) -> str:
    """The drawing as one `<svg role="img">` element with a title and a description.

    No script, no link, no colour that the page's style sheet does not govern; the same input gives the same bytes.
    """
    buffer = StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda hit: f' id="{hit[1]}"' if hit[1] in used else "", text)
    text = re.sub(r"<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*</defs>\s*", "", text)
    for name, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1var(--sans)", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"\n\s*", "\n", text)
    head = re.match(r"<svg[^>]*viewBox=\"([^\"]+)\"[^>]*>", text)
    assert head is not None
    opening = (
        f'<svg viewBox="{head[1]}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(description)}</desc>'
    )
    return opening + text[head.end() :]
