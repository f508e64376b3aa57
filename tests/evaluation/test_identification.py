import numpy as np
import pytest

from synthfed.evaluation.identification import (
    _fitting,
    identification_metrics,
    linkability,
    singling_out,
    two_registers,
)
from synthfed.evaluation.rows import Shape, read_rows
from synthfed.tables.schema import Column
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=500, holdout=250, fresh=500, seed=4)
TRAIN, HOLDOUT, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.holdout, REAL.fresh))


def test_a_copy_lets_everyone_be_linked_and_many_be_singled_out():
    linked, singled = (attack(TRAIN, HOLDOUT, TRAIN, seed=0) for attack in (linkability, singling_out))
    assert linked is not None
    assert singled is not None
    assert linked.residual.low > 0.5
    assert singled.residual.low > 0.09
    assert {m.light for m in identification_metrics(TRAIN, HOLDOUT, TRAIN, seed=0)} == {"red"}


@pytest.mark.parametrize("seed", range(6))
def test_fresh_patients_alarm_nobody(seed):
    """Training rows outnumber the control, which must not turn an honest table red."""
    real = cheats.tables(train=400, holdout=150, fresh=400, seed=70 + seed)
    rows = [read_rows(t, SHAPE) for t in (real.train, real.holdout, real.fresh)]
    assert {m.light for m in identification_metrics(*rows, seed=seed)} <= {"green", "grey"}


def test_a_query_fits_levels_missing_values_and_sides_of_the_median():
    nan = np.nan
    values = np.array([[1.0, 5.0, nan], [1.0, 9.0, nan], [0.0, 9.0, nan], [1.0, 9.0, 2.0]])
    numeric = np.array([False, True, True])
    medians = np.array([0.0, 6.0, 1.0])
    assert _fitting(values, np.array([1.0, 9.0, nan]), numeric, medians).tolist() == [False, True, False, False]
    assert _fitting(values, np.array([1.0, 5.0, nan]), numeric, medians).tolist() == [True, False, False, False]


def test_registers_are_cut_between_groups_and_hold_no_derived_column():
    columns = (
        Column("age", "count", lower=0, upper=9, group="demographic"),
        Column("hb", "count", lower=0, upper=9, group="laboratory"),
        Column("NPM1", "flag", group="mutation"),
        Column("ldh", "count", lower=0, upper=9, group="laboratory"),
        Column("score", "flag", group="mutation", derived=True),
        Column("TP53", "flag", group="mutation"),
        Column("IDH1", "flag", group="mutation"),
    )
    assert two_registers(columns) == (frozenset({"age", "hb", "ldh"}), frozenset({"NPM1", "TP53", "IDH1"}))


def test_one_group_is_cut_in_the_middle_and_one_column_is_no_register():
    first, second = two_registers(SHAPE.columns)
    assert abs(len(first) - len(second)) <= 1
    assert not first & second
    assert two_registers(SHAPE.columns[:1])[0] == frozenset()


def test_repeated_rows_are_attacked_once():
    """A patient written twice is never the only one that fits."""
    twice = TRAIN.take(np.repeat(np.arange(100), 2))
    found = singling_out(twice, HOLDOUT, TRAIN.take(np.arange(100)), seed=0)
    assert found is not None
    assert found.residual.low > 0.09
