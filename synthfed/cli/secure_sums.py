"""Verbs about secure sums: follow one by hand (`explain-shares`), re-check the sites' signed logs (`audit verify`)."""

import json
from pathlib import Path
from typing import Annotated

import typer

from synthfed.cli.options import JsonOption

audit = typer.Typer(help="The sites' signed logs of every secure sum.", no_args_is_help=True)

_EXAMPLE = ("lyon=5,-3", "milano=2,2", "berlin=-4,7")


def explain_shares(
    site: Annotated[
        list[str] | None, typer.Option("--site", help="NAME=WHOLE,NUMBERS of one made-up site. Give three or more.")
    ] = None,
) -> None:
    """Add small vectors of made-up sites by secret sharing, step by step, with every number shown.

    Example: synthfed explain-shares --site lyon=5,-3 --site milano=2,2 --site berlin=-4,7
    """
    from synthfed.errors import ConfigError
    from synthfed.secagg import shares

    try:
        vectors = dict(_vector(text) for text in site or _EXAMPLE)
        if len(vectors) < 3:
            raise ValueError(f"found {len(vectors)} different sites; a secure sum needs at least 3")
        typer.echo(shares.example(vectors), nl=False)
    except ValueError as error:
        raise ConfigError(
            f"--site: {error}; write --site lyon=5,-3 once per site, with equally many numbers"
        ) from error


def _vector(text: str) -> tuple[str, list[int]]:
    name, _, numbers = text.partition("=")
    return name.strip(), [int(number) for number in numbers.split(",")]


@audit.command("verify")
def verify(
    dossier: Annotated[Path, typer.Argument(help="A dossier folder with audit.jsonl and audit_keys.json.")],
    as_json: JsonOption = False,
) -> None:
    """Check each site's log: order, links and signatures. One altered or missing line is found and named.

    Exit code 1 when a log does not hold.

    Example: synthfed audit verify dossier-aml
    """
    from synthfed.dossier import site_logs
    from synthfed.errors import SecAggError
    from synthfed.secagg.audit import verify_lines

    findings: dict[str, str] = {}
    lengths: dict[str, int] = {}
    for name, (key, lines) in site_logs(dossier).items():
        lengths[name] = len(lines)
        try:
            verify_lines(lines, key)
        except SecAggError as error:
            findings[name] = str(error)
    if as_json:
        print(json.dumps({"ok": not findings, "lines": lengths, "findings": findings}, indent=1))
    else:
        for name, length in lengths.items():
            typer.echo(f"{name}: {length} lines, " + (f"BROKEN: {findings[name]}" if name in findings else "hold"))
    if findings:
        raise typer.Exit(1)
