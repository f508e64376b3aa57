"""The accountant: right, never low, never silent about what it cannot defend."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import BudgetTooSmall, UnsupportedEvent
from synthfed.privacy.accounting import epsilon_of, gaussian_epsilon, second_opinion
from synthfed.privacy.budget import calibrate_noise
from synthfed.privacy.events import PrivacyEvent

dp_accounting = pytest.importorskip("dp_accounting")

# Full batch and Poisson, few and many steps, epsilon from .05 to 80.
GRID = [
    (24.0, 1.0, 100),
    (60.0, 1.0, 300),
    (20.0, 1.0, 3),
    (0.6, 1.0, 10),
    (2.0, 0.1, 300),
    (10.0, 0.1, 30),
    (0.8, 0.1, 60),
    (1.0, 0.01, 1000),
    (1.0, 0.005, 200),
    (12.0, 0.5, 100),
]


def gaussian(noise: float, rate: float, steps: int, population: str = "train") -> PrivacyEvent:
    return PrivacyEvent("round 0", "gaussian", population, 1.0, noise, rate, steps)  # type: ignore[arg-type]


def pld(parts: list[tuple[float, float, int]], delta: float, *, cell: float = 1e-4) -> float:
    accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=cell)
    for noise, rate, steps in parts:
        release = dp_accounting.GaussianDpEvent(noise)
        accountant.compose(release if rate == 1 else dp_accounting.PoissonSampledDpEvent(rate, release), steps)
    return float(accountant.get_epsilon(delta))


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "delta"), [(*part, 1e-5) for part in GRID] + [(*part, 1e-6) for part in GRID[1::4]]
)
def test_epsilon_is_within_a_percent_of_pld_and_not_below(noise: float, rate: float, steps: int, delta: float) -> None:
    ours = epsilon_of([gaussian(noise, rate, steps)], delta)
    oracle = pld([(noise, rate, steps)], delta, cell=1e-4 if ours > 0.5 else 1e-5)
    assert oracle * (1 - 1e-3) <= ours <= oracle * 1.01


def test_different_events_compose_as_in_pld() -> None:
    parts = [(3.0, 0.05, 60), (2.0, 0.01, 100), (24.0, 1.0, 40)]
    ours, oracle = epsilon_of([gaussian(*part) for part in parts], 1e-5), pld(parts, 1e-5)
    assert oracle * (1 - 1e-3) <= ours <= oracle * 1.01


@pytest.mark.parametrize(("epsilon", "mu"), [(1.0, 0.268), (3.0, 0.719), (10.0, 2.000)])
def test_closed_form_gives_the_published_pairs(epsilon: float, mu: float) -> None:
    assert gaussian_epsilon(mu, 1e-5) == pytest.approx(epsilon, rel=3e-3)  # mu has three digits


@pytest.mark.parametrize("noise", [1.0, 8.0, 40.0, 300.0])
def test_full_batch_agrees_with_the_closed_form(noise: float) -> None:
    ours, oracle = epsilon_of([gaussian(noise, 1.0, 40)], 1e-5), gaussian_epsilon(math.sqrt(40) / noise, 1e-5)
    assert oracle <= ours <= oracle * 1.01


def test_closed_form_is_zero_when_delta_alone_covers_it() -> None:
    assert gaussian_epsilon(1e-7, 1e-5) == 0.0
    assert gaussian_epsilon(0.0, 1e-5) == 0.0


def test_very_large_costs_are_an_upper_bound() -> None:
    assert epsilon_of([gaussian(0.5, 1.0, 300)], 1e-5) >= gaussian_epsilon(math.sqrt(300) / 0.5, 1e-5)


def test_split_and_reordered_events_cost_exactly_the_same() -> None:
    whole = [gaussian(2.0, 0.1, 30), gaussian(20.0, 1.0, 4)]
    split = [gaussian(20.0, 1.0, 1)] * 4 + [gaussian(2.0, 0.1, 3)] * 10
    assert epsilon_of(whole, 1e-5) == epsilon_of(split, 1e-5) == epsilon_of(reversed(split), 1e-5)


def test_disjoint_populations_cost_the_larger_of_the_two() -> None:
    train, holdout = gaussian(24.0, 1.0, 300), gaussian(60.0, 1.0, 300, "holdout")
    assert epsilon_of([train, holdout], 1e-5) == epsilon_of([train], 1e-5)


def test_no_noise_costs_infinity_and_no_event_nothing() -> None:
    assert epsilon_of([gaussian(0.0, 1.0, 1), gaussian(8.0, 1.0, 1)], 1e-5) == math.inf
    assert epsilon_of([], 1e-5) == 0.0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"noise_multiplier": -1.0}, "noise_multiplier"),
        ({"noise_multiplier": math.nan}, "noise_multiplier"),
        ({"noise_multiplier": math.inf}, "noise_multiplier"),
        ({"sample_rate": 0.0}, "sample_rate"),
        ({"sample_rate": 1.01}, "sample_rate"),
        ({"sample_rate": math.nan}, "sample_rate"),
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"l2_sensitivity": 0.0}, "l2_sensitivity"),
        ({"l2_sensitivity": math.nan}, "l2_sensitivity"),
        ({"mechanism": "laplace"}, "mechanism"),
        ({"population": "everybody"}, "population"),
    ],
)
def test_what_has_no_proof_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    from dataclasses import replace

    event = replace(gaussian(1.0, 0.5, 1), **changes)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedEvent, match=named):
        epsilon_of([event], 1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_outside_the_open_interval_is_wrong_use(delta: float) -> None:
    with pytest.raises(ValueError, match="delta"):
        epsilon_of([gaussian(1.0, 1.0, 1)], delta)


@settings(max_examples=5, deadline=None)
@given(noise=st.floats(1.0, 3.0), rate=st.sampled_from([0.1, 1.0]), steps=st.integers(3, 20), more=st.floats(1.5, 2.0))
def test_more_steps_never_cost_less_and_more_noise_never_costs_more(
    noise: float, rate: float, steps: int, more: float
) -> None:
    cost = epsilon_of([gaussian(noise, rate, steps)], 1e-5)
    assert epsilon_of([gaussian(noise, rate, math.ceil(steps * more))], 1e-5) >= cost
    assert epsilon_of([gaussian(noise * more, rate, steps)], 1e-5) <= cost


@settings(max_examples=5, deadline=None)
@given(noise=st.floats(1.0, 3.0), rate=st.floats(0.05, 0.3), steps=st.integers(3, 40))
def test_a_larger_sample_rate_never_costs_less(noise: float, rate: float, steps: int) -> None:
    small, large = (epsilon_of([gaussian(noise, q, steps)], 1e-5) for q in (rate, min(1.0, rate * 2)))
    assert large >= small


@pytest.mark.parametrize(("epsilon", "rate"), [(0.5, 1.0), (3.0, 1.0), (10.0, 1.0), (1.0, 0.1), (3.0, 0.02)])
def test_calibrated_noise_keeps_the_budget_and_a_little_less_does_not(epsilon: float, rate: float) -> None:
    noise = calibrate_noise(epsilon=epsilon, delta=1e-5, sample_rate=rate, steps=300)
    assert epsilon_of([gaussian(noise, rate, 300)], 1e-5) <= epsilon
    assert epsilon_of([gaussian(noise / 1.0011, rate, 300)], 1e-5) > epsilon


def test_a_plan_split_into_rounds_stays_within_its_calibrated_budget() -> None:
    noise = calibrate_noise(epsilon=3.0, delta=1e-5, sample_rate=0.25, steps=90)
    assert epsilon_of([gaussian(noise, 0.25, 3)] * 30, 1e-5) <= 3.0


def test_no_budget_means_no_noise_and_a_tiny_one_is_refused() -> None:
    assert calibrate_noise(epsilon=math.inf, delta=1e-5, sample_rate=1.0, steps=300) == 0.0
    with pytest.raises(BudgetTooSmall, match=r"privacy\.epsilon"):
        calibrate_noise(epsilon=1e-9, delta=1e-12, sample_rate=1.0, steps=300)


@pytest.mark.parametrize(("noise", "rate", "name"), [(24.0, 1.0, "closed form"), (2.0, 0.1, "dp-accounting")])
def test_second_opinion_agrees_and_says_who_gave_it(noise: float, rate: float, name: str) -> None:
    opinion = second_opinion([gaussian(noise, rate, 300)], 1e-5)
    assert opinion is not None
    assert name in opinion.name
    assert abs(opinion.relative_difference) < 0.01


def test_there_is_no_second_opinion_on_nothing_or_infinity() -> None:
    assert second_opinion([], 1e-5) is None
    assert second_opinion([gaussian(0.0, 1.0, 1)], 1e-5) is None
