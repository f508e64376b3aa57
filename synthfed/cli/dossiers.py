"""Verbs about a dossier: render its `report` again, `verify` it, print its `budget`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthfed.cli.options import JsonOption

if TYPE_CHECKING:
    from synthfed.dossier import Recomputed, Verification

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


def verify(
    dossier: DossierArgument,
    signer: Annotated[
        str | None, typer.Option(help="The coordinator's public key (hex), as read out to you by another way.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Re-check a dossier: signature, checksums, both epsilons, rules and scores of the table, report, page, audit.

    Exit code 1 when anything is wrong; one flipped byte is found and named. Without --signer a folder that somebody
    made anew and signed with a key of their own passes: compare the printed key with the coordinator's.

    Example: synthfed verify dossier-aml --signer 5f2c...
    """
    from synthfed.dossier import verify_dossier

    result = verify_dossier(dossier, signer=signer)
    if as_json:
        print(json.dumps(_verification(result), indent=1))
    else:
        for finding in result.findings:
            typer.echo(str(finding))
        for line in (*map(_recomputed, result.recomputed), *result.checked):
            typer.echo(line)
        typer.echo(f"signed by {result.signer or 'nobody'}")
        typer.echo(
            f"verified: {result.files} files" if result.ok else f"NOT verified: {len(result.findings)} finding(s)"
        )
    if not result.ok:
        raise typer.Exit(1)


def _verification(result: "Verification") -> dict[str, Any]:
    return {
        "ok": result.ok,
        "files": result.files,
        "signer": result.signer,
        "findings": [str(finding) for finding in result.findings],
        "checked": list(result.checked),
        "epsilon": {
            one.population: {
                "epsilon": _plain(one.epsilon),
                "epsilon_local": _plain(one.epsilon_local),
                "delta": one.delta,
                "promised": one.promised,
            }
            for one in result.recomputed
        },
    }


def _plain(number: float) -> float | None:
    """JSON has no infinity: no bound at all is null."""
    return number if math.isfinite(number) else None


def _recomputed(one: "Recomputed") -> str:
    words = f"{one.population}: epsilon {one.epsilon:.4f} at delta {one.delta:g}, from {one.events} charges"
    if one.epsilon_local != one.epsilon:
        words += f"; epsilon_local {one.epsilon_local:.4f} against all other sites together"
    return words if one.promised else f"{words}; not in force: the ledger promises nothing"


def budget(
    dossier: Annotated[Path, typer.Argument(help="A dossier folder, or its ledger.json.")],
    as_json: JsonOption = False,
) -> None:
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
    from synthfed.privacy.statement import SCHEMA

    file = dossier / "ledger.json" if dossier.is_dir() else dossier
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(content["schema"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DossierError(
            f"{file} is not a ledger of this version ({type(error).__name__}); give a dossier folder or its ledger.json"
        ) from error
    return content


def _print_budget(ledger: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    console.print(f"[bold]{ledger['guarantee']}[/bold]")
    console.print(f"unit: {ledger['unit']}; adjacency: {ledger['adjacency']}; {ledger['mode']['noise']} noise")
    for name, stated in ledger["populations"].items():
        if ledger["mode"]["noise"] == "shared":
            alone = float(stated["epsilon_local_of_events"])
            console.print(
                f"{name}: epsilon {float(stated['epsilon_of_events']):.4f}; epsilon_local {alone:.4f} against all "
                "other sites together, and where the secure sum fails"
            )
        elif len(ledger["populations"]) > 1:
            console.print(f"{name}: epsilon {float(stated['epsilon_of_events']):.4f} at delta {stated['delta']:g}")
    sites = Table("site", "charges", "steps", "epsilon", box=None, pad_edge=False)
    for site in ledger["sites"]:
        sites.add_row(site["site"], str(site["events"]), str(site["steps"]), f"{float(site['epsilon']):.4f}")
    console.print(sites)
    charges = Table("charge", "mechanism", "noise", "clip", "rate", "steps", "alone", box=None, pad_edge=False)
    for event in ledger["events"]:
        charges.add_row(
            event["purpose"],
            event["mechanism"],
            f"{event['noise_multiplier']:.4g}",
            f"{event['l2_sensitivity']:g}",
            f"{event['sample_rate']:g}",
            str(event["steps"]),
            f"{float(event['cost']['epsilon_alone']):.4f}",
        )
    console.print(charges)
    console.print("Not covered:")
    for line in ledger["not_covered"]:
        console.print(f"- {line}")
