"""Recognise the AML table of the SYNTHEMA registry by its names, and read it as its schema says.

The schema becomes a mapping like the one that a person would write, so that everything it does is listed and checked
like any other: `0` is female and `1` male, a status of `1` is the event, fusions and CEBPA are composed from flags,
and what the registry does not record is said to be missing.
"""

from collections.abc import Sequence

import pandas as pd

from synthfed.tables.cells import as_text, decimal_mark, read_levels
from synthfed.tables.dictionary import Dictionary, header_key, header_meanings
from synthfed.tables.formats.synthema import synthema_schema
from synthfed.tables.mapping_lines import ColumnLine, ComposeLine, TableMapping
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Column
from synthfed.tables.suggest_sources import known_with

TITLE = "SYNTHEMA AML"
_NAMES_NEEDED = 100
_CLINICAL_NEEDED = 20  # the others are names of genes and lesions, which any AML table may have


def recognise_synthema(frame: pd.DataFrame, dictionary: Dictionary) -> TableMapping | None:
    """The mapping of a table of texts that is the registry's, or None."""
    schema = synthema_schema()
    headers = [str(name) for name in frame.columns]
    named = [name for name in headers if name in schema.types]
    clinical = [name for name in named if name in schema.groups["clinical"]]
    if dictionary.schema.disease != "aml" or len(named) < _NAMES_NEEDED or len(clinical) < _CLINICAL_NEEDED:
        return None
    meanings = header_meanings(dictionary.schema)
    sources = {name: meanings[header_key(name)] for name in named if header_key(name) in meanings}
    unread = {name for name, source in sources.items() if _is_unread(frame[name], dictionary.schema[source])}
    columns = {name: source for name, source in sources.items() if name not in schema.empty | unread}
    known_columns = [dictionary.schema[source] for source in columns.values()]
    events = {endpoint.event for endpoint in dictionary.schema.survivals}
    numbers = [frame[name] for name, source in columns.items() if dictionary.schema[source].is_number]
    compose = _compositions(columns, dictionary, named)
    given = {column.name for column in known_columns} | compose.keys()
    return TableMapping(
        decimal=decimal_mark(as_text(texts) for texts in numbers) or ".",
        ignore=tuple(name for name in named if name not in columns),
        not_recorded=tuple(c.name for c in dictionary.schema.columns if _can_be_absent(c) and c.name not in given),
        columns={name: _line(name, dictionary.schema[source], source in events) for name, source in columns.items()},
        compose=compose,
    )


def _is_unread(texts: pd.Series, column: Column) -> bool:
    """Derived columns are computed anew; class labels in words of a hospital's own are left out."""
    if column.derived:
        return True
    return column.group == "classification" and bool(read_levels(as_text(texts), column).unreadable.any())


def _can_be_absent(column: Column) -> bool:
    return column.kind != "id" and not column.derived and column.missing != "never"


def _line(name: str, column: Column, is_time_event: bool) -> ColumnLine:
    codes = {code: level for level, code in synthema_schema().levels.get(name, {}).items() if code.isdigit()}
    if is_time_event:
        codes = {"0": "0", "1": "1"}
    return ColumnLine(column=column.name, unit=column.unit if column.units else None, codes=codes)


def _compositions(columns: dict[str, str], dictionary: Dictionary, named: Sequence[str]) -> dict[str, ComposeLine]:
    """Categories from flags, and what is known from what is filled."""
    headers = {source: name for name, source in columns.items()}
    composed = {}
    for recipe in dictionary.composed:
        parts = {headers[flag]: level for flag, level in recipe.parts if flag in headers}
        if parts:
            composed[recipe.column] = ComposeLine(levels=parts, otherwise=recipe.none_level)
    rules = RuleSet.load(dictionary.folder, dictionary.schema)
    for column in dictionary.schema.columns:
        children = known_with(column.name, rules, headers) if column.missing == "never" else []
        if children and column.name not in headers:
            text = ["KARYOTYPE"] if column.group == "karyotype" and "KARYOTYPE" in named else []
            composed[column.name] = ComposeLine(known=(*text, *(headers[child] for child in children)))
    return composed
