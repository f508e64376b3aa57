"""Sites that vanish at any trip and come back: exact sums of the rest, one per round, clean ends, nothing leaked."""

import json
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flwr.app import Message

from synthfed.errors import DeadlineMissed, LedgerBroken, SecAggError, SiteBroken, SiteRefused
from synthfed.federation import records, stages, training, wire, words
from synthfed.federation.in_process import FederationResult, RoundDone, Wiretap, run_in_process
from synthfed.federation.local_grid import Drop
from synthfed.federation.refused import Refused
from synthfed.federation.site import Site
from synthfed.generators.base import Codes, flatten, unflatten
from synthfed.generators.plan import make_plan
from synthfed.pipeline import Pipeline
from synthfed.privacy.statement import recompute_epsilon, release_ledger
from synthfed.secagg import messages, ring
from synthfed.secagg.audit import verify_lines
from synthfed.secagg.dealing import Dealing
from synthfed.secagg.relay_session import RelaySession
from synthfed.secagg.roster import RELAY
from tests.federation.fakes import LAYOUT, MeanGenerator, TwoBlocks, alter, is_kind, small_pipeline, unequal_sites

NAMES = ("lyon", "milano", "berlin", "oslo", "wien", "graz", "bern")


def sites_of(count: int) -> dict[str, Codes]:
    return unequal_sites(NAMES[:count])


def reducible(missing: int = 1, rounds: int = 4) -> Pipeline:
    return small_pipeline(federation__max_missing=missing, federation__rounds=rounds, federation__deadline_s=0.05)


@dataclass
class Away:
    """Loses what goes to or comes from sites, by what `when(site, action, round, is_reply)` says.

    Rounds are counted by the last `train.round` that was asked for; -1 before.
    """

    when: Callable[[str, str, int, bool], bool]
    how: type[BaseException] = Drop
    current: int = -1
    seen: list[tuple[str, str, int]] = field(default_factory=list)

    def __call__(self, message: Message) -> None:
        is_reply = bool(message.metadata.reply_to_message_id)
        node = message.metadata.src_node_id if is_reply else message.metadata.dst_node_id
        action, site = message.metadata.message_type, NAMES[node - 101]
        if action == "train.round" and not is_reply:
            self.current = records.from_record(message.content, wire.RoundRequest).round_index
        if not is_reply:
            self.seen.append((site, action, self.current))
        if self.when(site, action, self.current, is_reply):
            raise self.how(f"{site} at {action}")


def lose(site: str, action: str, index: int, *, reply: bool = False) -> Away:
    """One message of one round, and nothing else."""
    return Away(lambda s, a, r, is_reply: (s, a, r, is_reply) == (site, action, index, reply))


def federate(
    work: Path,
    sites: dict[str, Codes],
    fault: Callable[[Message], None] | None = None,
    *,
    pipeline: Pipeline | None = None,
    generator: MeanGenerator | None = None,
    **settings: object,
) -> FederationResult:
    return run_in_process(
        pipeline=pipeline or reducible(),
        transformer=TwoBlocks(),
        sites=sites,
        work=work,
        simulated=True,
        generator=generator or MeanGenerator(),
        wiretap=Wiretap(faults=fault, poll_s=0.01),
        **settings,
    )


def oracle(pipeline: Pipeline, sites: dict[str, Codes], missing: dict[int, Collection[str]]) -> np.ndarray:
    """The same rounds as one plain loop that leaves out the same sites in the same rounds."""
    generator = MeanGenerator()
    plan = make_plan(pipeline, sites=len(sites))
    weights = generator.init(LAYOUT, seed=pipeline.seed)
    state = generator.start(weights)
    bound = pipeline.federation.delta_bound
    for index in range(plan.rounds):
        total = np.zeros(flatten(weights).size, np.uint32)
        there = [site for site in sites if site not in missing.get(index, ())]
        for site in there:
            key = HKDF(SHA256(), 32, None, f"synthfed/noise/v1|{site}|{index}".encode()).derive(b"%d" % pipeline.seed)
            stint = generator.stint(weights, LAYOUT, sites[site], plan, round_index=index, noise_key=key)
            total += ring.encode(flatten(stint.change), bound=bound, weight=1 / len(sites)).values
        mean = ring.decode_sum(total, bound=bound, total_weight=len(there) / len(sites))
        change = unflatten(mean.astype(np.float32), weights)
        weights, state = generator.apply(weights, state, change, LAYOUT, plan, round_index=index, seed=pipeline.seed)
    return flatten(weights)


