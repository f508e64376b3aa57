"""The typer application: its verbs, and the one place where errors become messages and exit codes.

Exit codes: 0 done, 1 a check found a fault (`verify`), 2 the input or settings cannot be used, 130 stopped by Ctrl-C.
"""

import sys
from typing import Annotated

import typer

from synthfed.cli import ask, compare, coordinator, data, dictionary, dossiers, export, model, run, secure_sums, site
from synthfed.errors import SynthfedError

app = typer.Typer(
    name="synthfed",
    help="Share synthetic patients instead of patients: federated, differentially private, with a dossier to re-check.",
    epilog="First run: synthfed run aml     On your own table: synthfed run aml --data FILE.csv --site-column hospital",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("compare")(compare.compare)
app.command("check")(data.check)
app.command("new-dictionary")(dictionary.new_dictionary)
app.command("ask")(ask.ask)
app.command("cohort")(data.cohort)
app.command("sample")(model.sample)
app.command("score")(model.score)
app.command("export")(export.export)
app.command("report")(dossiers.report)
app.command("verify")(dossiers.verify)
app.command("budget")(dossiers.budget)
app.command("explain-shares")(secure_sums.explain_shares)
app.add_typer(secure_sums.audit, name="audit")
app.add_typer(coordinator.coordinator, name="coordinator")
app.add_typer(site.site, name="site")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"synthfed {version('synthfed')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every `SynthfedError` ends as one message and exit code 2."""
    try:
        app()
    except SynthfedError as error:
        print(f"synthfed: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("synthfed: stopped; nothing was released", file=sys.stderr)
        sys.exit(130)
