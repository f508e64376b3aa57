"""Recognise a Castor EDC export by the columns that it adds itself, and know what they are.

`Participant Id` is the patient; site, status, creation date and the like are about the record and are left out. Dates
are written day first. Missing cells (`##USER_MISSING_95##` to `99`, dates 01-01-2995 to 2999, `Missing (not done)`) are
understood in every table. Numbers -95 to -99 mean missing only where the dictionary's bounds rule them out: a score can
be -99. Study variables need a line in [columns] wherever the dictionary does not know their names, as in any table.
"""

import re

import pandas as pd

from synthfed.tables.dictionary import Dictionary, header_key
from synthfed.tables.mapping_lines import ColumnLine, TableMapping

TITLE = "Castor EDC export"
_PARTICIPANT = ("participant id", "record id")
_SITE = ("site abbreviation", "institute abbreviation")
_ADMINISTRATIVE = re.compile(
    r"(participant|record|site|institute|randomization|randomisation) [a-z ]+|repeating data [a-z ]+|report [a-z ]+"
    r"|archived|survey [a-z ]+"
)


def is_castor(frame: pd.DataFrame) -> bool:
    """Whether the table has Castor's own columns for the participant and the site."""
    keys = {header_key(str(name)) for name in frame.columns}
    return bool(keys & set(_PARTICIPANT)) and bool(keys & set(_SITE))


def castor_columns(frame: pd.DataFrame) -> tuple[str, tuple[str, ...]]:
    """The header of the participant, and those that are about the record and not about the patient."""
    headers = {header_key(str(name)): str(name) for name in frame.columns}
    participant = next(headers[key] for key in _PARTICIPANT if key in headers)
    others = [header for key, header in headers.items() if _ADMINISTRATIVE.fullmatch(key) and header != participant]
    return participant, tuple(others)


def with_castor(mapping: TableMapping, frame: pd.DataFrame, dictionary: Dictionary) -> TableMapping:
    """The mapping of a Castor export with what is known of every one; its own lines count first."""
    identity = next((column.name for column in dictionary.schema.columns if column.kind == "id"), None)
    participant, others = castor_columns(frame)
    said = {header_key(header) for header in (*mapping.columns, *mapping.dates, *mapping.ignore)}
    columns = dict(mapping.columns)
    ignore = [*mapping.ignore, *(header for header in others if header_key(header) not in said)]
    if header_key(participant) not in said and identity not in {line.column for line in columns.values()}:
        if identity is None:
            ignore.append(participant)
        else:
            columns[participant] = ColumnLine(column=identity)
    dates = {
        header: line if line.order is not None else line.model_copy(update={"order": "dmy"})
        for header, line in mapping.dates.items()
    }
    return mapping.model_copy(update={"columns": columns, "ignore": tuple(ignore), "dates": dates})
