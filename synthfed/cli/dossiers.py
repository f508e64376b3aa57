"""Verbs about a dossier: render its `report` again, `verify` it, print its `budget`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from synthfed.cli.options import JsonOption

DossierArgument = Annotated[Path, typer.Argument(help="A dossier folder.")]


def report(
    dossier: DossierArgument,
    out: Annotated[Path | None, typer.Option(help="HTML file to write. Default: print where the report is.")] = None,
) -> None:
    """Render report.html again from report.json, the dossier's truth.

    Example: synthfed report dossier-aml --out report.html
    """
    from synthfed.dossier import read_report
    from synthfed.report import render_html

    content = read_report(dossier)
    if out is None:
        typer.echo(str(dossier / "report.html"))
        return
    out.write_text(render_html(content), encoding="utf-8")
    typer.echo(str(out))


def verify(dossier: DossierArgument, as_json: JsonOption = False) -> None:
    """Re-check a dossier: signature, checksums, epsilon from the ledger, the audit chain.

    Exit code 1 when anything is wrong; one flipped byte is found and named.

    Example: synthfed verify dossier-aml
    """
    from synthfed.dossier import verify_dossier

    result = verify_dossier(dossier)
    if as_json:
        print(json.dumps({"ok": result.ok, "findings": [str(f) for f in result.findings]}, indent=1))
    else:
        for finding in result.findings:
            typer.echo(str(finding))
        typer.echo("verified" if result.ok else "NOT verified")
    if not result.ok:
        raise typer.Exit(1)


def budget(dossier: DossierArgument, as_json: JsonOption = False) -> None:
    """Print what each site's patients have spent, charge by charge.

    Example: synthfed budget dossier-aml
    """
    ledger = _read_ledger(dossier)
    if as_json:
        print(json.dumps(ledger, indent=1))
        return
    _print_budget(ledger)


def _read_ledger(dossier: Path) -> dict[str, Any]:
    from synthfed.errors import DossierError

    file = dossier / "ledger.json" if dossier.is_dir() else dossier
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DossierError(
            f"{file} is not a ledger ({type(error).__name__}); give a dossier folder or its ledger.json"
        ) from error
    return content


def _print_budget(ledger: dict[str, Any]) -> None:
    from rich.console import Console

    Console(soft_wrap=True).print(ledger)
