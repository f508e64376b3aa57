"""Noise in shares through the real apps: exact sums, two epsilons, and no sum with too little noise in it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from synthfed.cohorts.sites import load_cohort
from synthfed.errors import FederationError, PipelineError, SecAggError, SiteRefused
from synthfed.federation import founding, words
from synthfed.federation.in_process import FederationResult, Wiretap, run_in_process
from synthfed.federation.local_grid import Drop
from synthfed.federation.manifest import Manifest, ManifestError
from synthfed.federation.policy import Policy
from synthfed.federation.sums import check_roster, colluders
from synthfed.federation.training import TrainingCourse
from synthfed.generators import central
from synthfed.generators.base import Layout, Weights
from synthfed.generators.counted import Counting, histogram_stddev, noisy_histograms
from synthfed.generators.marginal import NoisyTables, count
from synthfed.generators.plan import all_events, make_plan, noised_step, round_events, run_coding, run_workload
from synthfed.generators.registry import make_generator
from synthfed.generators.shared import (
    count_scales,
    helpers,
    mean_gradient,
    step_change,
    trained_tensors,
    with_share,
)
from synthfed.generators.tree import Tree
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import epsilon_alone, epsilon_of
from synthfed.privacy.mechanisms import seeded_key
from synthfed.privacy.statement import inconsistencies, recompute_populations, release_ledger
from synthfed.tables.transform import public_transformer

NAMES = ("lyon", "milano", "barcelona", "berlin", "oslo")
COLUMNS = ("patient_id", "age_years", "sex", "NPM1", "FLT3_ITD", "os_days", "os_event")
PIPELINE = Pipeline.load("smoke").replace(
    cohort__columns=COLUMNS,
    generator__kind="marginal",
    evaluation__targets=("os_event", "NPM1"),
    evaluation__groups=(),
    federation__noise="shared",
    federation__deadline_s=5.0,
)
COHORT = load_cohort("aml", sites=NAMES, patients=500, columns=COLUMNS)
TRANSFORMER = public_transformer(COHORT.schema)
SITES = {site: TRANSFORMER.encode(rows) for site, rows in COHORT.sites.items()}
LAYOUT = Layout(TRANSFORMER.names, TRANSFORMER.widths)
DELTA = PIPELINE.privacy.delta


def federate(work: Path, pipeline: Pipeline = PIPELINE, tap: Wiretap | None = None, **settings) -> FederationResult:
    return run_in_process(
        pipeline=pipeline, transformer=TRANSFORMER, sites=SITES, work=work, simulated=True, wiretap=tap, **settings
    )


def counting_of(pipeline: Pipeline, sites: int = len(SITES)) -> Counting:
    plan = make_plan(pipeline, sites=sites)
    return Counting(LAYOUT, run_workload(pipeline, TRANSFORMER), plan, pipeline.privacy.expected_patients)


@pytest.fixture
def opened(monkeypatch) -> list[np.ndarray]:
    """The sums that the coordinator opens, in order."""
    totals: list[np.ndarray] = []
    after = TrainingCourse.after

    def seen(self, standing, round_index, total, *, counted):
        totals.append(total.copy())
        return after(self, standing, round_index, total, counted=counted)

    monkeypatch.setattr(TrainingCourse, "after", seen)
    return totals


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> FederationResult:
    return federate(tmp_path_factory.mktemp("shared"))


def test_an_opened_sum_is_the_pooled_count_and_every_sites_share_bit_for_bit(tmp_path, opened):
    result = federate(tmp_path)
    counting = counting_of(PIPELINE)
    pooled = np.concatenate(list(SITES.values()))
    known: list[NoisyTables] = []
    for index, total in enumerate(opened):
        tables = counting.tables(known)
        sizes = [math.prod(table.shape(LAYOUT)) for table in tables]
        scales = count_scales(np.repeat([table.stddev for table in tables], sizes), counting.plan.shared)
        wanted = np.zeros(counting.cells(index), np.int64)
        wanted[: len(scales)] = count(pooled, LAYOUT, tables) * scales
        (event,) = round_events(counting.plan, index)
        for site in SITES:
            wanted = with_share(wanted, event, noise_key=seeded_key(PIPELINE.seed, site, index))
        np.testing.assert_array_equal(total, wanted.view(np.uint64))
        known.append(counting.noisy(known, wanted, counted=len(SITES)))
    assert {name: tensor.tobytes() for name, tensor in counting.model(known).to_weights().items()} == {
        name: tensor.tobytes() for name, tensor in result.released.items()
    }


def test_both_epsilons_follow_from_the_events_that_every_site_charged(shared):
    plan = make_plan(PIPELINE, sites=len(SITES))
    for ledger in shared.ledgers.values():
        assert [event["purpose"] for event in ledger["events"]] == [
            "round 0, counting tables",
            "round 1, counting edges",
        ]
        assert 0.99 * PIPELINE.privacy.epsilon < ledger["epsilon_spent"] <= PIPELINE.privacy.epsilon
        assert ledger["epsilon_local_spent"] == pytest.approx(epsilon_alone(all_events(plan), DELTA))
    stated = release_ledger(shared.ledgers, PIPELINE, simulated=True, seeded=False, planned=all_events(plan))
    assert inconsistencies(stated) == []
    assert stated["mode"] == {"noise": "shared", "sites": 5, "colluders": 2}
    assert recompute_populations(stated)["train"] == pytest.approx(epsilon_of(all_events(plan), DELTA))
    assert recompute_populations(stated, alone=True)["train"] == stated["populations"]["train"]["epsilon_local"]
    assert stated["populations"]["train"]["epsilon_local"] > 1.5 * stated["populations"]["train"]["epsilon"]
    lying = {**stated, "mode": {**stated["mode"], "colluders": 3}}
    assert inconsistencies(lying) == ["mode: 3 colluders stated, more than the events say"]


def test_a_missing_site_is_one_colluder_fewer_in_the_statement(tmp_path):
    pipeline = PIPELINE.replace(federation__max_missing=1)
    result = federate(tmp_path, pipeline)
    planned = all_events(make_plan(pipeline, sites=len(SITES)))
    stated = release_ledger(result.ledgers, pipeline, simulated=True, seeded=False, planned=planned)
    assert {event.colluders for event in planned} == {3}
    assert stated["mode"]["colluders"] == 2
    assert inconsistencies(stated) == []


class LoseAtRound:
    """Drops sites' answers to a round, and what they are sent after it until the next round."""

    def __init__(self, sites: tuple[str, ...], index: int) -> None:
        self.nodes = {101 + NAMES.index(site) for site in sites}
        self.index, self.rounds_seen = index, 0

    def __call__(self, message: Message) -> None:
        is_reply = bool(message.metadata.reply_to_message_id)
        node = message.metadata.src_node_id if is_reply else message.metadata.dst_node_id
        if message.metadata.message_type == "train.round" and not is_reply:
            self.rounds_seen += 1
        if node in self.nodes and message.metadata.message_type == "train.round" and is_reply:
            began = (self.rounds_seen - 1) // len(NAMES)
            if began == self.index:
                raise Drop("lost")


