"""A network started from a tree draws what the tree draws, and nothing but the tree goes into it."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from synthfed.errors import TrainingError
from synthfed.generators.base import Codes, Layout, Plan, Weights
from synthfed.generators.ctgan import Ctgan
from synthfed.generators.marginal import MarginalModel, Workload
from synthfed.generators.marginal.model import marginal
from synthfed.generators.tvae import Tvae
from synthfed.generators.warm_start import calibrate, distil, pair_shares, told_block
from tests.generators.conftest import KEY, make_generator
from tests.generators.marginal.worlds import LAYOUT, WORKLOAD, fitted, make_codes

both = pytest.mark.parametrize("kind", ["tvae", "ctgan"])
OUTCOME = replace(WORKLOAD, centre=None)  # no survival token: the network is told the declared outcome
PLAIN = replace(OUTCOME, outcomes=())


@pytest.fixture(scope="module")
def tree() -> MarginalModel:
    return fitted(make_codes(3000), mu=3.0)


def _distance(one: Codes, other: Codes, layout: Layout = LAYOUT) -> float:
    """Mean two-way total variation."""
    gaps = []
    for a, b in combinations(range(len(layout.widths)), 2):
        tables = [
            np.histogram2d(codes[:, a], codes[:, b], (layout.widths[a], layout.widths[b]))[0] / len(codes)
            for codes in (one, other)
        ]
        gaps.append(0.5 * np.abs(tables[0] - tables[1]).sum())
    return float(np.mean(gaps))


def _shuffled(rows: Codes) -> Codes:
    rng = np.random.default_rng(4)
    return np.stack([rng.permutation(column) for column in rows.T], axis=1)


def _released(generator: Tvae | Ctgan, weights: Weights) -> Weights:
    return generator.release(weights, generator.start(weights))


@pytest.mark.parametrize(("workload", "told"), [(WORKLOAD, 2), (OUTCOME, 3), (PLAIN, None)])
def test_pair_shares_are_those_of_the_trees_rows(workload: Workload, told: int | None) -> None:
    assert told_block(workload) == told
    tree = fitted(make_codes(3000), workload)
    shares = pair_shares(tree, LAYOUT, workload)
    rows = tree.sample(100_000, 1)
    onehot = np.concatenate([np.eye(width)[rows[:, block]] for block, width in enumerate(LAYOUT.widths)], axis=1)
    np.testing.assert_allclose(shares.sum(0), onehot.T @ onehot / len(rows), atol=0.006)
    np.testing.assert_allclose(shares, shares.transpose(0, 2, 1))
    assert len(shares) == {2: 2, 3: 3, None: 1}[told]
    if told is not None:
        event = rows[:, told] % 2 == 1  # of the token: events; of the outcome: its second level
        np.testing.assert_allclose(shares[1], onehot[event].T @ onehot[event] / len(rows), atol=0.006)


@both
def test_a_warm_network_draws_what_the_tree_draws(kind: str, tree: MarginalModel) -> None:
    generator = make_generator(kind)
    warm = _released(generator, distil(generator, tree, LAYOUT, workload=WORKLOAD, seed=1, steps=300))
    drawn = generator.sample(warm, LAYOUT, rows=20_000, seed=2)
    rows = tree.sample(20_000, 3)
    assert _distance(drawn, rows) < 0.2 * _distance(_shuffled(rows), rows)
    shares = np.bincount(drawn[:, 2], minlength=6) / len(drawn)
    np.testing.assert_allclose(shares, marginal(tree, (2,)), atol=0.012)


@both
def test_warm_weights_are_those_of_a_told_network_and_repeat(kind: str, tree: MarginalModel) -> None:
    generator = make_generator(kind)
    first, again = (distil(generator, tree, LAYOUT, workload=WORKLOAD, seed=1, steps=20) for _ in range(2))
    like = generator.init(LAYOUT, seed=9, given=WORKLOAD.centre)
    assert {name: value.shape for name, value in first.items()} == {name: value.shape for name, value in like.items()}
    assert list(first) == list(like)
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)
    assert all(value.dtype == np.float32 for value in first.values())


@pytest.mark.parametrize(("workload", "given"), [(OUTCOME, 3), (PLAIN, None)], ids=["outcome", "nothing"])
def test_without_a_token_the_network_is_told_the_outcome_or_nothing(workload: Workload, given: int | None) -> None:
    tree = fitted(make_codes(3000), workload, mu=3.0)
    generator = make_generator("tvae")
    weights = distil(generator, tree, LAYOUT, workload=workload, seed=1, steps=300)
    assert list(weights) == list(generator.init(LAYOUT, seed=1, given=given))
    drawn = generator.sample(_released(generator, weights), LAYOUT, rows=20_000, seed=2)
    rows = tree.sample(20_000, 3)
    assert _distance(drawn, rows) < 0.5 * _distance(_shuffled(rows), rows)


@both
def test_calibration_mends_what_noise_blurred(kind: str, tree: MarginalModel) -> None:
    generator = make_generator(kind)
    warm = _released(generator, distil(generator, tree, LAYOUT, workload=WORKLOAD, seed=1, steps=300))
    rng = np.random.default_rng(5)
    blurred = {
        name: value if name.endswith("condition") else value + rng.normal(0, 0.1, value.shape).astype(np.float32)
        for name, value in warm.items()
    }
    mended = calibrate(generator, blurred, tree, LAYOUT, workload=WORKLOAD, seed=6)
    rows = tree.sample(20_000, 3)
    far, near = (_distance(generator.sample(w, LAYOUT, rows=20_000, seed=2), rows) for w in (blurred, mended))
    assert near < 0.6 * far


@both
def test_calibration_refuses_a_network_that_was_told_something_else(kind: str, tree: MarginalModel) -> None:
    generator = make_generator(kind)
    cold = _released(generator, generator.init(LAYOUT, seed=1))
    with pytest.raises(TrainingError, match="distil"):
        calibrate(generator, cold, tree, LAYOUT, workload=WORKLOAD, seed=1)


@both
@pytest.mark.parametrize("sigma", [2.0, 0.0], ids=["private", "noise off"])
def test_training_goes_on_from_warm_weights_and_keeps_the_condition(
    kind: str, sigma: float, tree: MarginalModel, plan: Plan
) -> None:
    generator = make_generator(kind)
    plan = replace(plan, noise_multiplier=sigma)
    weights = distil(generator, tree, LAYOUT, workload=WORKLOAD, seed=1, steps=20)
    name = generator.released_prefix + "condition"
    stint = generator.stint(weights, LAYOUT, make_codes(60), plan, round_index=0, noise_key=KEY)
    assert list(stint.change) == list(weights)
    assert not stint.change[name].any()
    moved, state = generator.apply(weights, generator.start(weights), stint.change, LAYOUT, plan, round_index=0, seed=1)
    released = generator.release(moved, state)
    np.testing.assert_allclose(released[name], weights[name], rtol=1e-6)
    assert any(not np.array_equal(moved[n], weights[n]) for n in weights)
    if sigma:  # what ships moves in small steps: Adam's first is its rate
        step = max(np.abs(moved[n] - weights[n]).max() for n in weights if n.startswith(generator.released_prefix))
        assert 0 < step <= 0.0011
    assert generator.sample(released, LAYOUT, rows=10, seed=1).shape == (10, len(LAYOUT.widths))
