"""How a table was made, as one small picture: sites, secure sum, tree, network, table, and the way back."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synthfed.report.drawing import ACCENT, INK, PAPER, REAL, SOFT, TEXT, Panel, canvas, place, style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _RIGHT = 360, 332  # the column beyond the boxes holds the way back
_SHOWN = 4  # sites drawn by name
_LETTER = 5.9  # mean width of a letter of TEXT - 1


def flow(made: Mapping[str, Any], sites: Sequence[str], rows: int, key: str) -> Panel:
    """The run as boxes and arrows.

    Args:
        made: The report's block `made` (`making.making`).
        sites: Their names.
        rows: Rows of the synthetic table.
    """
    counts, network = made["counts"], made["network"]
    trained = bool(network and network["rounds"])
    height = 300
    with style(key):
        drawing, axes = canvas(_WIDTH, height)
        place(axes, left=0, right=0, top=0, bottom=0)
        axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
        axes.axis("off")
        axes.text(0, 11, "patients' rows stay here", color=SOFT, fontsize=TEXT - 1)
        tops = _chips(axes, sites, top=18, bottom=44)
        for x in tops:
            _arrow(axes, (x, 45), (x, 87))
        label = {"local": "each adds its own noise", "shared": "each adds its share of the noise", "none": "no noise"}
        _label(axes, _RIGHT / 2, 64, label[made["noise"]])
        _box(axes, 0, _RIGHT, 88, 126, "secure sum", "only the total opens", filled=True)

        tree, net = _places(counts is not None, network is not None)
        if counts and tree:
            _arrow(axes, (_middle(tree), 127), (_middle(tree), 163))
            _label(axes, _middle(tree), 144, _share("counts", counts["share"]))
            many = len(counts["rounds"])
            _box(axes, *tree, 164, 204, "tree of tables", f"{many} counting round{'s' if many > 1 else ''}")
        if network and net:
            if trained or not counts:
                _arrow(axes, (_middle(net), 127), (_middle(net), 163))
                words = "changes" if made["noise"] == "none" else "DP-SGD"
                _label(axes, _middle(net), 144, _share(words, network["share"]))
            rounds = f"{network['rounds']:,} rounds" if trained else "no rounds"
            _box(axes, *net, 164, 204, f"network ({network['kind']})", rounds)
        if tree and net:
            _arrow(axes, (tree[1] + 1, 184), (net[0] - 1, 184))
            axes.text((tree[1] + net[0]) / 2, 178, "distil", ha="center", color=SOFT, fontsize=TEXT - 2)
        source = net or tree
        if source:
            _arrow(axes, (_middle(source), 205), (_middle(source), 247))
            _label(axes, _middle(source), 225, "rows are drawn")
            _box(axes, *source, 248, 288, "synthetic table", f"{rows:,} rows", filled=True)
        if net and trained:
            _way_back(axes, net[1], network["rounds"])
        svg = to_svg(drawing, key, title="How this table was made", description=in_words(made, sites))
    return Panel(svg, key, width=_WIDTH)


def in_words(made: Mapping[str, Any], sites: Sequence[str]) -> str:
    """The picture for those who do not see it."""
    steps = [f"{len(sites)} site{'s' if len(sites) > 1 else ''}", "secure sum"]
    if made["counts"]:
        steps.append(f"tree of tables from {_share('counts', made['counts']['share'])}")
    if made["network"]:
        network = made["network"]
        steps.append(f"network ({network['kind']}), {network['rounds']} rounds, {_share('DP-SGD', network['share'])}")
    return ", then ".join([*steps, "synthetic table"])


def _places(counts: bool, network: bool) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Where the tree and the network stand: left and right, or one of them in the middle."""
    if counts and network:
        return (0.0, 144.0), (_RIGHT - 144.0, float(_RIGHT))
    middle = (_RIGHT / 2 - 76, _RIGHT / 2 + 76)
    return (middle if counts else None), (middle if network else None)


def _chips(axes: "Axes", sites: Sequence[str], *, top: float, bottom: float) -> list[float]:
    """One box per site, the last one for those that find no room; returns the middles."""
    names = list(sites)
    if len(names) > _SHOWN:
        names = [*names[: _SHOWN - 1], f"{len(names) - _SHOWN + 1} more"]
    gap = 10.0
    wide = (_RIGHT - gap * (len(names) - 1)) / len(names)
    middles = []
    for index, name in enumerate(names):
        left = index * (wide + gap)
        room = int((wide - 8) / _LETTER)
        _frame(axes, left, left + wide, top, bottom, edge=REAL)
        shown = name if len(name) <= room else f"{name[: room - 1]}…"
        axes.text(left + wide / 2, (top + bottom) / 2 + 4, shown, ha="center", color=INK, fontsize=TEXT - 1)
        middles.append(left + wide / 2)
    return middles


def _box(
    axes: "Axes", left: float, right: float, top: float, bottom: float, head: str, below: str, *, filled: bool = False
) -> None:
    _frame(axes, left, right, top, bottom, edge=ACCENT, tint=0.12 if filled else 0.0)
    middle = (left + right) / 2
    axes.text(middle, top + 16, head, ha="center", color=INK, fontweight="bold")
    axes.text(middle, top + 31, below, ha="center", color=SOFT, fontsize=TEXT - 1)


def _frame(axes: "Axes", left: float, right: float, top: float, bottom: float, *, edge: str, tint: float = 0.0) -> None:
    from matplotlib.patches import FancyBboxPatch

    def rounded(**look: Any) -> None:
        wide, high = right - left - 2, bottom - top - 2
        axes.add_patch(FancyBboxPatch((left + 1, top + 1), wide, high, boxstyle="round,pad=0,rounding_size=5", **look))

    if tint:
        rounded(facecolor=ACCENT, alpha=tint, linewidth=0)
    rounded(facecolor="none", edgecolor=edge, linewidth=1.3)


def _arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={"arrowstyle": "-|>", "color": SOFT, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0},
    )


def _label(axes: "Axes", x: float, y: float, words: str) -> None:
    """Words on an arrow, which they interrupt."""
    ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
    axes.text(x, y + 4, words, ha="center", color=SOFT, fontsize=TEXT - 1, bbox=ground)


def _way_back(axes: "Axes", right: float, rounds: int) -> None:
    """New weights go back to the sites, round by round."""
    axes.plot([right, 346, 346, _RIGHT + 6], [184, 184, 31, 31], color=SOFT, linewidth=1.2, linestyle=(0, (4, 2)))
    _arrow(axes, (_RIGHT + 8, 31), (_RIGHT + 1, 31))
    words = f"new weights, {rounds:,} times"
    axes.text(354, 107, words, rotation=270, ha="center", va="center", color=SOFT, fontsize=TEXT - 1)


def _share(words: str, share: float | None) -> str:
    return words if share is None else f"{words}: {100 * share:.0f} % of the budget"


def _middle(span: tuple[float, float]) -> float:
    return (span[0] + span[1]) / 2
