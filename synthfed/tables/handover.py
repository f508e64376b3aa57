"""Open what a hospital hands over: a table, and beside it the mapping that says what the table means.

`lyon.csv` is read with `lyon.mapping.toml` where that exists; without one the table must speak the dictionary's own
words. A folder of OMOP tables (`lyon/person.csv`, ...) or a FHIR bundle (`lyon.json`, `lyon.ndjson`) is one hospital's
table, too, with `lyon.mapping.toml` beside it. So every reader of tables (`check`, `run`, `score`, a site of a
federation) understands formats and mappings in the same way.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from synthfed.errors import MappingError, UnreadableFile
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.files import read_frame
from synthfed.tables.findings import Finding
from synthfed.tables.formats.castor_reading import TITLE as CASTOR
from synthfed.tables.formats.castor_reading import is_castor, with_castor
from synthfed.tables.formats.drafting import draft_long_mapping
from synthfed.tables.formats.fhir_reading import read_fhir, survey_fhir
from synthfed.tables.formats.omop_reading import read_omop, survey_omop
from synthfed.tables.formats.sources import kind_of, looks_like_fhir, refuse_mixture
from synthfed.tables.formats.synthema_reading import TITLE as SYNTHEMA
from synthfed.tables.formats.synthema_reading import recognise_synthema
from synthfed.tables.mapping import SUFFIX, load_mapping, mapping_path, mapping_text
from synthfed.tables.mapping_lines import TableMapping
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
    file = mapping_path(path)
    kind = kind_of(path, inside=True) if path.exists() else None
    if kind is not None:
        mapping = load_mapping(file, dictionary, shared=True) if file.is_file() else TableMapping()
        _refuse_flat_keys(mapping, file)
        return (read_omop if kind == "omop" else read_fhir)(path, dictionary, mapping, extra=extra)
    frame = read_frame(path)
    said = load_mapping(file, dictionary) if file.is_file() else recognise_synthema(frame, dictionary)
    recognised = None if said is None or file.is_file() else SYNTHEMA
    if is_castor(frame):
        said, recognised = with_castor(said or TableMapping(), frame, dictionary), CASTOR
    if said is None:
        return frame, ()
    redcap = None if said.redcap_dictionary is None else load_redcap(path.with_name(said.redcap_dictionary))
    origin = path.name
    if recognised is not None and not file.is_file():
        origin += f" (read as {recognised}; synthfed check --suggest-mapping writes down how, to be changed)"
    recoded, findings = recode_table(frame, said, dictionary, origin=origin, redcap=redcap, extra=extra)
    if recognised is None:
        return recoded, findings
    note = f"recognised by its column names; what {file.name} beside it says counts first"
    return recoded, (Finding("format", recognised, 0, note), *findings)


def list_tables(folder: Path, dictionary: Dictionary) -> list[Path]:
    """The tables of a folder with one file per site, without the REDCap dictionaries that mappings name.

    A folder that is itself one hospital's (OMOP tables, a FHIR bulk export) is the only table; else such subfolders
    count beside the files.

    Raises:
        UnreadableFile: The folder holds no table, two for one site, or one hospital's tables among others'.
        MappingError: A mapping has no table beside it.
    """
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in TABLE_FILES and not f.name.startswith((".", "~")))
    kind = kind_of(folder)
    if kind is not None:
        refuse_mixture(folder, kind, files)
        return [folder]
    mappings = sorted(f for f in folder.iterdir() if f.name.endswith(SUFFIX) and not f.name.startswith("."))
    dictionaries = {load_mapping(file, dictionary, shared=True).redcap_dictionary for file in mappings}
    others = [f for f in folder.iterdir() if not f.name.startswith((".", "~")) and f not in files]
    sources = [f for f in others if (kind_of(f, inside=True) if f.is_dir() else looks_like_fhir(f))]
    tables = sorted([*(file for file in files if file.name not in dictionaries), *sources])
    if not tables:
        raise UnreadableFile(
            f"folder {folder} holds no table; put one file per site there ({', '.join(TABLE_FILES)}, .json, .ndjson) "
            "or one folder of OMOP tables per site"
        )
    stems = [site_name(file) for file in tables]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UnreadableFile(f"folder {folder} holds two files for each of the sites {twice}; keep one file per site")
    alone = [file.name for file in mappings if file.name.removesuffix(SUFFIX) not in stems]
    if alone:
        raise MappingError(
            f"folder {folder} holds {alone} without a table of that name; rename the mapping or the table"
        )
    return tables


def site_name(table: Path) -> str:
    """The hospital that a table is named after."""
    return table.name if table.is_dir() else table.stem


def _refuse_flat_keys(mapping: TableMapping, file: Path) -> None:
    """Dates of a source with one row per value have their places already."""
    used = [key for key in ("differences", "redcap_dictionary") if getattr(mapping, key)]
    if used:
        raise MappingError(f"{file.name}: {' and '.join(used)} have no place where the source has one row per value")


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
        kind = kind_of(table, inside=True)
        if kind is not None:
            survey = (survey_omop if kind == "omop" else survey_fhir)(table, dictionary)
            file.write_text(draft_long_mapping(table.name, survey, dictionary, wanted=wanted), encoding="utf-8")
            drafts.append(file)
            continue
        frame = read_frame(table)
        registry = recognise_synthema(frame, dictionary)
        if registry is not None:
            file.write_text(mapping_text(registry, title=f"Mapping of {table.name}: {SYNTHEMA}"), encoding="utf-8")
            drafts.append(file)
            continue
        headers = [str(name) for name in frame.columns]
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
