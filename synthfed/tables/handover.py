"""Open what a hospital hands over: a table, and beside it the mapping that says what the table means.

`lyon.csv` is read with `lyon.mapping.toml` where that exists; without one the table must speak the dictionary's own
words. So every reader of tables (`check`, `run`, `score`, a site of a federation) understands mappings in the same way.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from synthfed.errors import MappingError, UnreadableFile
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.files import read_frame
from synthfed.tables.findings import Finding
from synthfed.tables.mapping import SUFFIX, load_mapping, mapping_path
from synthfed.tables.recoding import recode_table
from synthfed.tables.redcap import RedcapDictionary, load_redcap
from synthfed.tables.suggest import suggest_mapping

TABLE_FILES = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")


def read_handover(
    path: Path, dictionary: Dictionary, *, extra: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """A table of texts ready for `type_table`, recoded where a mapping lies beside it.

    Args:
        extra: Headers that are kept as they are, such as the site's.

    Raises:
        UnreadableFile: The table or its REDCap dictionary cannot be read.
        MappingError: The mapping contradicts the dictionary.
        DataError: The table is not what the mapping says, or the mapping leaves something undecided.
    """
    frame = read_frame(path)
    file = mapping_path(path)
    if not file.is_file():
        return frame, ()
    mapping = load_mapping(file, dictionary)
    redcap = None if mapping.redcap_dictionary is None else load_redcap(path.with_name(mapping.redcap_dictionary))
    return recode_table(frame, mapping, dictionary, origin=path.name, redcap=redcap, extra=extra)


def list_tables(folder: Path, dictionary: Dictionary) -> list[Path]:
    """The tables of a folder with one file per site, without the REDCap dictionaries that mappings name.

    Raises:
        UnreadableFile: The folder holds no table, or two for one site.
        MappingError: A mapping has no table beside it.
    """
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in TABLE_FILES and not f.name.startswith((".", "~")))
    mappings = sorted(f for f in folder.iterdir() if f.name.endswith(SUFFIX) and not f.name.startswith("."))
    dictionaries = {load_mapping(file, dictionary).redcap_dictionary for file in mappings}
    tables = [file for file in files if file.name not in dictionaries]
    if not tables:
        raise UnreadableFile(f"folder {folder} holds no table; put one file per site there ({', '.join(TABLE_FILES)})")
    stems = [file.stem for file in tables]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UnreadableFile(f"folder {folder} holds two files for each of the sites {twice}; keep one file per site")
    alone = [file.name for file in mappings if file.name.removesuffix(SUFFIX) not in stems]
    if alone:
        raise MappingError(
            f"folder {folder} holds {alone} without a table of that name; rename the mapping or the table"
        )
    return tables


def draft_mappings(source: Path, dictionary: Dictionary, *, wanted: Sequence[str] = ()) -> list[Path]:
    """Write a draft mapping beside each table of a file or folder that has none.

    Args:
        wanted: Columns of the dictionary for which the draft proposes a source even where no header names them.

    Returns:
        The drafts; empty where every table has a mapping.

    Raises:
        UnreadableFile: A table cannot be read, or there is none.
    """
    folder = source if source.is_dir() else source.parent
    forms = _forms(folder)
    tables = list_tables(source, dictionary) if source.is_dir() else [source]
    drafts = []
    for table in tables:
        file = mapping_path(table)
        if file.exists() or table.name in forms:
            continue
        headers = [str(name) for name in read_frame(table).columns]
        owned = {name: sum(form.owner(header) is not None for header in headers) for name, form in forms.items()}
        best = max(owned, key=lambda name: owned[name], default="")
        form = forms[best] if best and owned[best] > len(headers) / 2 else None
        text = suggest_mapping(table, dictionary, redcap=form, form=best, wanted=wanted)
        file.write_text(text, encoding="utf-8")
        drafts.append(file)
    return drafts


def _forms(folder: Path) -> dict[str, RedcapDictionary]:
    """The REDCap data dictionaries of a folder, by file name."""
    forms = {}
    for file in sorted(folder.glob("*.csv")):
        try:
            forms[file.name] = load_redcap(file)
        except UnreadableFile:
            continue
    return forms