def test_the_sum_without_a_lost_site_still_holds_the_noise_that_is_paid_for(tmp_path, opened):
    pipeline = PIPELINE.replace(federation__max_missing=1, federation__deadline_s=0.5)
    result = federate(tmp_path, pipeline, Wiretap(faults=LoseAtRound(("oslo",), 0), poll_s=0.01))
    counting = counting_of(pipeline)
    (event,) = round_events(counting.plan, 0)
    tables = counting.tables([])
    sizes = [math.prod(table.shape(LAYOUT)) for table in tables]
    scales = count_scales(np.repeat([table.stddev for table in tables], sizes), counting.plan.shared)
    there = np.concatenate([codes for site, codes in SITES.items() if site != "oslo"])
    noise = opened[0].view(np.int64)[: len(scales)] - count(there, LAYOUT, tables) * scales
    present, counted_on = len(SITES) - 1, len(SITES) - event.colluders
    assert np.var(noise) == pytest.approx(event.share_variance * present, rel=0.25)
    assert event.share_variance * counted_on == pytest.approx((event.noise_multiplier * event.l2_sensitivity) ** 2)
    assert present - event.colluders + 1 >= counted_on  # each loss is one helper of the server fewer
    assert any("ended without oslo" in sentence for sentence in result.words)


@pytest.mark.parametrize(("allowed", "away"), [(0, ("oslo",)), (1, ("oslo", "berlin"))])
def test_a_sum_that_lacks_more_noise_than_allowed_is_never_opened(tmp_path, opened, allowed, away):
    pipeline = PIPELINE.replace(federation__max_missing=allowed, federation__deadline_s=0.5)
    with pytest.raises((FederationError, SecAggError)):
        federate(tmp_path, pipeline, Wiretap(faults=LoseAtRound(away, 0), poll_s=0.01))
    assert opened == []


