"""Who knows or withholds shares of the noise: what they find stays below what is stated, or is refused."""

from dataclasses import replace

import numpy as np
import pytest

from synthfed.errors import BudgetRefused
from synthfed.generators.base import Plan
from synthfed.generators.plan import all_events, make_plan, round_events
from synthfed.generators.shared import count_scales, with_share
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import epsilon_alone, epsilon_of
from synthfed.privacy.audit_epsilon import EpsilonAudit, audit_scores
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.ledger import Ledger

DELTA = 1e-5
SITES = 5
CANARIES = 4000
PIPELINE = Pipeline.parse(
    {
        "title": "attack",
        "disease": "aml",
        "cohort": {"columns": ["age_years", "sex"]},
        "generator": {"kind": "marginal"},
        "privacy": {"epsilon": 3.0, "delta": DELTA, "expected_patients": CANARIES},
        "federation": {"noise": "shared"},
    },
    origin="test",
)
PLAN = make_plan(PIPELINE, sites=SITES)


def opened(took_part: np.ndarray, plan: Plan, drawing: range) -> np.ndarray:
    """What is left of an opened sum of counts once the shares of the sites not in `drawing` are known or missing."""
    assert plan.shared is not None
    (event,) = round_events(plan, 0)
    scales = count_scales(np.full(CANARIES, plan.measures[0].noise_multiplier), plan.shared)
    total = took_part.astype(np.int64) * scales
    for site in drawing:
        total = with_share(total, event, noise_key=bytes([7, site] * 16))
    return total.astype(float)


def audit(plan: Plan, drawing: range, claimed: float) -> EpsilonAudit:
    """Canaries with a cell each."""
    took_part = np.random.default_rng(5).random(CANARIES) < 0.5
    return audit_scores(opened(took_part, plan, drawing), took_part, claimed_epsilon=claimed, delta=DELTA)


def test_colluders_find_no_more_than_either_epsilon_says() -> None:
    events = round_events(PLAN, 0)
    colluding = audit(PLAN, range(SITES - PLAN.shared.colluders), epsilon_of(events, DELTA))
    alone = audit(PLAN, range(1), epsilon_alone(events, DELTA))
    assert not colluding.refuted
    assert not alone.refuted
    assert 0.3 * colluding.claimed < colluding.lower_bound < alone.lower_bound


def test_a_sum_without_its_noise_is_refuted() -> None:
    assert audit(PLAN, range(0), epsilon_of(round_events(PLAN, 0), DELTA)).refuted


def test_what_is_left_beside_colluders_costs_what_is_stated_and_less_is_never_counted_on() -> None:
    """The variance that colluders cannot subtract is that of the plan; with one site more among them it is not."""
    (event,) = round_events(PLAN, 0)
    needed = (event.noise_multiplier * event.l2_sensitivity) ** 2
    assert event.share_variance * PLAN.shares == pytest.approx(needed)
    left = np.var(opened(np.zeros(CANARIES), PLAN, range(PLAN.shares)))
    assert left == pytest.approx(needed, rel=0.1)
    fewer = replace(event, noise_multiplier=event.noise_multiplier * np.sqrt((PLAN.shares - 1) / PLAN.shares))
    assert epsilon_of([fewer], DELTA) > epsilon_of([event], DELTA) * 1.2


def too_little_noise() -> list[tuple[str, PrivacyEvent]]:
    (event,) = round_events(PLAN, 0)
    by_all = event.share_variance * event.sites / (event.sites - event.colluders)  # what t = 0 would let a share be
    assert replace(event, colluders=0).share_variance < event.share_variance < by_all
    return [
        ("variance over K though t are not counted", replace(event, colluders=0)),
        ("more sites than there are", replace(event, sites=50)),
        ("less noise", replace(event, noise_multiplier=0.99 * event.noise_multiplier)),
        ("a smaller patient", replace(event, l2_sensitivity=0.99 * event.l2_sensitivity)),
        (
            "noise of another kind",
            replace(event, mechanism="gaussian", l1_sensitivity=0.0, sites=1, colluders=0, numbers=0),
        ),
        ("fewer numbers", replace(event, numbers=1)),
    ]


@pytest.mark.parametrize(("_", "drawn"), too_little_noise())
def test_a_site_that_drew_less_than_its_share_cannot_pay_with_it(_: str, drawn: PrivacyEvent) -> None:
    with Ledger.open(None, site="lyon", limit=Budget(3.0, DELTA)) as ledger:
        ledger.reserve("run", all_events(PLAN))
        with pytest.raises(BudgetRefused):
            ledger.charge("vector", "run", drawn)
        assert ledger.spent() == 0
        ledger.charge("vector", "run", round_events(PLAN, 0)[0])


def test_variance_over_all_sites_would_cost_more_than_the_budget_once_some_collude() -> None:
    """What the accounting refuses to promise: the plan for t = 0 does not keep epsilon against two colluders."""
    trusting = make_plan(PIPELINE.replace(federation__colluders=0), sites=SITES)
    against_two = [
        replace(
            event,
            noise_multiplier=event.noise_multiplier * np.sqrt((SITES - 2) / SITES),
            colluders=2,
        )
        for event in all_events(trusting)
    ]
    assert against_two[0].share_variance == pytest.approx(all_events(trusting)[0].share_variance)
    assert epsilon_of(all_events(trusting), DELTA) <= 3.0
    assert epsilon_of(against_two, DELTA) > 3.9
    with Ledger.open(None, site="lyon", limit=Budget(3.0, DELTA)) as ledger, pytest.raises(BudgetRefused):
        ledger.reserve("run", against_two)


def test_the_share_alone_is_far_from_what_local_noise_gives() -> None:
    """Why both numbers are shown: a vector that is opened alone has a third of the variance, not all of it."""
    assert epsilon_of(all_events(PLAN), DELTA) <= 3.0
    assert epsilon_alone(all_events(PLAN), DELTA) > 1.8 * 3.0
