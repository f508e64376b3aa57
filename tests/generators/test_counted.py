"""Counting rounds: exact but for the noise that was paid for, and refused when they would cost more than the plan."""

import math
from dataclasses import replace

import numpy as np
import pytest

from synthfed.errors import TrainingError
from synthfed.generators import counted
from synthfed.generators.base import Layout, Measure, Plan
from synthfed.generators.counted import Counting
from synthfed.generators.marginal import CountTable, PackedTable, ScoreTable, Workload, cells_of, count, mu_squared

LAYOUT = Layout(("token", "sex", "stage", "dead"), (4, 2, 3, 2))
CODES = np.random.default_rng(4).integers(0, LAYOUT.widths, (300, 4)).astype(np.int32)
TABLES = (CountTable((0,), 2.0), CountTable((1, 2), 4.0), CountTable((0, 3), 4.0, ((0, 0, 1, 1), ())))
MEASURE = Measure("tables", 1 / math.sqrt(mu_squared(TABLES)))
SCORES = ScoreTable((1, 2), (((0, 256),), ((-256, 0, 256), (0, 0, 9))), 0, (256, -256, 0, 9), 65536, 1e6)
KEY = bytes(range(32))
CELLS = cells_of(TABLES, LAYOUT)


def test_an_answer_is_the_count_and_the_noise_of_each_table_and_nothing_in_the_padding():
    draws = np.array(
        [
            counted.answer(CODES, LAYOUT, TABLES, MEASURE, cells=CELLS + 5, noise_key=bytes([i % 256, i // 256] * 16))
            for i in range(800)
        ]
    )
    exact = count(CODES, LAYOUT, TABLES)
    stddevs = np.repeat([2.0, 4.0, 4.0], [4, 6, 4])
    np.testing.assert_allclose(draws[:, :CELLS].mean(axis=0), exact, atol=5 * stddevs.max() / math.sqrt(800))
    np.testing.assert_allclose(draws[:, :CELLS].std(axis=0), np.sqrt(stddevs**2 + 1 / 12), rtol=0.15)
    assert not draws[:, CELLS:].any()


def test_a_packed_answer_has_its_noise_in_its_own_units():
    table = PackedTable((1, 3), 0, 1, 48.0)
    measure = Measure("tables", 1 / math.sqrt(mu_squared([table])))
    draws = np.array(
        [
            counted.answer(CODES, LAYOUT, [table], measure, cells=8, noise_key=bytes([i % 256, i // 256] * 16))
            for i in range(400)
        ]
    )
    np.testing.assert_allclose(draws.mean(axis=0), count(CODES, LAYOUT, [table]), atol=5 * 48 / math.sqrt(400))
    np.testing.assert_allclose(draws.std(axis=0), 48, rtol=0.15)


def test_the_same_key_gives_the_same_answer_and_another_key_another():
    first, again = (counted.answer(CODES, LAYOUT, TABLES, MEASURE, cells=CELLS, noise_key=KEY) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != counted.answer(CODES, LAYOUT, TABLES, MEASURE, cells=CELLS, noise_key=bytes(32))).any()


@pytest.mark.parametrize(
    ("tables", "cells"),
    [
        (tuple(replace(table, stddev=table.stddev * 0.999) for table in TABLES), CELLS),
        ((*TABLES, CountTable((2,), 100.0)), CELLS + 3),
        ((replace(TABLES[0], stddev=0.0), *TABLES[1:]), CELLS),
        (TABLES, CELLS - 1),
        ((CountTable((4,), 50.0),), CELLS),
        ((CountTable((0,), 50.0, ((0, 0, 1),)),), CELLS),
        ((CountTable((0,), 50.0, ((0, 0, 1, 9),)),), CELLS),
        ((CountTable((0,), 50.0, ((0, 0, 1, -1),)),), CELLS),
        ((PackedTable((1, 3), 0, 1, 1.0),), CELLS),
        ((PackedTable((1, 4), 0, 1, 900.0),), CELLS),
        ((PackedTable((0, 1), 2, 1, 900.0),), CELLS),
        ((PackedTable((1, 3), 4, 1, 900.0),), CELLS),
        ((PackedTable((1, 3), 0, 1, 900.0, (0, 1)),), CELLS),
        ((PackedTable((1, 3), 0, 1, 900.0, (0, 1, 0, 4)),), CELLS),
        ((PackedTable((1, 3), 0, 1, 900.0, (0, 1, 0, -1)),), CELLS),
        ((PackedTable((1, 3), 0, 2, 900.0),), 7),
        ((replace(SCORES, stddev=1.0),), CELLS),
        ((replace(SCORES, contrast=(256, -256)),), CELLS),
        ((replace(SCORES, scores=(((0, 256, 0, 0),), SCORES.scores[1])),), CELLS),
        ((replace(SCORES, blocks=(1, 4)),), CELLS),
        ((replace(SCORES, by=4),), CELLS),
        ((SCORES,), 0),
    ],
)
def test_tables_that_cost_or_hold_more_than_the_plan_says_are_refused_before_rows_are_looked_at(tables, cells):
    with pytest.raises(TrainingError):
        counted.answer(None, LAYOUT, tables, MEASURE, cells=cells, noise_key=KEY)  # type: ignore[arg-type]


def test_tables_travel_as_they_are_and_anything_else_is_refused():
    others = (PackedTable((1, 3), 0, 1, 30.0, (0, 0, 1, 1)), PackedTable((1, 3), None, 2, 40.0), SCORES)
    assert counted.from_bytes(counted.to_bytes((*TABLES, *others))) == (*TABLES, *others)
    for raw in (
        b"",
        b"{}",
        b"[1]",
        b'[{"blocks":[1,0],"stddev":1,"groups":[]}]',
        b'[{"blocks":[0],"stddev":NaN}]',
        b'[{"flags":[1,3],"by":0,"cap":9,"stddev":1,"groups":[]}]',
        b'[{"flags":[1,3],"by":0,"cap":1,"stddev":1}]',
        b'[{"scored":[1],"scores":[[[0,1]]],"by":0,"contrast":[1e9],"reach":9,"stddev":1}]',
        b'[{"scored":[1],"scores":[1],"by":0,"contrast":[1],"reach":9,"stddev":1}]',
        b'[{"flags":[1,3],"by":0,"cap":1e999,"stddev":1,"groups":[]}]',
    ):
        with pytest.raises(TrainingError):
            counted.from_bytes(raw)


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0])
def test_every_round_asks_for_what_it_costs_and_fits_the_length_that_was_said_before(noise):
    plan = Plan(0, 1, 1.0, 1.0, 0.0, 100.0, 3, (Measure("tables", noise), Measure("edges", 2 * noise)))
    counting = Counting(LAYOUT, Workload(0, (3,)), plan, 300)
    known = []
    for index, measure in enumerate(plan.measures):
        tables = counting.tables(known)
        assert cells_of(tables, LAYOUT) <= counting.cells(index)
        assert mu_squared(tables) <= measure.mu**2 * (1 + 1e-9)
        answers = [
            counted.answer(
                CODES[site::3], LAYOUT, tables, measure, cells=counting.cells(index), noise_key=bytes([site] * 32)
            )
            for site in range(3)
        ]
        known.append(counting.noisy(known, np.sum(answers, axis=0), counted=3))
    model = counting.model(known)
    again = counting.model(known)
    assert {name: tensor.tobytes() for name, tensor in model.to_weights().items()} == {
        name: tensor.tobytes() for name, tensor in again.to_weights().items()
    }


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_row_of_one_or_two_blocks_has_no_pair_to_count_again_and_still_a_model(blocks):
    layout = Layout(LAYOUT.names[:blocks], LAYOUT.widths[:blocks])
    plan = Plan(0, 1, 1.0, 1.0, 0.0, 100.0, 1, (Measure("tables", 0.5), Measure("edges", 1.0)))
    counting = Counting(layout, Workload(0), plan, 300)
    known = []
    for index, measure in enumerate(plan.measures):
        tables = counted.from_bytes(counted.to_bytes(counting.tables(known)))
        counts = counted.answer(CODES[:, :blocks], layout, tables, measure, cells=counting.cells(index), noise_key=KEY)
        known.append(counting.noisy(known, counts, counted=1))
    assert counting.model(known).sample(50, 1).shape == (50, blocks)
