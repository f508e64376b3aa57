"""Every way to hide, add and check gives the same weights through the real apps, and each says what it is."""

import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from synthfed.errors import FederationError, PipelineError, SecAggError, SiteRefused
from synthfed.federation import records, relay_sessions, wire, words
from synthfed.federation.in_process import FederationResult, Wiretap, run_in_process
from synthfed.federation.local_grid import Drop
from synthfed.federation.questions import ask_in_process
from synthfed.federation.steps import SumSettings
from synthfed.generators.base import flatten
from synthfed.pipeline import Pipeline
from synthfed.secagg.analytics import Plan
from synthfed.secagg.questions import Count
from tests.federation.fakes import MeanGenerator, TwoBlocks, alter, is_kind, small_pipeline, unequal_sites

SITES = unequal_sites()
MODES = ("compressed", "pairwise", "full", "shamir")


def federate(
    work: Path, pipeline: Pipeline, tap: Wiretap | None = None, *, resume: bool = False, sites=SITES
) -> FederationResult:
    return run_in_process(
        pipeline=pipeline,
        transformer=TwoBlocks(),
        sites=sites,
        work=work,
        simulated=True,
        generator=MeanGenerator(),
        wiretap=tap,
        resume=resume,
    )


def pipeline_with(**federation: object) -> Pipeline:
    return small_pipeline(**{f"federation__{name}": value for name, value in federation.items()})


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> np.ndarray:
    return flatten(federate(tmp_path_factory.mktemp("wanted"), small_pipeline()).final)


@pytest.mark.parametrize(
    "federation",
    [
        {"shares": "pairwise"},
        {"shares": "full"},
        {"shares": "shamir"},
        {"verify": "recompute"},
        {"shares": "pairwise", "verify": "recompute"},
        {"shares": "full", "verify": "recompute"},
        {"pq": True},
        {"shares": "shamir", "pq": True},
    ],
    ids=lambda federation: "-".join(str(value) for value in federation.values()),
)
def test_all_modes_end_with_the_same_weights(tmp_path, wanted, federation):
    result = federate(tmp_path, pipeline_with(**federation))
    np.testing.assert_array_equal(flatten(result.final), wanted)


@pytest.mark.parametrize("crossing", [11, 30, 47, 62, 85])
def test_a_hybrid_run_that_was_stopped_goes_on_with_the_keys_it_agreed_on(tmp_path, wanted, crossing):
    left = [crossing]

    def stop(_: Message) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, pipeline_with(pq=True), Wiretap(faults=stop))
    result = federate(tmp_path, pipeline_with(pq=True), resume=True)
    np.testing.assert_array_equal(flatten(result.final), wanted)
    base = next(tmp_path.glob("sites/lyon/runs/*/state.sqlite"))
    import sqlite3

    with sqlite3.connect(base) as found:
        assert found.execute("SELECT COUNT(*) FROM secret").fetchone() == (0,)


@pytest.mark.parametrize("mode", ["full", "shamir"])
def test_a_run_with_parts_that_was_stopped_goes_on(tmp_path, wanted, mode):
    left = [3]

    def stop(message: Message) -> None:
        left[0] -= message.metadata.message_type == "query.parts"
        if not left[0]:
            left[0] = -1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, pipeline_with(shares=mode), Wiretap(faults=stop))
    result = federate(tmp_path, pipeline_with(shares=mode), resume=True)
    np.testing.assert_array_equal(flatten(result.final), wanted)


def test_in_shamir_mode_a_round_may_go_on_without_a_site_that_vanished(tmp_path):
    sites = unequal_sites(("lyon", "milano", "berlin", "oslo", "wien"))

    def lose(message: Message) -> None:
        if message.metadata.message_type != "train.round" or message.metadata.reply_to_message_id:
            return
        request = records.from_record(message.content, wire.RoundRequest)
        if message.metadata.dst_node_id == 104 and request.round_index == 1:
            raise Drop

    pipeline = pipeline_with(shares="shamir", max_missing=1, deadline_s=0.4)
    result = federate(tmp_path, pipeline, Wiretap(faults=lose), sites=sites)
    plain = federate(
        tmp_path / "plain", pipeline_with(max_missing=1, deadline_s=0.4), Wiretap(faults=lose), sites=sites
    )
    np.testing.assert_array_equal(flatten(result.final), flatten(plain.final))
    assert any("ended without oslo" in said for said in result.words)


