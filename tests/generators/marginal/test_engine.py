"""Fitting: exact without noise, the same for the same sums, sensible under noise, and blind to rows."""

import inspect
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from synthfed.generators import marginal as package
from synthfed.generators.base import Layout
from synthfed.generators.marginal import MarginalModel, NoisyTables, Workload, fit
from synthfed.generators.marginal.model import marginal
from tests.generators.marginal.worlds import LAYOUT, WORKLOAD, fitted, make_codes, measure, shares

PLAIN = Workload(centre=None)
WORKLOADS = {"centre": WORKLOAD, "plain tree": PLAIN, "outcomes only": Workload(centre=None, outcomes=(0, 3))}


def _bytes(model: MarginalModel) -> bytes:
    return b"".join(name.encode() + tensor.tobytes() for name, tensor in model.to_weights().items())


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_without_noise_the_joined_tables_are_reproduced(workload: Workload) -> None:
    """Every block alone, with the centre, and with its parents in the tree."""
    codes = make_codes(3000)
    model = fitted(codes, workload)
    for block, parents in zip(model.structure.order, model.structure.parents, strict=True):
        np.testing.assert_allclose(marginal(model, (block,)), shares(codes, (block,)), atol=1e-5)
        for parent in parents:
            np.testing.assert_allclose(marginal(model, (parent, block)), shares(codes, (parent, block)), atol=1e-4)


def test_the_centre_is_a_parent_of_every_block() -> None:
    structure = fitted(make_codes(300), mu=1.0).structure
    assert structure.order[0] == WORKLOAD.centre
    assert all(WORKLOAD.centre in parents for parents in structure.parents[1:])


def test_outcomes_are_parents_of_what_speaks_of_them() -> None:
    """A target is predicted from many blocks, and a tree would give it a few neighbours only."""
    codes = make_codes(3000)
    model = fitted(codes)
    for place, parents in enumerate(model.structure.parents[2:], start=2):
        assert set(parents) >= {2, 3}
        joint = marginal(model, (3, model.structure.order[place]))
        np.testing.assert_allclose(joint, shares(codes, (3, model.structure.order[place])), atol=1e-4)


def test_an_outcome_that_says_nothing_is_no_parent_in_effect() -> None:
    codes = make_codes(3000)
    codes[:, 3] = np.random.default_rng(9).integers(0, 3, 3000)
    model = fitted(codes, mu=5.0)
    for parents, parts in zip(model.structure.parents[2:], model.potentials[2:], strict=True):
        assert not parts[parents.index(3)].any()


def test_pairs_in_focus_are_joined() -> None:
    """Even when nothing in the counts speaks for them."""
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, width, 500) for width in LAYOUT.widths], axis=1).astype(np.int32)
    codes[:, 1] = codes[:, 4] % 4
    for centre in (2, None):
        workload = replace(WORKLOAD, centre=centre, outcomes=(), focus=((0, 3), (0, 4)))
        structure = fitted(codes, workload).structure
        pairs = {
            frozenset((block, parent))
            for block, parents in zip(structure.order, structure.parents, strict=True)
            for parent in parents
        }
        assert {frozenset((0, 3)), frozenset((0, 4))} <= pairs


def test_equal_noisy_counts_give_equal_bytes() -> None:
    measured = measure(make_codes(300), WORKLOAD, 1.0)
    copies = [replace(noisy, counts=noisy.counts.copy()) for noisy in measured]
    assert _bytes(fit(LAYOUT, WORKLOAD, measured, patients=300)) == _bytes(fit(LAYOUT, WORKLOAD, copies, patients=300))
    other = measure(make_codes(300), WORKLOAD, 1.0, seed=1)
    assert _bytes(fit(LAYOUT, WORKLOAD, measured, patients=300)) != _bytes(fit(LAYOUT, WORKLOAD, other, patients=300))


def test_only_counting_sees_rows() -> None:
    """No public function of another module takes codes."""
    for name in package.__all__:
        thing = getattr(package, name)
        if callable(thing) and not isinstance(thing, type) and not thing.__module__.endswith(".counting"):
            assert "codes" not in inspect.signature(thing).parameters


@pytest.mark.parametrize("mu", [0.05, 0.3, 1.0])
def test_noise_never_breaks_the_model(mu: float) -> None:
    model = fitted(make_codes(60), mu=mu, seed=3)
    rows = model.sample(500, 1)
    assert (rows >= 0).all()
    assert (rows < LAYOUT.widths).all()
    assert all(np.isfinite(part).all() for parts in model.potentials for part in parts)


def test_noise_alone_gives_independent_columns() -> None:
    """Tables that show nothing beyond noise are shrunk to independence, not copied into the model."""
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, width, 400) for width in LAYOUT.widths], axis=1).astype(np.int32)
    model = fitted(codes, mu=0.2)
    for pair in [(2, 0), (2, 3), (0, 3)]:
        joint = marginal(model, pair)
        independent = np.outer(joint.sum(1), joint.sum(0))
        assert np.abs(joint - independent).sum() / 2 < 0.08


def test_less_noise_is_closer_to_the_rows() -> None:
    codes = make_codes(1000)
    distances = [
        np.mean(
            [
                np.abs(marginal(fitted(codes, mu=mu, seed=seed), (2, block)) - shares(codes, (2, block))).sum()
                for block in (0, 1, 3, 4)
                for seed in range(4)
            ]
        )
        for mu in (0.1, 0.5, 5.0)
    ]
    assert distances[0] > distances[1] > distances[2]


def test_a_second_table_of_a_pair_counts_by_its_precision() -> None:
    codes = make_codes(2000)
    first, again = measure(codes, WORKLOAD, 100.0)
    wrong = replace(again, tables=tuple(replace(table, stddev=1e6) for table in again.tables), counts=0 * again.counts)
    good = fit(LAYOUT, WORKLOAD, [first], patients=2000)
    spoilt = fit(LAYOUT, WORKLOAD, [first, wrong], patients=2000)
    np.testing.assert_allclose(marginal(good, (2, 4)), marginal(spoilt, (2, 4)), atol=1e-3)


def test_one_block_alone_can_be_fitted() -> None:
    layout = Layout(("age",), (3,))
    table = package.shot(layout, PLAIN, mu=np.inf, sites=1)
    model = fit(layout, PLAIN, [NoisyTables(table, np.array([1.0, 2.0, 1.0]), 1)], patients=4)
    np.testing.assert_allclose(marginal(model, (0,)), [0.25, 0.5, 0.25])


def test_the_package_loads_without_torch() -> None:
    code = "import sys, synthfed.generators.marginal; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
