"""Scoring runs through the real apps: held-out patients alone pay, once, and by their sites' leave."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from synthfed.errors import BudgetRefused, FederationError, SiteRefused
from synthfed.evaluation.counted.count import count
from synthfed.federation.founding import found, roster_names
from synthfed.federation.holdout import require_disjoint, require_fraction
from synthfed.federation.manifest import ManifestError, read_manifest
from synthfed.federation.one_process import Wiretap
from synthfed.federation.policy import Policy
from synthfed.federation.refused import Refused
from synthfed.federation.scoring import PURPOSE, Scoring, ScoringWork, planned_scoring
from synthfed.federation.scoring_in_process import HoldoutCounts, score_in_process
from synthfed.federation.wire import BadMessage
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import epsilon_of
from tests.evaluation.cheats import simulate
from tests.evaluation.counted.world import plan_for, rows_of

PLAN = plan_for(simulate(300, seed=1))
ROWS = {name: rows_of(PLAN, simulate(40 + 20 * i, seed=i)) for i, name in enumerate(("lyon", "milano", "berlin"), 2)}
EXACT = np.sum([count(PLAN, rows) for rows in ROWS.values()], axis=0)
PIPELINE = Pipeline.parse(
    {
        "title": "toy",
        "disease": "toy",
        "cohort": {"columns": list(PLAN.columns)},
        "generator": {"kind": "marginal"},
        "privacy": {"epsilon": 3.0, "expected_patients": 100},
    },
    origin="test",
)
POLICY = Policy(
    pipelines=(PIPELINE.digest(),), min_sites=3, epsilon_total=5.0, delta=1e-5, max_rounds=9, max_steps=0, questions=3
)


def begin(work: Path, policy: Policy = POLICY, *, homes: Path | None = None) -> None:
    """What a training run leaves in `work`: keys, a roster and the sites' folders."""
    names = roster_names(tuple(ROWS))
    found(work, {site: (homes or work / "sites") / site for site in names.values()}, policy, names)


def score(work: Path, pipeline: Pipeline = PIPELINE, **settings: object) -> HoldoutCounts:
    given: dict = {"table_sha256": "a" * 64, "simulated": False} | settings
    return score_in_process(PLAN, ROWS, pipeline=pipeline, work=work, **given)


def allowing(pipeline: Pipeline, **changes: object) -> Policy:
    return replace(POLICY, pipelines=(pipeline.digest(),), **changes)  # type: ignore[arg-type]


def test_noisy_counts_are_near_the_pooled_ones_and_only_held_out_patients_pay(tmp_path):
    begin(tmp_path)
    counted = score(tmp_path)
    off = (counted.counts - EXACT) / counted.stddevs
    assert not (counted.counts == EXACT).all()
    assert 0.85 < off.std() < 1.15
    assert abs(off.mean()) < 0.2
    for ledger in counted.ledgers.values():
        (event,) = ledger["events"]
        assert (event["population"], event["purpose"]) == ("holdout", PURPOSE)
        assert 2.9 < ledger["epsilon_spent"] <= 3.0


def test_a_release_costs_the_larger_of_both_budgets_and_not_their_sum():
    trained = replace(planned_scoring(PIPELINE)[0], population="train")
    assert epsilon_of([trained, *planned_scoring(PIPELINE)], 1e-5) == pytest.approx(epsilon_of([trained], 1e-5))


@pytest.mark.parametrize("at", ["query.share", "train.round", "query.unmask", "query.close", "query.settle"])
def test_a_killed_and_resumed_run_charges_the_held_out_once_and_opens_the_same_sum(tmp_path, at):
    begin(tmp_path)
    seen: list[str] = []

    def stop(message: Message) -> None:
        seen.append(message.metadata.message_type)
        if seen.count(at) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(tmp_path, wiretap=Wiretap(faults=stop))
    counted = score(tmp_path)
    again = score(tmp_path)
    assert (again.counts == counted.counts).all()
    for ledger in again.ledgers.values():
        assert len(ledger["events"]) == 1
        charged = [entry for entry in ledger["entries"] if entry["kind"] == "charge"]
        assert len(charged) == 1


def test_another_table_is_another_charge_and_the_limit_refuses_what_exceeds_it(tmp_path):
    tight = replace(POLICY, epsilon_total=4.0)
    begin(tmp_path, tight, homes=tmp_path / "homes")
    score(tmp_path, site_home=tmp_path / "homes")
    begin(tmp_path / "next", tight, homes=tmp_path / "homes")
    with pytest.raises(BudgetRefused):
        score(tmp_path / "next", site_home=tmp_path / "homes", table_sha256="b" * 64)


def test_nothing_is_scored_where_nothing_was_trained(tmp_path):
    with pytest.raises(FederationError, match="train first"):
        score(tmp_path)


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (replace(POLICY, questions=0), "policy.questions"),
        (replace(POLICY, pipelines=()), "policy.pipelines"),
        (replace(POLICY, delta=1e-9), "policy.delta"),
    ],
)
def test_a_site_that_does_not_allow_it_gives_nothing(tmp_path, policy, code):
    begin(tmp_path, policy)
    with pytest.raises(SiteRefused, match=code):
        score(tmp_path)