def audited(result: FederationResult, site: str) -> list[dict[str, object]]:
    lines = [line for line in result.audit if json.loads(line)["body"]]
    heads = [index for index, line in enumerate(lines) if json.loads(line)["seq"] == 0]
    at = list(result.audit_keys).index(site)
    own = lines[heads[at] : heads[at + 1] if at + 1 < len(heads) else None]
    verify_lines(own, bytes.fromhex(result.audit_keys[site]))
    return [json.loads(line) for line in own]


def reduced(result: FederationResult) -> dict[int, list[str]]:
    """Who is missing from which round, by the audit chain of a site that was always there."""
    return {
        line["body"]["round"]: line["body"]["missing"] for line in audited(result, "lyon") if line["kind"] == "reduced"
    }


def said(round_number: str, site: str) -> str:
    return (
        f"{round_number} ended without {site}. "
        "Compared with other rounds this can reveal its approximate size and contribution."
    )


@pytest.mark.parametrize("count", [4, 5, 7])
@pytest.mark.parametrize(
    ("action", "reply", "lost_rounds"),
    [
        ("train.round", False, [1, 2]),  # its vector is missing, and it has no keys for the next round
        ("train.round", True, [1, 2]),
        ("query.unmask", False, [2]),  # its vector counts
        ("query.unmask", True, [2]),
    ],
)
def test_a_site_lost_for_one_message_is_left_out_exactly_and_comes_back(tmp_path, count, action, reply, lost_rounds):
    sites = sites_of(count)
    done: list[RoundDone] = []
    result = federate(tmp_path, sites, lose("oslo", action, 1, reply=reply), progress=done.append)
    missing = dict.fromkeys(lost_rounds, ("oslo",))
    np.testing.assert_array_equal(flatten(result.final), oracle(reducible(), sites, missing))
    assert {d.round_index: d.missing for d in done if d.missing} == missing
    spoken = "Round 3" if lost_rounds == [2] else "Rounds 2 to 3"
    assert result.words[-1] == said(spoken, "oslo")
    assert reduced(result) == {index: ["oslo"] for index in lost_rounds}


@pytest.mark.parametrize(
    ("action", "reply", "missing"),
    [
        ("query.hello", False, {0: ("oslo",)}),
        ("query.hello", True, {0: ("oslo",)}),
        ("query.share", False, {0: ("oslo",)}),
        ("query.share", True, {0: ("oslo",)}),
    ],
)
def test_a_site_lost_while_keys_are_made_joins_the_second_round(tmp_path, action, reply, missing):
    sites = sites_of(4)
    result = federate(tmp_path, sites, lose("oslo", action, -1, reply=reply))
    np.testing.assert_array_equal(flatten(result.final), oracle(reducible(), sites, missing))
    assert result.words[-1] == said("Round 1", "oslo")


@pytest.mark.parametrize("reply", [False, True])
def test_a_site_lost_among_those_that_sign_the_survivors_still_counts(tmp_path, reply):
    """Two of seven: one gives no vector, another does not sign. The second one's vector is in the sum."""
    sites, pipeline = sites_of(7), reducible(2)
    first, second = lose("oslo", "train.round", 1), lose("wien", "query.survivors", 1, reply=reply)

    def both(message: Message) -> None:
        first(message)
        second(message)

    result = federate(tmp_path, sites, both, pipeline=pipeline)
    np.testing.assert_array_equal(
        flatten(result.final), oracle(pipeline, sites, {1: ("oslo",), 2: ("oslo",)})
    )  # wien dealt its keys beside trip B


