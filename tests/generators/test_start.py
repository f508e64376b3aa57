"""A network never ships worse than its start, as far as noisy counts can tell, and says which of the two it is."""

from dataclasses import replace

import numpy as np
import pytest

from synthfed.generators.base import Layout, Plan, Weights
from synthfed.generators.marginal import MarginalModel, NoisyTables, Workload, fit
from synthfed.generators.start import Begun, Judged, finish
from synthfed.generators.tvae import Tvae
from synthfed.generators.warm_start import distil
from synthfed.generators.yardstick import Gap
from tests.generators.conftest import make_generator
from tests.generators.marginal.worlds import LAYOUT, WORKLOAD, make_codes, measure

CODES = make_codes(3000)
ROUNDS = measure(CODES, WORKLOAD, 2.0)
TREE = fit(LAYOUT, WORKLOAD, ROUNDS, patients=3000)


def _distilled(generator: Tvae, model: MarginalModel, steps: int, seed: int = 1) -> Weights:
    weights = distil(generator, model, LAYOUT, workload=WORKLOAD, seed=seed, steps=steps)
    return generator.release(weights, generator.start(weights))


def _shuffled_tree() -> MarginalModel:
    """A tree of rows in which nothing hangs together."""
    rng = np.random.default_rng(4)
    rows = np.stack([rng.permutation(column) for column in CODES.T], axis=1)
    return fit(LAYOUT, WORKLOAD, measure(rows, WORKLOAD, 2.0), patients=3000)


@pytest.fixture(scope="module")
def good() -> Weights:
    return _distilled(make_generator("tvae"), TREE, 300)


@pytest.fixture(scope="module")
def poor() -> Weights:
    return _distilled(make_generator("tvae"), _shuffled_tree(), 300)


def test_a_network_that_training_made_worse_ships_as_it_started(good: Weights, poor: Weights, plan: Plan) -> None:
    begun = Begun(ROUNDS, TREE, WORKLOAD, good)
    finished = finish(make_generator("tvae"), poor, begun, LAYOUT, plan, seed=3)
    assert finished.kept == "start"
    assert finished.released is good
    assert finished.judged is not None
    for gap in (finished.judged.held_back, finished.judged.learned):
        assert gap.other > gap.one + 2 * gap.error


def test_a_network_that_training_made_better_ships_as_it_was_trained(good: Weights, poor: Weights, plan: Plan) -> None:
    begun = Begun(ROUNDS, TREE, WORKLOAD, poor)
    finished = finish(make_generator("tvae"), good, begun, LAYOUT, plan, seed=3)
    assert finished.kept == "trained"
    assert finished.released is good
    assert finished.judged is not None
    for gap in (finished.judged.held_back, finished.judged.learned):
        assert gap.other < gap.one - 2 * gap.error


def test_training_that_changed_nothing_ships_the_start(good: Weights, plan: Plan) -> None:
    same = {name: tensor.copy() for name, tensor in good.items()}
    finished = finish(make_generator("tvae"), same, Begun(ROUNDS, TREE, WORKLOAD, good), LAYOUT, plan, seed=3)
    assert finished.kept == "start"
    assert finished.judged is not None
    assert finished.judged.held_back.one == finished.judged.held_back.other
    assert finished.judged.held_back.error == 0


def test_without_training_there_is_nothing_to_judge(good: Weights, plan: Plan) -> None:
    begun = Begun(ROUNDS, TREE, WORKLOAD, good)
    finished = finish(make_generator("tvae"), good, begun, LAYOUT, replace(plan, rounds=0), seed=3)
    assert (finished.kept, finished.judged) == ("start", None)
    assert finished.begun is begun


def test_where_the_tree_joins_every_pair_all_counts_judge(plan: Plan) -> None:
    layout, workload = Layout(("sex", "age"), (2, 4)), Workload(centre=None)
    codes = CODES[:, :2]
    rounds: tuple[NoisyTables, ...] = measure(codes, workload, 2.0, layout=layout)
    tree = fit(layout, workload, rounds, patients=3000)
    generator = make_generator("tvae")
    weights = distil(generator, tree, layout, workload=workload, seed=1, steps=200)
    start = generator.release(weights, generator.start(weights))
    blurred = {
        name: tensor + np.float32(0.5) * (np.arange(tensor.size) % 3 == 0).reshape(tensor.shape)
        for name, tensor in start.items()
    }
    finished = finish(generator, blurred, Begun(rounds, tree, workload, start), layout, plan, seed=3)
    assert finished.kept == "start"
    assert finished.judged is not None
    assert not finished.judged.held_back.cells
    assert finished.judged.learned.cells


@pytest.mark.parametrize(
    ("held_back", "learned", "kept"),
    [
        (-0.01, -0.01, "trained"),
        (-0.01, 0.004, "trained"),  # a step away from noise that was learned looks like a loss
        (-0.01, 0.006, "start"),  # this is more than that
        (0.001, -0.05, "start"),
        (0.0, 0.0, "start"),
    ],
)
def test_counts_held_back_decide_and_the_others_may_object(held_back: float, learned: float, kept: str) -> None:
    judged = Judged(Gap(100, 1.0, 1.0 + held_back, 0.02), Gap(400, 1.0, 1.0 + learned, 0.005))
    assert judged.kept == kept
