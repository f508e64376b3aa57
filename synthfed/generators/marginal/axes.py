"""What is publicly known about the levels of a block: their order, and which of them are of one kind.

Neighbouring cells of a number behave alike, and so do neighbouring times of one outcome. Estimates from noisy counts
use it as a prior covariance, so that what many cells have in common stands out of the noise of each.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthfed.generators.marginal.counting import Floats, Groups

if TYPE_CHECKING:  # types only: a site's key messages load no tables
    from synthfed.tables.transform import Transformer

_REACH = 0.35  # of a scale's length: how far levels behave alike
_MIXES = ((0.6, 0.3, 0.1), (0.2, 0.7, 0.1), (0.1, 0.3, 0.6))  # of group, neighbours and the level itself


@dataclass(frozen=True, slots=True)
class Axis:
    """The levels of a block.

    Attributes:
        groups: Per level its group: missing is one of its own, so are events and censored times.
        places: Per level its place on the group's scale; empty when levels have no order.
        survival: Whether the block is a survival token.
    """

    groups: Groups
    places: tuple[int, ...] = ()
    survival: bool = False

    def kernels(self) -> tuple[Floats, ...]:
        """Candidate prior correlations between levels, each (levels, levels), diagonal 1."""
        size = len(self.groups)
        if not self.places:
            return (np.eye(size),)
        groups, places = np.asarray(self.groups), np.asarray(self.places, dtype=np.float64)
        same = (groups[:, None] == groups).astype(np.float64)
        reach = _REACH * max(places.max(), 1.0)
        near = same * np.exp(-0.5 * ((places[:, None] - places) / reach) ** 2)
        if not self.survival:
            return (0.8 * near + 0.2 * np.eye(size),)
        return tuple(one * same + two * near + three * np.eye(size) for one, two, three in _MIXES)


def axes_of(transformer: "Transformer") -> tuple[Axis, ...]:
    """The axis of every block of the encoder: from kinds and order of levels alone."""
    axes = []
    for block in transformer.blocks:
        codes = range(block.width)
        last = [block.has_missing and code == block.width - 1 for code in codes]
        if block.kind == "survival":
            groups = tuple(2 if missing else code % 2 for code, missing in zip(codes, last, strict=True))
            places = tuple(0 if missing else code // 2 for code, missing in zip(codes, last, strict=True))
            axes.append(Axis(groups, places, True))
            continue
        ordered = block.kind == "number" or transformer.schema[block.columns[0]].kind == "ordinal"
        places = tuple(0 if missing else code for code, missing in zip(codes, last, strict=True)) if ordered else ()
        axes.append(Axis(tuple(int(missing) for missing in last), places))
    return tuple(axes)
