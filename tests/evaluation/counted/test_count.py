"""Counting: one cell of each table per patient, the same in parts as in the whole."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.evaluation.counted.count import count, places, rows_for
from synthfed.evaluation.counted.tables import Axis, CountPlan, CountTable
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation.cheats import RULES, SCHEMA, simulate
from tests.evaluation.counted.world import plan_for, rows_of

TABLE = simulate(300, seed=3)
PLAN = plan_for(simulate(400, seed=4))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 299))
def test_a_patient_more_adds_one_to_one_cell_of_each_table(index):
    """The sensitivity that the noise is scaled to."""
    moved = count(PLAN, rows_of(PLAN, TABLE)) - count(PLAN, rows_of(PLAN, TABLE.drop(index=index)))
    assert set(np.unique(moved)) <= {0, 1}
    for _, place in PLAN.slices():
        assert moved[place].sum() == 1


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 299))
def test_sites_counts_add_up_to_the_counts_of_all_rows(cut):
    parts = [count(PLAN, rows_of(PLAN, part)) for part in (TABLE.iloc[:cut], TABLE.iloc[cut:])]
    assert (parts[0] + parts[1] == count(PLAN, rows_of(PLAN, TABLE))).all()


def test_the_order_of_rows_does_not_matter():
    mixed = TABLE.sample(frac=1, random_state=1)
    assert (count(PLAN, rows_of(PLAN, TABLE)) == count(PLAN, rows_of(PLAN, mixed))).all()


def test_no_patient_at_all_is_counted_too():
    assert not count(PLAN, rows_of(PLAN, TABLE.iloc[:0])).any()


def test_values_fall_between_edges_and_missing_ones_into_the_last_cell():
    asked = CountPlan((CountTable("age", "columns", (Axis("age_years", "number", edges=(50.0, 70.0)),), 1.0),))
    table = TABLE.iloc[:5].assign(age_years=[49.9, 50.0, 69.9, 70.0, np.nan])
    assert count(asked, rows_of(asked, table)).tolist() == [1, 2, 1, 1]


def test_a_pair_lacks_a_patient_who_lacks_either():
    axes = (Axis("NPM1", "level", cells=(0, 1)), Axis("TP53", "level", cells=(0, 1)))
    asked = CountPlan((CountTable("NPM1 x TP53", "pairs", axes, 1.0),))
    table = SCHEMA.cast(TABLE.iloc[:5].assign(NPM1=[0, 1, 1, pd.NA, 0], TP53=[1, 0, 1, 1, pd.NA]))
    assert count(asked, rows_of(asked, table)).tolist() == [0, 1, 1, 1, 2]


def test_a_soft_rule_is_kept_or_broken():
    asked = CountPlan((CountTable("T2", "rules", (Axis("T2", "rule"),), 1.0),))
    table = SCHEMA.cast(TABLE.iloc[:3].assign(blasts=[10, 50, 60]))
    assert count(asked, rows_of(asked, table)).tolist() == [2, 1, 0]


def test_a_plan_of_other_columns_levels_or_rules_is_refused():
    def one(axis: Axis) -> CountPlan:
        return CountPlan((CountTable("t", "columns", (axis,), 1.0),))

    for axis in (Axis("height", "number"), Axis("T9", "rule")):
        with pytest.raises(ValueError, match="does not know"):
            rows_for(one(axis), TABLE, SCHEMA, RULES)
    rows = read_rows(TABLE, Shape.of(SCHEMA))
    for axis, said in (
        (Axis("sex", "number"), "no column"),
        (Axis("sex", "level", cells=(0, 1, 2)), "levels"),
        (Axis("T2", "rule"), "rules were checked"),
    ):
        with pytest.raises(ValueError, match=said):
            places(one(axis), rows)
