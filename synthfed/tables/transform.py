"""Turn a typed table into integer codes and back, on a grid that only public knowledge decides.

The public `Transformer` is built from a `Schema` alone, a fitted one (`tables.fine`) from a schema and noisy counts;
no function that makes one accepts rows. So its edges, its widths and its digest cannot tell one patient's presence,
and every site builds the same one. Each row becomes one code per *block* (`tables.blocks`):

| block      | codes                                                     |
|------------|-----------------------------------------------------------|
| `levels`   | one per level of a flag or category                       |
| `number`   | one per cell between the column's bounds                  |
| `survival` | time interval x event, both columns of an endpoint in one |

and one more code, the last, for *missing* where the dictionary allows it. A survival block is missing when either of
its columns is.

A decoded value is inside the public bounds, has the dictionary's decimals and falls into the same cell again.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import MissingColumn, ModelError
from synthfed.tables.blocks import (
    Block,
    block_from_dict,
    block_to_dict,
    bounds,
    build_blocks,
    decode_block,
    encode_block,
)
from synthfed.tables.schema import Column, Schema, Survival

FORMAT = "synthfed.transformer/1"


@dataclass(frozen=True, slots=True)
class Transformer:
    """The same coding at every site. Build it with `public_transformer` or `tables.fine.fit_transformer`.

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
            codes[:, index] = encode_block(block, self.schema, table)
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
            columns.update(decode_block(block, self.schema, codes[:, index].astype(np.int64), rng))
        return self.schema.cast(pd.DataFrame(columns, index=pd.RangeIndex(len(codes))))

    def to_json(self) -> str:
        """Text from which `from_json` rebuilds the same transformer; the same bytes for the same transformer."""
        plain = {
            "format": FORMAT,
            "schema": self.schema.to_dict(),
            "blocks": [block_to_dict(block) for block in self.blocks],
        }
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
            blocks = tuple(block_from_dict(raw) for raw in plain["blocks"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"the text is not a saved transformer ({error!r}); save the model again") from error
        return cls(schema, blocks)

    def digest(self) -> str:
        """SHA-256 of `to_json`, hex. Sites compare it before the first round."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def public_transformer(schema: Schema, *, cells: int = 12, survival_cells: int = 10) -> Transformer:
    """Build the transformer of a schema, from public knowledge alone.

    A number's cells end at the dictionary's knots. Without knots they are `cells` equal steps of its scale; survival
    times without knots get `survival_cells` intervals, short ones first. Spikes get a cell of their own.

    Raises:
        DictionaryError: Two endpoints share a column, or a column's bounds are narrower than its last decimal.
    """
    if cells < 2 or survival_cells < 2:
        raise ValueError(f"cells = {cells}, survival_cells = {survival_cells}; both need at least 2")

    def number_knots(column: Column) -> tuple[float, ...]:
        return column.knots or _even_knots(column, cells)

    def survival_knots(endpoint: Survival) -> tuple[float, ...]:
        return schema[endpoint.time].knots or _growing_knots(endpoint, schema, survival_cells)

    return Transformer(schema, build_blocks(schema, number_knots=number_knots, survival_knots=survival_knots))


def _even_knots(column: Column, cells: int) -> tuple[float, ...]:
    """Inner edges of `cells` equal steps on the column's scale."""
    space = np.geomspace if column.scale == "log" else np.linspace
    return tuple(float(knot) for knot in space(*bounds(column), cells + 1)[1:-1])


def _growing_knots(endpoint: Survival, schema: Schema, cells: int) -> tuple[float, ...]:
    """Intervals that grow by a constant factor up to the horizon, then one to the upper bound."""
    lower, upper = bounds(schema[endpoint.time])
    horizon = min(endpoint.horizon_days, upper)
    return tuple(float(k) for k in np.geomspace(horizon / 50, horizon, cells - 1) if lower < k < upper)
