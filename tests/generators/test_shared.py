"""Noise in shares: what the whole numbers hold, what they cost, and that five sites learn what one table teaches."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from synthfed.errors import BudgetTooSmall, PipelineError, TrainingError
from synthfed.generators import shared
from synthfed.generators.base import Codes, Generator, Layout, Measure, Plan, SharedNoise, Weights, flatten
from synthfed.generators.central import train
from synthfed.generators.clipping import FlatNetwork
from synthfed.generators.dpsgd import summed_step
from synthfed.generators.networks import Mlp, first_weights, load_weights, one_hot
from synthfed.generators.plan import all_events, make_plan, noised_step, round_events
from synthfed.generators.tree import Tree
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import epsilon_alone, epsilon_of
from synthfed.privacy.events import Budget
from synthfed.privacy.mechanisms import NoiseStream
from tests.generators.conftest import KEY, make_codes, make_generator

both = pytest.mark.parametrize("kind", ["tvae", "ctgan"])
DELTA = 1e-5


def pipeline_of(kind: str = "tvae", **changes: object) -> Pipeline:
    return Pipeline.parse(
        {
            "title": "test",
            "disease": "aml",
            "cohort": {"columns": ["age_years", "sex"]},
            "generator": {"kind": kind, "start": "cold"},
            "privacy": {"epsilon": 3.0, "delta": DELTA, "expected_patients": 300},
            "federation": {"rounds": 20, "local_steps": 1, "noise": "shared"},
        },
        origin="test",
    ).replace(**changes)


def parts(codes: Codes, sites: int = 5) -> list[Codes]:
    """Unequal sites."""
    return np.split(codes, [len(codes) * (i + 1) ** 2 // sites**2 for i in range(sites - 1)])


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("start", ["cold", "marginals"])
def test_the_plan_spends_its_epsilon_against_colluders_and_says_what_is_left_without_them(
    epsilon: float, start: str
) -> None:
    pipeline = pipeline_of(privacy__epsilon=epsilon, generator__start=start)
    plan = make_plan(pipeline, sites=5)
    events = all_events(plan)
    assert plan.shares == 3
    assert {(event.mechanism, event.sites, event.colluders) for event in events} == {("skellam", 5, 2)}
    assert 0.985 * epsilon < epsilon_of(events, DELTA) <= epsilon
    wanted = {1.0: 1.83, 3.0: 5.66, 10.0: 20.1}[epsilon]  # of normal noise at K - t = 3, in closed form
    assert 0.99 * wanted < epsilon_alone(events, DELTA) < 1.1 * wanted  # by Renyi divergences where it is large
    local = make_plan(pipeline.replace(federation__noise="local"), sites=5)
    if start == "cold":
        event = events[0]
        relative = event.noise_multiplier * event.l2_sensitivity / 2**plan.shared.scale_bits / local.noise_multiplier
        assert 1.0 <= relative < 1.02


@pytest.mark.slow
def test_sampled_steps_keep_the_budget_too() -> None:
    plan = make_plan(pipeline_of(federation__sample_rate=0.25, federation__rounds=5), sites=5)
    assert 0.98 * 3.0 < epsilon_of(all_events(plan), DELTA) <= 3.0
    assert math.isfinite(epsilon_alone(all_events(plan), DELTA))


def test_without_a_budget_there_is_nothing_to_share() -> None:
    assert make_plan(pipeline_of(privacy__epsilon=math.inf), sites=5).shared is None


@pytest.mark.parametrize("sites", [1, 3, 4, 7, 50])
def test_whole_numbers_fit_the_sampler_and_the_ring(sites: int) -> None:
    for epsilon in (0.5, 30.0):
        plan = make_plan(pipeline_of(privacy__epsilon=epsilon, generator__start="marginals"), sites=sites)
        assert plan.shared is not None
        for event in all_events(plan):
            assert 1e6 <= event.share_variance <= 2.0**57
            noise = 64 * math.sqrt(sites * event.share_variance)
            reach = event.l2_sensitivity * shared.MOST_ROWS * sites
            assert reach + noise < 2.0**63


def test_gradients_too_long_for_the_ring_are_refused_with_the_way_out() -> None:
    with pytest.raises(PipelineError, match=r"lower privacy\.clip_norm"):
        make_plan(pipeline_of(privacy__clip_norm=1e12), sites=5)


def test_no_noise_that_the_accountant_accepts_is_an_error_not_a_number() -> None:
    split = SharedNoise(0, 0, 0, 2.0**3)  # far too coarse to be near normal noise
    with pytest.raises(BudgetTooSmall):
        shared.within_budget((Measure("tables", 0.02),), split, 5, Budget(0.5, DELTA))


def test_the_shares_of_all_sites_add_up_to_the_noise_of_the_plan() -> None:
    plan = make_plan(pipeline_of(federation__colluders=0), sites=5)
    (event,) = round_events(plan, 0)
    draws = [shared.with_share(np.zeros(20_000, np.int64), event, noise_key=bytes([site] * 32)) for site in range(5)]
    deviation = event.noise_multiplier * event.l2_sensitivity
    assert np.std(np.sum(draws, axis=0)) == pytest.approx(deviation, rel=0.03)
    assert np.std(draws[0]) == pytest.approx(deviation / math.sqrt(5), rel=0.03)
    assert abs(np.corrcoef(draws[0], draws[1])[0, 1]) < 4 / math.sqrt(20_000)


def test_more_numbers_than_the_noise_is_accounted_for_are_refused() -> None:
    plan = make_plan(pipeline_of(), sites=5)
    (event,) = round_events(plan, 0)
    with pytest.raises(TrainingError, match="smaller network"):
        shared.with_share(np.zeros(shared.MOST_NUMBERS + 1, np.int64), event, noise_key=KEY)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_a_gradient_that_does_not_fit_stays_at_the_site(bad: float) -> None:
    plan = make_plan(pipeline_of(), sites=5)
    with pytest.raises(TrainingError, match="beyond"):
        noised_step(np.array([0.0, bad]), plan, round_index=0, noise_key=KEY)


def test_one_patient_moves_a_rounded_sum_by_no_more_than_is_paid_for(layout: Layout, codes: Codes) -> None:
    """The critic's real term has no draws of its own, so two runs differ in the patient alone."""
    generator = make_generator("ctgan")
    weights = generator.init(layout, seed=3)
    plan = make_plan(pipeline_of("ctgan", privacy__clip_norm=0.01), sites=5)
    (event,) = round_events(plan, 0)

    def whole(rows: Codes) -> np.ndarray:
        step = generator.clipped_sum(weights, layout, rows, plan, round_index=0, noise_key=KEY)
        return shared.rounded(step.gradient, plan.shared)

    everybody = whole(codes)
    for patient in range(0, len(codes), 7):
        moved = (everybody - whole(np.delete(codes, patient, axis=0))).astype(np.float64)
        assert 0.9 * 2**plan.shared.scale_bits * 0.01 < np.linalg.norm(moved) <= event.l2_sensitivity
        assert np.abs(moved).sum() <= event.l1_sensitivity