def test_words_name_both_epsilons_and_the_helpers(tmp_path, monkeypatch, shared):
    alone = epsilon_alone(all_events(make_plan(PIPELINE, sites=5)), DELTA)
    epsilon = PIPELINE.privacy.epsilon
    said = f"Epsilon {epsilon:g} against outsiders, the server and up to 2 sites; {alone:.3g} if all others collude."
    assert words.two_epsilons(epsilon, alone, helpers=2) == said
    assert words.two_epsilons(3.0, 6.708, helpers=1) == (
        "Epsilon 3 against outsiders, the server and one site; 6.71 if all others collude."
    )
    assert words.two_epsilons(3.0, 7.67, helpers=0) == (
        "Epsilon 3 against outsiders and the server, if no site helps them; 7.67 if all others collude."
    )
    assert said not in shared.words  # seeded noise promises nothing
    assert words.SEEDED in shared.words
    secret = federate(tmp_path, PIPELINE.replace(privacy__randomness="secure"))
    assert said in secret.words


def test_a_site_whose_policy_does_not_know_shared_noise_refuses_it(tmp_path, monkeypatch):
    alone = epsilon_alone(all_events(make_plan(PIPELINE, sites=5)), DELTA)
    for number, limit in enumerate((0.0, 0.99 * alone)):
        monkeypatch.setattr(
            founding,
            "Policy",
            lambda **kwargs: Policy(**{**kwargs, "epsilon_local": limit}),  # noqa: B023
        )
        with pytest.raises(SiteRefused, match="to all other sites together"):
            federate(tmp_path / str(number))
    monkeypatch.setattr(founding, "Policy", lambda **kwargs: Policy(**{**kwargs, "epsilon_local": 1.01 * alone}))
    federate(tmp_path / "enough")


def test_a_manifest_that_counts_on_other_shares_than_its_pipeline_is_refused(tmp_path):
    federate(tmp_path)
    manifest = Manifest.from_bytes((tmp_path / "coordinator" / "manifest.json").read_bytes())
    manifest.check()
    assert manifest.plan.shared is not None
    for lie in (
        replace(manifest.plan.shared, colluders=0),
        replace(manifest.plan.shared, lost=1),
        None,
    ):
        with pytest.raises(ManifestError):
            replace(manifest, plan=replace(manifest.plan, shared=lie)).check()
    assert json.loads(manifest.to_bytes())["plan"]["shared"]["colluders"] == 2


def test_a_roster_that_withstands_fewer_helpers_than_the_noise_is_for_is_refused(tmp_path):
    from synthfed.federation.founding import found
    from synthfed.federation.refused import Refused
    from synthfed.secagg.roster import default_threshold

    federate(tmp_path / "w")
    manifest = Manifest.from_bytes((tmp_path / "w" / "coordinator" / "manifest.json").read_bytes())
    policy = Policy((PIPELINE.digest(),), 3, 10.0, DELTA, 10, 10)
    homes = {site: tmp_path / "w" / "sites" / site for site in SITES}
    _, roster = found(tmp_path / "w", homes, policy, {site: site for site in SITES})
    check_roster(manifest, roster)
    boldest = replace(manifest.plan.shared, colluders=3)
    with pytest.raises(Refused, match="roster"):
        check_roster(replace(manifest, plan=replace(manifest.plan, shared=boldest)), roster)
    assert colluders(roster) == helpers(len(SITES))
    for sites in range(3, 51):
        assert helpers(sites) == min(2 * default_threshold(sites) - sites - 1, sites - 2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"federation__noise": "local", "federation__colluders": 1}, "colluders is about shared noise"),
        ({"federation__shares": "shamir"}, "no room"),
        ({"federation__colluders": 0, "federation__max_missing": 1}, "would lack noise"),
        ({"generator__kind": "tvae", "federation__local_steps": 3}, "federation.local_steps = 1"),
    ],
)
def test_settings_that_cannot_share_noise_are_refused_with_the_way_out(changes, named):
    with pytest.raises(PipelineError, match=named):
        PIPELINE.replace(**changes)