def test_exact_sums_need_every_sites_leave_and_are_in_no_ledger(tmp_path):
    exact = PIPELINE.replace(evaluation__release="exact-sums")
    begin(tmp_path / "1", allowing(exact))
    with pytest.raises(SiteRefused, match=r"policy\.exact_answers"):
        score(tmp_path / "1", exact)
    begin(tmp_path / "2", allowing(exact, exact_answers=True))
    counted = score(tmp_path / "2", exact)
    assert (counted.counts == EXACT).all()
    assert not counted.stddevs.any()
    assert all(ledger["events"] == [] for ledger in counted.ledgers.values())


def test_exact_sums_are_given_once_per_table(tmp_path):
    exact = PIPELINE.replace(evaluation__release="exact-sums")
    homes = tmp_path / "homes"
    begin(tmp_path / "1", allowing(exact, exact_answers=True), homes=homes)
    score(tmp_path / "1", exact, site_home=homes)
    begin(tmp_path / "2", allowing(exact, exact_answers=True), homes=homes)
    with pytest.raises(SiteRefused, match=r"policy\.exact_answers"):
        score(tmp_path / "2", exact, site_home=homes)


def manifest(**changes: object) -> Scoring:
    made = Scoring(
        pipeline=PIPELINE.canonical().decode(),
        counts=PLAN.to_json(),
        table="c" * 64,
        noise_seed=0,
        roster="0" * 64,
        sites=("berlin", "lyon", "milano"),
        randomness="secure",
        simulated=False,
        version="1",
        nonce="0" * 64,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_scoring_manifest_reads_back_and_only_in_its_canonical_form():
    raw = manifest().to_bytes()
    assert read_manifest(raw) == manifest()
    with pytest.raises(ManifestError):
        read_manifest(raw.replace(b"scoring/1", b"scoring/9"))
    with pytest.raises(ManifestError, match="count plan"):
        manifest(counts="{}").check()


def test_a_plan_of_foreign_columns_or_a_release_that_asks_nothing_is_refused():
    few = PIPELINE.replace(cohort__columns=("age_years", "sex"))
    with pytest.raises(ManifestError, match="no columns of the manifest's pipeline"):
        manifest(pipeline=few.canonical().decode()).check()
    silent = PIPELINE.replace(evaluation__release="synthetic-only")
    with pytest.raises(ManifestError, match="nothing to score"):
        manifest(pipeline=silent.canonical().decode()).check()


def test_a_site_counts_what_its_manifest_says_and_listens_to_nothing_else():
    work = ScoringWork(manifest(), lambda _: ROWS["lyon"])
    with pytest.raises(BadMessage):
        work.contribute(0, b"count less", noise_key=bytes(32))
    with pytest.raises(Refused) as refused:
        ScoringWork(manifest(), lambda _: replace(ROWS["lyon"], broken=np.zeros((80, 3), bool))).contribute(
            0, b"", noise_key=bytes(32)
        )
    assert refused.value.code == "data"


def enrolled(folder: Path, name: str, schema: str, fraction: float) -> Path:
    """A run's manifest as a site keeps it, as far as the fraction goes."""
    place = folder / "runs" / name
    place.mkdir(parents=True)
    pipeline = json.dumps({"cohort": {"holdout_fraction": fraction}})
    (place / "manifest.json").write_text(json.dumps({"schema": schema, "pipeline": pipeline, "table": "t"}))
    return folder


@pytest.mark.parametrize(("earlier", "allowed"), [(0.2, True), (0.3, True), (0.1, False)])
def test_who_trained_in_an_earlier_run_is_never_scored_as_held_out(tmp_path, earlier, allowed):
    """At 0.2 now and 0.1 then, patients between would be in both populations."""
    enrolled(tmp_path, "before", "synthfed.manifest/1", earlier)
    if allowed:
        require_disjoint(manifest(), tmp_path)
        require_fraction({"lyon": tmp_path}, 0.2, scores=True)
        return
    with pytest.raises(Refused) as refused:
        require_disjoint(manifest(), tmp_path)
    assert refused.value.code == "holdout"
    with pytest.raises(BudgetRefused, match="synthetic-only"):
        require_fraction({"lyon": tmp_path}, 0.2, scores=True)
    require_fraction({"lyon": tmp_path}, 0.2, scores=False)


def test_who_was_scored_as_held_out_never_trains(tmp_path):
    enrolled(tmp_path, "before", "synthfed.scoring/1", 0.3)
    with pytest.raises(BudgetRefused, match=r"at least 0\.3"):
        require_fraction({"lyon": tmp_path}, 0.2, scores=False)
    require_fraction({"lyon": tmp_path}, 0.3, scores=False)
