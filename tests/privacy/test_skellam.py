"""Noise in shares: never cheaper than it is, as cheap as normal noise when there is much of it, both costs stated."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ive

from synthfed.errors import UnsupportedEvent
from synthfed.privacy.accounting import epsilon_alone, epsilon_of, gaussian_epsilon, second_opinion
from synthfed.privacy.events import PrivacyEvent
from synthfed.privacy.skellam import SkellamRelease, epsilon_at, rounded_sensitivity

dp_accounting = pytest.importorskip("dp_accounting")


def shared(noise: float, l2: float, l1: float, steps: int = 1, sites: int = 5, colluders: int = 1) -> PrivacyEvent:
    return PrivacyEvent("round 0", "skellam", "train", l2, noise, 1.0, steps, l1, sites, colluders)


def mass(variance: float, reach: int) -> np.ndarray:
    """Probability of -reach..reach under Skellam noise: exp(-v) I_k(v)."""
    return np.asarray(ive(np.abs(np.arange(-reach, reach + 1)), variance))


@pytest.mark.parametrize("variance", [0.5, 4.0, 30.0, 900.0])
@pytest.mark.parametrize("shift", [1, 3])
def test_the_bound_holds_for_the_true_distribution(variance: float, shift: int) -> None:
    """Renyi divergence of Skellam noise from itself moved by `shift`, summed exactly, at every order to 40."""
    reach = int(20 * math.sqrt(variance) + 80)
    p = mass(variance, reach)
    kept = (p[shift:] > 1e-280) & (p[:-shift] > 1e-280)
    here, there = np.log(p[shift:][kept]), np.log(p[:-shift][kept])
    for order in (2, 3, 5, 9, 17, 40):
        terms = order * here - (order - 1) * there
        exact = (np.max(terms) + math.log(math.fsum(np.exp(terms - np.max(terms))))) / (order - 1)
        bound = SkellamRelease(math.sqrt(variance) / shift, 1.0, shift, shift, 0, 1).divergence(order)
        assert exact <= bound * (1 + 1e-9)


@pytest.mark.parametrize("variance", [1e6, 1e7, 1e8])
def test_the_distance_to_rounded_normal_noise_is_below_its_bound(variance: float) -> None:
    """Summed exactly: .0731/v, where 1/v is claimed."""
    k = np.arange(int(13 * math.sqrt(variance)))
    skellam = ive(k, variance)
    spread = math.sqrt(variance)
    normal = stats.norm.sf((k - 0.5) / spread) - stats.norm.sf((k + 0.5) / spread)
    difference = np.abs(skellam - normal)
    total_variation = difference[0] / 2 + difference[1:].sum()
    assert difference.max() < 0.079 * variance**-1.5
    assert total_variation == pytest.approx(0.0731 / variance, rel=1e-3)
    assert total_variation < SkellamRelease(spread, 1.0, 1.0, 1.0, 1, 1).apart()


def test_nothing_is_claimed_of_the_distance_where_it_is_not_proved() -> None:
    for noise, numbers in ((999.0, 5), (1e13, 5), (5000.0, 0)):
        assert SkellamRelease(noise, 1.0, 1.0, 1.0, numbers, 1).apart() == math.inf


def near(noise: float, *, bits: int = 22, steps: int = 100, rate: float = 1.0, numbers: int = 25_000) -> PrivacyEvent:
    l2, l1 = rounded_sensitivity(1.0, bits, numbers)
    return replace(shared(noise, l2, l1, steps), numbers=numbers, sample_rate=rate)


@pytest.mark.parametrize("noise", [100.0, 40.0, 14.0])
def test_noise_of_large_variance_costs_what_normal_noise_costs(noise: float) -> None:
    """Within 1 %, where Renyi divergences alone lose 9 %; never below normal noise by the same accountant."""
    normal = epsilon_of([PrivacyEvent("round 0", "gaussian", "train", 1.0, noise, 1.0, 100)], 1e-5)
    ours = epsilon_of([near(noise)], 1e-5)
    assert normal < ours < normal * 1.01
    assert epsilon_of([near(noise, numbers=1)], 1e-5) <= ours < epsilon_of([replace(near(noise), numbers=0)], 1e-5)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(3.0, 0.1, 30), (1.5, 0.02, 60)])
def test_noise_of_large_variance_is_accounted_at_any_sample_rate(noise: float, rate: float, steps: int) -> None:
    normal = epsilon_of([PrivacyEvent("round 0", "gaussian", "train", 1.0, noise, rate, steps)], 1e-5)
    ours = epsilon_of([near(noise, rate=rate, steps=steps)], 1e-5)
    assert normal < ours < normal * 1.02
    own = epsilon_alone([near(noise, rate=rate, steps=steps)], 1e-5)
    assert own > ours


def test_what_tells_it_from_normal_noise_is_paid_from_delta() -> None:
    """By hand: d/v of total variation for each step, times 1 + exp(epsilon), is within delta."""
    event = near(14.0, bits=20)
    apart = 100 * 25_000 / (event.noise_multiplier * event.l2_sensitivity) ** 2
    epsilon = epsilon_of([event], 1e-5)
    at_rest = 1e-5 - (1 + math.exp(epsilon)) * apart
    assert 0 < at_rest < 1e-5
    assert gaussian_epsilon(10 / 14.0, at_rest) <= epsilon


def test_too_little_variance_for_that_leaves_the_other_bound_or_nothing() -> None:
    coarse = near(14.0, bits=8)
    assert epsilon_of([coarse], 1e-5) == epsilon_of([replace(coarse, numbers=0)], 1e-5)
    assert epsilon_of([near(2.0, bits=10, rate=0.5)], 1e-5) == math.inf  # proved, but more than delta
    with pytest.raises(UnsupportedEvent, match=r"10\*\*6"):
        epsilon_of([near(2.0, bits=8, rate=0.5)], 1e-5)


@pytest.mark.parametrize(("variance", "steps"), [(4.0, 1), (25.0, 10), (400.0, 100)])
def test_epsilon_is_never_below_the_true_one_and_near_it(variance: float, steps: int) -> None:
    """One number, moved by 1, as dp-accounting composes its exact probabilities."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    reach = int(16 * math.sqrt(variance) + 60)
    p = mass(variance, reach)
    kept = [index for index in range(len(p)) if p[index] > 1e-30]
    lower = {index: math.log(p[index]) for index in kept}
    upper = {index + 1: math.log(p[index]) for index in kept}
    one = pld.from_two_probability_mass_functions(lower, upper, value_discretization_interval=1e-4)
    exact = one.self_compose(steps).get_epsilon_for_delta(1e-5)
    ours = epsilon_of([shared(math.sqrt(variance), 1.0, 1.0, steps)], 1e-5)
    normal = gaussian_epsilon(math.sqrt(steps / variance), 1e-5)
    assert exact <= normal * 1.01  # its rounding, up, of a hundred steps
    assert exact <= ours <= normal * 1.28