def _altering(message_type: str, field: str, kind: type, *, node: int, times: int = 1):
    """A fault that alters one site's reply of a kind: well formed, and signed by nobody."""
    left = [times]

    def fault(message: Message) -> None:
        metadata = message.metadata
        if metadata.message_type != message_type or not metadata.reply_to_message_id or metadata.src_node_id != node:
            return
        if left[0] and is_kind(message, kind):
            left[0] -= 1
            raw = bytearray(getattr(records.from_record(message.content, kind), field))
            raw[-1] ^= 1
            alter(message, kind, **{field: bytes(raw)})

    return fault


@pytest.mark.parametrize(
    ("message_type", "field", "kind"),
    [
        ("query.hello", "hello", wire.HelloReply),
        ("query.share", "share", wire.ShareReply),
        ("train.round", "masked", wire.RoundReply),
        ("query.unmask", "unmask", wire.UnmaskReply),
    ],
)
def test_what_one_site_forges_loses_that_site_and_no_other(tmp_path, message_type, field, kind):
    """With `max_missing` a refused message is as good as none; without, it ends the run."""
    tap = Wiretap(faults=_altering(message_type, field, kind, node=102))
    result = federate(tmp_path / "reduced", pipeline_with(max_missing=1, rounds=4), tap)
    assert result.rounds == 4
    others = [said for said in result.words if "ended without" in said and "milano" not in said]
    assert others == []
    tap = Wiretap(faults=_altering(message_type, field, kind, node=102))
    with pytest.raises(SecAggError):
        federate(tmp_path / "whole", small_pipeline(), tap)


def test_in_recompute_mode_sites_refuse_evidence_that_is_not_what_was_signed(tmp_path):
    def tamper(message: Message) -> None:
        if is_kind(message, wire.RoundRequest):
            raw = bytearray(records.from_record(message.content, wire.RoundRequest).evidence)
            if raw:
                raw[200] ^= 1
                alter(message, wire.RoundRequest, evidence=bytes(raw))

    with pytest.raises(SiteRefused, match="secure sum"):
        federate(tmp_path, pipeline_with(verify="recompute"), Wiretap(faults=tamper))


def test_each_mode_says_its_own_honest_words(tmp_path):
    said = {mode: federate(tmp_path / mode, pipeline_with(shares=mode)).words for mode in ("compressed", "shamir")}
    assert "Any 3 sites can open a single input." in said["shamir"]
    assert "Any 3 sites can open a single input." not in said["compressed"]
    assert words.TAG in said["compressed"]
    assert words.RECOMPUTED in federate(tmp_path / "r", pipeline_with(verify="recompute")).words
    assert words.POST_QUANTUM in federate(tmp_path / "pq", pipeline_with(pq=True)).words


@pytest.mark.parametrize("settings", [SumSettings("pairwise"), SumSettings("full"), SumSettings(verify="recompute")])
def test_questions_are_answered_alike_in_every_mode(tmp_path, settings):
    tables = {site: {"sex": codes[:, 0]} for site, codes in SITES.items()}
    asked = ask_in_process(Plan((Count(),), 1000), tables, work=tmp_path, simulated=True, noise=None, settings=settings)
    assert asked.answers[0].count == sum(map(len, SITES.values()))


@pytest.mark.parametrize(
    "federation",
    [
        {"shares": "pairwise", "max_missing": 1},
        {"shares": "full", "max_missing": 1},
        {"verify": "recompute", "pq": True},
        {"verify": "recompute", "shares": "shamir"},
    ],
)
def test_settings_that_do_not_go_together_are_refused_with_the_way_out(federation):
    with pytest.raises(PipelineError, match=r"set max_missing = 0|use verify = 'tag'"):
        pipeline_with(**federation)


def test_parts_too_large_for_a_relay_are_refused_before_anything_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(relay_sessions, "_MOST_PARTS_BYTES", 100)
    with pytest.raises(FederationError, match="use shares = 'compressed'"):
        federate(tmp_path, pipeline_with(shares="full"))


def test_the_manifest_holds_the_settings_that_every_sum_is_bound_to(tmp_path):
    federate(tmp_path, pipeline_with(shares="shamir", pq=True))
    body = json.loads((tmp_path / "coordinator" / "manifest.json").read_bytes())
    federation = json.loads(body["pipeline"])["federation"]
    assert (federation["shares"], federation["pq"], federation["verify"]) == ("shamir", True, "tag")