def test_two_of_seven_may_vanish_for_different_rounds(tmp_path):
    sites, pipeline = sites_of(7), reducible(2, rounds=6)
    out = {"oslo": {1}, "bern": {2, 3}}
    fault = Away(lambda site, action, index, _: index in out.get(site, ()))
    result = federate(tmp_path, sites, fault, pipeline=pipeline)
    missing = {1: ("oslo",), 2: ("oslo", "bern"), 3: ("bern",), 4: ("bern",)}
    np.testing.assert_array_equal(flatten(result.final), oracle(pipeline, sites, missing))
    assert result.words[-2:] == (said("Rounds 3 to 5", "bern"), said("Rounds 2 to 3", "oslo"))


def test_a_site_away_in_the_last_round_gives_its_ledger_but_no_verdict(tmp_path):
    sites = sites_of(4)
    result = federate(tmp_path, sites, lose("oslo", "train.round", 3))
    np.testing.assert_array_equal(flatten(result.final), oracle(reducible(), sites, {3: ("oslo",)}))
    assert audited(result, "oslo")[-1]["body"]["result"] == ""
    assert audited(result, "lyon")[-1]["body"]["result"] != ""


def test_an_absent_site_spends_less_and_the_release_states_the_most(tmp_path):
    sites = sites_of(4)
    result = federate(tmp_path, sites, lose("oslo", "train.round", 1))
    assert [len(result.ledgers[site]["events"]) for site in sites] == [4, 4, 4, 2]
    statement = release_ledger(result.ledgers, reducible(), simulated=True, seeded=True)
    assert recompute_epsilon(statement) == pytest.approx(result.ledgers["lyon"]["epsilon_spent"])
    late = federate(tmp_path / "late", sites, lose("oslo", "train.round", 1, reply=True))
    assert len(late.ledgers["oslo"]["events"]) == 3  # its vector left the site, so it is paid for


def test_a_ledger_that_lacks_a_counted_round_stops_the_release(tmp_path, monkeypatch):
    charge = stages._charge
    monkeypatch.setattr(
        stages, "_charge", lambda site, *rest: "0" * 64 if site.name == "oslo" and rest[1] == 2 else charge(site, *rest)
    )
    with pytest.raises(LedgerBroken, match="'oslo' lacks round 2"):
        federate(tmp_path, sites_of(4))


@pytest.mark.parametrize("count", [4, 7])
def test_one_site_too_many_ends_the_run_and_a_resume_completes_it(tmp_path, count):
    sites = sites_of(count)
    most = (count - 1) // 3
    gone = set(NAMES[count - most - 1 : count])
    fault = Away(lambda site, action, index, _: site in gone and action == "train.round" and index == 1)
    generator, opened = MeanGenerator(), []
    with pytest.raises(DeadlineMissed, match=r"nothing more is released.*resume"):
        federate(
            tmp_path, sites, fault, pipeline=reducible(most), generator=generator, progress=lambda d: opened.append(d)
        )
    assert [d.round_index for d in opened] == [0]
    result = federate(tmp_path, sites, pipeline=reducible(most), generator=generator, resume=True)
    np.testing.assert_array_equal(flatten(result.final), oracle(reducible(most), sites, {}))
    assert len(generator.stints) == 4 * count


@pytest.mark.parametrize("missing", [0, 1, 16])
@pytest.mark.parametrize("action", ["train.round", "query.unmask"])
def test_three_sites_wait_for_the_third_and_release_nothing(tmp_path, missing, action):
    sites, pipeline = sites_of(3), reducible(missing)
    done: list[RoundDone] = []
    fault = Away(lambda site, a, index, _: (site, a, index) == ("berlin", action, 1))
    with pytest.raises(DeadlineMissed, match="from berlin; nothing more is released: look at these sites, then resume"):
        federate(tmp_path, sites, fault, pipeline=pipeline, progress=done.append)
    assert len(done) == 1
    assert not any(a in ("query.survivors", "query.close") for _, a, _ in fault.seen)
    result = federate(tmp_path, sites, pipeline=pipeline, resume=True)
    np.testing.assert_array_equal(flatten(result.final), oracle(pipeline, sites, {}))
    assert result.words[0] == words.THREE_SITES
    assert not any("ended without" in sentence for sentence in result.words)


