"""A comparison for people: a table and its verdict in the terminal, and a Markdown page with JSON and a picture."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from synthfed.run.comparing.comparison import Cell, Comparison, Measure, Spread

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_ARROWS = {"higher": "↑", "lower": "↓"}
_LEGEND = (
    "★ wins, = ties with the best: medians apart by less than the seed range. ↑ higher is better, ↓ lower is better. "
    "Below each median: the range over seeds. A score counts up to that of fresh patients."
)


def tables(comparison: Comparison) -> Iterator["Table"]:
    """One rich table per budget: measures as rows, kinds as columns, floor and ceiling around them."""
    from rich import box
    from rich.table import Table

    for epsilon in comparison.epsilons:
        table = Table(title=f"{comparison.title}: epsilon {epsilon:g}", title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("", no_wrap=True)
        for name in ("shuffled", *comparison.kinds, "fresh patients"):
            table.add_column(name, justify="right", no_wrap=True)
        for measure in comparison.measures:
            anchors, top = comparison.anchors(measure.id, epsilon), comparison.best(measure.id, epsilon)
            scores = [
                _terminal(comparison.spread(measure.id, kind, epsilon), _mark(kind, top)) for kind in comparison.kinds
            ]
            table.add_row(_name(measure), _short(anchors.floor), *scores, _short(anchors.ceiling))
        table.add_section()
        for name, values in _costs(comparison, epsilon):
            table.add_row(name, "", *values, "")
        yield table


def verdict(comparison: Comparison) -> tuple[str, ...]:
    """Per budget who wins on what, who failed and what is recommended; the last line recommends for all budgets."""
    sentences = tuple(f"epsilon {epsilon:g}: {_sentence(comparison, epsilon)}" for epsilon in comparison.epsilons)
    return sentences if len(sentences) == 1 else (*sentences, recommendation(comparison))


def recommendation(comparison: Comparison) -> str:
    """One kind for all budgets, or one for each."""
    chosen = {epsilon: _chosen(comparison, epsilon) for epsilon in comparison.epsilons}
    if len(set(chosen.values())) == 1:
        return f"recommended: {next(iter(chosen.values()))}"
    return "recommended: " + "; ".join(f"at epsilon {epsilon:g} {kind}" for epsilon, kind in chosen.items())


def show(comparison: Comparison, console: "Console", *, files: Iterable[Path] = ()) -> None:
    """Print tables, what they cannot say, where the pages lie, and at the end who wins and what is recommended."""
    for table in tables(comparison):
        console.print(table)
    for line in (_LEGEND, *_limits(comparison)):
        console.print(line, highlight=False, markup=False, style="dim")
    console.print()
    for file in files:
        console.print(f"written   {file}", highlight=False, markup=False)
    for line in verdict(comparison):
        console.print(line, highlight=False, markup=False)


def as_text(comparison: Comparison) -> str:
    """The same without colours, as wide as the kinds need."""
    from rich.console import Console

    console = Console(width=max(120, 20 + 18 * (len(comparison.kinds) + 2)), color_system=None, force_terminal=False)
    with console.capture() as captured:
        show(comparison, console)
    return captured.get()


def as_markdown(comparison: Comparison, *, picture: str) -> str:
    """The same as a page; `picture` is the file that stands beside it."""
    lines = [f"# Which generator for {comparison.title}?", ""]
    if not comparison.simulated:
        lines += ["**Measured on patients outside the privacy budget: stays with the data holder.**", ""]
    lines += [f"**{recommendation(comparison).capitalize()}.**", ""]
    lines += [
        f"{comparison.sites} sites: {comparison.origin}. Same patients, split and columns for every kind; "
        f"{len(comparison.seeds)} seed{'s' * (len(comparison.seeds) > 1)} each; delta {comparison.delta:g}.",
        "",
        f"![Scores of every kind between shuffled columns and fresh patients]({picture})",
    ]
    for epsilon in comparison.epsilons:
        said = _sentence(comparison, epsilon)
        lines += ["", f"## Epsilon {epsilon:g}", "", said[0].upper() + said[1:], ""]
        lines += _markdown_table(comparison, epsilon)
    lines += ["", _LEGEND.replace("Below each median", "In brackets"), ""]
    lines += [f"- {sentence}" for sentence in _limits(comparison)]
    budgets = ",".join(f"{epsilon:g}" for epsilon in comparison.epsilons)
    lines += [
        f"- Made by synthfed {comparison.version} from pipeline `{comparison.digest[:16]}`: `synthfed compare "
        f"{comparison.name} --kinds {','.join(comparison.kinds)} --epsilon {budgets} --seeds {len(comparison.seeds)}"
        f"{'' if comparison.simulated else ' --data ...'}`"
    ]
    return "\n".join(lines) + "\n"


def write_pages(comparison: Comparison, folder: Path) -> tuple[Path, Path, Path]:
    """Write NAME.md, NAME.json and NAME.png into `folder`, NAME being the pipeline's; their paths, in this order."""
    from synthfed.run.comparing.picture import draw

    page, plain, picture = (folder / f"{comparison.name}.{kind}" for kind in ("md", "json", "png"))
    folder.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(draw(comparison))
    plain.write_text(comparison.to_json() + "\n", encoding="utf-8")
    page.write_text(as_markdown(comparison, picture=picture.name), encoding="utf-8")
    return page, plain, picture


