"""The one block that a network may be told instead of drawing it: the survival token of a warm start.

A network with a condition gets the token as one more input and draws every other block given it, as CTGAN does with
its condition and as the tree model does with its centre. The token itself is drawn from `condition`, a tensor that
ships with the network: (total width,), the shares of the token's levels in the token's place and zero elsewhere, so it
says both which block is given and how its levels are drawn. Its shares are post-processing of noisy sums, or uniform;
no exact frequency of a level is ever in it.
"""

import numpy as np
import numpy.typing as npt

from synthfed.errors import TrainingError
from synthfed.generators.base import Layout, Weights

NAME = "condition"  # behind the prefix of what ships: `decoder.condition`, `generator.condition`


def of_shares(layout: Layout, centre: int, shares: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The tensor for a block and the shares of its levels, (levels,) -> (total width,)."""
    tensor = np.zeros(layout.total_width, dtype=np.float32)
    tensor[_place(layout, centre)] = shares
    return tensor


def uniform(layout: Layout, centre: int) -> npt.NDArray[np.float32]:
    """Before anything is known about the block: every level alike."""
    width = layout.widths[centre]
    return of_shares(layout, centre, np.full(width, 1 / width))


def centre_of(weights: Weights, prefix: str, layout: Layout) -> int | None:
    """Which block is given; None for a network that draws them all.

    Raises:
        TrainingError: The tensor does not hold shares of exactly one block.
    """
    tensor = weights.get(prefix + NAME)
    if tensor is None:
        return None
    if tensor.shape == (layout.total_width,) and np.isfinite(tensor).all() and (tensor >= 0).all():
        sums = np.add.reduceat(tensor.astype(np.float64), np.cumsum((0, *layout.widths[:-1])))
        found = np.flatnonzero(sums)
        if len(found) == 1 and abs(sums[found[0]] - 1.0) < 1e-3:
            return int(found[0])
    raise TrainingError(
        f"weights {prefix + NAME!r} are not the shares of one block's levels; "
        "were pipeline and layout changed since these weights were made?"
    )


def shares_of(weights: Weights, prefix: str, layout: Layout, centre: int) -> npt.NDArray[np.float64]:
    """Shares of the given block's levels, float64 (levels,), adding up to one."""
    shares = weights[prefix + NAME][_place(layout, centre)].astype(np.float64)
    normalised: npt.NDArray[np.float64] = shares / shares.sum()
    return normalised


def completed(change: Weights, weights: Weights) -> Weights:
    """A change of every tensor of `weights`: what training did not touch, such as the condition, stays as it is."""
    return {name: change[name] if name in change else np.zeros_like(tensor) for name, tensor in weights.items()}


def _place(layout: Layout, centre: int) -> slice:
    start = sum(layout.widths[:centre])
    return slice(start, start + layout.widths[centre])
