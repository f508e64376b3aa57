"""Columns in focus: their joint table is kept, others pay with noise alone, and what cannot be kept is named."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthfed.errors import ModelError, PipelineError, UnknownColumn
from synthfed.generators.base import Layout
from synthfed.generators.marginal import MarginalModel, NoisyTables, Workload, fit, mu_squared, shot, workload_of
from synthfed.generators.marginal.axes import Axis
from synthfed.generators.marginal.evidence import gather
from synthfed.generators.marginal.focus import MOST_CELLS, in_order, parts_of, ring
from synthfed.generators.marginal.model import marginal
from synthfed.generators.marginal.structure import denoise
from synthfed.tables.transform import public_transformer
from tests.generators.marginal.test_workload import SCHEMA
from tests.generators.marginal.worlds import LAYOUT, WORKLOAD, fitted, make_codes, measure, shares

NO_CENTRE = replace(WORKLOAD, centre=None, outcomes=())


def parity(rows: int, seed: int = 0) -> np.ndarray:
    """Independent columns, but for blocks 0, 1 and 4: any two say nothing of the third, and both together much."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, width, rows) for width in LAYOUT.widths], axis=1).astype(np.int32)
    hit = rng.random(rows) < 0.7
    codes[hit, 0] = (codes[hit, 1] + codes[hit, 4]) % 2
    return codes


@pytest.mark.parametrize("workload", [WORKLOAD, NO_CENTRE, replace(WORKLOAD, outcomes=(3, 0))], ids=str)
@pytest.mark.parametrize(
    "focus",
    [((0, 1, 4),), ((0, 2, 4),), ((1, 3, 4),), ((0, 1, 3, 4),), ((0, 2, 3),), ((0, 1, 4), (0, 3, 4)), ((0, 1), (1, 4))],
    ids=str,
)
def test_without_noise_the_joint_of_a_focus_is_reproduced(
    workload: Workload, focus: tuple[tuple[int, ...], ...]
) -> None:
    """Beside whatever else: with the centre, with outcomes, of four columns, and of two that share columns."""
    codes = make_codes(3000)
    model = fitted(codes, replace(workload, focus=focus))
    for blocks in focus:
        np.testing.assert_allclose(marginal(model, blocks), shares(codes, blocks), atol=1e-4)


def test_what_no_pair_shows_is_kept_in_focus_only() -> None:
    codes = parity(4000)
    truth = shares(codes, (0, 1, 4))
    distances = [
        float(np.abs(marginal(fitted(codes, replace(NO_CENTRE, focus=focus), mu=2.0), (0, 1, 4)) - truth).sum() / 2)
        for focus in ((), ((0, 1, 4),))
    ]
    assert distances[0] > 0.3
    assert distances[1] < 0.05


def test_a_focus_that_shows_nothing_but_noise_is_shrunk() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, width, 400) for width in LAYOUT.widths], axis=1).astype(np.int32)
    workload = replace(NO_CENTRE, focus=((0, 1, 4),))
    distances = np.zeros((4, 2))
    for seed in range(4):
        measured = measure(codes, workload, 0.15, seed)
        raw = gather(LAYOUT, WORKLOAD.axes, measured, patients=400).sets[0, 1, 4].counts / 400
        joint = marginal(fit(LAYOUT, workload, measured, patients=400), (0, 1, 4))
        distances[seed] = [np.abs(table - 1 / table.size).sum() / 2 for table in (raw, joint)]
    assert distances[:, 1].mean() < 0.4 * distances[:, 0].mean()


@pytest.mark.parametrize("blocks", [(0, 1, 4), (0, 2, 4), (0, 1, 3, 4)])
def test_joints_of_a_focus_agree_with_those_of_its_pairs(blocks: tuple[int, ...]) -> None:
    """Under noise too: the tree is fitted to both."""
    workload = replace(WORKLOAD, focus=(blocks,))
    evidence = gather(LAYOUT, WORKLOAD.axes, measure(make_codes(500), workload, 1.0), patients=500)
    joints = denoise(evidence, WORKLOAD.axes, workload.centre, workload.outcomes, workload.focus)
    assert set(joints.focus) == set(parts_of([blocks]))
    for part, joint in joints.focus.items():
        assert joint.sum() == pytest.approx(1)
        assert (joint > 0).all()
        for a, b in combinations(range(len(part)), 2):
            pair = joint.sum(axis=tuple(axis for axis in range(len(part)) if axis not in (a, b)))
            wanted = joints.of_pair(part[a], part[b], workload.centre, evidence.one_way)
            np.testing.assert_allclose(pair, wanted, atol=2e-4)


def test_a_focus_is_paid_for_by_the_others_tables() -> None:
    plain, focused = (shot(LAYOUT, replace(WORKLOAD, focus=focus), mu=1.0, sites=3) for focus in ((), ((0, 1, 4),)))
    assert mu_squared(plain) == pytest.approx(mu_squared(focused))
    asked = [table for table in focused if table.blocks == (0, 1, 4)]
    assert len(asked) == 1
    stddevs = {table.blocks: table.stddev for table in plain if table.blocks in ((0,), (0, 1))}
    for table in focused:
        if table.blocks in stddevs:
            assert stddevs[table.blocks] < table.stddev < 1.2 * stddevs[table.blocks]


