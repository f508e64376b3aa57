"""Pages that benchmarks write: wrapped paragraphs, tables, rounded numbers, and one style of pictures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Any

GREY, ACCENT, INK, RULE = "#7d8590", "#0068a3", "#566070", "#d3d8de"


def page(parts: Sequence[str]) -> str:
    """Paragraphs, headings and tables as one Markdown text; an empty part is left out."""
    return "\n\n".join(_wrapped(part) for part in parts if part) + "\n"


def table(heading: str, rows: Sequence[str]) -> str:
    """A Markdown table from lines whose cells are parted by bars."""
    rule = "|".join("---" for _ in heading.split("|"))
    return "\n".join([f"| {heading} |", f"|{rule}|", *(f"| {row} |" for row in rows)])


def rounded(value: Any, digits: int = 6) -> Any:
    """The same with so many significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {str(key): rounded(one, digits) for key, one in value.items()}
    return [rounded(one, digits) for one in value] if isinstance(value, list | tuple) else value


@contextmanager
def drawing() -> Iterator[Any]:
    """matplotlib's `pyplot` in the style of all pictures; `save` ends one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    style: dict[Any, Any] = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
    }
    with plt.rc_context(style):
        yield plt
        plt.close("all")


def _wrapped(part: str) -> str:
    if part.startswith(("|", "#", "    ", "!", "- ")):
        return part
    return fill(" ".join(part.split()), width=120, break_long_words=False, break_on_hyphens=False)
