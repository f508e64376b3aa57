"""A site's typed table as the arrays that questions are filled from; it stays at the site."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.tables.conditions import to_grid
from synthfed.tables.schema import Schema


def as_number(column: str) -> str:
    """The name under which a flag can be calculated with, beside its levels."""
    return f"{column} as a number"


def site_rows(parts: Sequence[pd.DataFrame], schema: Schema) -> Mapping[str, npt.NDArray[Any]]:
    """All rows of one site, one array per column: float64 with NaN for missing, or int64 codes with -1 for missing.

    Args:
        parts: Typed tables whose rows belong together, such as those that train and those held out.
    """
    table: dict[str, npt.NDArray[Any]] = {}
    grids = [to_grid(part, schema) for part in parts]
    for column in schema.columns:
        if column.kind == "id":
            continue
        values = np.concatenate([grid[column.name] for grid in grids])
        if column.is_number:
            table[column.name] = values
            continue
        table[column.name] = np.where(np.isnan(values), -1, values).astype(np.int64)
        if column.kind == "flag":
            table[as_number(column.name)] = values
    return table