@pytest.mark.parametrize("noise", [0.5, 1.4, 3.0, 10.0])
def test_much_noise_costs_what_normal_noise_costs_by_renyi_divergences(noise: float) -> None:
    l2, l1 = rounded_sensitivity(1.0, 24, 10_000)
    orders = range(2, 3000)
    gaussian = min(epsilon_at(order, order / (2 * noise**2), 1e-5) for order in orders)
    assert epsilon_of([shared(noise, l2, l1)], 1e-5) == pytest.approx(gaussian, rel=1e-4)
    assert gaussian_epsilon(1 / noise, 1e-5) < gaussian < 1.25 * gaussian_epsilon(1 / noise, 1e-5)


def test_it_mixes_with_normal_noise_at_any_sample_rate() -> None:
    l2, l1 = rounded_sensitivity(1.0, 20, 10_000)
    counts = PrivacyEvent("measure 0", "gaussian", "train", 1.0, 4.0, 1.0, 1)
    sampled = PrivacyEvent("round 9", "gaussian", "train", 1.0, 3.0, 0.1, 30)
    alone = epsilon_of([shared(20.0, l2, l1, 100)], 1e-5)
    two = epsilon_of([counts, shared(20.0, l2, l1, 100)], 1e-5)
    three = epsilon_of([counts, sampled, shared(20.0, l2, l1, 100)], 1e-5)
    assert alone < two < three
    assert epsilon_of([counts, *[shared(20.0, l2, l1, 1)] * 100], 1e-5) == two
    accountant = dp_accounting.rdp.RdpAccountant(list(range(2, 257)))
    accountant.compose(dp_accounting.GaussianDpEvent(4.0))
    accountant.compose(dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(3.0)), 30)
    accountant.compose(dp_accounting.GaussianDpEvent(20.0), 100)
    assert three == pytest.approx(accountant.get_epsilon(1e-5), rel=2e-3)


