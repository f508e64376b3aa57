"""Counting rounds through the real apps: exact sums, paid for once, refused when a coordinator asks for more."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from synthfed.cohorts.sites import load_cohort
from synthfed.errors import SiteRefused
from synthfed.federation import records, wire
from synthfed.federation.in_process import FederationResult, Wiretap, run_in_process
from synthfed.generators import counted
from synthfed.generators.base import Layout
from synthfed.generators.counted import Counting
from synthfed.generators.marginal import MarginalModel, NoisyTables, count
from synthfed.generators.plan import make_plan, run_workload
from synthfed.pipeline import Pipeline
from synthfed.tables.transform import public_transformer
from tests.federation.fakes import alter, is_kind

COLUMNS = ("patient_id", "age_years", "sex", "NPM1", "FLT3_ITD", "os_days", "os_event")
PIPELINE = Pipeline.load("smoke").replace(
    cohort__columns=COLUMNS, generator__kind="marginal", evaluation__targets=("os_event", "NPM1"), evaluation__groups=()
)
COHORT = load_cohort("aml", sites=("lyon", "milano", "barcelona", "berlin"), patients=400, columns=COLUMNS)
TRANSFORMER = public_transformer(COHORT.schema)
SITES = {site: TRANSFORMER.encode(rows) for site, rows in COHORT.sites.items()}
LAYOUT = Layout(TRANSFORMER.names, TRANSFORMER.widths)


def federate(work: Path, pipeline: Pipeline = PIPELINE, tap: Wiretap | None = None, **settings) -> FederationResult:
    return run_in_process(
        pipeline=pipeline, transformer=TRANSFORMER, sites=SITES, work=work, simulated=True, wiretap=tap, **settings
    )


def pooled(pipeline: Pipeline) -> MarginalModel:
    """The same rounds over all rows in one place, without noise."""
    plan = make_plan(pipeline, sites=len(SITES))
    counting = Counting(LAYOUT, run_workload(pipeline, TRANSFORMER), plan, pipeline.privacy.expected_patients)
    known: list[NoisyTables] = []
    for _ in plan.measures:
        tables = counting.tables(known)
        exact = count(np.concatenate(list(SITES.values())), LAYOUT, tables)
        known.append(counting.noisy(known, exact, counted=len(SITES)))
    return counting.model(known)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> FederationResult:
    return federate(tmp_path_factory.mktemp("noisy"))


def test_without_noise_the_sites_together_count_what_one_table_would(tmp_path):
    pipeline = PIPELINE.replace(privacy__epsilon=float("inf"))
    released = federate(tmp_path, pipeline).released
    wanted = pooled(pipeline).to_weights()
    assert list(released) == list(wanted)
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(released[name], tensor)


def test_each_counting_round_is_charged_once_and_the_whole_keeps_the_budget(noisy):
    assert noisy.rounds == 2
    for ledger in noisy.ledgers.values():
        assert [event["purpose"] for event in ledger["events"]] == [
            "round 0, counting tables",
            "round 1, counting edges",
        ]
        assert 0.99 * PIPELINE.privacy.epsilon < ledger["epsilon_spent"] <= PIPELINE.privacy.epsilon


def test_the_noisy_tree_draws_rows_of_the_layout_and_of_the_right_frequencies(noisy):
    model = MarginalModel.from_weights(noisy.released, LAYOUT)
    rows = model.sample(20_000, seed=2)
    real = np.concatenate(list(SITES.values()))
    for block, width in enumerate(LAYOUT.widths):
        found, wanted = (np.bincount(codes[:, block], minlength=width) / len(codes) for codes in (rows, real))
        assert np.abs(found - wanted).sum() / 2 < 0.12


@pytest.mark.parametrize("round_index", [0, 1])
def test_a_run_stopped_in_a_counting_round_goes_on_to_the_same_tree(tmp_path, noisy, round_index):
    seen = [0]

    def stop(message: Message) -> None:
        if message.metadata.message_type == "query.unmask" and not message.metadata.reply_to_message_id:
            seen[0] += 1
            if seen[0] == 4 * round_index + 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, tap=Wiretap(faults=stop))
    result = federate(tmp_path, resume=True)
    assert all(len(ledger["events"]) == 2 for ledger in result.ledgers.values())
    for name, tensor in noisy.released.items():
        np.testing.assert_array_equal(result.released[name], tensor)


def test_a_coordinator_that_asks_for_less_noise_is_refused_by_every_site(tmp_path):
    def sharpen(message: Message) -> None:
        if is_kind(message, wire.RoundRequest):
            tables = counted.from_bytes(records.from_record(message.content, wire.RoundRequest).model)
            sharper = counted.to_bytes([replace(table, stddev=table.stddev / 2) for table in tables])
            alter(message, wire.RoundRequest, model=sharper)

    with pytest.raises(SiteRefused, match="training at the site cannot go on"):
        federate(tmp_path, tap=Wiretap(faults=sharpen))
    assert not list(tmp_path.glob("sites/*/runs/*/parked/*"))


def test_no_sites_counts_cross_in_clear(tmp_path):
    transcript: list[bytes] = []
    federate(tmp_path, tap=Wiretap(serialise=True, on_message=lambda _, raw: transcript.append(raw)))
    everything = b"|".join(transcript)
    plan = make_plan(PIPELINE, sites=len(SITES))
    tables = Counting(LAYOUT, run_workload(PIPELINE, TRANSFORMER), plan, 1).tables([])
    for codes in SITES.values():
        exact = count(codes, LAYOUT, tables).astype("<i4").tobytes()
        assert exact[:32] not in everything


def test_the_manifest_names_what_is_counted_and_reads_back(tmp_path):
    from synthfed.federation.manifest import read_manifest

    federate(tmp_path)
    raw = (tmp_path / "coordinator" / "manifest.json").read_bytes()
    assert read_manifest(raw).to_bytes() == raw
    body = json.loads(raw)
    assert [measure["name"] for measure in body["plan"]["measures"]] == ["tables", "edges"]
    assert body["workload"]["centre"] == LAYOUT.names.index("os")