def test_colluders_beyond_what_the_secure_sum_withstands_are_refused():
    with pytest.raises(PipelineError, match="0 to 2"):
        make_plan(PIPELINE.replace(federation__colluders=3), sites=5)
    assert make_plan(PIPELINE.replace(federation__colluders=0), sites=5).shares == 5


@pytest.mark.parametrize("mode", ["pairwise", "full"])
def test_other_ways_to_hide_vectors_open_the_same_tree(tmp_path, shared, mode):
    released = federate(tmp_path, PIPELINE.replace(federation__shares=mode)).released
    for name, tensor in shared.released.items():
        np.testing.assert_array_equal(released[name], tensor)


def test_one_table_pays_the_same_and_needs_no_more_noise_than_the_sum_of_five(tmp_path):
    pipeline = PIPELINE.replace(federation__colluders=0)
    five, one = (make_plan(pipeline, sites=count) for count in (5, 1))
    assert five.shares == 5
    assert one.shares == 1
    assert one.measures == five.measures or [m.mu for m in one.measures] == pytest.approx(
        [m.mu for m in five.measures], rel=1e-3
    )
    pooled = np.concatenate(list(SITES.values()))
    learned = central.train(
        Tree(), LAYOUT, pooled, one, PIPELINE.seed, bytes(32), counting=counting_of(pipeline, sites=1)
    )
    released, events = learned.released, learned.events
    assert 0.99 * pipeline.privacy.epsilon < epsilon_of(events, DELTA) <= pipeline.privacy.epsilon
    assert epsilon_alone(events, DELTA) == epsilon_of(events, DELTA)
    assert Tree().sample(released, LAYOUT, rows=10, seed=1).shape == (10, len(LAYOUT.names))


NETWORKS = {
    "tvae": {"kind": "tvae", "start": "cold", "hidden": 16, "latent": 4},
    "ctgan": {"kind": "ctgan", "start": "cold", "hidden": 16, "critic_hidden": 8, "noise_width": 4, "fakes": 32},
}


