"""Which blocks hang together: an order of the blocks and the parents of each, chosen from noisy sums.

The centre, where there is one, comes first and is a parent of every block, and so are the outcomes, as long as their
levels are few. The other blocks form a spanning tree of largest summed score, grown from its strongest edge (Prim),
where a pair's score is what its denoised table adds to what the centre already explains. Declared edges come first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from synthfed.generators.base import Layout
from synthfed.generators.marginal.axes import Axis
from synthfed.generators.marginal.by_centre import centre_joints
from synthfed.generators.marginal.counting import Floats
from synthfed.generators.marginal.evidence import Evidence, Pair, pair_estimates
from synthfed.generators.marginal.shrinkage import raked

_MOST_OUTCOME_CELLS = 16  # joint levels of outcomes that every block depends on: they multiply all tables


@dataclass(frozen=True, slots=True)
class Structure:
    """Blocks in the order they are drawn, and the blocks that each depends on.

    Attributes:
        order: Every block once.
        parents: Per entry of `order`, earlier blocks. All of them are in one clique: one of them, the latest, has the
            others among its own parents.
    """

    order: tuple[int, ...]
    parents: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Joints:
    """Denoised joint shares: of the centre with each block, and of measured pairs of other blocks."""

    by_centre: Mapping[int, Floats]
    pairs: Mapping[Pair, Floats]
    scores: Mapping[Pair, float]
    doubts: Mapping[Pair, Floats]


def denoise(evidence: Evidence, axes: Sequence[Axis], centre: int | None, outcomes: Sequence[int]) -> Joints:
    """Estimate every joint that a structure may use."""
    blocks = [block for block in range(len(evidence.one_way)) if block != centre]
    by_centre = centre_joints(evidence, axes, centre) if centre is not None else {}
    expected: dict[Pair, Floats] = {}
    for a, b in combinations(blocks, 2):
        if centre is None:
            expected[a, b] = np.outer(evidence.one_way[a], evidence.one_way[b])
        else:
            given = by_centre[b] / evidence.one_way[centre][:, None]
            expected[a, b] = by_centre[a].T @ given
    estimates = pair_estimates(evidence, axes, expected, outcomes)
    pairs, scores = {}, {}
    for (a, b), one in estimates.items():
        departure = one.mean / evidence.total
        independent = np.outer(evidence.one_way[a], evidence.one_way[b])
        pairs[a, b] = raked(expected[a, b] + departure, evidence.one_way[a], evidence.one_way[b])
        scores[a, b] = float((departure**2 / independent).sum() / 2)
    return Joints(by_centre, pairs, scores, {pair: one.variances for pair, one in estimates.items()})


def tops_of(layout: Layout, centre: int | None, outcomes: Sequence[int]) -> tuple[int, ...]:
    """The blocks that are parents of every other: the centre, then outcomes as long as their levels are few."""
    tops, cells = [] if centre is None else [centre], 1
    for outcome in outcomes:
        cells *= layout.widths[outcome]
        if cells > _MOST_OUTCOME_CELLS:
            break
        tops.append(outcome)
    return tuple(tops)


def choose_structure(evidence: Evidence, joints: Joints, tops: Sequence[int], forced: Sequence[Pair]) -> Structure:
    """Grow the tree. Equal scores: the lower indices win, so equal sums give equal trees."""
    blocks = [block for block in range(len(evidence.one_way)) if block not in tops]
    wanted = {tuple(sorted(pair)) for pair in forced if not set(pair) & set(tops)}

    def rank(pair: Pair) -> tuple[bool, float]:
        return pair in wanted, joints.scores.get(pair, -1.0)

    order, parents = list(tops), [tuple(tops[:place]) for place in range(len(tops))]
    if not blocks:
        return Structure(tuple(order), tuple(parents))
    first = max(combinations(blocks, 2), key=rank, default=(blocks[0], blocks[0]))[0]
    order.append(first)
    parents.append(tuple(tops))
    best = {block: first for block in blocks if block != first}  # the placed block that each open one would join
    while best:
        joined = max(best, key=lambda block: (*rank(ordered(block, best[block])), -block))
        order.append(joined)
        parents.append((*tops, best.pop(joined)))
        for block in best:
            if rank(ordered(block, joined)) > rank(ordered(block, best[block])):
                best[block] = joined
    return Structure(tuple(order), tuple(parents))


def edges_of(structure: Structure, tops: Sequence[int]) -> tuple[Pair, ...]:
    """The pairs that the tree joins, those of the common parents left out, sorted."""
    return tuple(
        sorted(
            ordered(block, parent)
            for block, parents in zip(structure.order, structure.parents, strict=True)
            for parent in parents
            if not {block, parent} & set(tops)
        )
    )


def ordered(a: int, b: int) -> Pair:
    return (a, b) if a < b else (b, a)
