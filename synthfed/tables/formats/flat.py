"""Write a synthetic table as one flat file (CSV, Parquet, XLSX) with the dictionary that explains it.

CSV and Parquet come with a `dictionary.toml` that `load_dictionary` reads; a workbook holds it as its second sheet.
Parquet and workbook say inside the file that the patients are synthetic; CSV has no place for it.
"""

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import pandas as pd
import tomli_w

from synthfed.errors import ConfigError
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.schema import Column, Schema
from synthfed.tables.writing import cell_texts, table_columns, to_csv_bytes, to_parquet_bytes

SYNTHETIC = "Every patient is synthetic: no row stems from a person."
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can hold
_SHEET_ROWS = 1_048_575  # patients under one header line


def write_csv(table: pd.DataFrame, dictionary: Dictionary) -> Mapping[str, bytes]:
    """`synthetic.csv` and `dictionary.toml`."""
    schema = dictionary.schema.select(table.columns)
    return {"synthetic.csv": to_csv_bytes(table, schema), "dictionary.toml": dictionary_toml(schema)}


def write_parquet(table: pd.DataFrame, dictionary: Dictionary) -> Mapping[str, bytes]:
    """`synthetic.parquet` and `dictionary.toml`."""
    schema = dictionary.schema.select(table.columns)
    content = to_parquet_bytes(table, schema, notes={"synthfed": SYNTHETIC})
    return {"synthetic.parquet": content, "dictionary.toml": dictionary_toml(schema)}


def write_xlsx(table: pd.DataFrame, dictionary: Dictionary) -> Mapping[str, bytes]:
    """`synthetic.xlsx` with the sheets `patients`, `dictionary` and `about`.

    Raises:
        ConfigError: More patients than a sheet has rows.
    """
    from openpyxl import Workbook

    if len(table) > _SHEET_ROWS:
        raise ConfigError(f"{len(table)} patients do not fit on a sheet ({_SHEET_ROWS} rows); write parquet or csv")
    schema = dictionary.schema.select(table.columns)
    book = Workbook(write_only=True)
    book.properties.title = book.properties.description = SYNTHETIC
    book.properties.creator = "synthfed"
    sheet = book.create_sheet("patients")
    columns = table_columns(table, schema)
    sheet.append([_text_cell(sheet, column.name) for column in columns])
    cells = [_sheet_cells(sheet, cell_texts(table[column.name], column), column) for column in columns]
    for row in zip(*cells, strict=True):
        sheet.append(row)
    sheet = book.create_sheet("dictionary")
    sheet.append(["column", "label", "kind", "unit", "lower", "upper", "levels", "code", "source"])
    for column in columns:
        about = [column.name, column.label, column.kind, column.unit, column.lower, column.upper]
        about += [", ".join(column.levels), column.code, column.source]
        sheet.append([_text_cell(sheet, value) if isinstance(value, str) else value for value in about])
    sheet = book.create_sheet("about")
    sheet.append([SYNTHETIC])
    sheet.append([schema.title])
    buffer = io.BytesIO()
    book.save(buffer)
    return {"synthetic.xlsx": _without_times(buffer.getvalue())}


def no_losses(table: pd.DataFrame, dictionary: Dictionary) -> tuple[str, ...]:
    """A flat file holds every cell."""
    return ()


def dictionary_toml(schema: Schema) -> bytes:
    """A schema as a `dictionary.toml` that loads to the same schema."""
    content: dict[str, Any] = {"disease": schema.disease, "title": schema.title}
    content["survival"] = [
        {
            "name": s.name,
            "time": s.time,
            "event": s.event,
            "label": s.label,
            "horizon_days": s.horizon_days,
            "primary": s.primary,
        }
        for s in schema.survivals
    ]
    content["column"] = [_entry(column) for column in schema.columns]
    return tomli_w.dumps(content, multiline_strings=False).encode()


def _entry(column: Column) -> dict[str, Any]:
    """The keys of a `[[column]]` that differ from what is assumed without them."""
    plain = Column(column.name, "category", levels=("a", "b"))
    entry: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.lower is not None:
        entry["bounds"] = [column.lower, column.upper]
    for key in ("label", "unit", "scale", "decimals", "other", "missing", "derived", "known_at", "group", "sensitive"):
        if getattr(column, key) != getattr(plain, key):
            entry[key] = getattr(column, key)
    for key in ("knots", "spikes", "levels", "aliases"):
        if getattr(column, key) and not (key == "levels" and column.kind == "flag"):
            entry[key] = list(getattr(column, key))
    for key in ("synonyms", "units"):
        if getattr(column, key):
            entry[key] = dict(getattr(column, key))
    for key in ("code", "source"):
        if getattr(column, key):
            entry[key] = getattr(column, key)
    return entry


def _sheet_cells(sheet: Any, texts: list[str], column: Column) -> list[Any]:
    if column.kind == "continuous":
        return [float(text) if text else None for text in texts]
    if column.kind in ("count", "flag"):
        return [int(text) if text else None for text in texts]
    return [_text_cell(sheet, text) if text else None for text in texts]


def _text_cell(sheet: Any, text: str) -> Any:
    """A text that stays one, even where it starts like a formula."""
    from openpyxl.cell import WriteOnlyCell

    if not text.startswith("="):
        return text
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"
    return cell


def _without_times(workbook: bytes) -> bytes:
    """The same workbook with fixed times, so that equal tables give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"1980-01-01T00:00:00Z", content)
            new.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
