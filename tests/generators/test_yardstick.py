"""Noisy counts as a yardstick: fair to patients, blind to noise that was learned, and as sure of itself as it says."""

import numpy as np
import pytest

from synthfed.generators.base import Codes, Layout
from synthfed.generators.marginal import NoisyTables, Workload, fit, shot
from synthfed.generators.yardstick import FITTED, HELD_BACK, KINDS, PIECE, Draw, Yardstick, shuffled
from tests.generators.marginal.worlds import LAYOUT, WORKLOAD, make_codes, measure, noised

PATIENTS = 2000
CODES = make_codes(PATIENTS)


def _themselves(codes: Codes) -> Draw:
    """Draws of the patients themselves, each as often as any other."""
    return lambda rows, seed: np.tile(codes, (rows // len(codes), 1))


def _stick(mu: float, seed: int = 0) -> tuple[Yardstick, Draw]:
    rounds = measure(CODES, WORKLOAD, mu, seed)
    model = fit(LAYOUT, WORKLOAD, rounds, patients=PATIENTS)
    return Yardstick.of(rounds, model, WORKLOAD), model.sample


def test_patients_have_the_misfit_of_the_noise_alone_and_columns_without_ties_a_large_one() -> None:
    stick, tree = _stick(1.0)
    assert PIECE % PATIENTS == 0
    real, chance = (stick.expected(draw, seed=1) for draw in (_themselves(CODES), shuffled(tree)))
    assert {part.kind for part in stick.parts} == set(KINDS)
    assert stick.total == pytest.approx(PATIENTS, rel=0.05)
    for kinds in (FITTED, HELD_BACK):
        gap = stick.compare(real, chance, kinds)
        assert abs(gap.one - 1) < 5 * np.sqrt(2 / gap.cells)
        assert gap.other > gap.one + 3 * gap.error


def test_a_model_that_learned_the_noise_looks_good_where_it_learned_and_not_where_counts_were_held_back() -> None:
    """Mean over noise: the tree is below the patients on its own counts, above them on the others."""
    fitted, held = [], []
    for seed in range(20):
        stick, tree = _stick(0.5, seed)
        real, drawn = (stick.expected(draw, seed=seed) for draw in (_themselves(CODES), tree))
        fitted.append(stick.compare(real, drawn, FITTED))
        held.append(stick.compare(real, drawn, HELD_BACK))
    assert np.mean([gap.other - gap.one for gap in fitted]) < -0.02
    assert np.mean([gap.other - gap.one for gap in held]) > 0


def test_the_error_is_that_of_the_noise() -> None:
    """Two fixed models, many draws of the noise: the difference spreads as it is said to."""
    tables = shot(LAYOUT, WORKLOAD, mu=1.0, sites=1)
    model = fit(LAYOUT, WORKLOAD, [noised(CODES, tables, np.random.default_rng(0))], patients=PATIENTS)
    gaps = []
    for seed in range(200):
        stick = Yardstick.of([noised(CODES, tables, np.random.default_rng(seed))], model, WORKLOAD)
        if not gaps:
            one, other = (stick.expected(draw, seed=1) for draw in (model.sample, shuffled(model.sample)))
        gaps.append(stick.compare(one, other, FITTED))
    differences = [gap.other - gap.one for gap in gaps]
    assert np.std(differences) == pytest.approx(np.mean([gap.error for gap in gaps]), rel=0.2)


def test_single_columns_move_nothing_that_is_held_back() -> None:
    """Row and column sums are fitted; adding to them leaves the misfit of held-back pairs as it is."""
    stick, tree = _stick(1.0)
    (part, *_) = [part for part in stick.parts if part.kind == "held back"]
    expected = stick.expected(tree, seed=1)
    moved = expected.copy()
    rows, columns = part.counts.shape
    moved[part.place] += (np.arange(rows)[:, None] * 7.0 + np.arange(columns) * 3.0).ravel()
    np.testing.assert_allclose(part.misfit(moved), part.misfit(expected), atol=1e-9)
    assert part.degrees == (rows - 1) * (columns - 1)


def test_flags_that_were_counted_together_are_split_by_the_pairs_that_the_tree_joins() -> None:
    flags = 16
    layout = Layout(("os", *(f"gene {index}" for index in range(flags))), (4, *(3,) * flags))
    rng = np.random.default_rng(3)
    codes = np.column_stack([rng.integers(0, 4, 1000), *(rng.random(1000) < 0.1 for _ in range(flags))])
    workload = Workload(centre=None, outcomes=(0,), flags=tuple(range(1, flags + 1)), patients=1000)
    rounds = measure(codes.astype(np.int32), workload, 0.5, layout=layout)
    model = fit(layout, workload, rounds, patients=1000)
    stick = Yardstick.of(rounds, model, workload)
    packed = [part for part in stick.parts if part.chosen is not None]
    assert [part.kind for part in packed] == ["joined", "held back"]
    assert sum(part.degrees for part in packed) == flags * (flags - 1) // 2
    assert 0 < packed[0].degrees < packed[1].degrees
    gap = stick.compare(*(stick.expected(_themselves(codes.astype(np.int32)), seed=1) for _ in range(2)), KINDS)
    assert abs(gap.one - 1) < 5 * np.sqrt(2 / gap.cells)
    assert gap.error == 0


def test_without_cells_there_is_no_verdict() -> None:
    layout = Layout(("sex", "age"), (2, 4))
    codes = CODES[:, :2]
    workload = Workload(centre=None)
    rounds: tuple[NoisyTables, ...] = measure(codes, workload, 1.0, layout=layout)
    stick = Yardstick.of(rounds, fit(layout, workload, rounds, patients=PATIENTS), workload)
    same = stick.expected(_themselves(codes), seed=1)
    assert stick.compare(same, same, HELD_BACK).cells == 0
    assert stick.compare(same, same, FITTED).cells > 0
