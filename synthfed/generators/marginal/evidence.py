"""What noisy sums say about each column and each pair of columns: estimates, not counts.

Tables of different noise that speak of the same thing are combined by inverse variance. Shares of one column are shrunk
towards columns like it and projected onto the simplex; the departure of a pair from what its parts predict is shrunk
towards nothing (`shrinkage`), with a prior covariance in which neighbouring levels are alike (`axes`). All of it is
post-processing of noisy sums; without noise nothing is changed.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from synthfed.generators.base import Layout
from synthfed.generators.marginal.axes import Axis
from synthfed.generators.marginal.counting import Floats, Groups, NoisyTables, PackedTable, ScoreTable
from synthfed.generators.marginal.shrinkage import Estimate, Problem, covariance, eigen, estimate, simplex

_EXACT = 1e-9  # variance that stands for none
_SEVERAL = 4  # blocks of one shape that make a mean of their own
_DECLARED_ERROR = 0.1  # the declared number of patients is trusted to 10 %

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """Noisy counts of one pair, and the variance of each cell."""

    counts: Floats  # (levels or groups of the first block, of the second)
    variance: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """All estimates that need no model.

    Attributes:
        total: Estimated number of patients.
        one_way: Per block, the share of each level.
        pairs: Noisy counts per pair (first < second).
        grouped: Per pair, noisy counts with one block in groups: (which place is grouped, its groups, counts).
        scored: Score tables and their noisy sums.
        sets: Noisy counts of three and more blocks together, by their indices in increasing order.
    """

    layout: Layout
    total: float
    one_way: tuple[Floats, ...]
    pairs: Mapping[Pair, Measured]
    grouped: Mapping[Pair, tuple[int, Groups, Measured]]
    scored: tuple[tuple[ScoreTable, Measured], ...] = ()
    sets: Mapping[tuple[int, ...], Measured] = field(default_factory=dict)


def gather(layout: Layout, axes: Sequence[Axis], measured: Sequence[NoisyTables], *, patients: int | None) -> Evidence:
    """Combine everything measured.

    Args:
        patients: The declared number of patients, if known; a guide where noise is strong.

    Raises:
        ValueError: A vector's length differs from its tables'.
    """
    widths = layout.widths
    sums = [np.zeros(width) for width in widths]  # of margins / variance
    trust = [0.0 for _ in widths]  # sum of 1 / variance
    totals, totals_trust = 0.0, 0.0
    if patients is not None:
        totals_trust = 1 / (_DECLARED_ERROR * patients) ** 2
        totals = patients * totals_trust
    pairs: dict[Pair, list[Measured]] = {}
    grouped: dict[Pair, tuple[int, Groups, list[Measured]]] = {}
    packs: list[tuple[PackedTable, Floats, float]] = []
    scored: list[tuple[ScoreTable, Measured]] = []
    sets: dict[tuple[int, ...], list[Measured]] = {}
    for noisy in measured:
        for table, counts, noise in noisy.arrays(layout):
            variance = max(noise, _EXACT)
            if isinstance(table, PackedTable):
                packs.append((table, counts, variance))
                continue
            if isinstance(table, ScoreTable):
                scored.append((table, Measured(counts, variance)))
                continue
            totals += counts.sum() / (counts.size * variance)
            totals_trust += 1 / (counts.size * variance)
            for place, block in enumerate(table.blocks):
                if not table.groups_of(place):
                    others = tuple(axis for axis in range(counts.ndim) if axis != place)
                    spread = variance * counts.size / widths[block]
                    sums[block] += counts.sum(axis=others) / spread
                    trust[block] += 1 / spread
            coarse = [place for place in range(counts.ndim) if table.groups_of(place)]
            if len(table.blocks) == 2 and len(coarse) == 1:
                groups = table.groups_of(coarse[0])
                found = grouped.setdefault((table.blocks[0], table.blocks[1]), (coarse[0], groups, []))
                found[2].append(Measured(counts, variance))
            if coarse:
                continue
            for size in range(2, counts.ndim + 1):  # a table of many blocks is one of fewer, too
                for kept in combinations(range(counts.ndim), size):
                    part = _margin(counts, variance, kept)
                    if size == 2:
                        pairs.setdefault((table.blocks[kept[0]], table.blocks[kept[1]]), []).append(part)
                    else:
                        sets.setdefault(tuple(table.blocks[place] for place in kept), []).append(part)
    total = max(totals / totals_trust, 1.0) if totals_trust else 1.0
    shares = [
        part / weight / total if weight else np.full(len(part), 1 / len(part))
        for part, weight in zip(sums, trust, strict=True)
    ]
    one_way = _one_ways(shares, [1 / weight / total**2 if weight else 1.0 for weight in trust], axes)
    for table, counts, variance in packs:
        if table.by is None:
            continue
        for block, found in zip(table.blocks, counts, strict=True):
            contrast = _contrast(one_way[block])
            spread = variance * len(found) * float(contrast @ contrast)
            sums[block] += (total * one_way[block] + (found.sum() - total * one_way[block][1]) * contrast) / spread
            trust[block] += 1 / spread
    if packs:
        shares = [part / weight / total for part, weight in zip(sums, trust, strict=True)]
        one_way = _one_ways(shares, [1 / weight / total**2 for weight in trust], axes)
    for table, counts, variance in packs:
        for pair, seen in _unpacked(table, counts, variance, total, one_way):
            if table.by_groups:
                assert table.by is not None
                grouped.setdefault(pair, (pair.index(table.by), table.by_groups, []))[2].append(seen)
            else:
                pairs.setdefault(pair, []).append(seen)
    return Evidence(
        layout,
        total,
        one_way,
        {pair: _combined(found) for pair, found in pairs.items()},
        {pair: (place, groups, _combined(found)) for pair, (place, groups, found) in grouped.items()},
        tuple(scored),
        {blocks: _combined(found) for blocks, found in sets.items()},
    )


def _one_ways(shares: Sequence[Floats], variances: Sequence[float], axes: Sequence[Axis]) -> tuple[Floats, ...]:
    """Shares of each block's levels: blocks of one shape are alike until counts say otherwise.

    The prior mean is the mean of the blocks of one shape where there are several, else equal shares (cells of a public
    grid are made for equal weight); how far blocks depart from it is estimated from all of them.
    """
    alike: dict[tuple[Groups, bool], list[int]] = {}
    for block, axis in enumerate(axes):
        alike.setdefault((axis.groups, bool(axis.places)), []).append(block)
    means: list[Floats] = [np.zeros(0)] * len(shares)
    for blocks in alike.values():
        trust = np.array([1 / variances[block] for block in blocks])
        mean = simplex(np.tensordot(trust / trust.sum(), [shares[block] for block in blocks], 1))
        for block in blocks:
            width = len(mean)
            means[block] = 0.9 * mean + 0.1 / width if len(blocks) >= _SEVERAL else np.full(width, 1 / width)
    problems = []
    for share, variance, mean, axis in zip(shares, variances, means, axes, strict=True):
        prior = covariance(mean, axis.kernels()[-1])
        precision = np.eye(len(mean)) / variance
        problems.append(Problem.rotate(precision, ((share - mean) / variance)[:, None], [prior], np.ones((1, 1))))
    found = estimate(problems, 1.0)
    return tuple(
        simplex(share if axis.survival else mean + one.mean[:, 0])
        for share, mean, one, axis in zip(shares, means, found, axes, strict=True)
    )


def pair_estimates(
    evidence: Evidence, axes: Sequence[Axis], expected: Mapping[Pair, Floats], outcomes: Collection[int]
) -> dict[Pair, Estimate]:
    """What measured pairs depart from `expected` (shares, by some model), in counts.

    Pairs with an outcome are measured more precisely than the many others and have a prior of their own.
    """
    measured = [pair for pair in expected if pair in evidence.pairs]
    spread = [covariance(shares, axis.kernels()[0]) for shares, axis in zip(evidence.one_way, axes, strict=True)]
    roots = [eigen(matrix) for matrix in spread]
    problems: dict[Pair, Problem] = {}
    for a, b in measured:
        found = evidence.pairs[a, b]
        (values, left), (others, right) = roots[a], roots[b]
        rotated = left.T @ (found.counts - evidence.total * expected[a, b]) @ right
        scale = math.sqrt(found.variance)
        problems[a, b] = Problem(((rotated / scale, values / found.variance, left * scale),), others, right)
    found_all: dict[Pair, Estimate] = {}
    for special in (True, False):
        pool = {pair: problem for pair, problem in problems.items() if bool(set(pair) & set(outcomes)) == special}
        found_all |= zip(pool, estimate(list(pool.values()), evidence.total), strict=True)
    return found_all


def _contrast(shares: Floats) -> Floats:
    """What a flag's shares change by when its level 1 gains one: the others lose in proportion."""
    contrast: Floats = -shares / max(1 - shares[1], 1e-9)
    contrast[1] = 1.0
    return contrast


