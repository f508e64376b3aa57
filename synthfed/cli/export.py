"""`synthfed export`: a synthetic table in a format that other software reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthfed.cli.options import JsonOption

if TYPE_CHECKING:
    import pandas as pd

    from synthfed.tables.dictionary import Dictionary

_MADE_UP = r"SYN\d+|SIM-.*|SYNTHETIC-.*"  # ids of synthetic, of simulated and of exported patients


def export(
    table: Annotated[Path, typer.Argument(help="A dossier folder, or a synthetic table (.csv, .parquet, .xlsx).")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    to: Annotated[str, typer.Option("--format", help="csv, parquet, xlsx, omop, fhir, fhir-ndjson, redcap, synthema.")],
    dictionary: Annotated[
        str | None,
        typer.Option("--dictionary", help="aml, scd or a dictionary.toml; a dossier brings its own."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier export at --out.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a synthetic table in another format. Every file says that the patients are synthetic where it can.

    What the format cannot express is listed. The folder appears whole or not at all.

    Example: synthfed export dossier-aml --format omop --out omop-aml
    """
    import json

    from synthfed.errors import ConfigError
    from synthfed.tables.formats.folder import check_place, synthetic_note, write_folder
    from synthfed.tables.formats.registry import formats

    known = formats()
    if to not in known:
        choices = "; ".join(f"{name} ({one.title})" for name, one in known.items())
        raise ConfigError(f"--format {to!r} is not known; choose one of: {choices}")
    check_place(out, replace=replace)
    patients, meaning = _read_synthetic(table, dictionary)
    chosen = known[to]
    losses = chosen.losses(patients, meaning)
    note = synthetic_note(
        title=chosen.title, disease=meaning.schema.title, patients=len(patients), losses=losses, origin=table.name
    )
    written = write_folder(out, chosen.write(patients, meaning), note=note, replace=replace)
    if as_json:
        shown = {"out": str(out), "format": to, "patients": len(patients)}
        print(json.dumps({**shown, "files": [path.name for path in written], "losses": losses}, indent=1))
        return
    typer.echo(f"{out}: {len(patients)} synthetic patients as {chosen.title}")
    for path in written:
        typer.echo(f"  {path.relative_to(out.absolute())}  {path.stat().st_size:,} bytes")
    typer.echo("\n".join(["not expressed:", *(f"- {line}" for line in losses)]) if losses else "nothing is lost")
    if chosen.is_read:
        typer.echo(f"read it back: synthfed check {_pipeline_name(dictionary, meaning)} --data {out}")


def _pipeline_name(dictionary: str | None, meaning: "Dictionary") -> str:
    return meaning.schema.disease if dictionary is None or dictionary.endswith(".toml") else dictionary


def _read_synthetic(table: Path, dictionary: str | None) -> tuple["pd.DataFrame", "Dictionary"]:
    """The typed table, derived columns included, and its dictionary."""
    from synthfed.dossier.layout import SUMS
    from synthfed.errors import ConfigError
    from synthfed.tables.dictionary import header_meanings, load_dictionary
    from synthfed.tables.handover import read_handover
    from synthfed.tables.reading import type_table
    from synthfed.tables.rules import RuleSet

    folder = table if table.is_dir() else table.parent
    in_dossier = (folder / SUMS).is_file()
    if table.is_dir() and not in_dossier:
        raise ConfigError(f"{table} is no dossier; give a folder that `synthfed run` wrote, or a table in it")
    if dictionary is None and not in_dossier:
        raise ConfigError(
            f"{table} lies in no dossier; say what its columns mean with --dictionary aml (or scd, a path)"
        )
    meaning = load_dictionary(folder / "dictionary.toml" if dictionary is None else dictionary)
    file = _checked_table(folder) if table.is_dir() else table
    texts, _ = read_handover(file, meaning)
    meanings = header_meanings(meaning.schema)
    present = {name for header in texts.columns if (name := meanings.get(str(header).casefold()))}
    typed, _ = type_table(texts, meaning, sorted(present), origin=file.name)
    _refuse_patients(typed, meaning, file)
    rules = RuleSet.load(meaning.folder, meaning.schema).restrict(present)
    return meaning.schema.select(present).cast(rules.derive(typed)).reset_index(drop=True), meaning


def _checked_table(dossier: Path) -> Path:
    """The dossier's table, if it is the one that its report is about."""
    import hashlib

    from synthfed.dossier import read_report
    from synthfed.errors import DossierError

    file = dossier / "synthetic.csv"
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    if read_report(dossier).get("table_sha256") != digest:
        raise DossierError(f"{file} is not the table that report.json describes; see `synthfed verify {dossier}`")
    return file


def _refuse_patients(typed: "pd.DataFrame", meaning: "Dictionary", file: Path) -> None:
    """Synthetic and simulated tables have ids of their own: one with others may be of patients."""
    from synthfed.errors import ConfigError

    for column in meaning.schema.columns:
        if column.kind != "id" or column.name not in typed.columns:
            continue
        if not typed[column.name].str.fullmatch(_MADE_UP).fillna(True).all():
            raise ConfigError(
                f"{file} has ids in {column.name!r} that synthfed did not give; `export` marks what it writes as "
                "synthetic: give a table from `synthfed run` or `sample`, or remove the column if it is one"
            )
