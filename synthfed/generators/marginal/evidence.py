"""What noisy sums say about each column and each pair of columns: estimates, not counts.

Tables of different noise that speak of the same thing are combined by inverse variance, counts of one column are
projected onto the simplex, and the departure of a pair from what its parts predict is shrunk by empirical Bayes: a
departure R of cell (a, b) has prior variance n^2 tau^2 p_a p_b, and the distribution of tau over all pairs is estimated
from the pairs themselves. So a pair that shows nothing beyond noise becomes independent, and one that stands out stays
as measured. All of it is post-processing of noisy sums; without noise nothing is changed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthfed.generators.base import Layout
from synthfed.generators.marginal.counting import Floats, Groups, NoisyTables

_TAUS = np.concatenate([[0.0], np.geomspace(1e-3, 3e2, 28) ** 2])  # prior variance of a departure over n^2 p_a p_b
_EXACT = 1e-9  # variance that stands for none
_FLOOR = 0.01  # of the expected share: no estimate says that a cell is impossible
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
    """

    layout: Layout
    total: float
    one_way: tuple[Floats, ...]
    pairs: Mapping[Pair, Measured]
    grouped: Mapping[Pair, tuple[int, Groups, Measured]]


def gather(layout: Layout, measured: Sequence[NoisyTables], *, patients: int | None) -> Evidence:
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
    for noisy in measured:
        for table, counts, noise in noisy.arrays(layout):
            variance = max(noise, _EXACT)
            totals += counts.sum() / (counts.size * variance)
            totals_trust += 1 / (counts.size * variance)
            for place, block in enumerate(table.blocks):
                if not table.groups_of(place):
                    others = tuple(axis for axis in range(counts.ndim) if axis != place)
                    spread = variance * counts.size / widths[block]
                    sums[block] += counts.sum(axis=others) / spread
                    trust[block] += 1 / spread
            if len(table.blocks) == 2:
                pair = (table.blocks[0], table.blocks[1])
                coarse = [place for place in (0, 1) if table.groups_of(place)]
                if not coarse:
                    pairs.setdefault(pair, []).append(Measured(counts, variance))
                elif len(coarse) == 1:
                    groups = table.groups_of(coarse[0])
                    grouped.setdefault(pair, (coarse[0], groups, []))[2].append(Measured(counts, variance))
    total = max(totals / totals_trust, 1.0) if totals_trust else 1.0
    one_way = tuple(
        _simplex(part / weight / total) if weight else np.full(width, 1 / width)
        for part, weight, width in zip(sums, trust, widths, strict=True)
    )
    return Evidence(
        layout,
        total,
        one_way,
        {pair: _combined(found) for pair, found in pairs.items()},
        {pair: (place, groups, _combined(found)) for pair, (place, groups, found) in grouped.items()},
    )


def centre_joints(evidence: Evidence, centre: int) -> dict[int, Floats]:
    """Estimated joint shares (levels of the centre, levels of the block) for every other block.

    First the centre's groups by block, from both the grouped and the full table, then what levels of one group differ
    in; each is shrunk with its own prior.
    """
    total, top = evidence.total, evidence.one_way[centre]
    blocks = [block for block in range(len(evidence.one_way)) if block != centre]
    fine: dict[int, Measured] = {}
    coarse: dict[int, tuple[Floats, Floats]] = {}  # departures of groups and their variances, per row
    groups = next((groups for pair, (_, groups, _) in evidence.grouped.items() if centre in pair), (0,) * len(top))
    member = np.zeros((max(groups) + 1, len(top)))  # (groups, levels)
    member[list(groups), np.arange(len(top))] = 1.0
    share = member * top / np.maximum(member @ top, 1e-300)[:, None]  # of a level in its group
    for block in blocks:
        pair = (min(centre, block), max(centre, block))
        expected = np.outer(top, evidence.one_way[block])
        weight, departure = np.full(len(member), 0.0), np.zeros((len(member), len(evidence.one_way[block])))
        if pair in evidence.pairs:
            found = evidence.pairs[pair]
            rest = _oriented(found.counts, pair, centre) - total * expected
            fine[block] = Measured(rest, found.variance)
            spread = found.variance * member.sum(1)
            departure += (member @ rest) / spread[:, None]
            weight += 1 / spread
        if pair in evidence.grouped:
            _, _, found = evidence.grouped[pair]
            departure += (_oriented(found.counts, pair, centre) - total * (member @ expected)) / found.variance
            weight += 1 / found.variance
        if weight.any():
            coarse[block] = (_centred(departure / weight[:, None]), 1 / weight)
    joints = {block: np.outer(top, evidence.one_way[block]) for block in blocks}
    between = shrink(
        [departure for departure, _ in coarse.values()],
        [np.outer(member @ top, evidence.one_way[block]) for block in coarse],
        [variance[:, None] for _, variance in coarse.values()],
        total,
    )
    spread_out = dict(zip(coarse, between, strict=True))
    within = []
    for block, found in fine.items():
        rest = found.counts - share.T @ spread_out[block]
        rest -= (member / member.sum(1, keepdims=True)).T @ (member @ rest)  # departures inside a group sum to zero
        within.append(rest - rest.mean(axis=1, keepdims=True))
    inside = shrink(
        within,
        [np.outer(top, evidence.one_way[block]) for block in fine],
        [np.asarray(found.variance) for found in fine.values()],
        total,
    )
    for block, departure in spread_out.items():
        joints[block] = joints[block] + share.T @ departure / total
    for block, departure in zip(fine, inside, strict=True):
        joints[block] = joints[block] + departure / total
    return {block: raked(joints[block], top, evidence.one_way[block]) for block in blocks}


