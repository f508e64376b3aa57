"""An audit that cannot fail is worth nothing: broken noise must be caught, sound noise must not."""

from dataclasses import replace

import pytest

from synthfed.generators import counted
from synthfed.generators.base import Plan
from synthfed.generators.plan import make_plan
from synthfed.pipeline import Pipeline
from synthfed.privacy.audit_epsilon import EpsilonAudit
from synthfed.privacy.mechanisms import seeded_key
from synthfed.run import auditing
from synthfed.run.auditing import audit_counting, audit_metric, metric_of
from synthfed.tables.dictionary import load_dictionary

SMOKE = Pipeline.load("smoke").replace(generator__kind="marginal", privacy__epsilon=1.0)
SCHEMA = load_dictionary(SMOKE.disease).schema.select(SMOKE.cohort.columns)


def audited(pipeline: Pipeline = SMOKE, seed: int = 0) -> EpsilonAudit:
    found = audit_counting(pipeline, SCHEMA, key=seeded_key(seed, "test"))
    assert found is not None
    return found


@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_sound_noise_is_not_refuted(epsilon):
    found = [audited(SMOKE.replace(privacy__epsilon=epsilon), seed) for seed in range(4)]
    assert not any(one.refuted for one in found)
    assert all(one.claimed == epsilon for one in found)


def test_the_attack_sees_something():
    """Without this a sound result would say nothing."""
    assert max(audited(SMOKE.replace(privacy__epsilon=3.0), seed).lower_bound for seed in range(4)) > 0.3


def test_a_generator_that_claims_epsilon_one_and_adds_no_noise_is_caught(monkeypatch):
    class Silent:
        def __init__(self, key: bytes) -> None:
            pass

        def rounded_gaussian(self, size, stddev):
            return 0

    monkeypatch.setattr(counted, "NoiseStream", Silent)
    found = audited()
    assert found.refuted
    metric = metric_of(found)
    assert (metric.light, metric.role, metric.rows_used) == ("red", "if_measurable", "none")


def test_noise_for_a_larger_budget_than_claimed_is_caught(monkeypatch):
    def careless(pipeline: Pipeline, sites: int, **settings: object) -> Plan:
        return make_plan(pipeline.replace(privacy__epsilon=40.0), sites, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(auditing, "make_plan", careless)
    assert audited().refuted


def test_what_an_audit_cannot_refute_is_not_called_shown():
    metric = metric_of(replace(audited(), claimed=10.0))
    assert metric.light == "grey"
    assert "can show" in metric.reason


def test_the_same_simulated_run_has_the_same_audit():
    assert audit_metric(SMOKE, SCHEMA, seeded=True) == audit_metric(SMOKE, SCHEMA, seeded=True)
    assert audit_metric(SMOKE, SCHEMA, seeded=False) != audit_metric(SMOKE, SCHEMA, seeded=True)


def test_without_counts_or_budget_there_is_nothing_to_audit():
    cold = Pipeline.load("smoke")
    assert not cold.counts_first
    assert audit_metric(cold, SCHEMA, seeded=True) is None
    assert audit_metric(SMOKE.replace(privacy__epsilon=float("inf")), SCHEMA, seeded=True) is None


def test_shared_noise_is_audited_as_one_site_alone_would_draw_it():
    assert not audited(SMOKE.replace(federation__noise="shared")).refuted
