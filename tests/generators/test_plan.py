"""The plan spends the pipeline's epsilon, no more, and says when a budget buys nothing."""

import math

import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.errors import BudgetTooSmall, UnknownColumn
from synthfed.generators.plan import all_events, make_plan, round_events, run_coding, run_workload
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import epsilon_of


def _pipeline(**changes: object) -> Pipeline:
    raw = {
        "title": "test",
        "disease": "aml",
        "cohort": {"columns": ["age_years", "sex"]},
        "generator": {"kind": "tvae", "start": "cold"},
        "privacy": {"epsilon": 3.0, "delta": 1e-5, "expected_patients": 1600},
        "federation": {"rounds": 10, "local_steps": 2},
    }
    return Pipeline.parse(raw, origin="test").replace(**changes)


@pytest.mark.parametrize("sample_rate", [1.0, 0.25])
def test_the_reserved_events_cost_the_pipelines_epsilon(sample_rate: float) -> None:
    plan = make_plan(_pipeline(federation__sample_rate=sample_rate), sites=4)
    events = all_events(plan)
    assert len(events) == 10
    assert sum(event.steps for event in events) == 20
    epsilon = epsilon_of(events, 1e-5)
    assert 3.0 * 0.99 < epsilon <= 3.0 + 1e-6


def test_the_divisor_follows_from_public_numbers() -> None:
    plan = make_plan(_pipeline(federation__sample_rate=0.25), sites=4)
    assert plan.expected_batch == 0.25 * 1600 / 4
    assert plan.sites == 4


def test_the_noise_does_not_depend_on_the_number_of_sites() -> None:
    assert make_plan(_pipeline(), sites=3).noise_multiplier == make_plan(_pipeline(), sites=10).noise_multiplier


def test_infinite_epsilon_means_no_noise() -> None:
    plan = make_plan(_pipeline(privacy__epsilon=math.inf), sites=4)
    assert plan.noise_multiplier == 0.0


def test_a_budget_below_one_useful_step_is_refused() -> None:
    with pytest.raises(BudgetTooSmall, match="max_noise_multiplier"):
        make_plan(_pipeline(privacy__epsilon=0.01), sites=4)


def test_a_round_is_worded_once() -> None:
    plan = make_plan(_pipeline(), sites=4)
    (event,) = round_events(plan, 7)
    assert event.purpose == "round 7"
    assert event.mechanism == "gaussian"
    assert event.population == "train"
    assert (event.l2_sensitivity, event.noise_multiplier) == (plan.clip_norm, plan.noise_multiplier)
    assert (event.sample_rate, event.steps) == (1.0, 2)


def test_a_derived_group_in_focus_is_learned_beside_the_columns_it_follows_from() -> None:
    schema = load_cohort("aml", sites=["one", "two", "three"], patients=60, seed=1).schema
    pipeline = _pipeline(generator={"kind": "marginal", "focus": (("eln2022", "sex", "os_days"),)})
    encoder = run_coding(pipeline, schema, sites=3).template
    names = ("eln2022", "sex", "os")
    assert run_workload(pipeline, encoder).focus == (tuple(sorted(map(encoder.names.index, names))),)
    without = run_coding(pipeline.replace(generator__focus=()), schema, sites=3).template
    assert "eln2022" not in without.names


def test_a_focus_on_what_no_code_holds_is_named() -> None:
    schema = load_cohort("aml", sites=["one", "two", "three"], patients=60, seed=1).schema
    pipeline = _pipeline(generator={"kind": "marginal", "focus": (("patient_id", "sex"),)})
    with pytest.raises(UnknownColumn, match=r"generator.focus names \['patient_id'\]"):
        run_workload(pipeline, run_coding(pipeline, schema, sites=3).template)