def test_single_precision_is_refused(layout: Layout, codes: Codes) -> None:
    network = Mlp((layout.total_width, 4, 1))
    load_weights(network, first_weights(network, seed=1))
    plan = make_plan(pipeline_of(), sites=5)
    with pytest.raises(TrainingError, match="double"):
        summed_step(FlatNetwork(network), one_hot(codes, layout), lambda m, b: m(b)[:, 0], plan, noise=NoiseStream(KEY))


def one_round(
    generator: Generator, weights: Weights, layout: Layout, sites: list[Codes], plan: Plan, index: int, *, quiet: bool
) -> np.ndarray:
    """The opened sum of a round; `quiet` leaves the noise out."""
    total = 0
    for number, codes in enumerate(sites):
        key = bytes([number, index] * 16)
        step = generator.clipped_sum(weights, layout, codes, plan, round_index=index, noise_key=key)
        if quiet:
            total = total + shared.rounded(step.gradient, plan.shared)
        else:
            total = total + noised_step(step.gradient, plan, round_index=index, noise_key=key)
    return total


def test_without_noise_the_sites_sum_is_that_of_one_table_but_for_each_sites_rounding(
    layout: Layout, codes: Codes
) -> None:
    generator = make_generator("ctgan")
    weights = generator.init(layout, seed=3)
    plan = make_plan(pipeline_of("ctgan"), sites=5)
    five = one_round(generator, weights, layout, parts(codes), plan, 0, quiet=True)
    one = one_round(generator, weights, layout, [codes], plan, 0, quiet=True)
    assert np.abs(five - one).max() <= 3  # half a unit for each of the five roundings and the one
    assert np.abs(one).max() > 2**plan.shared.scale_bits / 10


