"""How many patients fall into each cell of a plan: all that scoring ever does with held-out rows.

The counts tell all about the patients; they leave a site only with the noise that the plan's budget asks for, and
masked.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from synthfed.evaluation.counted.tables import Axis, CountPlan
from synthfed.evaluation.rows import Ints, Rows, Shape, coerced, read_rows
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Schema


def rows_for(plan: CountPlan, table: pd.DataFrame, schema: Schema, rules: RuleSet) -> Rows:
    """A table as the plan counts it: arrays, and which of the plan's rules each row breaks.

    Raises:
        ValueError: The plan names a rule or a column that is not known here.
    """
    known = {rule.id for rule in rules.rules}
    unknown = [*(set(plan.rules) - known), *(set(plan.columns) - set(schema.names))]
    if unknown:
        raise ValueError(f"the plan counts {sorted(unknown)[:5]}, which the dictionary here does not know")
    broken = rules.check(coerced(table, schema))[list(plan.rules)]
    return read_rows(table, Shape.of(schema), broken)


def places(plan: CountPlan, rows: Rows) -> Ints:
    """The cell of the vector that each row falls into, table by table; int64 (rows, tables).

    Raises:
        ValueError: The rows lack a column or rule of the plan, or a column has other levels.
    """
    found, rules = np.empty((len(rows), len(plan.tables)), dtype=np.int64), plan.rules
    for number, (table, place) in enumerate(plan.slices()):
        cell = np.zeros(len(rows), dtype=np.int64)
        missing = np.zeros(len(rows), dtype=bool)
        for axis in table.axes:
            here = cells_of(axis, rows, rules)
            missing |= here < 0
            cell = cell * axis.size + here
        found[:, number] = place.start + np.where(missing, table.cells - 1, cell)
    return found


def count(plan: CountPlan, rows: Rows) -> Ints:
    """How many rows fall into each cell; int64[cells]. One row adds 1 to one cell of each table.

    Raises:
        ValueError: See `places`.
    """
    return np.bincount(places(plan, rows).ravel(), minlength=plan.cells).astype(np.int64)


def cells_of(axis: Axis, rows: Rows, rules: Sequence[str] = ()) -> Ints:
    """The cell of each row on one axis, -1 where it is missing; int64 (rows).

    Args:
        rules: Ids of the rules that `rows.broken` speaks of.

    Raises:
        ValueError: The rows lack the column or rule, or the column has other levels.
    """
    if axis.kind == "rule":
        if rows.broken.shape[1] != len(rules):
            raise ValueError(f"{rows.broken.shape[1]} rules were checked, the plan counts {len(rules)}")
        return rows.broken[:, rules.index(axis.name)].astype(np.int64)
    columns = rows.shape.numbers if axis.kind == "number" else rows.shape.levels
    column = next((column for column in columns if column.name == axis.name), None)
    if column is None:
        raise ValueError(f"the rows have no column {axis.name!r} of this kind")
    if axis.kind == "number":
        values = rows.number(axis.name)
        return np.where(np.isnan(values), -1, np.searchsorted(axis.edges, values, side="right")).astype(np.int64)
    if len(axis.cells) != len(column.levels):
        raise ValueError(f"column {axis.name!r} has {len(column.levels)} levels, the plan knows {len(axis.cells)}")
    return np.array([*axis.cells, -1], dtype=np.int64)[rows.level(axis.name)]  # code -1 takes the last
