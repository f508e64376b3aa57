"""Which tables are counted: public, within the budget, and never more cells than announced."""

import math
from dataclasses import replace

import numpy as np
import pytest

from synthfed.errors import UnknownColumn
from synthfed.generators.base import Layout
from synthfed.generators.marginal import (
    Workload,
    cells_of,
    mu_squared,
    remeasure,
    remeasure_cells_at_most,
    shot,
    workload_of,
)
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import public_transformer
from tests.generators.marginal.worlds import LAYOUT, WORKLOAD, make_codes, noised

SCHEMA = Schema(
    "made up",
    (
        Column("age", "count", lower=18, upper=100, missing="never"),
        Column("stage", "ordinal", levels=("I", "II", "III")),
        Column("NPM1", "flag"),
        Column("os_days", "count", lower=0, upper=2000, missing="never", known_at="outcome"),
        Column("os_event", "flag", missing="never", known_at="outcome"),
    ),
    (Survival("os", "os_days", "os_event", primary=True),),
)
WORKLOADS = {
    "centre": WORKLOAD,
    "plain tree": Workload(centre=None, outcomes=(1,)),
    "few patients": replace(WORKLOAD, patients=30),
    "nothing known": Workload(centre=2),
    "focus": replace(WORKLOAD, focus=((0, 1, 4), (1, 3, 4))),
    "focus of four": Workload(centre=2, focus=((0, 1, 2, 4),)),
}


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
@pytest.mark.parametrize("mu", [0.05, 0.7, 20.0])
def test_both_rounds_cost_what_they_may(workload: Workload, mu: float) -> None:
    tables = shot(LAYOUT, workload, mu=mu, sites=3)
    assert mu_squared(tables) == pytest.approx(mu**2)
    for seed in range(3):
        first = noised(make_codes(200, seed), tables, np.random.default_rng(seed))
        again = remeasure(LAYOUT, workload, first, mu=mu)
        assert mu_squared(again) == pytest.approx(mu**2)
        assert cells_of(again, LAYOUT) <= remeasure_cells_at_most(LAYOUT, workload)


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_without_privacy_there_is_no_noise(workload: Workload) -> None:
    tables = shot(LAYOUT, workload, mu=math.inf, sites=3)
    first = noised(make_codes(200), tables, np.random.default_rng(0))
    again = remeasure(LAYOUT, workload, first, mu=math.inf)
    assert {table.stddev for table in (*tables, *again)} == {0.0}
    assert cells_of(again, LAYOUT) <= remeasure_cells_at_most(LAYOUT, workload)


def test_the_first_round_sees_every_block_and_pair() -> None:
    blocks = {table.blocks for table in shot(LAYOUT, WORKLOAD, mu=1.0, sites=3)}
    assert {(block,) for block in range(5)} <= blocks
    assert {(a, b) for a in range(5) for b in range(a + 1, 5)} <= blocks


def test_tables_that_would_drown_leave_their_share_to_others() -> None:
    """With few patients pairs of columns say nothing, nor do counts by event; columns alone get what they leave."""
    many, few = (
        {(table.blocks, table.groups): table.stddev for table in shot(LAYOUT, workload, mu=0.3, sites=3)}
        for workload in (replace(WORKLOAD, patients=100_000), replace(WORKLOAD, patients=20))
    )
    pair, grouped, single = ((0, 1), ()), ((0, 2), ((), WORKLOAD.axes[2].groups)), ((0,), ())
    assert few[pair] > 2 * many[pair]
    assert few[grouped] > 2 * many[grouped]
    assert few[single] < many[single]


def test_equal_noisy_counts_ask_for_equal_tables() -> None:
    tables = shot(LAYOUT, WORKLOAD, mu=1.0, sites=3)
    asked = [
        remeasure(LAYOUT, WORKLOAD, noised(make_codes(200), tables, np.random.default_rng(5)), mu=1.0) for _ in range(2)
    ]
    assert asked[0] == asked[1]


def test_a_budget_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="mu is 0"):
        shot(LAYOUT, WORKLOAD, mu=0.0, sites=3)
    first = noised(make_codes(20), shot(LAYOUT, WORKLOAD, mu=1.0, sites=3), np.random.default_rng(0))
    with pytest.raises(ValueError, match="mu is -1"):
        remeasure(LAYOUT, WORKLOAD, first, mu=-1.0)
    with pytest.raises(ValueError, match="levels"):
        shot(Layout(("a", "b"), (2, 2)), WORKLOAD, mu=1.0, sites=3)


def test_a_workload_follows_from_the_schema() -> None:
    transformer = public_transformer(SCHEMA)
    workload = workload_of(SCHEMA, transformer, ["os_event", "NPM1"], focus=[("NPM1", "age")], patients=300)
    names = transformer.names
    assert workload.centre == names.index("os")
    assert workload.outcomes == (names.index("NPM1"),)
    assert workload.focus == ((names.index("age"), names.index("NPM1")),)
    assert workload.patients == 300
    axes = dict(zip(names, workload.axes, strict=True))
    assert axes["os"].groups[:4] == (0, 1, 0, 1)
    assert axes["os"].places[:4] == (0, 0, 1, 1)
    assert axes["stage"].places == (0, 1, 2, 0)
    assert axes["stage"].groups == (0, 0, 0, 1)
    assert axes["NPM1"].places == ()
    with pytest.raises(UnknownColumn, match="grade"):
        workload_of(SCHEMA, transformer, ["grade"])


def test_without_an_endpoint_there_is_no_centre() -> None:
    schema = SCHEMA.select(["age", "stage", "NPM1"])
    assert workload_of(schema, public_transformer(schema), ["NPM1"]).centre is None


def test_kernels_are_correlations() -> None:
    for axis in WORKLOAD.axes:
        for kernel in axis.kernels():
            np.testing.assert_allclose(np.diag(kernel), 1.0)
            assert np.linalg.eigvalsh(kernel).min() > -1e-9