@both
def test_a_shared_step_goes_downhill_and_moves_only_what_is_trained(kind: str, layout: Layout) -> None:
    generator = make_generator(kind)
    codes = make_codes(layout, 400)
    pipeline = pipeline_of(kind, privacy__epsilon=50.0, privacy__expected_patients=400)
    plan = make_plan(pipeline, sites=1)
    learned = train(generator, layout, codes, plan, 3, KEY)
    released, events = learned.released, learned.events
    assert events == all_events(plan)
    again = train(generator, layout, codes, plan, 3, KEY).released
    np.testing.assert_array_equal(flatten(released), flatten(again))
    other = train(generator, layout, codes, plan, 3, bytes(32)).released
    assert np.abs(flatten(released) - flatten(other)).max() > 0
    start = generator.init(layout, seed=3)
    for name in released:
        assert np.abs(released[name] - start[name]).max() > 0
    assert generator.sample(released, layout, rows=5, seed=1).shape == (5, 4)


def test_a_shared_step_of_one_site_is_the_local_step_but_for_whole_numbers(layout: Layout) -> None:
    """With hardly any noise the change is along the local one: downhill, divided by the public batch."""
    generator = make_generator("tvae")
    codes = make_codes(layout, 200)
    weights = generator.init(layout, seed=3)
    plan = make_plan(pipeline_of(privacy__expected_patients=200), sites=1)
    step = generator.clipped_sum(weights, layout, codes, plan, round_index=0, noise_key=KEY)
    mean = shared.mean_gradient(shared.rounded(step.gradient, plan.shared), plan, counted=1)
    change = shared.step_change(weights, shared.trained_tensors("tvae", weights), mean)
    local = replace(plan, shared=None, local_steps=1, noise_multiplier=1e-9)
    stint = generator.stint(weights, layout, codes, local, round_index=0, noise_key=KEY)
    rate = generator.settings.site_rate
    ours, theirs = flatten(change) * rate, flatten(stint.change)
    assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.95  # their latent draws differ
    assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(theirs), rel=0.1)


def test_the_critic_learns_from_fakes_at_the_coordinator(layout: Layout) -> None:
    """A round whose sum says nothing still moves the critic: by the terms that touch no patient."""
    generator = make_generator("ctgan")
    weights = generator.init(layout, seed=3)
    plan = make_plan(pipeline_of("ctgan"), sites=5)
    still = {name: np.zeros_like(tensor) for name, tensor in weights.items()}
    state = generator.start(weights)
    moved, _ = generator.apply(weights, state, still, layout, plan, round_index=0, seed=1)
    assert any(np.abs(moved[name] - weights[name]).max() > 0 for name in weights if name.startswith("critic."))
    local = replace(plan, shared=None)
    same, _ = generator.apply(weights, state, still, layout, local, round_index=0, seed=1)
    assert all((same[name] == weights[name]).all() for name in weights if name.startswith("critic."))


def test_a_tree_trains_in_no_step(layout: Layout, codes: Codes) -> None:
    with pytest.raises(TrainingError, match="counting rounds only"):
        Tree().clipped_sum({}, layout, codes, make_plan(pipeline_of(), sites=5), round_index=0, noise_key=KEY)


def test_clipped_sums_are_the_same_in_both_precisions(layout: Layout, codes: Codes) -> None:
    sums = []
    for precision in (torch.float32, torch.float64):
        network = Mlp((layout.total_width, 6, 1))
        load_weights(network, first_weights(network, seed=3))
        flat = FlatNetwork(network.to(precision))
        flat.begin()
        sums.append(flat.clipped_sum(flat.module(one_hot(codes, layout).to(precision)).squeeze(1), 0.5).numpy())
    assert sums[1].dtype == np.float64
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-4, atol=1e-5)
