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
from synthfed.generators.marginal.axes import Axis
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


def centre_joints(evidence: Evidence, axes: Sequence[Axis], centre: int) -> dict[int, Floats]:
    """Estimated joint shares (levels of the centre, levels of the block) for every other block."""
    top = evidence.one_way[centre]
    blocks = [block for block in range(len(evidence.one_way)) if block != centre]
    tops = [covariance(top, kernel) for kernel in axes[centre].kernels()]
    problems: dict[int, Problem] = {}
    for block in blocks:
        pair = (min(centre, block), max(centre, block))
        expected = evidence.total * np.outer(top, evidence.one_way[block])
        precision = np.zeros((len(top), len(top)))
        evident = np.zeros_like(expected)  # precision @ departure
        if pair in evidence.pairs:
            found = evidence.pairs[pair]
            precision += np.eye(len(top)) / found.variance
            evident += (_oriented(found.counts, pair, centre) - expected) / found.variance
        if pair in evidence.grouped:
            _, groups, found = evidence.grouped[pair]
            member = np.zeros((max(groups) + 1, len(top)))  # (groups, levels)
            member[list(groups), np.arange(len(top))] = 1.0
            precision += member.T @ member / found.variance
            evident += member.T @ (_oriented(found.counts, pair, centre) - member @ expected) / found.variance
        if precision.any():
            sides = covariance(evidence.one_way[block], axes[block].kernels()[0])
            problems[block] = Problem.rotate(precision, evident, tops, sides)
    shrunk = dict(zip(problems, shrink(list(problems.values()), evidence.total), strict=True))
    return {
        block: raked(
            np.outer(top, evidence.one_way[block]) + shrunk.get(block, np.zeros(1)) / evidence.total,
            top,
            evidence.one_way[block],
        )
        for block in blocks
    }


def pair_joints(evidence: Evidence, axes: Sequence[Axis], expected: Mapping[Pair, Floats]) -> dict[Pair, Floats]:
    """Estimated joint shares of measured pairs: `expected` (shares, by some model) plus what departs from it."""
    measured = [pair for pair in expected if pair in evidence.pairs]
    spread = [covariance(shares, axis.kernels()[0]) for shares, axis in zip(evidence.one_way, axes, strict=True)]
    roots = [_eigen(matrix) for matrix in spread]
    problems = []
    for a, b in measured:
        found = evidence.pairs[a, b]
        (values, left), (others, right) = roots[a], roots[b]
        rotated = left.T @ (found.counts - evidence.total * expected[a, b]) @ right
        scale = math.sqrt(found.variance)
        problems.append(Problem(((rotated / scale, values / found.variance, left * scale),), others, right))
    departures = shrink(problems, evidence.total)
    return {
        (a, b): raked(expected[a, b] + departure / evidence.total, evidence.one_way[a], evidence.one_way[b])
        for (a, b), departure in zip(measured, departures, strict=True)
    }


@dataclass(frozen=True, slots=True)
class Problem:
    """Departures of one table in coordinates where noise is white and the prior covariance is diagonal.

    Attributes:
        mixes: Per candidate kernel of the first block: departures (first, second), prior variances along the first
            axis, and the matrix that leads back.
        others: Prior variances along the second axis.
        right: The matrix that leads back.
    """

    mixes: tuple[tuple[Floats, Floats, Floats], ...]
    others: Floats
    right: Floats

    @classmethod
    def rotate(cls, precision: Floats, evident: Floats, firsts: Sequence[Floats], second: Floats) -> "Problem":
        values, vectors = np.linalg.eigh(precision)
        root = np.sqrt(np.maximum(values, 0.0))
        inverse = np.where(root > 1e-9 * root.max(), 1 / np.maximum(root, 1e-300), 0.0)
        white = (vectors * inverse) @ vectors.T @ evident
        half = (vectors * root) @ vectors.T
        others, right = _eigen(second)
        mixes = []
        for first in firsts:
            spread, left = _eigen(half @ first @ half)
            back = first @ half @ left / np.maximum(spread, 1e-12)  # = half^-1 left where half has an inverse
            mixes.append((left.T @ white @ right, spread, np.where(spread > 1e-10, back, 0.0)))
        return cls(tuple(mixes), others, right)


def shrink(problems: Sequence[Problem], total: float) -> list[Floats]:
    """Posterior means of departures in counts, under a prior over scale and kernel that all tables share.

    The prior is the mixture over a fixed grid that makes the tables likeliest (20 steps of EM).
    """
    if not problems:
        return []
    likelihood = np.stack([_likelihoods(problem, total) for problem in problems])
    likelihood = np.exp(likelihood - likelihood.max(1, keepdims=True))
    prior = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(20):
        posterior = likelihood * prior
        posterior /= posterior.sum(1, keepdims=True)
        prior = posterior.mean(0)
    posterior = likelihood * prior
    posterior /= posterior.sum(1, keepdims=True)
    means = []
    for problem, weights in zip(problems, posterior, strict=True):
        mean = np.zeros(1)
        for (rotated, values, back), share in zip(problem.mixes, weights.reshape(-1, len(_TAUS)), strict=True):
            signal = total**2 * np.multiply.outer(_TAUS, np.outer(values, problem.others))
            mean = mean + back @ (rotated * np.tensordot(share, signal / (signal + 1), 1)) @ problem.right.T
        means.append(mean)
    return means


def _likelihoods(problem: Problem, total: float) -> Floats:
    found = []
    for rotated, values, _ in problem.mixes:
        spread = 1 + total**2 * np.multiply.outer(_TAUS, np.outer(values, problem.others))  # (taus, first, second)
        base = rotated**2  # null directions give the same for every tau of a mix, and must for every mix
        found.append(-0.5 * (np.log(spread) + base / spread - base).sum((1, 2)))
    return np.concatenate(found)


def covariance(shares: Floats, kernel: Floats) -> Floats:
    """Prior covariance of departures along one axis: sqrt(p) K sqrt(p), made to sum to zero."""
    root = np.sqrt(shares)
    project = np.eye(len(shares)) - np.outer(shares, np.ones(len(shares)))
    matrix: Floats = project @ (root[:, None] * kernel * root) @ project.T
    return matrix


def _eigen(matrix: Floats) -> tuple[Floats, Floats]:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.maximum(values, 0.0), vectors


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
