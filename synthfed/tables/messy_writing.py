"""Write a typed table as a hospital would hand it over, to rehearse with: and the mapping that reads it back.

Three manners, one after the other: a German spreadsheet (`;`, decimal commas, Windows-1252, dates day first), an export
in UTF-8 with a mark (laboratory spellings of units, 1/2 codes, ISO dates), and a tab-separated one with bare carriage
returns (dates month first, words for missing). Each has headers of its own, other units where they convert exactly,
dates instead of days, patients listed twice. Nothing is lost: read through its mapping the table is as it was.
"""

import io
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd

from synthfed.tables.cells import Mark
from synthfed.tables.dates import Order
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.mapping_lines import ColumnLine, DateLine, DifferenceLine, TableMapping
from synthfed.tables.schema import Column
from synthfed.tables.units import find_conversion
from synthfed.tables.writing import cell_texts

_START, _END = "Date of diagnosis", "Last contact"
_WARD = "Ward"


@dataclass(frozen=True, slots=True)
class Manner:
    """How one hospital writes.

    Attributes:
        units: Spellings it prefers, where a column knows them.
        yes, no: Its words for flags.
        blank: What it writes where nothing is known.
    """

    encoding: str
    delimiter: str
    line_end: str
    decimal: Mark
    dates: str
    order: Order
    yes: str
    no: str
    blank: str
    units: tuple[str, ...]


MANNERS = (
    Manner("cp1252", ";", "\r\n", ",", "%d.%m.%Y", "dmy", "ja", "nein", "-99", ("g/L", "/µl", "fraction", "10^6/µl")),
    Manner("utf-8-sig", ",", "\n", ".", "%Y-%m-%d", "ymd", "pos", "neg", "n/a", ("gm/dL", "K/uL", "IU/L", "M/uL")),
    Manner("utf-8", "\t", "\r", ".", "%m/%d/%Y", "mdy", "Yes", "No", "unknown", ("g/100 mL", "cells/mm3", "percent")),
)


def write_messy(
    table: pd.DataFrame, dictionary: Dictionary, manner: Manner, *, seed: int
) -> tuple[bytes, TableMapping]:
    """The table in a hospital's manner, and what its mapping has to say.

    Derived columns are left out, as hospitals do not have them.

    Args:
        table: A typed table with the dictionary's columns.
        seed: Decides the dates behind the days, and which patients stand there twice.
    """
    rng = np.random.default_rng(seed)
    schema = dictionary.schema.select([name for name in table.columns if name in dictionary.schema])
    days = next((s.time for s in schema.survivals if s.primary and schema[s.time].unit == "days"), None)
    events = {survival.event for survival in schema.survivals}
    cells: dict[str, list[str]] = {}
    lines: dict[str, ColumnLine] = {}
    for column in schema.columns:
        if column.derived:
            continue
        if column.name == days:
            cells |= _dates(table[days], manner, rng)
            continue
        header, texts, line = _written(table[column.name], column, manner, coded=column.name in events)
        cells[header], lines[header] = texts, line
    cells[_WARD] = ["7B" if ward else "Ärzte 3" for ward in rng.random(len(table)) < 0.5]
    frame = pd.DataFrame(cells)
    again = rng.choice(len(frame), size=min(3, len(frame)), replace=False)
    frame = pd.concat([frame, frame.iloc[np.sort(again)]], ignore_index=True)
    buffer = io.StringIO(newline="")
    frame.to_csv(buffer, sep=manner.delimiter, index=False, lineterminator=manner.line_end)
    mapping = TableMapping(
        decimal=manner.decimal,
        missing=(manner.blank.casefold(),),
        ignore=(_WARD,),
        columns=lines,
        dates={name: DateLine(order=manner.order) for name in (_START, _END) if days is not None},
        differences={} if days is None else {days: DifferenceLine.model_validate({"from": _START, "to": _END})},
    )
    return buffer.getvalue().encode(manner.encoding), mapping


def _dates(days: pd.Series, manner: Manner, rng: np.random.Generator) -> dict[str, list[str]]:
    start = [date(2005, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 5000, len(days))]
    end = [None if pd.isna(d) else s + timedelta(days=int(d)) for s, d in zip(start, days, strict=True)]
    return {
        _START: [day.strftime(manner.dates) for day in start],
        _END: [manner.blank if day is None else day.strftime(manner.dates) for day in end],
    }


def _written(values: pd.Series, column: Column, manner: Manner, *, coded: bool) -> tuple[str, list[str], ColumnLine]:
    """Header, cells and mapping line of one column."""
    known = cell_texts(values, column)
    name = _header(column)
    if column.is_number:
        unit = _unit(column, manner)
        texts = [_number(text, column, unit, manner) if text else manner.blank for text in known]
        header = f"{name} ({unit})" if unit else name
        return header, texts, ColumnLine(column=column.name, unit=unit or None, checked=bool(unit))
    if column.kind == "flag" and not coded:
        words = {"1": manner.yes, "0": manner.no}
        return name, [words.get(text, manner.blank) for text in known], ColumnLine(column=column.name)
    if column.kind == "id":
        return name, list(known), ColumnLine(column=column.name)
    codes = {level: str(place) for place, level in enumerate(column.levels, start=1)}
    header = f"{name} ({', '.join(f'{code}={level}' for level, code in codes.items())})"
    line = ColumnLine(column=column.name, codes={code: level for level, code in codes.items()})
    return header, [codes.get(text, manner.blank) for text in known], line


def _header(column: Column) -> str:
    """Another name than the dictionary's first, where it knows one."""
    return next((alias for alias in column.aliases if alias != column.name), column.name)


def _unit(column: Column, manner: Manner) -> str:
    """A spelling of the manner that converts exactly, else the column's own unit."""
    for spelling in manner.units:
        conversion = find_conversion(column, spelling)
        if conversion is not None and conversion.decimals is None:
            return spelling
    return column.unit


def _number(text: str, column: Column, unit: str, manner: Manner) -> str:
    conversion = find_conversion(column, unit) if unit else None
    factor = Decimal(1) if conversion is None else conversion.factor
    written = f"{(Decimal(text) / factor).normalize():f}"
    return written.replace(".", manner.decimal)
