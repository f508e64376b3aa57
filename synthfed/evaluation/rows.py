"""A table as arrays: what every metric computes on, so that no metric parses a table twice.

`Shape` is public (from the schema alone); `Rows` holds one table in that shape. Reading never fails: a value that the
dictionary does not allow becomes missing here, and is counted by `validity.structure`, which looks at the raw table.
Rows are put in an order that depends on their content only, so that no score depends on the order of a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.tables.schema import Column, Schema

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shape:
    """Which columns are numbers and which have levels; identity columns are left out."""

    numbers: tuple[Column, ...]
    levels: tuple[Column, ...]

    @classmethod
    def of(cls, schema: Schema) -> "Shape":
        used = [column for column in schema.columns if column.kind != "id"]
        return cls(tuple(c for c in used if c.is_number), tuple(c for c in used if c.has_levels))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Numbers first, then levels: the order of every per-column result."""
        return self.numbers + self.levels


@dataclass(frozen=True, slots=True)
class Rows:
    """One table.

    Attributes:
        numbers: float64 (rows, numbers), NaN where missing.
        codes: int64 (rows, level columns), index of the level, -1 where missing.
        broken: bool (rows, rules), True where a row breaks a soft rule; width 0 where rules were not checked.
    """

    shape: Shape
    numbers: Floats
    codes: Ints
    broken: Bools

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, index: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> "Rows":
        return replace(self, numbers=self.numbers[index], codes=self.codes[index], broken=self.broken[index])

    def shuffled(self, rng: np.random.Generator) -> "Rows":
        """Permute every column independently: same marginals, no dependence. The floor of every score."""
        return replace(self, numbers=rng.permuted(self.numbers, axis=0), codes=rng.permuted(self.codes, axis=0))

    def observed(self) -> Bools:
        """bool (rows, columns) in the order of `Shape.columns`."""
        return np.hstack([~np.isnan(self.numbers), self.codes >= 0])

    def number(self, name: str) -> Floats:
        """One number column, or a flag as 0/1, with NaN where missing; all missing when the column is absent."""
        for place, column in enumerate(self.shape.numbers):
            if column.name == name:
                return self.numbers[:, place]
        for place, column in enumerate(self.shape.levels):
            if column.name == name:
                codes = self.codes[:, place]
                return np.where(codes >= 0, codes, np.nan).astype(np.float64)
        return np.full(len(self), np.nan)

    def level(self, name: str) -> Ints:
        """Codes of one level column; all missing when the column is absent."""
        for place, column in enumerate(self.shape.levels):
            if column.name == name:
                return self.codes[:, place]
        return np.full(len(self), -1)


def stack(first: Rows, second: Rows) -> Rows:
    """Rows of both, first above second."""
    return replace(
        first,
        numbers=np.vstack([first.numbers, second.numbers]),
        codes=np.vstack([first.codes, second.codes]),
        broken=np.vstack([first.broken, second.broken]),
    )


def read_rows(table: pd.DataFrame, shape: Shape, broken: pd.DataFrame | None = None) -> Rows:
    """Turn a table into arrays, in an order that depends on the rows' content only.

    Args:
        broken: Soft rules broken by each row, index as `table`.
    """
    rows = _as_written(table, shape, broken)
    return rows.take(_content_order(rows)) if len(rows) else rows


def in_content_order(table: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    """The table in the order of `read_rows`: row i here is row i there."""
    rows = _as_written(table, shape, None)
    return table.iloc[_content_order(rows)].reset_index(drop=True) if len(rows) else table


def _as_written(table: pd.DataFrame, shape: Shape, broken: pd.DataFrame | None) -> Rows:
    numbers = np.column_stack([_number(table, c) for c in shape.numbers] or [np.empty((len(table), 0))])
    codes = np.column_stack([_codes(table, c) for c in shape.levels] or [np.empty((len(table), 0), dtype=np.int64)])
    flags = np.zeros((len(table), 0), dtype=bool) if broken is None else broken.to_numpy(dtype=bool)
    return Rows(shape, numbers.astype(np.float64), codes.astype(np.int64), flags)


def _content_order(rows: Rows) -> Ints:
    keys: Sequence[npt.NDArray[np.float64]] = [
        *rows.codes.T.astype(np.float64),
        *np.nan_to_num(rows.numbers, nan=-1e300).T,
    ]
    return np.lexsort(keys) if keys else np.arange(len(rows))


def coerced(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The known columns with their typed dtype; a cell that cannot be read becomes missing."""
    shape = Shape.of(schema)
    columns: dict[str, object] = {c.name: _number(table, c) for c in shape.numbers if c.name in table.columns}
    for column in shape.levels:
        if column.name in table.columns:
            names = [0, 1, None] if column.kind == "flag" else [*column.levels, None]
            columns[column.name] = np.array(names, dtype=object)[_codes(table, column)]
    whole = pd.DataFrame(columns, index=table.index)
    for column in shape.numbers:
        if column.kind == "count" and column.name in whole:
            whole[column.name] = whole[column.name].round()  # whole numbers; the decimals are counted elsewhere
    return schema.cast(whole)


def _number(table: pd.DataFrame, column: Column) -> Floats:
    if column.name not in table.columns:
        return np.full(len(table), np.nan)
    values = pd.to_numeric(table[column.name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _codes(table: pd.DataFrame, column: Column) -> Ints:
    if column.name not in table.columns:
        return np.full(len(table), -1, dtype=np.int64)
    values = table[column.name]
    if column.kind == "flag":
        numeric = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isin(numeric, (0.0, 1.0)), np.nan_to_num(numeric), -1).astype(np.int64)
    return pd.Categorical(values.astype("object"), categories=list(column.levels)).codes.astype(np.int64)