def in_the_clear(pipeline: Pipeline) -> tuple[Weights, list[np.ndarray]]:
    """The same steps as one plain loop, and the sums of its rounds."""
    generator, plan = make_generator(pipeline.generator), make_plan(pipeline, sites=len(SITES))
    weights = generator.init(LAYOUT, seed=pipeline.seed)
    state, totals = generator.start(weights), []
    for index in range(plan.rounds):
        total = np.zeros(0, np.int64)
        for site, codes in SITES.items():
            key = seeded_key(pipeline.seed, site, index)
            step = generator.clipped_sum(weights, LAYOUT, codes, plan, round_index=index, noise_key=key)
            part = noised_step(step.gradient, plan, round_index=index, noise_key=key)
            total = part if not total.size else total + part
        totals.append(total)
        change = step_change(
            weights, trained_tensors(generator.kind, weights), mean_gradient(total, plan, counted=len(SITES))
        )
        weights, state = generator.apply(weights, state, change, LAYOUT, plan, round_index=index, seed=pipeline.seed)
    return generator.release(weights, state), totals


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_learns_from_the_opened_sums_of_single_steps_bit_for_bit(tmp_path, opened, kind):
    pipeline = PIPELINE.replace(generator=NETWORKS[kind], federation__rounds=3, federation__local_steps=1)
    result = federate(tmp_path, pipeline)
    released, totals = in_the_clear(pipeline)
    assert len(opened) == len(totals) == 3
    for found, wanted in zip(opened, totals, strict=True):
        np.testing.assert_array_equal(found, wanted.view(np.uint64))
    assert list(result.released) == list(released)
    for name, tensor in released.items():
        np.testing.assert_array_equal(result.released[name], tensor)
    for ledger in result.ledgers.values():
        assert [event["purpose"] for event in ledger["events"]] == ["round 0", "round 1", "round 2"]
        assert 0.98 * pipeline.privacy.epsilon < ledger["epsilon_spent"] <= pipeline.privacy.epsilon
        assert ledger["epsilon_local_spent"] > 1.5 * ledger["epsilon_spent"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_that_starts_from_shared_counts_trains_on_shared_steps(tmp_path, kind):
    pipeline = PIPELINE.replace(
        generator={**NETWORKS[kind], "start": "marginals"}, federation__rounds=3, federation__local_steps=1
    )
    result = federate(tmp_path, pipeline)
    assert result.rounds == 5
    for ledger in result.ledgers.values():
        assert {event["mechanism"] for event in ledger["events"]} == {"skellam"}
        assert 0.98 * pipeline.privacy.epsilon < ledger["epsilon_spent"] <= pipeline.privacy.epsilon
    rows = make_generator(pipeline.generator).sample(result.released, LAYOUT, rows=4000, seed=1)
    real = np.concatenate(list(SITES.values()))
    for block, width in enumerate(LAYOUT.widths):
        found, wanted = (np.bincount(codes[:, block], minlength=width) / len(codes) for codes in (rows, real))
        assert np.abs(found - wanted).sum() / 2 < 0.2


def test_a_site_lost_in_a_step_leaves_the_mean_of_the_others(tmp_path, opened):
    pipeline = PIPELINE.replace(
        generator=NETWORKS["ctgan"],
        federation__rounds=2,
        federation__local_steps=1,
        federation__max_missing=1,
        federation__deadline_s=0.5,
    )
    result = federate(tmp_path, pipeline, Wiretap(faults=LoseAtRound(("oslo",), 0), poll_s=0.01))
    plan, generator = make_plan(pipeline, sites=len(SITES)), make_generator(pipeline.generator)
    weights = generator.init(LAYOUT, seed=pipeline.seed)
    wanted = 0
    for site, codes in SITES.items():
        if site != "oslo":
            key = seeded_key(pipeline.seed, site, 0)
            step = generator.clipped_sum(weights, LAYOUT, codes, plan, round_index=0, noise_key=key)
            wanted = wanted + noised_step(step.gradient, plan, round_index=0, noise_key=key)
    np.testing.assert_array_equal(opened[0], wanted.view(np.uint64))
    assert any("ended without oslo" in sentence for sentence in result.words)


def test_histograms_for_the_encoder_are_shared_too(tmp_path, opened):
    columns = tuple(replace(column, knots=()) for column in COHORT.schema.columns)
    coding = run_coding(PIPELINE, replace(COHORT.schema, columns=columns), sites=len(SITES))
    result = run_in_process(
        pipeline=PIPELINE, transformer=coding.template, sites=COHORT.sites, coding=coding, work=tmp_path, simulated=True
    )
    plan = make_plan(PIPELINE, sites=len(SITES), coding=coding)
    assert [measure.name for measure in plan.measures] == ["histograms", "tables", "edges"]
    blocks = len(coding.grid.names)
    exact = sum(coding.grid.count(rows) for rows in COHORT.sites.values())
    noisy, stddev = noisy_histograms(opened[0].view(np.int64), plan, blocks=blocks, counted=len(SITES))
    assert np.std(noisy - exact) == pytest.approx(stddev, rel=0.2)
    assert stddev == pytest.approx(histogram_stddev(plan.measures[0], blocks) * math.sqrt(5 / 3))
    assert result.encoder is not None
    for ledger in result.ledgers.values():
        assert 0.98 * PIPELINE.privacy.epsilon < ledger["epsilon_spent"] <= PIPELINE.privacy.epsilon
