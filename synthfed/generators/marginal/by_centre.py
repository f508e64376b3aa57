"""What noisy sums say of each block together with the centre: by its levels, by its groups, by sums of scores.

All three speak of one table of departures from independence per block, and are combined in one posterior; see
`shrinkage`. Post-processing of noisy sums.
"""

from collections.abc import Sequence

import numpy as np

from synthfed.generators.marginal.axes import Axis
from synthfed.generators.marginal.counting import Floats
from synthfed.generators.marginal.evidence import Evidence, Pair
from synthfed.generators.marginal.shrinkage import Problem, Sums, covariance, estimate, raked


def centre_joints(evidence: Evidence, axes: Sequence[Axis], centre: int) -> dict[int, Floats]:
    """Estimated joint shares (levels of the centre, levels of the block) for every other block."""
    top = evidence.one_way[centre]
    blocks = [block for block in range(len(evidence.one_way)) if block != centre]
    tops = [covariance(top, kernel) for kernel in axes[centre].kernels()]
    sums = _sums_by(evidence, centre)
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
            problems[block] = Problem.rotate(precision, evident, tops, sides, sums.get(block))
    shrunk = dict(zip(problems, estimate(list(problems.values()), evidence.total), strict=True))
    return {
        block: raked(
            np.outer(top, evidence.one_way[block]) + (shrunk[block].mean / evidence.total if block in shrunk else 0.0),
            top,
            evidence.one_way[block],
        )
        for block in blocks
    }


def group_doubts(evidence: Evidence, centre: int) -> dict[int, Floats]:
    """Per block, what is still unknown of its counts by the centre's groups (`Estimate.variances`)."""
    top = evidence.one_way[centre]
    problems: dict[int, Problem] = {}
    for pair, (_, groups, found) in evidence.grouped.items():
        if centre not in pair:
            continue
        block = pair[0] if pair[1] == centre else pair[1]
        member = np.zeros((max(groups) + 1, len(top)))
        member[list(groups), np.arange(len(top))] = 1.0
        expected = evidence.total * np.outer(member @ top, evidence.one_way[block])
        weight = np.full(len(member), 1 / found.variance)
        evident = (_oriented(found.counts, pair, centre) - expected) / found.variance
        if pair in evidence.pairs:
            fine = evidence.pairs[pair]
            spread = fine.variance * member.sum(1)
            weight += 1 / spread
            evident += (member @ _oriented(fine.counts, pair, centre) - expected) / spread[:, None]
        first = covariance(member @ top, np.eye(len(member)))
        second = covariance(evidence.one_way[block], np.eye(len(evidence.one_way[block])))
        problems[block] = Problem.rotate(np.diag(weight), evident, [first], second)
    found_all = estimate(list(problems.values()), evidence.total)
    return {block: one.variances for block, one in zip(problems, found_all, strict=True)}


def _sums_by(evidence: Evidence, centre: int) -> dict[int, Sums]:
    """Per block, how far its sums of scores lie from what independence of the centre would give."""
    top = evidence.one_way[centre]
    found: dict[int, Sums] = {}
    for table, sums in evidence.scored:
        if table.by != centre:
            continue
        contrast = np.asarray(table.contrast, dtype=np.float64) / table.unit
        start = 0
        for block, rows in zip(table.blocks, table.scores, strict=True):
            scores = np.asarray(rows, dtype=np.float64) / table.unit
            expected = evidence.total * float(contrast @ top) * scores @ evidence.one_way[block]
            found[block] = Sums(contrast, scores, sums.counts[start : start + len(rows)] - expected, sums.variance)
            start += len(rows)
    return found


def _oriented(counts: Floats, pair: Pair, first: int) -> Floats:
    return counts if pair[0] == first else counts.T