def _sentence(comparison: Comparison, epsilon: float) -> str:
    wins: dict[str, list[str]] = {}
    ties, silent, missing = [], [], []
    for measure in comparison.measures:
        top = comparison.best(measure.id, epsilon)
        if len(top) == 1:
            wins.setdefault(top[0], []).append(short_name(measure))
        elif top:
            everybody = len(top) == sum(bool(comparison.cells_of(kind, epsilon)) for kind in comparison.kinds)
            ties.append(f"{short_name(measure)} ({'all' if everybody else ', '.join(top)})")
        elif comparison.measured(measure.id, epsilon):
            silent.append(short_name(measure))
        else:
            missing.append(short_name(measure))
    parts = [f"{kind} wins on {', '.join(wins[kind])}" for kind in comparison.kinds if kind in wins]
    parts += [f"ties: {', '.join(ties)}"] if ties else []
    parts += [f"too few patients to tell: {', '.join(silent)}"] if silent else []
    parts += [f"not measured: {', '.join(missing)}"] if missing else []
    parts += [_failed(cells) for kind in comparison.kinds if (cells := comparison.failures(kind, epsilon))]
    return f"{'; '.join(parts)}. {_why(comparison, epsilon)}"


def _failed(cells: tuple[Cell, ...]) -> str:
    seeds = ", ".join(str(cell.seed) for cell in cells)
    return f"{cells[0].kind} failed (seed {seeds}): {cells[0].failure}"


def _why(comparison: Comparison, epsilon: float) -> str:
    kind = comparison.recommended(epsilon)
    if kind is None:
        return "No kind ran with every seed."
    (deciding, of), (every, of_all) = (
        comparison.standing(epsilon, deciding=decides)[kind] for decides in (True, False)
    )
    counted = f"best or tied on {deciding} of {of} deciding measures and on {every} of all {of_all}"
    if comparison.is_fit(kind, epsilon):
        return f"Recommended: {kind} ({counted})."
    return (
        "No kind comes half of the way from shuffled columns to fresh patients on most deciding measures; "
        f"least bad: {kind} ({counted})."
    )


def _chosen(comparison: Comparison, epsilon: float) -> str:
    kind = comparison.recommended(epsilon)
    if kind is None:
        return "none, as none ran with every seed"
    return kind if comparison.is_fit(kind, epsilon) else f"none ({kind} is least bad)"


