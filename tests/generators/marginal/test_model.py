"""The model is exact: marginals, draws and draws under conditions agree with the full joint table."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from synthfed.errors import ModelError
from synthfed.generators.marginal import ImpossibleCondition, MarginalModel, Workload
from synthfed.generators.marginal.counting import Floats
from synthfed.generators.marginal.model import marginal
from tests.generators.marginal.worlds import LAYOUT, WORKLOAD, fitted, make_codes, shares

PLAIN = Workload(centre=None)
OUTCOMES = Workload(centre=None, outcomes=(0, 3))


def full_joint(model: MarginalModel) -> Floats:
    """All cells of the layout, by multiplying conditionals level by level."""
    table = np.ones(LAYOUT.widths)
    for cell in itertools.product(*(range(width) for width in LAYOUT.widths)):
        for place, block in enumerate(model.structure.order):
            given = tuple(cell[parent] for parent in model.structure.parents[place])
            table[cell] *= model.conditional(place)[(*given, cell[block])]
    return table


FOCUS = replace(WORKLOAD, focus=((0, 1, 4), (0, 2, 3)))


@pytest.fixture(params=[WORKLOAD, PLAIN, OUTCOMES, FOCUS], ids=["centre", "plain tree", "outcomes only", "focus"])
def model(request: pytest.FixtureRequest) -> MarginalModel:
    return fitted(make_codes(400), request.param, mu=2.0)


def test_marginals_equal_brute_force(model: MarginalModel) -> None:
    joint = full_joint(model)
    assert joint.sum() == pytest.approx(1.0)
    for blocks in [(0,), (2,), (4, 1), (0, 3), (3, 2, 0)]:
        others = tuple(axis for axis in range(5) if axis not in blocks)
        wanted = joint.sum(axis=others).transpose(np.argsort(np.argsort(blocks)))
        np.testing.assert_allclose(marginal(model, blocks), wanted, atol=1e-12)


def test_draws_have_the_frequencies_of_the_model(model: MarginalModel) -> None:
    codes = model.sample(200_000, seed=3)
    assert codes.dtype == np.int32
    for blocks in [(0,), (2, 1), (4, 3)]:
        np.testing.assert_allclose(shares(codes, blocks), marginal(model, blocks), atol=0.004)


def test_the_same_seed_gives_the_same_rows(model: MarginalModel) -> None:
    assert model.sample(100, 1).tobytes() == model.sample(100, 1).tobytes()
    assert model.sample(100, 1).tobytes() != model.sample(100, 2).tobytes()
    assert model.sample(0, 1).shape == (0, 5)


def test_conditional_draws_equal_brute_force(model: MarginalModel) -> None:
    """Allowed levels of a parent and of children: the rows are those of the joint table, cut and scaled."""
    allowed = {
        1: np.array([True, False, True, False]),
        4: np.array([False, True, False, False, True]),
        2: np.array([True, True, True, True, False, True]),
    }
    joint = full_joint(model)
    for block, mask in allowed.items():
        joint = joint * mask.reshape([-1 if axis == block else 1 for axis in range(5)])
    joint /= joint.sum()
    codes = model.sample(200_000, seed=3, allowed=allowed)
    for block, mask in allowed.items():
        assert mask[codes[:, block]].all()
    for blocks in [(0, 3), (1, 4), (2, 3), (2, 4)]:
        others = tuple(axis for axis in range(5) if axis not in blocks)
        np.testing.assert_allclose(shares(codes, blocks), joint.sum(axis=others), atol=0.004)


def test_conditions_that_allow_everything_change_nothing(model: MarginalModel) -> None:
    everything = {block: np.ones(width, dtype=bool) for block, width in enumerate(LAYOUT.widths)}
    np.testing.assert_array_equal(model.sample(500, 1), model.sample(500, 1, everything))


def test_conditions_that_nothing_meets_are_refused(model: MarginalModel) -> None:
    with pytest.raises(ImpossibleCondition, match="allow more"):
        model.sample(10, 1, {1: np.zeros(4, dtype=bool)})
    with pytest.raises(ValueError, match=r"'age'.*4 levels"):
        model.sample(10, 1, {1: np.ones(3, dtype=bool)})


def test_weights_rebuild_the_model(model: MarginalModel) -> None:
    weights = model.to_weights()
    assert all(name.startswith("tree.") and tensor.dtype == np.float32 for name, tensor in weights.items())
    again = MarginalModel.from_weights(weights, LAYOUT)
    assert again.structure == model.structure
    assert {n: t.tobytes() for n, t in again.to_weights().items()} == {n: t.tobytes() for n, t in weights.items()}
    np.testing.assert_allclose(full_joint(again), full_joint(model), atol=1e-6)


@pytest.mark.parametrize("spoil", ["missing", "shape", "nan", "order", "clique"])
def test_spoilt_weights_are_refused(model: MarginalModel, spoil: str) -> None:
    weights = model.to_weights()
    last = list(weights)[-1]
    if spoil == "missing":
        del weights[last]
    elif spoil == "shape":
        weights[last] = weights[last][:1]
    elif spoil == "nan":
        weights[last] = np.full_like(weights[last], np.nan)
    elif spoil == "order":
        weights["tree.structure"][0, 0] = 9
    else:
        weights["tree.structure"][1, 1:] = weights["tree.structure"][-1, 0]
    with pytest.raises(ModelError, match="tree\\."):
        MarginalModel.from_weights(weights, LAYOUT)