def test_by_default_every_round_waits_for_all(tmp_path):
    fault = lose("oslo", "train.round", 1)
    with pytest.raises(DeadlineMissed, match="oslo"):
        federate(tmp_path, sites_of(4), fault, pipeline=reducible(0))


def test_a_site_whose_app_breaks_or_refuses_is_left_out_like_a_silent_one(tmp_path):
    sites = sites_of(4)
    broken = Away(lambda s, a, r, is_reply: (s, a, r, is_reply) == ("oslo", "train.round", 1, False), how=ValueError)
    result = federate(tmp_path / "broken", sites, broken)
    wanted = oracle(reducible(), sites, {1: ("oslo",), 2: ("oslo",)})
    np.testing.assert_array_equal(flatten(result.final), wanted)
    with pytest.raises(SiteBroken, match="resume when it is back"):
        federate(tmp_path / "all", sites, broken, pipeline=reducible(0))


def test_what_a_refusing_site_says_is_a_code_and_nothing_of_its_rows(tmp_path, monkeypatch):
    marker = "age=47-sex=F"
    checked = training._checked_codes

    def failing(codes, manifest):
        if len(codes) == len(sites_of(4)["oslo"]):
            raise ValueError(f"row 17: {marker}")
        return checked(codes, manifest)

    monkeypatch.setattr(training, "_checked_codes", failing)
    transcript: list[bytes] = []
    pipeline = reducible()
    result = run_in_process(
        pipeline=pipeline,
        transformer=TwoBlocks(),
        sites=sites_of(4),
        work=tmp_path,
        simulated=True,
        generator=MeanGenerator(),
        wiretap=Wiretap(serialise=True, on_message=lambda _, raw: transcript.append(raw), poll_s=0.01),
    )
    assert result.words[-1] == said("Rounds 1 to 4", "oslo")
    assert result.ledgers["oslo"]["events"] == []
    assert marker.encode() not in b"|".join(transcript)
    assert marker not in "".join(path.read_text() for path in tmp_path.glob("sites/*/site.log"))
    np.testing.assert_array_equal(
        flatten(result.final), oracle(pipeline, sites_of(4), dict.fromkeys(range(4), ("oslo",)))
    )


def test_a_policy_may_refuse_sums_that_lack_a_site(tmp_path):
    def strict(message: Message) -> None:
        for path in tmp_path.glob("sites/milano/policy.toml"):
            path.write_text(path.read_text().replace("max_missing = 1", "max_missing = 0"))

    with pytest.raises(SiteRefused, match=r"'node 102' refused enrol.*policy\.max_missing"):
        federate(tmp_path, sites_of(4), strict)