def _limits(comparison: Comparison) -> tuple[str, ...]:
    seeds = len(comparison.seeds)
    chance = (
        "One seed has no range: every difference counts, chance included."
        if seeds == 1
        else f"Of {seeds} seeds, a lead a little above the range can still be chance."
    )
    said = [f"One cohort and one split: another hospital's patients may rank the kinds otherwise. {chance}"]
    deciding = ", ".join(short_name(measure) for measure in comparison.measures if measure.decides)
    said.append(
        f"Deciding: {deciding}; shuffled columns fail these by construction. A tie in the counts goes to the quicker."
    )
    if comparison.simulated:
        said.append(
            "Simulated patients: their noise follows from the seed, so there is no formal guarantee; epsilon is what "
            "secret noise as large would cost."
        )
    else:
        spent = Spread.of(cell.spent_over_runs for cell in comparison.cells)
        if spent is not None:
            said.append(f"The ledgers now hold epsilon {spent.high:.2f} for these patients over all recorded runs.")
        said.append("The scores are measured on patients outside the privacy budget: they stay with the data holder.")
    return tuple(said)


def _markdown_table(comparison: Comparison, epsilon: float) -> Iterator[str]:
    heads = ["", "shuffled", *comparison.kinds, "fresh patients"]
    yield f"| {' | '.join(heads)} |"
    yield "|---|" + "---:|" * (len(heads) - 1)
    for measure in comparison.measures:
        anchors, top = comparison.anchors(measure.id, epsilon), comparison.best(measure.id, epsilon)
        scores = [_on_page(comparison.spread(measure.id, kind, epsilon), _mark(kind, top)) for kind in comparison.kinds]
        yield f"| {' | '.join([_name(measure), _short(anchors.floor), *scores, _short(anchors.ceiling)])} |"
    for name, values in _costs(comparison, epsilon):
        yield f"| {' | '.join([name, '', *values, ''])} |"


def _costs(comparison: Comparison, epsilon: float) -> Iterator[tuple[str, list[str]]]:
    """What each kind took: medians over seeds."""
    cells = [comparison.cells_of(kind, epsilon) for kind in comparison.kinds]

    def row(name: str, values: list[Spread | None], form: str) -> tuple[str, list[str]]:
        return name, ["failed" if spread is None else format(spread.median, form) for spread in values]

    yield row("epsilon spent", [Spread.of(c.epsilon_spent for c in ran) for ran in cells], ".2f")
    if any(cell.epsilon_local not in (None, cell.epsilon_spent) for ran in cells for cell in ran):
        yield row("against all other sites", [Spread.of(c.epsilon_local for c in ran) for ran in cells], ".2f")
    yield row("seconds", [Spread.of(c.seconds for c in ran) for ran in cells], ".0f")
    yield row("rounds", [Spread.of(c.rounds for c in ran) for ran in cells], ".0f")
    yield row("MB moved", [Spread.of(c.bytes_moved / 1e6 for c in ran) for ran in cells], ".1f")


def _terminal(spread: Spread | None, mark: str) -> str:
    if spread is None:
        return "-"
    value = f"{_short(spread.median)} {mark or ' '}"
    return f"{value}\n[dim]{spread.low:.3f} to {spread.high:.3f}[/dim]" if spread.range else value


def _on_page(spread: Spread | None, mark: str) -> str:
    if spread is None:
        return "-"
    value = f"**{spread.median:.3f}** {mark}" if mark else f"{spread.median:.3f}"
    return f"{value} ({spread.low:.3f} to {spread.high:.3f})" if spread.range else value


def _mark(kind: str, top: tuple[str, ...]) -> str:
    if kind not in top:
        return ""
    return "★" if len(top) == 1 else "="


def short_name(measure: Measure) -> str:
    """A measure's name without its question: `association`, `tstr.os_event`."""
    return measure.id.partition(".")[2]


def _name(measure: Measure) -> str:
    return f"{short_name(measure)} {_ARROWS[measure.direction]}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
