"""What a hospital gains: seen where it is there, not where it is not, grey where few were held out."""

import math

import numpy as np
import pytest

from synthfed.evaluation.benefit import Gain, gains
from synthfed.evaluation.rows import Rows, Shape, read_rows
from tests.evaluation import cheats
from tests.evaluation.cheats import SCHEMA, simulate


def rows(table) -> Rows:
    return read_rows(table, Shape.of(SCHEMA))


TRAIN, HOLDOUT, GOOD = simulate(300, seed=1), simulate(250, seed=2), simulate(900, seed=3)


def measured(federated, alone, holdout=HOLDOUT) -> dict[str, Gain]:
    found = gains(
        rows(federated),
        rows(alone),
        train=rows(TRAIN),
        holdout=rows(holdout),
        schema=SCHEMA,
        targets=("os_event", "NPM1", "height"),
        seed=4,
    )
    return {gain.measure: gain for gain in found}


def test_a_better_table_is_a_gain_and_a_worse_one_a_loss():
    bad = cheats.shuffled(GOOD)
    better, worse = measured(GOOD, bad), measured(bad, GOOD)
    assert {gain.word for gain in better.values()} == {"gains"}
    assert {gain.word for gain in worse.values()} == {"loses"}
    for name, gain in better.items():
        assert gain.gain == pytest.approx(-worse[name].gain)
        assert gain.low <= gain.gain <= gain.high


def test_survival_is_ranked_and_not_classified():
    assert set(measured(GOOD, GOOD)) == {"association", "skill.NPM1", "uno_c"}


def test_the_same_table_is_no_difference():
    for gain in measured(GOOD, GOOD).values():
        assert gain.gain == 0
        assert gain.word == "no difference shown"


def test_few_held_out_patients_are_grey():
    for gain in measured(GOOD, cheats.shuffled(GOOD), HOLDOUT.iloc[:40]).values():
        assert gain.word == "not measurable"
        assert "needs 50" in gain.reason
        assert math.isnan(gain.gain)


def test_a_hold_out_without_events_ranks_nothing():
    alive = SCHEMA.cast(HOLDOUT.assign(os_event=np.zeros(len(HOLDOUT))))
    assert measured(GOOD, GOOD, alive)["uno_c"].word == "not measurable"
