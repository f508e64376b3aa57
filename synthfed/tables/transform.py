"""Turn a typed table into integer codes and back, on a grid that only public knowledge decides.

A `Transformer` is built from a `Schema` alone; no function here that makes one accepts rows. So its edges, its widths
and its digest cannot tell one patient's presence, and every site builds the same one. Each row becomes one code per
*block*:

| block      | codes                                                     |
|------------|-----------------------------------------------------------|
| `levels`   | one per level of a flag or category                       |
| `number`   | one per cell between the column's bounds                  |
| `survival` | time interval x event, both columns of an endpoint in one |

and one more code, the last, for *missing* where the dictionary allows it. A survival block is missing when either of
its columns is.

Decoding draws a number uniformly (on the column's scale) among the writable values of its cell, those with the
dictionary's decimals, so a decoded value is inside the public bounds and falls into the same cell again. No real value
is ever resampled. Cells are half open, `[edge, next edge)`, and held as whole multiples of the last decimal, so that no
rounding error moves a value across an edge.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import DataError, DictionaryError, MissingColumn, ModelError, OutOfRange, UnknownLevel
from synthfed.tables.schema import Column, Scale, Schema, Survival

FORMAT = "synthfed.transformer/1"

_Ints = npt.NDArray[np.int64]
_ALMOST_NOTHING = 1e-6  # of a last decimal: forgives 0.3 / 0.1 = 2.999..., moves no written value


@dataclass(frozen=True, slots=True)
class Block:
    """One code of the encoded row.

    Attributes:
        columns: The column, or (time, event) of an endpoint.
        width: Number of codes, missing included.
        has_missing: Whether the last code means missing.
        levels: Levels in the order of their codes; empty for numbers.
        edges: Cell edges in units of `10 ** -decimals`; cell i holds `edges[i] <= value < edges[i + 1]`.
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

    @property
    def cells(self) -> int:
        """Cells of the grid; a survival block has two codes for each."""
        return max(len(self.edges) - 1, 0)


