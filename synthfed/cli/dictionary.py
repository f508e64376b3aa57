"""`synthfed new-dictionary`: draft a dictionary, rules and a pipeline for a disease of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from synthfed.tables.drafting import Draft

_SHOWN = 10  # rows that a word stands in at least before it is shown, on the screen only


def new_dictionary(
    table: Annotated[
        Path, typer.Argument(help="A table (CSV, XLSX, Parquet) or a REDCap data dictionary (CSV).", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option(help="The dictionary to write; rules.toml and pipeline.toml go beside it.")],
    disease: Annotated[str, typer.Option(help="A short name for the disease, such as breast-cancer.")] = "",
    show_words: Annotated[
        bool, typer.Option("--show-words", help="Print the frequent words of open columns, on this screen only.")
    ] = False,
) -> None:
    """Draft a dictionary for your own disease. It needs no code; what only you can know is asked for.

    Names, units, levels and bounds come from public knowledge, from the headers or from the form, never from what
    patients' cells say: a dictionary is shared, and its bounds shape what is released. A dictionary with an open
    line is refused by every verb until you have filled it.

    Example: synthfed new-dictionary trial.csv --out breast/dictionary.toml
    """
    from synthfed.errors import ConfigError, UnreadableFile
    from synthfed.tables.drafting import draft_from_table
    from synthfed.tables.drafting_files import pipeline_text, rules_text, text_of
    from synthfed.tables.drafting_forms import draft_from_form
    from synthfed.tables.files import read_frame
    from synthfed.tables.redcap import load_redcap

    path = out if out.suffix == ".toml" else out / "dictionary.toml"
    files = {path: "", path.with_name("rules.toml"): "", path.with_name("pipeline.toml"): ""}
    there = [str(file) for file in files if file.exists()]
    if there:
        raise ConfigError(f"{', '.join(there)} would be overwritten; choose another --out or remove them")
    frame = read_frame(table)
    try:
        draft, form = draft_from_form(load_redcap(table)), table.name
    except UnreadableFile:
        draft, form = draft_from_table(frame), ""
    name = disease or path.absolute().parent.name
    texts = (
        text_of(draft, disease=name, origin=table.name, form=form),
        rules_text(draft),
        pipeline_text(draft, name, path),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    typer.echo(f"{path}: {len(draft.names)} columns, {len(draft.ignored)} headers left out")
    asked = sum(text.count("# CONFIRM") for text in texts)
    typer.echo(
        f"{asked} places say # CONFIRM; {len(draft.open)} columns are open and must be filled before anything runs:"
    )
    typer.echo("\n".join(f"  {column}" for column in draft.open) or "  none")
    if show_words and not form:
        _show_words(frame, draft)
    typer.echo(f"then: synthfed check {path.with_name('pipeline.toml')} --data {table if not form else 'EXPORT.csv'}")


def _show_words(frame: "pd.DataFrame", draft: "Draft") -> None:
    """Frequent words of open columns, for the person at this screen; they are written nowhere."""
    from synthfed.tables.drafting import shape_of, slug

    typer.echo(f"words in at least {_SHOWN} rows (of patients: for this screen only; rarer words exist, too):")
    for header in map(str, frame.columns):
        if shape_of(frame[header]) == "words" and slug(header) in draft.open:
            counts = frame[header].value_counts()
            words = [str(word) for word, count in counts.items() if count >= _SHOWN and word]
            typer.echo(f"  {header}: {', '.join(words) or '(none)'}")
