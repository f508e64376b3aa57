"""A count plan: what one patient moves, what that is noised with, and a text that reads back."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthfed.evaluation.counted.tables import Axis, CountPlan, CountTable
from tests.evaluation.cheats import simulate
from tests.evaluation.counted.world import plan_for

AGE = Axis("age", "number", edges=(40.0, 60.0))
SEX = Axis("sex", "level", cells=(0, 1))


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8), st.floats(0.05, 5.0))
def test_all_tables_together_cost_what_was_budgeted(weights, mu):
    """Each table moves by 1 in L2, so that sum (1/sigma)^2 is the mu^2 spent: never more than the budget."""
    total = sum(weights)
    tables = tuple(CountTable(f"t{i}", "columns", (AGE,), weight / total) for i, weight in enumerate(weights))
    stddevs = CountPlan(tables).stddevs(mu)
    spent = sum(1 / stddevs[i * 4] ** 2 for i in range(len(tables)))
    assert spent == pytest.approx(mu**2)
    assert spent <= mu**2 * (1 + 1e-9)


def test_without_a_limit_there_is_no_noise():
    assert not CountPlan((CountTable("t", "columns", (AGE,), 1.0),)).stddevs(math.inf).any()


def test_cells_are_all_combinations_and_one_for_what_is_missing():
    table = CountTable("age x sex", "pairs", (AGE, SEX), 0.5)
    assert table.shape == (3, 2)
    assert table.cells == 7


def test_a_plan_reads_back_from_its_text_and_from_no_other():
    asked = plan_for(simulate(200, seed=1))
    assert CountPlan.from_json(asked.to_json()) == asked
    for text in (asked.to_json() + " ", "{}", "[]", asked.to_json().replace('"columns"', '"other"', 1)):
        with pytest.raises(ValueError, match=r"count plan|block"):
            CountPlan.from_json(text)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Axis("age", "number", edges=(2.0, 1.0)),
        lambda: Axis("age", "number", edges=(math.nan,)),
        lambda: Axis("sex", "level", cells=(0, 2)),
        lambda: CountTable("t", "columns", (), 0.5),
        lambda: CountTable("t", "columns", (AGE,), 0.0),
        lambda: CountPlan(()),
        lambda: CountPlan((CountTable("t", "columns", (AGE,), 0.6), CountTable("t", "columns", (SEX,), 0.4))),
        lambda: CountPlan((CountTable("a", "columns", (AGE,), 0.6), CountTable("b", "columns", (SEX,), 0.6))),
        lambda: CountPlan(
            (CountTable("a", "columns", (Axis("x", "number", edges=tuple(map(float, range(70_000)))),), 1.0),)
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(build):
    with pytest.raises(ValueError):
        build()


def test_shares_of_the_budget_are_used_up():
    asked = plan_for(simulate(200, seed=1))
    assert sum(table.share for table in asked.tables) == pytest.approx(1.0)
    assert np.isfinite(asked.stddevs(1.0)).all()
