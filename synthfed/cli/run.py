"""`synthfed run`: the main job."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from synthfed.run.flow import RunResult


def run(
    pipeline: PipelineArgument,
    data: DataOption = None,
    site_column: SiteColumnOption = None,
    split_sites: SplitSitesOption = None,
    split_rule: SplitRuleOption = "random",
    ignore: IgnoreOption = None,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the dossier. Default: dossier-PIPELINE.")] = None,
    epsilon_limit: Annotated[
        float | None,
        typer.Option(min=0.0, help="Refuse the run if these patients' ledgers would exceed this over all runs."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished round.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an older dossier at --out.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a pipeline from site tables to a signed dossier.

    Without --data the pipeline's simulated hospitals are used.

    Example: synthfed run aml --data aml.csv --site-column hospital --set privacy.epsilon=3 --out dossier-aml
    """
    from synthfed.cli.progress import TerminalProgress
    from synthfed.resources import dictionary_path

    chosen = load_pipeline(pipeline, settings)
    where = out or Path(f"dossier-{Path(pipeline).stem}")
    console = _console(quiet=quiet or as_json)
    cohort = load_patients(chosen, data, site_column, split_sites, split_rule, ignore)
    from synthfed.run.flow import run_pipeline
    from synthfed.run.patients import ledger_home

    try:
        with TerminalProgress(console) as progress:
            result = run_pipeline(
                chosen,
                cohort,
                out=where,
                dictionary_file=dictionary_path(chosen.disease),
                resume=resume,
                replace=replace,
                progress=progress,
                ledgers=None if data is None else ledger_home(data, epsilon_limit),
            )
    except KeyboardInterrupt:
        print("synthfed: stopped; nothing was released and no dossier was written.", file=sys.stderr)
        print("synthfed: go on after the last finished round with the same command and --resume", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(_summary(result), indent=1))
    elif not quiet:
        _tell(console, result)


def _console(*, quiet: bool) -> Any:
    from rich.console import Console

    console = Console(quiet=quiet, soft_wrap=True)
    return console if console.is_terminal else Console(quiet=quiet, soft_wrap=True, width=110)


def _summary(result: "RunResult") -> dict[str, Any]:
    internal = result.dossier / "internal"
    return {
        "dossier": str(result.dossier),
        "report": str(result.dossier / "report.html"),
        "internal_report": str(internal / "report.html") if internal.is_dir() else None,
        "rows": len(result.table),
        "epsilon": result.epsilon,
        "epsilon_local": result.epsilon_local,
        "epsilon_holdout": result.epsilon_holdout,
        "delta": result.delta,
        "epsilon_over_all_runs": result.spent_over_runs,
        "seconds": round(result.seconds, 1),
        "lights": dict(result.card.lights),
    }


def _tell(console: Any, result: "RunResult") -> None:
    console.print()
    console.print(result.card)
    console.print()
    if result.epsilon is None:
        console.print("privacy   no formal guarantee for this run; ledger.json says why", highlight=False)
    else:
        console.print(
            f"privacy   epsilon {result.epsilon:.2f}, delta {result.delta:g} per training patient (add/remove one)",
            highlight=False,
        )
        if result.epsilon_local is not None and result.epsilon_local != result.epsilon:
            console.print(
                f"          epsilon_local {result.epsilon_local:.2f} against all other sites together", highlight=False
            )
    if result.epsilon_holdout is not None:
        console.print(
            f"          epsilon {result.epsilon_holdout:.2f} per held-out patient, for the scores in the release; "
            "nobody is held out and trains",
            highlight=False,
        )
    if result.spent_over_runs is not None:
        console.print(
            f"ledgers   epsilon {result.spent_over_runs:.2f} spent by these patients over all recorded runs",
            highlight=False,
        )
    console.print(f"table     {result.dossier / 'synthetic.csv'}", highlight=False)
    console.print(f"report    {result.dossier / 'report.html'}", highlight=False)
    internal = result.dossier / "internal" / "report.html"
    if internal.is_file():
        console.print(f"internal  {internal}  (measured on patients: stays at the site)", highlight=False)
    console.print(f"re-check  synthfed verify {result.dossier}", highlight=False)
