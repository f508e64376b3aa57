"""How a run's rows become codes, as far as it is known before any row is counted.

Where the dictionary publishes knots, the encoder is public and whole. Other numbers and endpoints get their cells from
noisy histograms, but how many cells is public: so the width of every code, and with it the shape of all that travels,
is known beforehand.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from synthfed.tables.fine import FineGrid, NoisyHistograms, fine_grid, fit_transformer
from synthfed.tables.schema import Schema
from synthfed.tables.transform import Transformer


@dataclass(frozen=True, slots=True)
class Coding:
    """The public part of an encoder.

    Attributes:
        grid: Cells on which histograms are counted; none where everything has published knots.
        codes: Codes that a fitted number gets.
        template: A transformer of the final widths; the encoder itself where nothing is fitted.
    """

    grid: FineGrid
    codes: int
    template: Transformer

    @property
    def fits(self) -> bool:
        """Whether histograms are counted."""
        return self.grid.cells > 0

    def fit(self, counts: npt.NDArray[np.float64], *, stddev: float) -> Transformer:
        """The encoder that noisy histograms give; its widths are the template's."""
        return fit_transformer(self.grid, NoisyHistograms(counts, stddev), codes=self.codes)

    def admits(self, transformer: Transformer) -> bool:
        """Whether an encoder differs from the template in nothing but where its cells lie.

        So no encoder that somebody sends can refuse, merge or single out rows in a way that the dictionary does not.
        """

        def outline(encoder: Transformer) -> object:
            return encoder.schema, tuple(
                (replace(block, edges=(), fine=(), mass=()), len(block.edges), block.edges[:1], block.edges[-1:])
                for block in encoder.blocks
            )

        return outline(transformer) == outline(self.template)


def make_coding(schema: Schema, *, codes: int) -> Coding:
    """The coding of a schema whose numbers without published knots get `codes` codes each.

    Raises:
        ValueError: `codes` is below 2.
    """
    grid = fine_grid(schema)
    blank = NoisyHistograms(np.zeros(grid.cells), 0.0)
    return Coding(grid, codes, fit_transformer(grid, blank, codes=codes))
