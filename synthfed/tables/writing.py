"""Write a typed table so that the same table gives the same bytes, and reading them gives the table back.

CSV: UTF-8, `,`, decimal point, `\\n`, empty = missing, whole numbers without `.0`, other numbers with the dictionary's
decimals. Parquet: the typed columns, without pandas' own notes. Both keep the order of the schema and leave the index
out, because a row's place means nothing.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from synthfed.errors import UnknownColumn
from synthfed.tables.schema import Column, Schema


def write_csv(table: pd.DataFrame, schema: Schema, path_or_buffer: str | Path | IO[bytes]) -> None:
    """Write `to_csv_bytes` to a path or an open binary file."""
    _write(to_csv_bytes(table, schema), path_or_buffer)


def write_parquet(table: pd.DataFrame, schema: Schema, path_or_buffer: str | Path | IO[bytes]) -> None:
    """Write `to_parquet_bytes` to a path or an open binary file."""
    _write(to_parquet_bytes(table, schema), path_or_buffer)


def to_csv_bytes(table: pd.DataFrame, schema: Schema) -> bytes:
    """The table as CSV.

    Raises:
        UnknownColumn: The table has a column that the schema does not know.
    """
    columns = table_columns(table, schema)
    texts = [cell_texts(table[column.name], column) for column in columns]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows(zip(*texts, strict=True))
    return buffer.getvalue().encode()


def to_parquet_bytes(table: pd.DataFrame, schema: Schema, *, notes: Mapping[str, str] | None = None) -> bytes:
    """The table as Parquet, compressed with zstd.

    Args:
        notes: Words for the file's own metadata.

    Raises:
        UnknownColumn: The table has a column that the schema does not know.
    """
    import pyarrow
    import pyarrow.parquet

    columns = table_columns(table, schema)
    arrays = [_arrow_array(table[column.name], column) for column in columns]
    arrow = pyarrow.table(
        arrays, names=[column.name for column in columns], metadata=None if not notes else dict(notes)
    )
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(arrow, buffer, compression="zstd")
    return buffer.getvalue()


def table_columns(table: pd.DataFrame, schema: Schema) -> tuple[Column, ...]:
    """The table's columns in the order of the schema.

    Raises:
        UnknownColumn: The table has a column that the schema does not know.
    """
    strange = [str(name) for name in table.columns if name not in schema]
    if strange:
        raise UnknownColumn(f"columns {strange} are not in the {schema.disease!r} schema; drop them before writing")
    return tuple(column for column in schema.columns if column.name in table.columns)


def cell_texts(values: pd.Series, column: Column) -> list[str]:
    """Cells as they are written: the column's decimals, levels by name, missing empty."""
    missing = values.isna().to_numpy(dtype=bool)
    if column.kind in ("count", "flag"):
        shown = [str(value) for value in values.astype("Int64").to_numpy(dtype=np.int64, na_value=0)]
    elif column.kind == "continuous":
        shown = [f"{value:.{column.decimals}f}" for value in _rounded(values, column)]
    else:
        shown = [str(value) for value in values]
    return ["" if gone else text for text, gone in zip(shown, missing, strict=True)]


def _arrow_array(values: pd.Series, column: Column) -> object:
    import pyarrow

    missing = values.isna().to_numpy(dtype=bool)
    if column.kind in ("count", "flag"):
        numbers = values.astype("Int64").to_numpy(dtype=np.int64, na_value=0)
        return pyarrow.array(numbers, mask=missing)
    if column.kind == "continuous":
        return pyarrow.array(_rounded(values, column), mask=missing)
    return pyarrow.array([None if gone else str(value) for value, gone in zip(values, missing, strict=True)], "string")


def _rounded(values: pd.Series, column: Column) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Values with the column's decimals; -0.0 becomes 0.0 so that equal values give equal bytes."""
    numbers = values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(np.round(numbers, column.decimals) + 0.0, dtype=np.float64)


def _write(data: bytes, path_or_buffer: str | Path | IO[bytes]) -> None:
    if isinstance(path_or_buffer, str | Path):
        Path(path_or_buffer).write_bytes(data)
    else:
        path_or_buffer.write(data)