def pair_joints(evidence: Evidence, expected: Mapping[Pair, Floats]) -> dict[Pair, Floats]:
    """Estimated joint shares of measured pairs: `expected` (shares, by some model) plus what departs from it."""
    measured = [pair for pair in expected if pair in evidence.pairs]
    departures = shrink(
        [_centred(evidence.pairs[pair].counts - evidence.total * expected[pair]) for pair in measured],
        [np.outer(evidence.one_way[a], evidence.one_way[b]) for a, b in measured],
        [np.asarray(evidence.pairs[pair].variance) for pair in measured],
        evidence.total,
    )
    return {
        (a, b): raked(expected[a, b] + departure / evidence.total, evidence.one_way[a], evidence.one_way[b])
        for (a, b), departure in zip(measured, departures, strict=True)
    }


def shrink(
    departures: Sequence[Floats], expected: Sequence[Floats], variances: Sequence[Floats], total: float
) -> list[Floats]:
    """Posterior means of departures in counts, under a prior over tau that all tables share.

    The prior is the mixture over a fixed grid of tau^2 that makes the tables likeliest (20 steps of EM).

    Args:
        expected: Product of margins per cell, as shares: a departure has prior variance (total tau)^2 expected.
        variances: Noise variance, broadcast to each table.
    """
    if not departures:
        return []
    likelihood = np.empty((len(departures), len(_TAUS)))
    for row, (departure, shares, variance) in enumerate(zip(departures, expected, variances, strict=True)):
        spread = total**2 * np.multiply.outer(_TAUS, shares) + variance  # (taus, rows, columns)
        free = math.prod(side - 1 for side in departure.shape) / departure.size
        likelihood[row] = -0.5 * (free * np.log(spread) + departure**2 / spread).sum((1, 2))
    likelihood = np.exp(likelihood - likelihood.max(1, keepdims=True))
    prior = np.full(len(_TAUS), 1 / len(_TAUS))
    for _ in range(20):
        posterior = likelihood * prior
        posterior /= posterior.sum(1, keepdims=True)
        prior = posterior.mean(0)
    posterior = likelihood * prior
    posterior /= posterior.sum(1, keepdims=True)
    means = []
    for departure, shares, variance, weights in zip(departures, expected, variances, posterior, strict=True):
        signal = total**2 * np.multiply.outer(_TAUS, shares)
        means.append(departure * np.tensordot(weights, signal / (signal + variance), 1))
    return means


def raked(shares: Floats, rows: Floats, columns: Floats) -> Floats:
    """Make a table of shares positive and give it these margins (iterative proportional fitting)."""
    table = np.maximum(shares, _FLOOR * np.outer(rows, columns))
    for _ in range(50):
        table *= (rows / np.maximum(table.sum(1), 1e-300))[:, None]
        sums = table.sum(0)
        if np.abs(sums - columns).max() < 1e-10:
            break
        table *= columns / np.maximum(sums, 1e-300)
    return table


def _oriented(counts: Floats, pair: Pair, first: int) -> Floats:
    return counts if pair[0] == first else counts.T


def _centred(departure: Floats) -> Floats:
    """Remove row and column means: true departures sum to zero, noise does not."""
    centred: Floats = departure - departure.mean(0) - departure.mean(1, keepdims=True) + departure.mean()
    return centred


def _combined(found: Sequence[Measured]) -> Measured:
    trust = sum(1 / one.variance for one in found)
    summed: Floats = np.sum([one.counts / one.variance for one in found], axis=0)
    return Measured(summed / trust, 1 / trust)


def _simplex(shares: Floats) -> Floats:
    """The nearest shares that are not negative and sum to one (Duchi et al., ICML 2008), none exactly zero."""
    ordered = np.sort(shares)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(shares) + 1)
    last = np.flatnonzero(ordered > excess)[-1]
    projected: Floats = np.maximum(shares - excess[last], 1e-9)
    projected /= projected.sum()
    return projected
