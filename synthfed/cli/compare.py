"""`synthfed compare`: the kinds of generators side by side, at the same budget on the same patients."""

import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from synthfed.cli.options import (
    DataOption,
    IgnoreOption,
    JsonOption,
    PipelineArgument,
    QuietOption,
    SetOption,
    SiteColumnOption,
    SplitRuleOption,
    SplitSitesOption,
    load_patients,
    load_pipeline,
)

if TYPE_CHECKING:
    from rich.console import Console

    from synthfed.federation.in_process import RoundDone


def compare(
    pipeline: PipelineArgument,
    kinds: Annotated[
        str, typer.Option(help="Which, with commas; tvae-counts and ctgan-counts spend nothing on training.")
    ] = "marginal,tvae,ctgan,tvae-cold,ctgan-cold",
    epsilon: Annotated[
        str | None,
        typer.Option(
            help="Budgets of one run each, with commas, e.g. 1,3,10. Default: the pipeline's.", show_default=False
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=50, help="Runs of each kind at each budget.")] = 2,
    data: DataOption = None,
    site_column: SiteColumnOption = None,
    split_sites: SplitSitesOption = None,
    split_rule: SplitRuleOption = "random",
    ignore: IgnoreOption = None,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pages. Default: compare-PIPELINE.")] = None,
    spend: Annotated[
        bool, typer.Option("--spend", help="Real patients: agree to what all runs together cost them.")
    ] = False,
    epsilon_limit: Annotated[
        float | None,
        typer.Option(min=0.0, help="Refuse if these patients' ledgers would exceed this over all runs."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is finished in --out and run the rest.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an older comparison at --out.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the kinds of generators side by side and say which one wins on what.

    Each is scored like a run, beside shuffled columns and patients the generator never saw. Without --data the
    pipeline's simulated hospitals are used, which costs nobody anything. On real patients every kind, budget and seed
    is a run of its own in the ledgers: without --spend only the price is told. Their scores stay with the data holder.

    Example: synthfed compare aml --kinds marginal,tvae --epsilon 3,10 --seeds 3
    """
    from rich.console import Console

    chosen = load_pipeline(pipeline, settings)
    stem = Path(pipeline).stem
    where = out or Path(f"compare-{stem}")
    console = Console(quiet=quiet or as_json, soft_wrap=True)
    if not console.is_terminal:
        console = Console(quiet=quiet or as_json, soft_wrap=True, width=150)
    names, budgets = _words(kinds), _numbers(epsilon)
    cohort = load_patients(chosen, data, site_column, split_sites, split_rule, ignore)
    from synthfed.run.comparing import compare as run_all
    from synthfed.run.comparing.pages import show, write_pages
    from synthfed.run.patients import ledger_home

    try:
        with _Progress(console) as progress:
            found = run_all(
                chosen,
                cohort,
                name=stem,
                kinds=names,
                epsilons=budgets,
                seeds=seeds,
                out=where,
                resume=resume,
                replace=replace,
                spend=spend,
                ledgers=None if data is None else ledger_home(data, epsilon_limit),
                progress=progress,
            )
    except KeyboardInterrupt:
        print("synthfed: stopped; finished runs are kept, go on with the same command and --resume", file=sys.stderr)
        raise typer.Exit(130) from None
    files = write_pages(found, where)
    if as_json:
        print(found.to_json())
    elif not quiet:
        console.print()
        show(found, console, files=files)


class _Progress:
    """A line per run, and in a terminal a bar over its rounds."""

    def __init__(self, console: "Console") -> None:
        from synthfed.cli.progress import TerminalProgress

        self._rounds = console.is_terminal
        self._terminal = TerminalProgress(console)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._terminal.__exit__(kind, error, tb)

    def stage(self, name: str, detail: str = "") -> None:
        """One line; names of kinds are longer than those of a run's stages."""
        self._terminal.stage(f"{name:<12}", detail)

    def round_done(self, done: "RoundDone") -> None:
        """Advance the bar; without a terminal many runs' rounds would drown the lines that count."""
        if self._rounds:
            self._terminal.round_done(done)

    def step(self, name: str) -> None:
        """One line that the next one replaces."""
        self._terminal.step(name)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str | None) -> tuple[float, ...] | None:
    from synthfed.errors import ConfigError

    if text is None:
        return None
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError as error:
        raise ConfigError(f"--epsilon {text!r} is not a list of numbers; write --epsilon 1,3,10") from error
