"""The blocks of an encoded row: which cell a value falls into, and which values a cell gives back.

A block's *cells* are half open, `[edge, next edge)`, and held as whole multiples of the last decimal, so that no
rounding error moves a value across an edge. Inside a cell a value is drawn uniformly on the column's scale, or, where
the block carries a histogram of finer cells (`fine`, `mass`), by the inverse of that histogram. What is drawn has the
dictionary's decimals and lies in the cell; a real value is never kept, so none can come back.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import DataError, DictionaryError, OutOfRange, UnknownLevel
from synthfed.tables.schema import Column, Scale, Schema, Survival

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]
_ALMOST_NOTHING = 1e-6  # of a last decimal: forgives 0.3 / 0.1 = 2.999..., moves no written value

Knots = Callable[[Column], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Block:
    """One code of the encoded row.

    Attributes:
        columns: The column, or (time, event) of an endpoint.
        width: Number of codes, missing included.
        has_missing: Whether the last code means missing.
        levels: Levels in the order of their codes; empty for numbers.
        edges: Cell edges in units of `10 ** -decimals`; cell i holds `edges[i] <= value < edges[i + 1]`.
        fine: Edges of the histogram inside the cells, `edges` among them; empty: uniform.
        mass: Its weights, whole numbers; for an endpoint first all cells without, then all with the event.
    """

    name: str
    columns: tuple[str, ...]
    kind: Literal["levels", "number", "survival"]
    width: int
    has_missing: bool
    levels: tuple[str, ...] = ()
    edges: tuple[int, ...] = ()
    scale: Scale = "linear"
    decimals: int = 0
    fine: tuple[int, ...] = ()
    mass: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.fine:
            return
        halves = np.asarray(self.mass, dtype=np.int64).reshape(2 if self.kind == "survival" else 1, len(self.fine) - 1)
        first = np.searchsorted(self.fine, self.edges)
        ends_match = (self.fine[0], self.fine[-1]) == (self.edges[0], self.edges[-1])
        if not ends_match or [self.fine[place] for place in first] != list(self.edges) or (halves < 0).any():
            raise ValueError(f"block {self.name!r}: its fine cells do not fill its cells")
        if (np.add.reduceat(halves, first[:-1], axis=1) == 0).any():
            raise ValueError(f"block {self.name!r}: a cell has no weight to draw from")

    @property
    def cells(self) -> int:
        """Cells of the grid; a survival block has two codes for each."""
        return max(len(self.edges) - 1, 0)


def block_to_dict(block: Block) -> dict[str, Any]:
    """Plain values; a block without a histogram does not mention one."""
    return {key: value for key, value in asdict(block).items() if value or key not in ("fine", "mass")}


def block_from_dict(raw: Mapping[str, Any]) -> Block:
    """Undo `block_to_dict`, read back from JSON."""
    lists = {key: tuple(raw[key]) for key in ("columns", "levels", "edges")}
    lists |= {key: tuple(raw[key]) for key in ("fine", "mass") if key in raw}
    return Block(**{**raw, **lists})


def build_blocks(
    schema: Schema, *, number_knots: Knots, survival_knots: Callable[[Survival], tuple[float, ...]]
) -> tuple[Block, ...]:
    """The blocks of every modelled column; an endpoint's two columns are one block, at the place of its time.

    Args:
        number_knots: Inner edges of a number's cells.
        survival_knots: Inner edges of an endpoint's time intervals.

    Raises:
        DictionaryError: Two endpoints share a column, or a column's bounds are narrower than its last decimal.
    """
    modelled = {column.name for column in schema.modelled}
    endpoints = [s for s in schema.survivals if s.time in modelled and s.event in modelled]
    paired = [name for endpoint in endpoints for name in (endpoint.time, endpoint.event)]
    if len(paired) != len(set(paired)):
        raise DictionaryError(f"endpoints {[e.name for e in endpoints]} share a column; select one of them")
    blocks: list[Block] = []
    for column in schema.modelled:
        endpoint = next((e for e in endpoints if column.name == e.time), None)
        if endpoint is not None:
            blocks.append(_survival_block(endpoint, schema, survival_knots(endpoint)))
        elif column.name not in paired:
            blocks.append(_number_block(column, number_knots(column)) if column.is_number else _levels_block(column))
    return tuple(blocks)


def bounds(column: Column) -> tuple[float, float]:
    """A number's public bounds."""
    if column.lower is None or column.upper is None:  # Column requires them of every number
        raise DictionaryError(f"column {column.name!r} has no bounds")
    return column.lower, column.upper


