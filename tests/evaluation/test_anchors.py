import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthfed.evaluation.anchors import Anchored, anchor, judged, light_of
from synthfed.evaluation.rows import Shape, read_rows
from synthfed.evaluation.thresholds import THRESHOLDS
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)


@pytest.mark.parametrize(
    ("value", "low", "light"),
    [
        (0.95, 0.92, "green"),
        (0.85, 0.80, "green"),  # below .9, but perfect data reach no more
        (0.85, 0.92, "amber"),
        (0.70, 0.92, "red"),
        (0.95, 0.70, "grey"),  # perfect data could fail
        (math.nan, 0.92, "grey"),
        (0.95, math.nan, "grey"),
    ],
)
def test_light_follows_threshold_and_band(value, low, light):
    assert light_of(value, green=0.9, amber=0.75, low=low, high=1.0, direction="higher") == light


values = st.floats(0, 1)


@given(values, values, values)
def test_lower_is_higher_in_a_mirror(value, low, high):
    low, high = sorted((low, high))
    up = light_of(value, green=0.9, amber=0.75, low=low, high=high, direction="higher")
    down = light_of(-value, green=-0.9, amber=-0.75, low=-high, high=-low, direction="lower")
    assert up == down


def test_thresholds_leave_room_between_green_and_amber():
    for name, rule in THRESHOLDS.items():
        assert rule.green != rule.amber, name
        assert rule.origin


def test_anchors_use_equal_numbers_of_rows():
    sizes = []

    def score(reference, candidate):
        sizes.append(len(candidate))
        return {"rows": float(len(candidate))}

    train, holdout, fake = (read_rows(cheats.simulate(n, n), SHAPE) for n in (90, 30, 70))
    found = anchor(score, train=train, holdout=holdout, synthetic=fake, seed=0, splits=4)["rows"]
    assert set(sizes) == {30}
    assert (found.value, found.floor, found.ceiling, found.rows) == (30, 30, 30, 30)


def test_ceiling_and_floor_frame_a_perfect_table():
    def score(reference, candidate):
        def slope(rows):
            return np.polyfit(rows.level("risk"), rows.number("age_years"), 1)[0]

        return {"slope": -abs(slope(reference) - slope(candidate))}

    train, holdout, fake = (read_rows(cheats.simulate(n, n), SHAPE) for n in (400, 200, 300))
    found = anchor(score, train=train, holdout=holdout, synthetic=fake, seed=0, splits=40)["slope"]
    assert found.floor < found.low <= found.ceiling <= found.high
    assert found.low <= found.value <= 0


def test_no_holdout_means_no_anchor():
    rows = read_rows(cheats.simulate(20, 1), SHAPE)
    none = rows.take(np.arange(0))
    assert anchor(lambda a, b: {"x": 1.0}, train=rows, holdout=none, synthetic=rows, seed=0) == {}


def test_anchored_thresholds_are_printed_on_the_score_s_own_scale():
    found = Anchored(value=0.5, floor=0.1, ceiling=0.9, low=0.85, high=0.95, rows=100)
    metric = judged(
        "faithful.association",
        found,
        threshold="faithful.association",
        question="faithful",
        role="deciding",
        label="x",
        direction="higher",
    )
    assert metric.green == pytest.approx(0.74)
    assert metric.amber == pytest.approx(0.42)
    assert metric.anchored == pytest.approx(0.5)
    assert metric.light == "amber"


def test_indistinguishable_anchors_print_no_share():
    found = Anchored(value=0.5, floor=0.88, ceiling=0.9, low=0.85, high=0.95, rows=100)
    metric = judged("x", found, threshold="x", question="faithful", role="info", label="x", direction="higher")
    assert metric.anchored is None
    assert metric.light == "grey"