@dataclass(frozen=True, slots=True)
class Transformer:
    """The same coding at every site. Build it with `public_transformer`.

    Attributes:
        schema: The selected columns; identity and derived columns are in it and are not coded.
        blocks: In the order of the codes.
    """

    schema: Schema
    blocks: tuple[Block, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(block.name for block in self.blocks)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(block.width for block in self.blocks)

    def encode(self, table: pd.DataFrame) -> npt.NDArray[np.int32]:
        """Code a typed table.

        Returns:
            int32 array (rows, blocks), entry (i, b) in [0, widths[b]).

        Raises:
            MissingColumn: A modelled column is absent.
            OutOfRange, UnknownLevel: A value lies outside the dictionary.
            DataError: A value is missing where the dictionary says never.
        """
        absent = [name for block in self.blocks for name in block.columns if name not in table.columns]
        if absent:
            raise MissingColumn(f"the table lacks {', '.join(absent)}; the encoder needs every modelled column")
        codes = np.empty((len(table), len(self.blocks)), dtype=np.int32)
        for index, block in enumerate(self.blocks):
            codes[:, index] = self._encode_block(block, table)
        return codes

    def decode(self, codes: npt.NDArray[np.integer], rng: np.random.Generator) -> pd.DataFrame:
        """Draw a typed table whose codes are `codes`; identity and derived columns are absent.

        Args:
            codes: (rows, blocks), as `encode` returns them.
            rng: Decides the place inside each cell; the same state gives the same table.

        Raises:
            ValueError: The codes have another shape or lie outside the widths.
        """
        if codes.ndim != 2 or codes.shape[1] != len(self.blocks):
            raise ValueError(f"codes have shape {codes.shape}, the encoder has {len(self.blocks)} blocks")
        if ((codes < 0) | (codes >= np.asarray(self.widths))).any():
            raise ValueError("codes lie outside the widths of their blocks")
        columns: dict[str, Any] = {}
        for index, block in enumerate(self.blocks):
            columns.update(self._decode_block(block, codes[:, index].astype(np.int64), rng))
        return self.schema.cast(pd.DataFrame(columns, index=pd.RangeIndex(len(codes))))

    def to_json(self) -> str:
        """Text from which `from_json` rebuilds the same transformer; the same bytes for the same transformer."""
        plain = {"format": FORMAT, "schema": self.schema.to_dict(), "blocks": [asdict(block) for block in self.blocks]}
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Transformer":
        """Rebuild a transformer from `to_json`.

        Raises:
            ModelError: The text is not a transformer of this format.
        """
        try:
            plain = json.loads(text)
            if plain["format"] != FORMAT:
                raise ModelError(f"the transformer has format {plain['format']!r}; this version reads {FORMAT!r}")
            schema = Schema.from_dict(plain["schema"])
            blocks = tuple(_block_from_dict(raw) for raw in plain["blocks"])
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"the text is not a saved transformer ({error!r}); save the model again") from error
        return cls(schema, blocks)

    def digest(self) -> str:
        """SHA-256 of `to_json`, hex. Sites compare it before the first round."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def _encode_block(self, block: Block, table: pd.DataFrame) -> _Ints:
        if block.kind == "survival":
            time, event = block.columns
            cells, no_time = _cells_of(block, self.schema[time], table[time])
            events, no_event = _level_codes(self.schema[event], table[event])
            codes, missing = 2 * cells + events, no_time | no_event
        elif block.kind == "number":
            codes, missing = _cells_of(block, self.schema[block.columns[0]], table[block.columns[0]])
        else:
            codes, missing = _level_codes(self.schema[block.columns[0]], table[block.columns[0]])
        if missing.any() and not block.has_missing:
            raise DataError(
                f"column {block.name!r} is missing in {int(missing.sum())} rows and the dictionary says never; "
                "drop these rows or change the dictionary"
            )
        return np.where(missing, block.width - 1, codes)

    def _decode_block(self, block: Block, codes: _Ints, rng: np.random.Generator) -> Mapping[str, Any]:
        missing = (codes == block.width - 1) if block.has_missing else np.zeros(len(codes), dtype=bool)
        known = np.where(missing, 0, codes)
        if block.kind == "levels":
            column = self.schema[block.columns[0]]
            return {column.name: _levels_from(column, known, missing)}
        if block.kind == "number":
            return {block.columns[0]: _draw(block, known, missing, rng)}
        time, event = block.columns
        return {
            time: _draw(block, known // 2, missing, rng),
            event: _levels_from(self.schema[event], known % 2, missing),
        }


def public_transformer(schema: Schema, *, cells: int = 12, survival_cells: int = 10) -> Transformer:
    """Build the transformer of a schema, from public knowledge alone.

    A number's cells end at the dictionary's knots. Without knots they are `cells` equal steps of its scale; survival
    times without knots get `survival_cells` intervals, short ones first. Spikes get a cell of their own.

    Raises:
        DictionaryError: Two endpoints share a column, or a column's bounds are narrower than its last decimal.
    """
    if cells < 2 or survival_cells < 2:
        raise ValueError(f"cells = {cells}, survival_cells = {survival_cells}; both need at least 2")
    modelled = {column.name for column in schema.modelled}
    endpoints = [s for s in schema.survivals if s.time in modelled and s.event in modelled]
    paired = [name for endpoint in endpoints for name in (endpoint.time, endpoint.event)]
    if len(paired) != len(set(paired)):
        raise DictionaryError(f"endpoints {[e.name for e in endpoints]} share a column; select one of them")
    blocks: list[Block] = []
    for column in schema.modelled:
        endpoint = next((e for e in endpoints if column.name == e.time), None)
        if endpoint is not None:
            blocks.append(_survival_block(endpoint, schema, survival_cells))
        elif column.name not in paired:
            blocks.append(_number_block(column, cells) if column.is_number else _levels_block(column))
    return Transformer(schema, tuple(blocks))


def _levels_block(column: Column) -> Block:
    has_missing = column.missing != "never"
    return Block(
        column.name, (column.name,), "levels", len(column.levels) + has_missing, has_missing, levels=column.levels
    )


def _number_block(column: Column, cells: int) -> Block:
    knots = column.knots or _even_knots(column, cells)
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


def _survival_block(endpoint: Survival, schema: Schema, cells: int) -> Block:
    time, event = schema[endpoint.time], schema[endpoint.event]
    lower, upper = _bounds(time)
    horizon = min(endpoint.horizon_days, upper)
    # Without published edges: intervals that grow by a constant factor up to the horizon, then one to the upper bound.
    knots = time.knots or tuple(k for k in np.geomspace(horizon / 50, horizon, cells - 1) if lower < k < upper)
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


def _even_knots(column: Column, cells: int) -> tuple[float, ...]:
    lower, upper = _bounds(column)
    space = np.geomspace if column.scale == "log" else np.linspace
    return tuple(float(knot) for knot in space(lower, upper, cells + 1)[1:-1])


def _grid_edges(column: Column, knots: tuple[float, ...]) -> tuple[int, ...]:
    """Edges in last decimals: bounds, knots, and both sides of every spike; equal ones merged."""
    lower, upper = _bounds(column)
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


def _bounds(column: Column) -> tuple[float, float]:
    if column.lower is None or column.upper is None:  # Column requires them of every number
        raise DictionaryError(f"column {column.name!r} has no bounds")
    return column.lower, column.upper


def _cells_of(block: Block, column: Column, values: pd.Series) -> tuple[_Ints, npt.NDArray[np.bool_]]:
    numbers = values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    missing = np.isnan(numbers)
    lower, upper = _bounds(column)
    outside = ~missing & ((numbers < lower) | (numbers > upper))
    if outside.any():
        raise OutOfRange(
            f"column {column.name!r}: {int(outside.sum())} values lie outside its bounds [{lower:g}, {upper:g}]; "
            "read the table with `type_table`"
        )
    steps = np.floor(np.where(missing, lower, numbers) * 10**block.decimals + _ALMOST_NOTHING).astype(np.int64)
    cells = np.searchsorted(np.asarray(block.edges), steps, side="right") - 1
    return np.clip(cells, 0, block.cells - 1).astype(np.int64), missing


def _level_codes(column: Column, values: pd.Series) -> tuple[_Ints, npt.NDArray[np.bool_]]:
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


def _levels_from(column: Column, codes: _Ints, missing: npt.NDArray[np.bool_]) -> Any:
    if column.kind == "flag":
        values = np.asarray([int(level) for level in column.levels], dtype=np.int64)[codes]
        return pd.arrays.IntegerArray(values, missing.copy())
    return pd.Categorical.from_codes(
        np.where(missing, -1, codes).tolist(), categories=pd.Index(column.levels), ordered=column.kind == "ordinal"
    )


def _draw(block: Block, cells: _Ints, missing: npt.NDArray[np.bool_], rng: np.random.Generator) -> pd.Series:
    """Uniform writable values inside the cells, on the block's scale; missing where said."""
    edges = np.asarray(block.edges, dtype=np.int64)
    low, high = edges[cells], edges[cells + 1]
    place = rng.random(len(cells))
    if block.scale == "log":
        steps = np.exp(np.log(low) + place * (np.log(high) - np.log(low)))
    else:
        steps = low + place * (high - low)
    values = np.clip(np.floor(steps), low, high - 1) / 10**block.decimals
    return pd.Series(np.where(missing, np.nan, values))


def _block_from_dict(raw: Mapping[str, Any]) -> Block:
    fields = dict(raw)
    for key in ("columns", "levels", "edges"):
        fields[key] = tuple(fields[key])
    return Block(**fields)