class Announced:
    """What the relay signs: HEADS and RESULT per round, by whether any two differ."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.round = -1
        self.heads: dict[int, set[bytes]] = {}
        self.results: dict[int, set[bytes]] = {}
        heads, result = RelaySession.heads, RelaySession.result

        def seen_heads(session: RelaySession) -> bytes:
            raw = heads(session)
            self.heads.setdefault(self.round, set()).add(raw)
            return raw

        def seen_result(session: RelaySession) -> tuple[bytes, ring.Ring]:
            raw, total = result(session)
            self.results.setdefault(self.round, set()).add(raw)
            return raw, total

        monkeypatch.setattr(RelaySession, "heads", seen_heads)
        monkeypatch.setattr(RelaySession, "result", seen_result)

    def once(self) -> bool:
        return all(len(found) == 1 for found in (*self.heads.values(), *self.results.values()))


PULLS = [(action, n) for action in ("query.survivors", "query.unmask", "train.round") for n in (1, 2, 3)]


@pytest.mark.parametrize("reply", [False, True])
@pytest.mark.parametrize(("action", "number"), [*PULLS, ("query.share", 1)])
def test_a_reduced_round_is_resumed_with_the_same_set_although_the_site_is_back(
    tmp_path, monkeypatch, action, reply, number
):
    """The plug is pulled at each message of a reduced round and the one after; no round ever opens two sums."""
    announced = Announced(monkeypatch)
    sites = sites_of(4)
    away, again = lose("oslo", "train.round", 1), Away(lambda *_: False)
    first = 2 if action in ("train.round", "query.share") else 1
    left = [number]

    def pull(message: Message) -> None:
        away(message)
        announced.round = away.current
        here = message.metadata.message_type, bool(message.metadata.reply_to_message_id)
        left[0] -= away.current >= first and here == (action, reply)
        if left[0] == 0:
            raise KeyboardInterrupt

    def watch(message: Message) -> None:
        again(message)
        announced.round = again.current

    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, sites, pull)
    result = federate(tmp_path, sites, watch, resume=True)
    assert announced.once()
    assert 1 in reduced(result)
    np.testing.assert_array_equal(flatten(result.final), oracle(reducible(), sites, reduced(result)))


def test_a_set_that_sites_released_for_is_waited_for_after_a_stop(tmp_path):
    """All four were counted and one released its shares: a resume without one of them opens nothing smaller."""
    sites = sites_of(4)
    first = Away(
        lambda site, action, index, reply: (site, action, index, reply) == ("milano", "query.unmask", 1, False)
    )
    first.how = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, sites, first)
    gone = Away(lambda site, *_: site == "oslo")
    with pytest.raises(DeadlineMissed, match="sites oslo are not connected; nothing more is released"):
        federate(tmp_path, sites, gone, resume=True)
    assert not any(action == "query.survivors" for _, action, _ in gone.seen)
    result = federate(tmp_path, sites, resume=True)
    np.testing.assert_array_equal(flatten(result.final), oracle(reducible(), sites, {}))


def test_a_run_is_resumed_while_a_site_is_still_away_and_lets_it_in_later(tmp_path):
    """The site is unknown to the new loop until it answers; then it signs up, shows keys and takes part."""
    sites, pipeline = sites_of(4), reducible(rounds=6)
    stop = Away(lambda _, __, index, ___: index == 1, how=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, sites, stop, pipeline=pipeline)
    gone = Away(lambda site, _, index, __: site == "oslo" and index < 2)
    result = federate(tmp_path, sites, gone, pipeline=pipeline, resume=True)
    assert set(reduced(result)) == {1, 2, 3}
    np.testing.assert_array_equal(flatten(result.final), oracle(pipeline, sites, reduced(result)))


def test_a_vector_that_comes_late_is_dropped_and_its_site_goes_on(tmp_path):
    """The site answers after the deadline: its reply is in nobody's sum, and it is charged for it."""
    sites = sites_of(4)

    def late(message: Message) -> None:
        if lost.current == 1 and message.metadata.src_node_id == 104 and message.metadata.message_type == "train.round":
            time.sleep(1.6)

    lost = Away(lambda *_: False)

    def fault(message: Message) -> None:
        lost(message)
        late(message)

    pipeline = reducible().replace(federation__deadline_s=1.0)
    result = federate(tmp_path, sites, fault, pipeline=pipeline, workers=4)
    missing = reduced(result)
    assert missing[1] == ["oslo"]
    np.testing.assert_array_equal(flatten(result.final), oracle(reducible(), sites, missing))
    assert "round 1" in {event["purpose"] for event in result.ledgers["oslo"]["events"]}


def stopped_while_signing(work: Path) -> tuple[str, dict[str, wire.SurvivorsRequest]]:
    """A reduced round 1 whose coordinator died before it could send a SURVIVORS; what the sites were asked."""
    asked: dict[str, wire.SurvivorsRequest] = {}
    away = lose("oslo", "train.round", 1)

    def fault(message: Message) -> None:
        away(message)
        if message.metadata.message_type == "query.unmask" and away.current == 1:
            raise KeyboardInterrupt
        if message.metadata.message_type == "query.survivors" and not message.metadata.reply_to_message_id:
            request = records.from_record(message.content, wire.SurvivorsRequest)
            asked[NAMES[message.metadata.dst_node_id - 101]] = request

    with pytest.raises(KeyboardInterrupt):
        federate(work, sites_of(4), fault)
    return asked["lyon"].manifest, asked