@settings(max_examples=25, deadline=None)
@given(noise=st.floats(0.6, 30), sites=st.integers(2, 12), steps=st.integers(1, 50))
def test_the_more_collude_the_more_it_costs(noise: float, sites: int, steps: int) -> None:
    """The same share per site, stated for one colluder more each time, up to the own share alone."""
    l2, l1 = rounded_sensitivity(1.0, 16, 100)
    share = noise**2 / sites
    costs = []
    for colluders in range(sites):
        event = shared(math.sqrt(share * (sites - colluders)), l2, l1, steps, sites, colluders)
        assert event.share_variance == pytest.approx(share * l2**2)
        costs.append(epsilon_of([event], 1e-5))
        assert epsilon_alone([event], 1e-5) == pytest.approx(
            epsilon_of([shared(noise / sites**0.5, l2, l1, steps)], 1e-5)
        )
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(epsilon_alone([event], 1e-5))


@pytest.mark.parametrize(
    ("left", "epsilon", "expected"), [(2, 1.0, 1.47), (5, 3.0, 7.67), (4, 10.0, 24.4), (9, 1.0, 3.41)]
)
def test_the_own_share_costs_what_the_closed_form_says(left: int, epsilon: float, expected: float) -> None:
    """mu sqrt(K - t) for the published pairs of (epsilon, mu), within what Renyi divergences give away."""
    mu = {1.0: 0.268, 3.0: 0.719, 10.0: 2.0}[epsilon]
    event = shared(1 / mu, *rounded_sensitivity(1.0, 20, 1000), sites=left + 1, colluders=1)
    assert gaussian_epsilon(mu * math.sqrt(left), 1e-5) == pytest.approx(expected, rel=5e-3)
    assert expected <= epsilon_alone([event], 1e-5) <= expected * 1.12


def test_normal_noise_costs_the_same_alone() -> None:
    event = PrivacyEvent("round 0", "gaussian", "train", 1.0, 8.0, 1.0, 3)
    assert epsilon_alone([event], 1e-5) == epsilon_of([event], 1e-5)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), bits=st.integers(0, 12), size=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_one_record_moves_a_rounded_sum_by_no_more_than_stated(
    data: st.DataObject, bits: int, size: int, seed: int
) -> None:
    clip = data.draw(st.floats(0.01, 8))
    draws = np.random.default_rng(seed)
    others = draws.normal(size=(5, size))
    record = draws.normal(size=size)
    record *= clip / max(np.linalg.norm(record), 1e-12)
    moved = np.rint(2.0**bits * (others.sum(axis=0) + record)) - np.rint(2.0**bits * others.sum(axis=0))
    l2, l1 = rounded_sensitivity(clip, bits, size)
    assert np.linalg.norm(moved) <= l2
    assert np.abs(moved).sum() <= l1


def test_sensitivity_names_what_it_needs() -> None:
    for clip, bits, size in ((0.0, 3, 2), (math.nan, 3, 2), (1.0, -1, 2), (1.0, 3, 0)):
        with pytest.raises(ValueError, match="clip_norm"):
            rounded_sensitivity(clip, bits, size)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sample_rate": 0.5}, "sample_rate"),
        ({"l1_sensitivity": 0.0}, "l1_sensitivity"),
        ({"l1_sensitivity": math.nan}, "l1_sensitivity"),
        ({"l1_sensitivity": 0.5}, "l1_sensitivity"),
        ({"colluders": 5}, "colluders"),
        ({"colluders": -1}, "colluders"),
        ({"colluders": 0.5}, "colluders"),
        ({"sites": 0}, "colluders"),
        ({"numbers": -1}, "numbers"),
        ({"mechanism": "gaussian", "l1_sensitivity": 0.0, "sites": 1, "colluders": 0, "numbers": 3}, "shares"),
        ({"mechanism": "gaussian"}, "shares"),
    ],
)
def test_shares_that_prove_nothing_are_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(UnsupportedEvent, match=named):
        epsilon_of([replace(shared(4.0, 1.0, 1.0), **changes)], 1e-5)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedEvent, match=named):
        epsilon_alone([replace(shared(4.0, 1.0, 1.0), **changes)], 1e-5)  # type: ignore[arg-type]


def test_no_noise_costs_infinity() -> None:
    assert epsilon_of([shared(0.0, 1.0, 1.0)], 1e-5) == math.inf
    assert epsilon_alone([shared(0.0, 1.0, 1.0)], 1e-5) == math.inf


def test_the_second_opinion_is_normal_noise_as_large() -> None:
    opinion = second_opinion([shared(40.0, *rounded_sensitivity(1.0, 20, 1000), steps=100)], 1e-5)
    assert opinion is not None
    assert "as large" in opinion.name
    assert 0 < opinion.relative_difference < 0.12
