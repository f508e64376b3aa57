import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthfed.evaluation.proportions import Difference, light_of_lower_bound, newcombe, residual_risk, wilson


def test_newcombe_gives_the_published_interval():
    """Newcombe 1998, table II: 56/70 less 48/80 is .2000 with .0524 to .3339 by method 10."""
    found = newcombe(56, 70, 48, 80)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_newcombe_of_nothing_found_is_still_wide():
    """Newcombe 1998, table II: 0/10 less 0/10 is 0 with -.2775 to .2775."""
    found = newcombe(0, 10, 0, 10)
    assert (found.value, found.low, found.high) == pytest.approx((0, -0.2775, 0.2775), abs=5e-5)


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_holds_the_share(hits, n):
    low, high = wilson(min(hits, n), n)
    assert 0 <= low <= min(hits, n) / n + 1e-12
    assert min(hits, n) / n - 1e-12 <= high <= 1


@given(st.integers(0, 60), st.integers(0, 40))
def test_exchanging_both_sides_mirrors_the_difference(hits, control):
    there, back = newcombe(hits, 60, control, 40), newcombe(control, 40, hits, 60)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_residual_risk_is_the_share_of_what_the_control_leaves():
    assert residual_risk(60, 100, 20, 100).value == pytest.approx(0.5)
    assert residual_risk(100, 100, 0, 100).value == 1


def test_a_control_that_always_succeeds_leaves_nothing_to_show():
    found = residual_risk(50, 50, 50, 50)
    assert (found.low, found.high) == (-1, 1)
    assert light_of_lower_bound(found, green=0.05, amber=0.09) == "grey"


def test_nothing_counted_is_no_number():
    assert math.isnan(newcombe(0, 0, 1, 2).value)


@pytest.mark.parametrize(
    ("value", "low", "light"), [(0.5, 0.2, "red"), (0.1, 0.07, "amber"), (0.04, 0.0, "green"), (0.04, -0.2, "grey")]
)
def test_the_lower_bound_decides_and_a_wide_interval_is_grey(value, low, light):
    assert light_of_lower_bound(Difference(value, low, 1.0), green=0.05, amber=0.09) == light