def test_a_site_that_signed_a_set_helps_to_open_that_set_or_none(tmp_path):
    run, asked = stopped_while_signing(tmp_path)
    with Site(tmp_path / "sites" / "lyon", "lyon") as site:
        request = asked["lyon"]
        assert stages.survivors(site, request) == stages.survivors(site, request)
        with pytest.raises(Refused) as caught:
            stages.survivors(site, replace(request, heads=request.heads[:-1] + b"x"))
        assert caught.value.code == "replay"
        word = stages.survivors(site, request).survivors
        for heads, words_shown in ((request.heads, ()), (b"", (word,)), (b"", (word, word, word))):
            with pytest.raises(SecAggError):
                stages.unmask(site, wire.UnmaskRequest(run, 1, 0, heads, words_shown, ()))


def test_no_round_is_begun_twice_at_a_site(tmp_path):
    """A second session for one round could mask a second vector, or show its keys under new ones."""
    run, _ = stopped_while_signing(tmp_path)
    with Site(tmp_path / "sites" / "lyon", "lyon") as site:
        for index, code in ((0, "replay"), (1, "order"), (2, "order"), (99, "order")):
            with pytest.raises(Refused) as caught:
                stages.hello(site, wire.HelloRequest(run, index, 0))
            assert caught.value.code == code
        assert stages.hello(site, wire.HelloRequest(run, 3, 0)).hello  # after an absence: any round to come


def test_a_site_that_was_told_a_false_sum_takes_no_further_part(tmp_path):
    """Going on without checking sums is for sites that were away, not for one that was lied to."""

    def lie(message: Message) -> None:
        is_reply = bool(message.metadata.reply_to_message_id)
        here = message.metadata.message_type, message.metadata.dst_node_id, is_reply
        if here == ("train.round", 104, False):
            request = records.from_record(message.content, wire.RoundRequest)
            if request.round_index == 1:
                relay = Ed25519PrivateKey.from_private_bytes((tmp_path / "coordinator" / "relay.key").read_bytes())
                body = bytearray(messages.body_of(request.result))
                body[5] ^= 1
                context = request.result[8:40]
                forged = messages.write(
                    messages.Kind.RESULT, context=context, sender=RELAY, body=bytes(body), identity=relay
                )
                alter(message, wire.RoundRequest, result=forged)

    done: list[RoundDone] = []
    with pytest.raises(SiteRefused, match="'oslo' refused close"):
        federate(tmp_path, sites_of(4), lie, progress=done.append)
    assert [d.missing for d in done] == [(), ("oslo",), ("oslo",), ("oslo",)]
    with Site(tmp_path / "sites" / "oslo", "oslo") as site:
        assert [event["purpose"] for event in site.ledger().export()["events"]] == ["round 0"]
        log = (site.folder / "site.log").read_text()
    assert "TagMismatch" in log


def test_a_site_that_comes_back_with_nonsense_disturbs_nobody(tmp_path):
    def garble(message: Message) -> None:
        away(message)
        if message.metadata.src_node_id == 104 and away.current >= 1:
            for kind, name in (
                (wire.HelloReply, "hello"),
                (wire.RoundReply, "hello"),
                (wire.ShareReply, "share"),
                (wire.UnmaskReply, "share"),
            ):
                if is_kind(message, kind):
                    alter(message, kind, **{name: bytes(200)})

    away = lose("oslo", "train.round", 1)
    sites = sites_of(4)
    result = federate(tmp_path, sites, garble)
    assert reduced(result) == {1: ["oslo"], 2: ["oslo"], 3: ["oslo"]}
    np.testing.assert_array_equal(flatten(result.final), oracle(reducible(), sites, reduced(result)))


