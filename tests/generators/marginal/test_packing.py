"""Many rare flags in one table: paid for like a few, and read like one table each."""

import math
from dataclasses import replace

import numpy as np
import pytest

from synthfed.generators.base import Codes, Layout, SharedNoise
from synthfed.generators.marginal import (
    CountTable,
    PackedTable,
    Workload,
    cells_of,
    count,
    fit,
    mu_squared,
    remeasure,
    remeasure_cells_at_most,
    shot,
    workload_of,
)
from synthfed.generators.marginal.axes import Axis
from synthfed.generators.marginal.counting import NoisyTables
from synthfed.generators.marginal.evidence import gather
from synthfed.generators.shared import count_scales
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import public_transformer
from tests.generators.marginal.worlds import measure, noised

FLAGS = 15
LAYOUT = Layout(("os", "sex", *(f"flag {index}" for index in range(FLAGS))), (4, 2, *[3] * FLAGS))
AXES = (Axis((0, 1, 0, 1), (0, 0, 1, 1), True), Axis((0, 0)), *[Axis((0, 0, 1))] * FLAGS)
WORKLOAD = Workload(0, (1,), (), AXES, 1000, tuple(range(2, 2 + FLAGS)))


def make_codes(rows: int, seed: int = 0) -> Codes:
    """Flags of 10 %, the first of patients with events only; a panel of all others is missing for some."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((rows, len(LAYOUT.widths)), dtype=np.int32)
    codes[:, 0] = rng.integers(0, 4, rows)
    codes[:, 1] = rng.integers(0, 2, rows)
    codes[:, 2:] = rng.random((rows, FLAGS)) < 0.1
    codes[:, 2] = (codes[:, 0] % 2) * (rng.random(rows) < 0.2)
    codes[rng.random(rows) < 0.08, 3:] = 2
    return codes


def test_many_flags_are_counted_together_and_few_are_not() -> None:
    tables = shot(LAYOUT, WORKLOAD, mu=0.5, sites=1)
    packed = [table for table in tables if isinstance(table, PackedTable)]
    assert {(table.by, table.cap) for table in packed} == {(0, 2), (1, 2), (None, 2)}
    plain = {table.blocks for table in tables if isinstance(table, CountTable)}
    assert not plain & {(a, b) for a in WORKLOAD.flags for b in WORKLOAD.flags}
    few = shot(LAYOUT, replace(WORKLOAD, flags=WORKLOAD.flags[:5]), mu=0.5, sites=1)
    assert few == shot(LAYOUT, replace(WORKLOAD, flags=()), mu=0.5, sites=1)
    assert all(isinstance(table, CountTable) for table in few)


@pytest.mark.parametrize(("mu", "patients"), [(math.inf, 1000), (2.0, 10_000)])
def test_with_little_noise_nothing_is_packed(mu: float, patients: int) -> None:
    workload = replace(WORKLOAD, patients=patients)
    assert all(isinstance(table, CountTable) for table in shot(LAYOUT, workload, mu=mu, sites=1))


@pytest.mark.parametrize("mu", [0.05, 0.7, 20.0])
def test_both_rounds_cost_what_they_may(mu: float) -> None:
    tables = shot(LAYOUT, WORKLOAD, mu=mu, sites=3)
    assert mu_squared(tables) == pytest.approx(mu**2)
    first = noised(make_codes(300), tables, np.random.default_rng(1), LAYOUT)
    again = remeasure(LAYOUT, WORKLOAD, first, mu=mu)
    assert mu_squared(again) == pytest.approx(mu**2)
    assert cells_of(again, LAYOUT) <= remeasure_cells_at_most(LAYOUT, WORKLOAD)


def test_flags_by_event_are_known_better_for_the_same_budget() -> None:
    together, apart = (
        {block: table for table in shot(LAYOUT, workload, mu=0.5, sites=1) for block in _by_event(table)}
        for workload in (WORKLOAD, replace(WORKLOAD, flags=()))
    )
    flag = WORKLOAD.flags[0]
    assert (together[flag].stddev / together[flag].unit) ** 2 < apart[flag].stddev ** 2 / 2
    assert together[1].stddev < apart[1].stddev


def _by_event(table: CountTable | PackedTable) -> tuple[int, ...]:
    if isinstance(table, PackedTable):
        return table.blocks if table.by == 0 else ()
    return table.blocks[1:] if table.blocks[0] == 0 and table.groups else ()


@pytest.mark.parametrize("by", [0, 1, None])
def test_a_packed_table_is_read_like_a_table_per_flag(by: int | None) -> None:
    """What was counted comes back to the count; what was not, missing or no, keeps its share."""
    codes = make_codes(4000)
    flags = WORKLOAD.flags
    tables = (
        *(CountTable((block,), 1.0) for block in range(len(LAYOUT.widths))),
        PackedTable(flags, by, len(flags), 1e-3, (0, 1, 0, 1) if by == 0 else ()),
    )
    found = gather(LAYOUT, AXES, [NoisyTables(tables, count(codes, LAYOUT, tables).astype(float), 1)], patients=None)
    assert found.one_way[flags[3]] == pytest.approx(np.bincount(codes[:, flags[3]], minlength=3) / 4000, abs=2e-3)
    if by is None:
        for a, b in ((flags[0], flags[1]), (flags[4], flags[9])):
            counts = found.pairs[a, b].counts
            assert counts[1, 1] == pytest.approx(((codes[:, a] == 1) & (codes[:, b] == 1)).sum(), abs=1)
            assert counts.sum() == pytest.approx(4000, rel=0.01)
        return
    groups = codes[:, by] % 2
    for block in flags:
        counts = found.grouped[by, block][2].counts if by == 0 else found.pairs[by, block].counts
        wanted = [((codes[:, block] == 1) & (groups == group)).sum() for group in (0, 1)]
        assert counts[:, 1] == pytest.approx(wanted, abs=1)
        assert counts.sum() == pytest.approx(4000, rel=0.01)


def test_a_flag_of_patients_with_events_stays_one() -> None:
    codes = make_codes(2000)
    model = fit(LAYOUT, WORKLOAD, measure(codes, WORKLOAD, 1.0, layout=LAYOUT), patients=2000)
    drawn = model.sample(20_000, 1)
    with_event = (drawn[:, 2] == 1) & (drawn[:, 0] % 2 == 1)
    assert with_event.sum() / (drawn[:, 2] == 1).sum() > 0.8
    assert (drawn[:, 2:] == 1).mean() == pytest.approx((codes[:, 2:] == 1).mean(), abs=0.015)


def test_scaled_up_for_shared_noise_no_record_moves_them_by_more_than_is_paid_for() -> None:
    tables = shot(LAYOUT, WORKLOAD, mu=0.5, sites=1)
    split = SharedNoise(1, 0, 0, 2.0**20)
    stddevs = np.repeat([table.stddev for table in tables], [math.prod(table.shape(LAYOUT)) for table in tables])
    scales = count_scales(stddevs, split)
    for positive in range(FLAGS + 1):
        codes = np.zeros((1, len(LAYOUT.widths)), dtype=np.int32)
        codes[0, 2 : 2 + positive] = 1
        moved = np.linalg.norm(count(codes, LAYOUT, tables) * scales.astype(float))
        assert moved <= 2.0**20 * 0.5


def test_flags_follow_from_the_schema() -> None:
    """Flags that may be missing; neither the outcome to predict nor one that is known of everybody."""
    schema = Schema(
        "made up",
        (
            Column("tested", "flag", missing="never"),
            Column("NPM1", "flag"),
            Column("TP53", "flag"),
            Column("stage", "ordinal", levels=("I", "II")),
            Column("os_days", "count", lower=0, upper=2000, missing="never", known_at="outcome"),
            Column("os_event", "flag", missing="never", known_at="outcome"),
        ),
        (Survival("os", "os_days", "os_event", primary=True),),
    )
    transformer = public_transformer(schema)
    workload = workload_of(schema, transformer, ["os_event", "NPM1"])
    assert [transformer.names[block] for block in workload.flags] == ["TP53"]
