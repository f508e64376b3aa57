"""From noisy sums to a model: choose the structure, then match the denoised joints with the largest entropy.

Given its parents, a block's distribution is a softmax of one potential per parent. Among all distributions that agree
with the joints of block and parent, this one has the largest entropy, and because the parents of a block lie in one
clique of the blocks before it, blocks can be fitted one after the other, each by iterative proportional fitting on its
own small clique. No optimiser, no step size; numpy only.
"""

from collections.abc import Sequence

import numpy as np

from synthfed.generators.base import Layout
from synthfed.generators.marginal.counting import Floats, NoisyTables
from synthfed.generators.marginal.evidence import gather
from synthfed.generators.marginal.focus import Blocks
from synthfed.generators.marginal.model import BOUND, MarginalModel, marginal, softmax, summed
from synthfed.generators.marginal.structure import Joints, choose_structure, denoise, ordered, tops_of
from synthfed.generators.marginal.workload import Workload

_ROUNDS = 100
_CLOSE = 1e-7
_SLIGHT = 0.003  # nats: an outcome that says less about a block is no parent of it in effect


def fit(layout: Layout, workload: Workload, measured: Sequence[NoisyTables], *, patients: int) -> MarginalModel:
    """Fit the model: post-processing of noisy sums, equal sums give equal bytes.

    Args:
        measured: All rounds' sums; tables of the same pair are combined by inverse variance.
        patients: Declared number of patients, a guide to the total where noise is strong.

    Raises:
        ValueError: A vector's length differs from its tables'.
    """
    axes = workload.axes_for(layout)
    evidence = gather(layout, axes, measured, patients=patients)
    joints = denoise(evidence, axes, workload.centre, workload.outcomes, workload.focus)
    tops = tops_of(layout, workload.centre, workload.outcomes)
    structure = choose_structure(evidence, joints, tops, workload.focus)
    potentials: list[tuple[Floats, ...]] = []
    for place, (block, parents) in enumerate(zip(structure.order, structure.parents, strict=True)):
        if not parents:
            potentials.append((_bounded(np.log(evidence.one_way[block])),))
            continue
        done = MarginalModel(layout, structure.until(place), tuple(potentials))
        shares, terms = marginal(done, parents), structure.terms(place)
        givens = [tuple(parents[index] for index in term) for term in terms]
        targets = [_target(joints, workload.centre, given, block, evidence.one_way) for given in givens]
        telling = [_is_telling(joints, workload, given, block) for given in givens]
        potentials.append(match(shares, terms, targets, telling if any(telling) else [True] * len(terms)))
    return MarginalModel(layout, structure, tuple(potentials))


def match(
    shares: Floats, terms: Sequence[tuple[int, ...]], targets: Sequence[Floats], telling: Sequence[bool]
) -> tuple[Floats, ...]:
    """Potentials of a block such that its joint with every parent, or set of parents, is as wanted.

    Args:
        shares: Joint shares of the parents, one axis each.
        terms: Axes of `shares` that a target is about; see `Structure.terms`.
        targets: Per term, wanted joint shares (levels of its parents..., levels of the block). Where no distribution
            has them all, the last rounds decide.
        telling: Terms whose target is to be met; the block does not depend on the others, given these.

    Returns:
        Per term, a table like its target: the block given its parents is the softmax of the sum.
    """
    potentials = [np.zeros_like(target) for target in targets]
    for _ in range(_ROUNDS):
        worst = 0.0
        for index, term in ((index, term) for index, term in enumerate(terms) if telling[index]):
            joint = shares[..., None] * softmax(summed(potentials, terms))
            current = joint.sum(axis=tuple(axis for axis in range(shares.ndim) if axis not in term))
            worst = max(worst, float(np.abs(current - targets[index]).max()))
            ratio = np.log(np.maximum(targets[index], 1e-12)) - np.log(np.maximum(current, 1e-12))
            potentials[index] = _bounded(potentials[index] + ratio)
        if worst < _CLOSE:
            break
    return tuple(potentials)


def _is_telling(joints: Joints, workload: Workload, given: Blocks, block: int) -> bool:
    """Whether a block depends on this parent: outcomes are parents of all blocks, but few blocks speak of them.

    A pair whose departures were shrunk away would only pull against what the tree already says of it.
    """
    if len(given) > 1 or given[0] not in workload.outcomes:
        return True
    declared = any({*given, block} <= set(one) for one in workload.focus)
    return declared or joints.scores.get(ordered(given[0], block), 0.0) >= _SLIGHT


def _bounded(potential: Floats) -> Floats:
    """Softmax ignores a constant per row, so each row is centred before it is cut."""
    bounded: Floats = np.clip(potential - potential.max(-1, keepdims=True), -BOUND, 0.0)
    return bounded


def _target(joints: Joints, centre: int | None, given: Blocks, block: int, one_way: Sequence[Floats]) -> Floats:
    """Wanted joint shares (levels of the given blocks..., levels of the block)."""
    if len(given) == 1:
        return joints.of_pair(*given, block, centre, one_way)
    blocks = (*given, block)
    together = tuple(sorted(blocks))
    return joints.focus[together].transpose([together.index(one) for one in blocks])
