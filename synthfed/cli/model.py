"""Verbs about a saved model: `sample` more rows from it, `score` a table."""

from pathlib import Path
from typing import Annotated

import typer

from synthfed.cli.options import (
    DataOption,
    JsonOption,
    SiteColumnOption,
    load_patients,
)


def sample(
    model: Annotated[Path, typer.Argument(help="A model.synthfed file, or a dossier that holds one.")],
    rows: Annotated[int, typer.Option(min=1, help="How many synthetic patients.")],
    out: Annotated[Path, typer.Option(help="The table to write: .csv or .parquet.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same table.")] = 1,
    where: Annotated[
        str | None,
        typer.Option(
            help="Only patients who fulfil a condition: ==, !=, <, <=, >, >=, in (...), is missing, and, or, not."
        ),
    ] = None,
    balance: Annotated[
        str | None, typer.Option(help="A column with levels: equally many patients of each level.")
    ] = None,
) -> None:
    """Draw more synthetic patients from a released model. It costs no further privacy, with a condition or without.

    A condition enlarges a group; it does not teach the model more about it.

    Example: synthfed sample dossier-aml --rows 500 --out old.csv --where "eln2022 == 'adverse' and age_years >= 60"
    """
    from rich.console import Console

    from synthfed.errors import ConfigError
    from synthfed.synthesizer import Synthesizer
    from synthfed.tables.writing import to_csv_bytes, to_parquet_bytes

    writers = {".csv": to_csv_bytes, ".parquet": to_parquet_bytes}
    if out.suffix not in writers:
        raise ConfigError(f"--out {out} ends in {out.suffix!r}; wanted .csv or .parquet")
    synth = Synthesizer.load(model / "model.synthfed" if model.is_dir() else model)
    tried = 0
    with Console(stderr=True).status("drawing") as status:

        def show(kept: int, drawn: int) -> None:
            nonlocal tried
            tried = drawn
            status.update(f"{kept:,} of {rows:,} found among {drawn:,} drawn")

        table = synth.sample(rows, seed=seed, where=where, balance=balance, progress=show)
    out.write_bytes(writers[out.suffix](table, synth.schema))
    chosen = f", chosen from {tried:,} drawn" if where or balance else ""
    typer.echo(f"{out}: {len(table)} synthetic patients, seed {seed}{chosen}")


def score(
    model: Annotated[Path, typer.Argument(help="A model.synthfed file, or a dossier that holds one.")],
    table: Annotated[Path, typer.Option(help="The synthetic table to score.")],
    data: DataOption = None,
    site_column: SiteColumnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a synthetic table: by itself, and with --data against real rows, whose numbers stay with you.

    Example: synthfed score dossier-aml --table dossier-aml/synthetic.csv --data aml.csv --site-column hospital
    """
    import json

    from rich.console import Console

    from synthfed.run.drawing import score_table
    from synthfed.synthesizer import Synthesizer

    synth = Synthesizer.load(model / "model.synthfed" if model.is_dir() else model)
    synthetic = synth.read_table(table)
    train = holdout = None
    if data is not None:
        cohort = load_patients(synth.pipeline, data, site_column, None, "random")
        train, holdout = cohort.train, cohort.holdout
    with Console(stderr=True).status("scoring") as status:
        card = score_table(synth.trained, synthetic, synth.rules, train=train, holdout=holdout, progress=status.update)
    if as_json:
        print(json.dumps(card.to_dict(), indent=1))
    else:
        Console(soft_wrap=True).print(card)
