"""Which blocks hang together: an order of the blocks and the parents of each, chosen from noisy sums.

The centre, where there is one, comes first and is a parent of every block, and so are the outcomes, as long as their
levels are few. The other blocks form a spanning tree of largest summed score, grown from its strongest edge (Prim),
where a pair's score is what its denoised table adds to what the centre already explains. The blocks of a declared focus
are placed one after the other, each with those placed before it as parents.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from synthfed.generators.base import Layout
from synthfed.generators.marginal.axes import Axis
from synthfed.generators.marginal.by_centre import centre_joints
from synthfed.generators.marginal.counting import Floats
from synthfed.generators.marginal.evidence import Evidence, Pair, pair_estimates
from synthfed.generators.marginal.focus import Blocks, focus_joints, in_order, parts_of
from synthfed.generators.marginal.shrinkage import raked

_MOST_OUTCOME_CELLS = 16  # joint levels of outcomes that every block depends on: they multiply all tables


@dataclass(frozen=True, slots=True)
class Structure:
    """Blocks in the order they are drawn, and the blocks that each depends on.

    Attributes:
        order: Every block once.
        parents: Per entry of `order`, earlier blocks. All of them are in one clique: one of them, the latest, has the
            others among its own parents.
        focus: Sets of blocks whose joint is kept: the last of each depends on the others together, not on each alone.
    """

    order: tuple[int, ...]
    parents: tuple[tuple[int, ...], ...]
    focus: tuple[Blocks, ...] = ()

    def terms(self, place: int) -> tuple[tuple[int, ...], ...]:
        """What the block at `place` depends on: places among its parents, each alone and then those of a focus."""
        parents, block = self.parents[place], self.order[place]
        alone = tuple((index,) for index in range(len(parents)))
        together = {
            tuple(index for index, parent in enumerate(parents) if parent in one) for one in self.focus if block in one
        }
        return (*alone, *sorted(term for term in together if len(term) > 1)) or ((),)

    def until(self, place: int) -> "Structure":
        """The blocks before `place` alone."""
        return Structure(self.order[:place], self.parents[:place], self.focus)


@dataclass(frozen=True, slots=True)
class Joints:
    """Denoised joint shares: of the centre with each block, of measured pairs of other blocks, and of every focus."""

    by_centre: Mapping[int, Floats]
    pairs: Mapping[Pair, Floats]
    scores: Mapping[Pair, float]
    doubts: Mapping[Blocks, Floats]
    focus: Mapping[Blocks, Floats]

    def of_pair(self, a: int, b: int, centre: int | None, one_way: Sequence[Floats]) -> Floats:
        """Joint shares (levels of a, levels of b)."""
        if a == centre:
            return self.by_centre[b]
        if b == centre:
            return self.by_centre[a].T
        pair = ordered(a, b)
        if pair not in self.pairs:
            return np.outer(one_way[a], one_way[b])
        joint = self.pairs[pair]
        return joint if pair[0] == a else joint.T


def denoise(
    evidence: Evidence,
    axes: Sequence[Axis],
    centre: int | None,
    outcomes: Sequence[int],
    focus: Sequence[Blocks] = (),
) -> Joints:
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
    doubts: dict[Blocks, Floats] = {pair: one.variances for pair, one in estimates.items()}
    joints = Joints(by_centre, pairs, scores, doubts, {})
    if not focus:
        return joints
    within: dict[Blocks, Floats] = {
        (a, b): joints.of_pair(a, b, centre, evidence.one_way) for a, b in parts_of(focus, sizes=(2,))
    }
    together, unknown = focus_joints(evidence, axes, focus, within)
    return replace(joints, doubts=doubts | unknown, focus=together)


def tops_of(layout: Layout, centre: int | None, outcomes: Sequence[int]) -> tuple[int, ...]:
    """The blocks that are parents of every other: the centre, then outcomes as long as their levels are few."""
    tops, cells = [] if centre is None else [centre], 1
    for outcome in outcomes:
        cells *= layout.widths[outcome]
        if cells > _MOST_OUTCOME_CELLS:
            break
        tops.append(outcome)
    return tuple(tops)


def choose_structure(evidence: Evidence, joints: Joints, tops: Sequence[int], focus: Sequence[Blocks]) -> Structure:
    """Grow the tree. Equal scores: the lower indices win, so equal sums give equal trees."""
    blocks = [block for block in range(len(evidence.one_way)) if block not in tops]
    company = [tuple(block for block in one if block not in tops) for one in focus]
    order, parents = list(tops), [tuple(tops[:place]) for place in range(len(tops))]

    def score(block: int, other: int) -> float:
        return joints.scores.get(ordered(block, other), -1.0)

    best: dict[int, int] = {}  # the placed block that each open one would join

    def place(block: int, beside: Sequence[int]) -> None:
        order.append(block)
        parents.append((*tops, *beside))
        best.pop(block, None)
        for other in best:
            if score(other, block) > score(other, best[other]):
                best[other] = block

    if blocks:
        first = max(combinations(blocks, 2), key=lambda pair: score(*pair), default=(blocks[0], blocks[0]))[0]
        best = dict.fromkeys((block for block in blocks if block != first), first)
        place(first, ())
        _place_company(company, first, place)
    while best:
        joined = max(best, key=lambda block: (score(block, best[block]), -block))
        place(joined, (best[joined],))
        _place_company(company, joined, place)
    return Structure(tuple(order), tuple(parents), tuple(focus))


def _place_company(company: Sequence[Blocks], first: int, place: Callable[[int, Sequence[int]], None]) -> None:
    for block, beside in in_order(company, first):
        place(block, beside)


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