def encode_block(block: Block, schema: Schema, table: pd.DataFrame) -> _Ints:
    """The block's code of every row: (rows,).

    Raises:
        OutOfRange, UnknownLevel: A value lies outside the dictionary.
        DataError: A value is missing where the dictionary says never.
    """
    if block.kind == "survival":
        time, event = block.columns
        cells, no_time = _cells_of(block, schema[time], table[time])
        events, no_event = _level_codes(schema[event], table[event])
        codes, missing = 2 * cells + events, no_time | no_event
    elif block.kind == "number":
        codes, missing = _cells_of(block, schema[block.columns[0]], table[block.columns[0]])
    else:
        codes, missing = _level_codes(schema[block.columns[0]], table[block.columns[0]])
    if missing.any() and not block.has_missing:
        raise DataError(
            f"column {block.name!r} is missing in {int(missing.sum())} rows and the dictionary says never; "
            "drop these rows or change the dictionary"
        )
    return np.where(missing, block.width - 1, codes)


def decode_block(block: Block, schema: Schema, codes: _Ints, rng: np.random.Generator) -> dict[str, Any]:
    """Columns whose codes are `codes`; one random number per row and block of numbers."""
    missing = (codes == block.width - 1) if block.has_missing else np.zeros(len(codes), dtype=bool)
    known = np.where(missing, 0, codes)
    if block.kind == "levels":
        return {block.columns[0]: _levels_from(schema[block.columns[0]], known, missing)}
    if block.kind == "number":
        steps = _draw(block, known, np.zeros_like(known), rng)
        return {block.columns[0]: _numbers_from(block, schema[block.columns[0]], steps, missing)}
    time, event = block.columns
    steps = _draw(block, known // 2, known % 2, rng)
    return {
        time: _numbers_from(block, schema[time], steps, missing),
        event: _levels_from(schema[event], known % 2, missing),
    }


def _levels_block(column: Column) -> Block:
    has_missing = column.missing != "never"
    return Block(
        column.name, (column.name,), "levels", len(column.levels) + has_missing, has_missing, levels=column.levels
    )


def _number_block(column: Column, knots: tuple[float, ...]) -> Block:
    edges = _grid_edges(column, knots)
    has_missing = column.missing != "never"
    return Block(
        column.name,
        (column.name,),
        "number",
        len(edges) - 1 + has_missing,
        has_missing,
        edges=edges,
        scale=column.scale,
        decimals=column.decimals,
    )


def _survival_block(endpoint: Survival, schema: Schema, knots: tuple[float, ...]) -> Block:
    time, event = schema[endpoint.time], schema[endpoint.event]
    edges = _grid_edges(time, knots)
    has_missing = "never" not in (time.missing, event.missing)
    return Block(
        endpoint.name,
        (time.name, event.name),
        "survival",
        2 * (len(edges) - 1) + has_missing,
        has_missing,
        levels=event.levels,
        edges=edges,
        decimals=time.decimals,
    )


def _grid_edges(column: Column, knots: tuple[float, ...]) -> tuple[int, ...]:
    """Edges in last decimals: bounds, knots, and both sides of every spike; equal ones merged."""
    lower, upper = bounds(column)
    unit = 10**column.decimals
    first, last = round(lower * unit), round(upper * unit)
    inner = {round(knot * unit) for knot in knots}
    for spike in column.spikes:
        inner |= {round(spike * unit), round(spike * unit) + 1}
    edges = (first, *sorted(edge for edge in inner if first < edge <= last), last + 1)
    if last <= first or (column.scale == "log" and first < 1):
        raise DictionaryError(
            f"column {column.name!r}: bounds [{lower}, {upper}] are too fine for decimals = {column.decimals}; "
            "add decimals or widen the bounds"
        )
    return edges


def _cells_of(block: Block, column: Column, values: pd.Series) -> tuple[_Ints, _Mask]:
    numbers = values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    missing = np.isnan(numbers)
    lower, upper = bounds(column)
    outside = ~missing & ((numbers < lower) | (numbers > upper))
    if outside.any():
        raise OutOfRange(
            f"column {column.name!r}: {int(outside.sum())} values lie outside its bounds [{lower:g}, {upper:g}]; "
            "read the table with `type_table`"
        )
    steps = np.floor(np.where(missing, lower, numbers) * 10**block.decimals + _ALMOST_NOTHING).astype(np.int64)
    cells = np.searchsorted(np.asarray(block.edges), steps, side="right") - 1
    return np.clip(cells, 0, block.cells - 1).astype(np.int64), missing


def _level_codes(column: Column, values: pd.Series) -> tuple[_Ints, _Mask]:
    missing = values.isna().to_numpy(dtype=bool)
    if column.kind == "flag":
        wanted = pd.Index([int(level) for level in column.levels])
        codes = wanted.get_indexer(pd.Index(values.astype("Int64").to_numpy(dtype=np.int64, na_value=-1)))
    else:
        codes = pd.Index(column.levels).get_indexer(pd.Index(values.astype("object")))
    unknown = (codes < 0) & ~missing
    if unknown.any():
        raise UnknownLevel(
            f"column {column.name!r}: {int(unknown.sum())} values are not among {list(column.levels)}; "
            "read the table with `type_table`"
        )
    return np.where(missing, 0, codes).astype(np.int64), missing


def _levels_from(column: Column, codes: _Ints, missing: _Mask) -> Any:
    if column.kind == "flag":
        values = np.asarray([int(level) for level in column.levels], dtype=np.int64)[codes]
        return pd.arrays.IntegerArray(values, missing.copy())
    places: Any = np.where(missing, -1, codes)  # the stubs know sequences only
    return pd.Categorical.from_codes(places, categories=pd.Index(column.levels), ordered=column.kind == "ordinal")


def _numbers_from(block: Block, column: Column, steps: _Ints, missing: _Mask) -> Any:
    if column.kind == "count" and block.decimals == 0:
        return pd.arrays.IntegerArray(steps, missing.copy())
    return np.where(missing, np.nan, steps / 10**block.decimals)


def _draw(block: Block, cells: _Ints, events: _Ints, rng: np.random.Generator) -> _Ints:
    """Writable values inside the cells, in last decimals."""
    place = rng.random(len(cells))
    if block.fine:
        low, high, place = _fine_places(block, cells, events, place)
    else:
        edges = np.asarray(block.edges, dtype=np.int64)
        low, high = edges[cells], edges[cells + 1]
    if block.scale == "log":
        steps = np.exp(np.log(low) + place * (np.log(high) - np.log(low)))
    else:
        steps = low + place * (high - low)
    drawn: _Ints = np.clip(np.floor(steps), low, high - 1).astype(np.int64)
    return drawn


def _fine_places(block: Block, cells: _Ints, events: _Ints, place: _Floats) -> tuple[_Ints, _Ints, _Floats]:
    """The fine cell at quantile `place` of each cell's histogram: its two edges and the place between them."""
    fine = np.asarray(block.fine, dtype=np.int64)
    mass = np.asarray(block.mass, dtype=np.int64)
    before = np.concatenate(([0], np.cumsum(mass)))
    first = np.searchsorted(fine, block.edges)
    half = events * (len(fine) - 1)
    start, end = half + first[cells], half + first[cells + 1]
    target = before[start] + place * (before[end] - before[start])
    at = np.clip(np.searchsorted(before, target, side="right") - 1, start, end - 1)
    inside = (target - before[at]) / np.maximum(mass[at], 1)
    return fine[at - half], fine[at - half + 1], inside
