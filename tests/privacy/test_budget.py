"""From a budget to noise: shares add up to the budget, and what is planned from them is never refused."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import BudgetTooSmall, UnsupportedEvent
from synthfed.privacy.accounting import epsilon_of, gaussian_epsilon
from synthfed.privacy.budget import calibrate_event, calibrate_noise, count_stddev, gdp_mu, split_mu
from synthfed.privacy.events import PrivacyEvent
from synthfed.privacy.skellam import rounded_sensitivity

dp_accounting = pytest.importorskip("dp_accounting")


def counts(mu: float, index: int = 0, population: str = "train") -> PrivacyEvent:
    return PrivacyEvent(f"measure {index}", "gaussian", population, 1.0, 1 / mu, 1.0, 1)  # type: ignore[arg-type]


def training(noise: float, rate: float, steps: int) -> PrivacyEvent:
    return PrivacyEvent("round 2", "gaussian", "train", 1.0, noise, rate, steps)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 10.0, 40.0])
def test_the_mu_of_a_budget_costs_the_budget_and_no_more(epsilon: float) -> None:
    """Against the closed form, which needs no accountant: 0.2 % is the accountant's own error, 0.1 % the search."""
    mu = gdp_mu(epsilon, 1e-5)
    assert epsilon * 0.996 <= gaussian_epsilon(mu, 1e-5) <= epsilon
    assert epsilon_of([counts(mu)], 1e-5) <= epsilon


@pytest.mark.parametrize(("epsilon", "mu"), [(1.0, 0.268), (3.0, 0.719), (10.0, 2.000)])
def test_the_mu_of_a_budget_is_near_the_published_pairs(epsilon: float, mu: float) -> None:
    assert gdp_mu(epsilon, 1e-5) == pytest.approx(mu, rel=5e-3)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8), st.sampled_from([0.5, 3.0, 9.0]))
def test_shares_that_add_up_to_one_spend_the_budget(weights: list[float], epsilon: float) -> None:
    shares = {str(index): weight / math.fsum(weights) for index, weight in enumerate(weights)}
    parts = split_mu(gdp_mu(epsilon, 1e-5), shares)
    cost = epsilon_of([counts(mu, index) for index, mu in enumerate(parts.values())], 1e-5)
    assert epsilon * 0.998 <= cost <= epsilon


@pytest.mark.parametrize("shares", [{"a": 0.7, "b": 0.4}, {"a": 0.0}, {"a": -0.1, "b": 0.5}, {"a": math.nan}])
def test_shares_of_more_than_everything_or_of_nothing_are_wrong_use(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        split_mu(1.0, shares)


def test_the_noise_of_a_count_is_its_reach_over_mu() -> None:
    """A patient in one cell of each of nine tables moves them by 3 in L2."""
    assert count_stddev(0.5) == 2.0
    assert count_stddev(0.5, cells_touched=9) == 6.0
    assert count_stddev(math.inf) == 0.0
    for mu, cells in ((0.0, 1), (-1.0, 1), (math.nan, 1), (1.0, 0)):
        with pytest.raises(ValueError, match="mu"):
            count_stddev(mu, cells_touched=cells)


@pytest.mark.parametrize(("epsilon", "rate", "steps"), [(3.0, 1.0, 300), (10.0, 0.1, 20), (0.5, 1.0, 10)])
def test_counting_and_training_together_keep_the_budget_and_use_it(epsilon: float, rate: float, steps: int) -> None:
    parts = split_mu(gdp_mu(epsilon, 1e-5), {"tables": 0.2, "edges": 0.5})
    spent = [counts(mu, index) for index, mu in enumerate(parts.values())]
    noise = calibrate_noise(epsilon=epsilon, delta=1e-5, sample_rate=rate, steps=steps, spent=spent)
    assert epsilon_of([*spent, training(noise, rate, steps)], 1e-5) <= epsilon
    assert epsilon_of([*spent, training(noise / 1.0011, rate, steps)], 1e-5) > epsilon


def test_mixed_plans_are_within_a_percent_of_pld_and_not_below() -> None:
    """Two rounds of counts and subsampled training, as a ledger holds them, against dp-accounting."""
    rate, steps = 0.1, 30
    spent = [counts(0.3), counts(0.4, 1)]
    noise = calibrate_noise(epsilon=3.0, delta=1e-5, sample_rate=rate, steps=steps, spent=spent)
    oracle = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4)
    for mu in (0.3, 0.4):
        oracle.compose(dp_accounting.GaussianDpEvent(1 / mu))
    oracle.compose(dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise)), steps)
    exact = float(oracle.get_epsilon(1e-5))
    assert exact * (1 - 1e-3) <= epsilon_of([*spent, training(noise, rate, steps)], 1e-5) <= exact * 1.01


def test_full_batch_training_gets_what_the_closed_form_leaves() -> None:
    mu = gdp_mu(3.0, 1e-5)
    spent = [counts(mu * math.sqrt(0.7))]
    noise = calibrate_noise(epsilon=3.0, delta=1e-5, sample_rate=1.0, steps=100, spent=spent)
    assert noise == pytest.approx(10 / (mu * math.sqrt(0.3)), rel=4e-3)


def test_nothing_spent_is_plain_calibration_and_the_holdout_is_other_patients() -> None:
    plain = calibrate_noise(epsilon=3.0, delta=1e-5, sample_rate=1.0, steps=6)
    beside = calibrate_noise(epsilon=3.0, delta=1e-5, sample_rate=1.0, steps=6, spent=[counts(0.5, 0, "holdout")])
    assert plain == beside


def test_a_spent_budget_leaves_nothing_and_says_so() -> None:
    for spent in ([counts(gdp_mu(3.0, 1e-5) * 1.01)], [counts(math.inf)]):
        with pytest.raises(BudgetTooSmall, match="that the plan spends before"):
            calibrate_noise(epsilon=3.0, delta=1e-5, sample_rate=1.0, steps=10, spent=spent)


def test_no_budget_means_no_noise() -> None:
    assert gdp_mu(math.inf, 1e-5) == math.inf
    assert calibrate_noise(epsilon=math.inf, delta=1e-5, sample_rate=1.0, steps=3, spent=[counts(1.0)]) == 0.0


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 10.0])
def test_noise_in_shares_is_calibrated_beside_counts(epsilon: float) -> None:
    l2, l1 = rounded_sensitivity(1.0, 20, 20_000)
    event = PrivacyEvent("round 0", "skellam", "train", l2, 1.0, 1.0, 100, l1, sites=5, colluders=1)
    spent = [counts(gdp_mu(epsilon, 1e-5) * 0.5)]
    noise = calibrate_event(event, epsilon=epsilon, delta=1e-5, spent=spent)

    def cost(multiplier: float) -> float:
        shared = PrivacyEvent("round 0", "skellam", "train", l2, multiplier, 1.0, 100, l1, sites=5, colluders=1)
        return epsilon_of([*spent, shared], 1e-5)

    assert cost(noise) <= epsilon < cost(noise / 1.0011)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-5), (-1.0, 1e-5), (math.nan, 1e-5), (1.0, 0.0), (1.0, 1.0)])
def test_a_budget_out_of_range_is_wrong_use(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError, match="must"):
        gdp_mu(epsilon, delta)


def test_an_event_without_an_accountant_is_refused_before_any_search() -> None:
    with pytest.raises(UnsupportedEvent, match="sample_rate"):
        calibrate_noise(epsilon=1.0, delta=1e-5, sample_rate=0.0, steps=3)