def _unpacked(
    table: PackedTable, counts: Floats, variance: float, total: float, one_way: Sequence[Floats]
) -> Iterator[tuple[Pair, Measured]]:
    """A packed table as a plain table per pair: levels that were not counted share what level 1 leaves.

    A plain table says of such a departure as much as the packed one does when its noise is larger by the squared length
    of the contrasts.
    """
    if table.by is None:
        for (a, b), found in zip(combinations(table.blocks, 2), counts, strict=True):
            expected = total * np.outer(one_way[a], one_way[b])
            pattern = np.outer(_contrast(one_way[a]), _contrast(one_way[b]))
            departure = found - expected[1, 1]
            yield (a, b), Measured(expected + departure * pattern, variance * float((pattern**2).sum()))
        return
    by_level = one_way[table.by]
    top = np.bincount(table.by_groups, weights=by_level) if table.by_groups else by_level
    for block, found in zip(table.blocks, counts, strict=True):
        expected = total * np.outer(top, one_way[block])
        contrast = _contrast(one_way[block])
        plain = expected + np.outer(found - expected[:, 1], contrast)
        spread = variance * float(contrast @ contrast)
        if table.by < block:
            yield (table.by, block), Measured(plain, spread)
        else:
            yield (block, table.by), Measured(plain.T, spread)


def _margin(counts: Floats, variance: float, kept: Sequence[int]) -> Measured:
    rest = tuple(axis for axis in range(counts.ndim) if axis not in kept)
    return Measured(counts.sum(axis=rest), variance * math.prod(counts.shape[axis] for axis in rest))


def _combined(found: Sequence[Measured]) -> Measured:
    trust = sum(1 / one.variance for one in found)
    summed: Floats = np.sum([one.counts / one.variance for one in found], axis=0)
    return Measured(summed / trust, 1 / trust)