def test_margins_of_a_focus_tell_of_its_pairs_and_columns() -> None:
    table = next(t for t in shot(LAYOUT, replace(WORKLOAD, focus=((0, 1, 4),)), mu=1.0, sites=1) if len(t.blocks) == 3)
    counts = np.arange(2 * 4 * 5, dtype=float)
    found = gather(LAYOUT, WORKLOAD.axes, [NoisyTables((table,), counts, 1)], patients=None)
    cube, variance = counts.reshape(2, 4, 5), table.stddev**2
    for pair, axis, folded in (((0, 1), 2, 5), ((0, 4), 1, 4), ((1, 4), 0, 2)):
        np.testing.assert_allclose(found.pairs[pair].counts, cube.sum(axis=axis))
        assert found.pairs[pair].variance == pytest.approx(folded * variance)
    np.testing.assert_allclose(found.sets[0, 1, 4].counts, cube)


def test_rings_are_found() -> None:
    assert ring([(0, 1), (1, 2), (2, 3)]) == ()
    assert ring([(0, 1, 2), (1, 2, 3), (2, 3, 4)]) == ()
    assert ring([(0, 1), (1, 2), (0, 2), (0, 1, 2)]) == ()
    assert set(ring([(0, 1), (1, 2), (0, 2), (2, 3)])) == {(0, 1), (1, 2), (0, 2)}
    assert set(ring([(0, 1, 2), (2, 3, 4), (0, 4)])) == {(0, 1, 2), (2, 3, 4), (0, 4)}


@given(st.lists(st.sets(st.integers(0, 6), min_size=2, max_size=4).map(lambda one: tuple(sorted(one))), max_size=5))
def test_a_tree_holds_every_focus_unless_they_close_a_ring(focus: list[tuple[int, ...]]) -> None:
    """What a block shares with those placed before it lies in one clique, whichever block comes first."""
    for first in range(7):
        cliques = [{first}]
        for block, beside in in_order(focus, first):
            held = any(set(beside) <= clique for clique in cliques)
            assert held or ring(focus)
            cliques.append({block, *beside})
        reached = set().union(*cliques)
        if not ring(focus):
            assert all(any(set(one) <= clique for clique in cliques) for one in focus if set(one) & reached)


def test_a_focus_is_named_by_columns() -> None:
    transformer = public_transformer(SCHEMA)
    focus = [("NPM1", "stage", "os_days"), ("stage", "os_event")]
    names = transformer.names
    places = [tuple(sorted(map(names.index, one))) for one in (("NPM1", "stage", "os"), ("stage", "os"))]
    assert workload_of(SCHEMA, transformer, [], focus=focus).focus == tuple(sorted(places))


@pytest.mark.parametrize(
    ("focus", "error", "message"),
    [
        ([("age", "weight")], UnknownColumn, r"generator.focus names \['weight'\].*it learns: age"),
        ([("os_days", "os_event")], PipelineError, "coded as one"),
        ([("age", "stage"), ("stage", "NPM1"), ("NPM1", "age")], PipelineError, "closes a ring.*'age', 'stage'.*name"),
    ],
)
def test_a_focus_that_cannot_be_kept_is_refused(
    focus: list[tuple[str, ...]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        workload_of(SCHEMA, public_transformer(SCHEMA), [], focus=focus)


def test_a_focus_of_too_many_cells_is_refused_with_their_number() -> None:
    transformer = public_transformer(SCHEMA)
    cells = int(np.prod(transformer.widths))
    assert cells > MOST_CELLS
    with pytest.raises(PipelineError, match=rf"= {cells} cells, at most {MOST_CELLS}.*leave a column out"):
        workload_of(SCHEMA, transformer, [], focus=[("age", "stage", "NPM1", "os_days")])


def test_weights_whose_focus_the_structure_does_not_hold_are_refused() -> None:
    model = fitted(make_codes(300), replace(NO_CENTRE, focus=((0, 1, 4),)), mu=2.0)
    weights = model.to_weights()
    assert MarginalModel.from_weights(weights, LAYOUT).structure == model.structure
    weights["tree.focus"] = np.array([[0, 2, 3]], dtype=np.float32)
    with pytest.raises(ModelError, match=r"focus.*does not hold together"):
        MarginalModel.from_weights(weights, LAYOUT)


def test_blocks_that_all_lie_in_one_focus_are_a_table() -> None:
    layout = Layout(("a", "b", "c"), (2, 2, 3))
    axes = tuple(Axis((0,) * width) for width in layout.widths)
    codes = parity(1000)[:, [0, 1, 3]]
    workload = Workload(centre=None, focus=((0, 1, 2),), axes=axes)
    codes[:, 1] %= 2
    model = fit(layout, workload, measure(codes, workload, np.inf, layout=layout), patients=1000)
    np.testing.assert_allclose(marginal(model, (0, 1, 2)), shares(codes, (0, 1, 2), layout), atol=1e-5)
