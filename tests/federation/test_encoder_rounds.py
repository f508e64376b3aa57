"""A run whose encoder follows from noisy histograms: paid for, the same at every site, and never somebody's choice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from synthfed.cohorts.sites import load_cohort
from synthfed.errors import SiteRefused
from synthfed.federation import records, wire
from synthfed.federation.in_process import FederationResult, Wiretap, run_in_process
from synthfed.federation.manifest import read_manifest
from synthfed.generators import central
from synthfed.generators.base import Layout
from synthfed.generators.counted import Counting
from synthfed.generators.marginal import MarginalModel
from synthfed.generators.plan import all_events, make_plan, run_coding, run_workload
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import epsilon_of
from synthfed.tables.schema import Schema
from synthfed.tables.transform import Transformer
from tests.federation.fakes import alter, is_kind

COLUMNS = ("patient_id", "age_years", "sex", "wbc_10e9_l", "NPM1", "os_days", "os_event")
PIPELINE = Pipeline.load("smoke").replace(
    cohort__columns=COLUMNS, generator__kind="marginal", evaluation__targets=("os_event",), evaluation__groups=()
)
COHORT = load_cohort("aml", sites=("lyon", "milano", "barcelona", "berlin"), patients=400, columns=COLUMNS)


def without_knots(schema: Schema) -> Schema:
    return replace(schema, columns=tuple(replace(column, knots=()) for column in schema.columns))


SCHEMA = without_knots(COHORT.schema)
CODING = run_coding(PIPELINE, SCHEMA, sites=4)
FITTED = ("age_years", "wbc_10e9_l", "os")


def federate(work: Path, pipeline: Pipeline = PIPELINE, tap: Wiretap | None = None, **settings) -> FederationResult:
    return run_in_process(
        pipeline=pipeline,
        transformer=CODING.template,
        coding=run_coding(pipeline, SCHEMA, sites=4),
        sites=COHORT.sites,
        work=work,
        simulated=True,
        wiretap=tap,
        **settings,
    )


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> FederationResult:
    return federate(tmp_path_factory.mktemp("encoder"))


def test_three_counting_rounds_are_paid_for_and_keep_the_budget(result):
    assert CODING.grid.names == FITTED
    assert result.rounds == 3
    for ledger in result.ledgers.values():
        assert [event["purpose"] for event in ledger["events"]] == [
            "round 0, counting histograms",
            "round 1, counting tables",
            "round 2, counting edges",
        ]
        assert 0.99 * PIPELINE.privacy.epsilon < ledger["epsilon_spent"] <= PIPELINE.privacy.epsilon


def test_the_encoder_has_the_widths_that_were_public_and_cells_that_were_counted(result):
    encoder = result.encoder
    assert encoder is not None
    assert encoder.widths == CODING.template.widths
    assert CODING.admits(encoder)
    assert encoder != CODING.template
    for block in encoder.blocks:
        assert bool(block.fine) == (block.name in FITTED)


def test_without_noise_the_sites_together_fit_what_one_table_would(tmp_path):
    pipeline = PIPELINE.replace(privacy__epsilon=float("inf"))
    found = federate(tmp_path, pipeline)
    coding, plan = run_coding(pipeline, SCHEMA, sites=1), make_plan(pipeline, sites=1, coding=CODING)
    encoder = central.fit_encoder(coding, COHORT.train, plan, noise_key=bytes(32))
    assert found.encoder == encoder
    layout = Layout(encoder.names, encoder.widths)
    counting = Counting(layout, run_workload(pipeline, encoder), plan, pipeline.privacy.expected_patients)
    wanted = counting.model(central._count(counting, encoder.encode(COHORT.train), bytes(32))).to_weights()
    assert list(found.released) == list(wanted)
    for name, tensor in wanted.items():
        np.testing.assert_allclose(found.released[name], tensor, rtol=1e-6)


def test_rows_drawn_and_decoded_look_like_patients(result):
    assert result.encoder is not None
    layout = Layout(result.encoder.names, result.encoder.widths)
    codes = MarginalModel.from_weights(result.released, layout).sample(5000, seed=3)
    drawn = result.encoder.decode(codes, np.random.default_rng(4))
    real = COHORT.train
    for column in ("age_years", "wbc_10e9_l"):
        low, middle, high = (float(np.nanquantile(real[column].astype(float), q)) for q in (0.25, 0.5, 0.75))
        assert low < float(np.nanmedian(drawn[column].astype(float))) < high, (column, middle)


def test_the_whole_run_stopped_after_the_encoder_goes_on_to_the_same_tree(tmp_path, result):
    left = [6]

    def stop(message: Message) -> None:
        left[0] -= message.metadata.message_type == "train.round" and not message.metadata.reply_to_message_id
        if left[0] == 0:
            left[0] = -1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, tap=Wiretap(faults=stop))
    again = federate(tmp_path, resume=True)
    assert again.encoder == result.encoder
    for name, tensor in result.released.items():
        np.testing.assert_array_equal(again.released[name], tensor)


@pytest.mark.parametrize("change", ["level", "bound", "width"])
def test_an_encoder_that_the_dictionary_does_not_admit_is_refused_by_every_site(tmp_path, change):
    def forge(encoder: Transformer) -> Transformer:
        blocks = list(encoder.blocks)
        at = next(i for i, block in enumerate(blocks) if block.name == ("sex" if change == "level" else "age_years"))
        block = blocks[at]
        if change == "level":
            blocks[at] = replace(block, levels=tuple(reversed(block.levels)))
        elif change == "bound":
            lowest = block.fine[1]
            blocks[at] = replace(
                block, edges=(lowest, *block.edges[1:]), fine=block.fine[1:], mass=(1,) * (len(block.fine) - 2)
            )
        else:
            blocks[at] = replace(block, edges=(block.edges[0], *block.edges[2:]), width=block.width - 1)
        return replace(encoder, blocks=tuple(blocks))

    def swap(message: Message) -> None:
        if is_kind(message, wire.RoundRequest):
            raw = records.from_record(message.content, wire.RoundRequest).model
            if raw:
                end = 8 + int.from_bytes(raw[:8], "little")
                forged = forge(Transformer.from_json(raw[8:end].decode())).to_json().encode()
                alter(message, wire.RoundRequest, model=len(forged).to_bytes(8, "little") + forged + raw[end:])

    with pytest.raises(SiteRefused, match="do not fit the run's layout"):
        federate(tmp_path, tap=Wiretap(faults=swap))


def test_the_manifest_says_beforehand_how_many_cells_are_counted(tmp_path):
    federate(tmp_path)
    raw = (tmp_path / "coordinator" / "manifest.json").read_bytes()
    manifest = read_manifest(raw)
    assert manifest.to_bytes() == raw
    assert manifest.step(0).size == CODING.grid.cells
    assert manifest.rounds == 3


@pytest.mark.parametrize("kind", ["marginal", "tvae"])
@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_histograms_tables_and_training_share_one_budget(kind, epsilon):
    pipeline = PIPELINE.replace(generator__kind=kind, privacy__epsilon=epsilon, privacy__max_noise_multiplier=1000.0)
    if kind == "tvae":
        pipeline = pipeline.replace(generator__start="marginals")
    plan = make_plan(pipeline, sites=4, coding=run_coding(pipeline, SCHEMA, sites=4))
    assert plan.encodes
    spent = epsilon_of(all_events(plan), pipeline.privacy.delta)
    assert 0.985 * epsilon < spent <= epsilon


def test_a_schema_with_published_knots_buys_no_histograms():
    coding = run_coding(PIPELINE, COHORT.schema, sites=4)
    assert not coding.fits
    assert [measure.name for measure in make_plan(PIPELINE, sites=4, coding=coding).measures] == ["tables", "edges"]