@pytest.mark.parametrize(
    ("missing", "sentences"),
    [
        ({}, ()),
        ({2: ("oslo",)}, (said("Round 3", "oslo"),)),
        ({0: ("oslo", "bern"), 1: ("oslo",), 3: ("oslo",)}, ("Round 1|bern", "Rounds 1 to 2|oslo", "Round 4|oslo")),
    ],
)
def test_reduced_rounds_are_said_once_per_site_and_span(missing, sentences):
    wanted = tuple(said(*sentence.split("|")) if "|" in sentence else sentence for sentence in sentences)
    assert words.reduced_sentences(missing) == wanted


@pytest.mark.parametrize(("seed", "count"), [(1, 4), (2, 5), (3, 7)])
def test_whatever_is_lost_and_wherever_it_stops_the_weights_are_those_of_who_was_counted(tmp_path, seed, count):
    """Random losses, broken apps and pulled plugs; resumed until it ends, every sum is exact and every ledger fits."""
    chance = random.Random(seed)
    sites, pipeline = sites_of(count), reducible((count - 1) // 3, rounds=8)
    missing: dict[int, tuple[str, ...]] = {}
    generator = MeanGenerator()

    def fault(message: Message) -> None:
        if message.metadata.message_type in ("query.enrol", "query.close", "query.settle"):
            return  # these wait for all sites
        drawn = chance.random()
        if drawn < 0.03:
            raise KeyboardInterrupt if drawn < 0.005 else Drop if drawn < 0.02 else ValueError

    def go(resume: bool) -> FederationResult | None:
        try:
            return federate(
                tmp_path,
                sites,
                fault,
                pipeline=pipeline,
                generator=generator,
                resume=resume,
                progress=lambda done: missing.__setitem__(done.round_index, done.missing),
            )
        except (KeyboardInterrupt, DeadlineMissed, SiteBroken):
            return None

    result = next(found for attempt in range(40) if (found := go(resume=attempt > 0)) is not None)
    np.testing.assert_array_equal(flatten(result.final), oracle(pipeline, sites, missing))
    assert any(missing.values())
    assert len(generator.stints) <= 8 * count
    assert release_ledger(result.ledgers, pipeline, simulated=True, seeded=True)["sites"]


def _lie(monkeypatch, *, dealer: int, victim: int) -> None:
    """From now on a dealer seals another share for one peer than it publishes."""
    seal = Dealing.seal

    def lying(self, receiver, receiver_key, self_share, mask_share, kem_key=b""):
        if (self.own, receiver) == (dealer, victim):
            self_share = bytes([7] * 33)
        return seal(self, receiver, receiver_key, self_share, mask_share, kem_key)

    monkeypatch.setattr(Dealing, "seal", lying)


def test_a_dealer_that_lies_is_proved_to_and_left_out_of_every_further_round(tmp_path, monkeypatch):
    """The victim complains in place of its vector; from the next round on it is the dealer that is missing."""
    _lie(monkeypatch, dealer=3, victim=1)
    sites, generator = sites_of(4), MeanGenerator()
    result = run_in_process(
        pipeline=reducible(),
        transformer=TwoBlocks(),
        sites=sites,
        work=tmp_path,
        simulated=True,
        generator=generator,
    )
    missing = {0: ("lyon",), 1: ("berlin",), 2: ("berlin",), 3: ("berlin",)}
    np.testing.assert_array_equal(flatten(result.final), oracle(reducible(), sites, missing))
    assert len(result.ledgers["lyon"]["events"]) == 3  # it complained before it touched a row
    assert [json.loads(line)["kind"] for line in result.audit].count("complaint") == 1


def test_where_all_sites_are_needed_a_lying_dealer_ends_the_run_by_name(tmp_path, monkeypatch):
    _lie(monkeypatch, dealer=3, victim=1)
    with pytest.raises(SecAggError, match="site 'lyon' proved that berlin lied"):
        run_in_process(
            pipeline=small_pipeline(),
            transformer=TwoBlocks(),
            sites=sites_of(4),
            work=tmp_path,
            simulated=True,
            generator=MeanGenerator(),
        )
