"""Sums of scores: no record weighs more than is paid for, and they find what tables of counts lose in noise."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthfed.generators.base import Codes, Layout, SharedNoise
from synthfed.generators.marginal import ScoreTable, Workload, count, fit, mu_squared, remeasure, shot
from synthfed.generators.marginal.axes import Axis
from synthfed.generators.marginal.counting import SCORE_UNIT, CountTable, NoisyTables
from synthfed.generators.marginal.evidence import gather
from synthfed.generators.marginal.model import marginal
from synthfed.generators.marginal.scores import score_count, score_table
from synthfed.generators.marginal.structure import denoise
from synthfed.generators.shared import count_scales
from tests.generators.marginal.worlds import AXES, LAYOUT, WORKLOAD, make_codes, measure, noised, shares

CENTRE = 2
records = st.tuples(*(st.integers(0, width - 1) for width in LAYOUT.widths))


def _score_table(reach: int, seed: int, stddev: float = 1.0) -> ScoreTable:
    """Any scores at all: what a site is sent need not be what `score_table` makes."""
    rng = np.random.default_rng(seed)
    blocks = tuple(block for block in range(5) if block != CENTRE)
    scores = tuple(
        tuple(
            tuple(int(score) for score in rng.integers(-4 * SCORE_UNIT, 4 * SCORE_UNIT + 1, LAYOUT.widths[block]))
            for _ in range(rng.integers(1, 4))
        )
        for block in blocks
    )
    contrast = tuple(int(one) for one in rng.integers(-SCORE_UNIT, SCORE_UNIT + 1, LAYOUT.widths[CENTRE]))
    return ScoreTable(blocks, scores, CENTRE, contrast, reach, stddev)


@given(st.lists(records, max_size=10), records, st.integers(1, 2**22), st.integers(0, 50))
def test_no_record_moves_the_sums_by_more_than_is_paid_for(
    rows: list[tuple[int, ...]], extra: tuple[int, ...], reach: int, seed: int
) -> None:
    codes = np.array([*rows, extra], dtype=np.int32).reshape(-1, 5)
    table = _score_table(reach, seed)
    moved = count(codes, LAYOUT, [table]) - count(codes[:-1], LAYOUT, [table])
    assert int((moved**2).sum()) <= reach == table.reach_squared
    assert mu_squared([replace(table, stddev=3.0)]) == pytest.approx(reach / 9)


def test_scaled_up_for_shared_noise_no_record_moves_them_by_more_than_is_paid_for() -> None:
    split = SharedNoise(1, 0, 0, 2.0**30)
    for seed in range(20):
        table = _score_table(40_000, seed, stddev=500.0)
        scales = count_scales(np.full(math.prod(table.shape(LAYOUT)), table.stddev), split)
        for record in make_codes(20, seed):
            moved = np.linalg.norm(count(record[None], LAYOUT, [table]) * scales.astype(float))
            assert moved <= 2.0**30 * math.sqrt(mu_squared([table]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"blocks": ()}, "block indices"),
        ({"blocks": (1, 0, 3, 4)}, "block indices"),
        ({"by": 1}, "another block"),
        ({"scores": ()}, "scores? per level"),
        ({"scores": (((1,),), ((1, 2), (1,)), ((1,),), ((1,),))}, "scores? per level"),
        ({"scores": (((10**6,),),) * 4}, "scores? per level"),
        ({"contrast": (SCORE_UNIT + 1,)}, "contrasts"),
        ({"reach": 0}, "reach"),
        ({"stddev": math.nan}, "stddev"),
    ],
)
def test_a_table_that_is_none_is_refused(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(_score_table(100, 0), **change)  # type: ignore[arg-type]


def test_scores_say_trends_levels_and_flags_around_their_means() -> None:
    codes = make_codes(4000)
    one_way = tuple(shares(codes, (block,)) for block in range(5))
    table = score_table(AXES, (3,), CENTRE, one_way)
    by_block = dict(zip(table.blocks, table.scores, strict=True))
    assert [len(by_block[block]) for block in (0, 1, 3, 4)] == [1, 1, 1, 2]
    assert score_count(AXES, (3,), CENTRE) == 5 == table.shape(LAYOUT)[0]
    assert list(by_block[1][0]) == sorted(by_block[1][0])
    assert by_block[3][0][2] == 0  # a flag that is missing says nothing
    assert by_block[4][1][4] > 0 > by_block[4][1][0]  # missing has a score of its own
    for block, rows in by_block.items():
        seen = one_way[block][:2] / one_way[block][:2].sum() if block == 3 else one_way[block]
        for row in rows:
            assert abs(np.array(row)[: len(seen)] @ seen) <= 1
    events = one_way[CENTRE][1::2].sum()
    assert table.contrast[1] / table.contrast[0] == pytest.approx((events - 1) / events, rel=0.02)
    usual = np.linalg.norm(np.concatenate([np.array(rows)[:, codes[:, b]] for b, rows in by_block.items()]), axis=0)
    assert table.reach == pytest.approx((usual**2).mean(), rel=0.05)


def test_categories_have_a_score_per_level() -> None:
    axes = (Axis((0, 1, 0, 1), (0, 0, 1, 1), True), Axis((0, 0, 0, 1)))
    table = score_table(axes, (), 0, (np.full(4, 0.25), np.full(4, 0.25)))
    assert len(table.scores[0]) == 4


def test_without_noise_they_change_nothing() -> None:
    """Exact tables beside them already say it all."""
    codes = make_codes(2000)
    plain = tuple(CountTable((block,), 0.0) for block in range(5))
    pairs = tuple(CountTable((min(CENTRE, block), max(CENTRE, block)), 0.0) for block in range(5) if block != CENTRE)
    one_way = tuple(shares(codes, (block,)) for block in range(5))
    scores = replace(score_table(AXES, (), CENTRE, one_way), reach=2**30, stddev=float(SCORE_UNIT))
    for tables in ((*plain, *pairs), (*plain, *pairs, scores)):
        found = gather(
            LAYOUT, AXES, [NoisyTables(tables, count(codes, LAYOUT, tables).astype(float), 1)], patients=None
        )
        for block, joint in denoise(found, AXES, CENTRE, ()).by_centre.items():
            np.testing.assert_allclose(joint, shares(codes, (CENTRE, block)), atol=2e-4)


def _trend(rows: int) -> tuple[Layout, Workload, Codes]:
    """The event goes with the first of twenty numbers, and with nothing else."""
    layout = Layout(("os", *(f"number {index}" for index in range(20))), (4, *[8] * 20))
    axes = (Axis((0, 1, 0, 1), (0, 0, 1, 1), True), *[Axis((0,) * 8, tuple(range(8)))] * 20)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 8, (rows, 21)).astype(np.int32)
    event = rng.random(rows) < 0.2 + 0.08 * codes[:, 1]
    codes[:, 0] = 2 * rng.integers(0, 2, rows) + event
    return layout, Workload(0, (), (), axes, rows), codes


def test_a_trend_is_found_through_noise_that_drowns_its_table() -> None:
    """400 patients, epsilon 1 at delta 1e-5; without the scores the same budget finds a third of it."""
    layout, workload, codes = _trend(400)

    def slope(joint: np.ndarray) -> float:
        event = joint[1::2].sum(0) / joint.sum(0)
        return float(np.polyfit(np.arange(8), event, 1)[0])

    found, lost = [], []
    for seed in range(4):
        both = measure(codes, workload, 0.27, seed, layout)
        assert isinstance(both[1].tables[0], ScoreTable)
        found.append(slope(marginal(fit(layout, workload, both, patients=400), (0, 1))))
        first = noised(codes, shot(layout, workload, mu=0.27, sites=1), np.random.default_rng(seed), layout)
        lost.append(slope(marginal(fit(layout, workload, [first], patients=400), (0, 1))))
    assert np.mean(found) > 0.03
    assert np.mean(found) > 1.5 * np.mean(lost)


def test_a_rare_event_is_contrasted_around_its_share() -> None:
    """Else the sums would say how many patients there are, and not how the event goes with what they have."""
    layout, workload, codes = _trend(3000)
    rng = np.random.default_rng(1)
    codes[:, 0] = 2 * rng.integers(0, 2, 3000) + (rng.random(3000) < 0.03)
    first = noised(codes, shot(layout, workload, mu=1.0, sites=1), rng, layout)
    table = remeasure(layout, workload, first, mu=1.0)[0]
    assert isinstance(table, ScoreTable)
    sums = count(codes, layout, [table]) / table.unit
    assert np.abs(sums).max() < 0.03 * 3000
    assert WORKLOAD.centre == CENTRE
