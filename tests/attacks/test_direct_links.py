"""A direct link that fails, however it fails: its parts go through the coordinator, sealed, and the weights stay.

Who could stand at a peer's address, in front of a site's own port, or hold another site's link key.
"""

import hashlib
import json
import socket
import ssl
import threading
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from synthfed.errors import FederationError
from synthfed.federation import peer_link, records, relay_sessions, wire
from synthfed.federation.in_process import FederationResult, Wiretap
from synthfed.federation.inbox import Inbox
from synthfed.federation.mailbox import Mailbox
from synthfed.federation.peer_link import NOT_TAKEN, Header, hand_over, look_up
from synthfed.federation.peer_tls import CERTIFICATE, KEY, LinkFailed, calling_context, fingerprint
from synthfed.generators.base import flatten
from tests.federation.fakes import small_pipeline, unequal_sites
from tests.federation.linked import Linked, founded_for, run_over, write_link
from tests.federation.linked_faults import (
    cut_before_the_answer,
    cut_in_mid_message,
    deaf,
    declines,
    nonsense,
    nonsense_at_once,
    says_kept_later,
    standing_in,
)

SITES = unequal_sites(("lyon", "milano", "berlin"))
PIPELINE = small_pipeline(federation__shares="full", federation__transport="direct", federation__rounds=2)


def federate(
    work: Path, *, tap: Wiretap | None = None, resume: bool = False, progress: list | None = None
) -> FederationResult:
    return run_over(work, PIPELINE, SITES, tap=tap, resume=resume, progress=progress)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> np.ndarray:
    relayed = PIPELINE.replace(federation__transport="relay")
    return flatten(run_over(tmp_path_factory.mktemp("wanted"), relayed, SITES).final)


@pytest.fixture
def up(tmp_path) -> Linked:
    return founded_for(tmp_path, PIPELINE, tuple(SITES))


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(peer_link, "ANSWER_S", 0.5)
    monkeypatch.setattr(peer_link, "CONNECT_S", 0.5)


def relayed_entries(result: FederationResult) -> list[dict[str, str]]:
    """The links that the sites' audit chains say failed."""
    lines = [json.loads(line) for line in result.audit]
    return [link for line in lines if line["kind"] == "relayed" for link in line["body"]["links"]]


def identity(up: Linked, site: str) -> Path:
    return up.folder(site) / "identity"


def certificates(up: Linked) -> list[bytes]:
    return [member.certificate for member in up.roster.members]


def assert_fell_back(result: FederationResult, wanted: np.ndarray, progress: list, why: str) -> None:
    """Parts for milano came through the coordinator, for that reason, and nothing else changed."""
    np.testing.assert_array_equal(flatten(result.final), wanted)
    assert [done.by_relay for done in progress] == [("lyon to milano", "berlin to milano")] * 2
    assert {(link["to"], link["why"]) for link in relayed_entries(result)} == {("milano", why)}


# --- what stands at milano's address ----------------------------------------------------------------------------------


def test_nobody_there(up, wanted):
    progress: list = []
    with up.listening("milano"):
        result = federate(up.work, progress=progress)
    assert_fell_back(result, wanted, progress, "unreachable")


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (nonsense, "garbage"),
        (nonsense_at_once, "garbage"),
        (cut_in_mid_message, "cut"),
        (cut_before_the_answer, "cut"),
        (declines, "not taken"),
    ],
)
def test_milano_itself_but_broken(up, wanted, behaviour, why):
    progress: list = []
    stands_in = standing_in(up.port("milano"), identity(up, "milano"), behaviour, listed=certificates(up))
    with up.listening("milano"), stands_in:
        result = federate(up.work, progress=progress)
    assert_fell_back(result, wanted, progress, why)


def test_somebody_who_takes_connections_and_says_nothing(up, wanted, impatient):
    progress: list = []
    with up.listening("milano"), deaf(up.port("milano")):
        result = federate(up.work, progress=progress)
    assert_fell_back(result, wanted, progress, "timeout")


def test_another_certificate_is_named_and_hears_nothing(up, wanted, tmp_path):
    other = tmp_path / "other"
    (other / "identity").mkdir(parents=True)
    found = write_link(other, "milano", "127.0.0.1:1")
    progress: list = []
    impostor = standing_in(up.port("milano"), other / "identity", nonsense, listed=certificates(up))
    with up.listening("milano"), impostor as said:
        with pytest.raises(LinkFailed) as told:
            look_up(up.roster.member("milano"), identity(up, "lyon"))
        result = federate(up.work, progress=progress)
    assert_fell_back(result, wanted, progress, "certificate")
    listed = fingerprint(up.roster.member("milano").certificate)
    for part in ("'milano'", listed, fingerprint(found), "nothing was sent"):
        assert part in str(told.value)
    assert {(link["listed"], link["found"]) for link in relayed_entries(result)} == {(listed, fingerprint(found))}
    assert set(said) <= {b"handshake"}
    log = (up.folder("lyon") / "site.log").read_text()
    assert listed in log
    assert fingerprint(found) in log


def test_another_listed_site_cannot_stand_in(up):
    """Berlin's certificate is in the roster, and yet not milano's."""
    berlin = standing_in(up.port("milano"), identity(up, "berlin"), nonsense, listed=certificates(up))
    with berlin, pytest.raises(LinkFailed, match="is not site 'milano'") as told:
        look_up(up.roster.member("milano"), identity(up, "lyon"))
    assert told.value.found == fingerprint(up.roster.member("berlin").certificate)


def test_a_peer_that_never_reads_holds_up_no_more_than_the_deadline(up, impatient, monkeypatch):
    monkeypatch.setattr(peer_link, "_SLOWEST_BYTES_PER_S", 1e9)
    release = threading.Event()
    milano = up.roster.member("milano")
    behaviour = says_kept_later(release)
    with standing_in(up.port("milano"), identity(up, "milano"), behaviour, listed=certificates(up)):
        failed = hand_over("0" * 64, 0, {2: bytes(16_000_000)}, own=1, peers={2: milano}, identity=identity(up, "lyon"))
        release.set()
    assert failed[2].reason == "timeout"


# --- what stands in front of a site's own port ------------------------------------------------------------------------


def call(up: Linked, folder: Path, site: str = "milano") -> ssl.SSLSocket:
    context = calling_context(folder)
    plain = socket.create_connection(("127.0.0.1", up.port(site)), timeout=5.0)
    try:
        return context.wrap_socket(plain)
    except BaseException:
        plain.close()
        raise


def answer_to(up: Linked, caller: str, header: bytes, body: bytes = b"") -> bytes:
    with call(up, identity(up, caller)) as link:
        assert link.recv(1) == peer_link.WELCOME
        link.sendall(header)
        answer = link.recv(1)
        if answer == peer_link.SEND:
            link.sendall(body)
            answer = link.recv(1)
        return answer


def enrolled(up: Linked, rounds_done: int = 0) -> str:
    """A run of which `rounds_done` rounds are over at every site; its hash."""
    left = [rounds_done]

    def stop(message: Message) -> None:
        if message.metadata.message_type == "train.round" and not message.metadata.reply_to_message_id:
            request = records.from_record(message.content, wire.RoundRequest)
            if request.round_index >= left[0]:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        federate(up.work, tap=Wiretap(faults=stop))
    return next((up.folder("milano") / "runs").iterdir()).name


def part_like(up: Linked, sender: int, receiver: int) -> bytes:
    """Bytes of a part's size, addressed, and sealed by nobody."""
    size = 7 + 4  # weights of the stand-in generator
    return sender.to_bytes(2, "little") + receiver.to_bytes(2, "little") + bytes(12 + 16 + 4 * size + 20)


def header_of(run: str, round_index: int, sender: int, receiver: int, body: bytes) -> bytes:
    return Header(run, round_index, sender, receiver, len(body), hashlib.sha256(body).digest()).pack()


def test_who_shows_no_listed_certificate_gets_no_further_than_the_handshake(up, tmp_path):
    stranger = tmp_path / "stranger"
    (stranger / "identity").mkdir(parents=True)
    write_link(stranger, "lyon", "127.0.0.1:1")  # the right name, another key
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.check_hostname, nameless.verify_mode = False, ssl.CERT_NONE
    old = calling_context(identity(up, "lyon"))
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    with up.listening():
        for context in (calling_context(stranger / "identity"), nameless, old):
            plain = socket.create_connection(("127.0.0.1", up.port("milano")), timeout=5.0)
            with plain, pytest.raises(ssl.SSLError), context.wrap_socket(plain) as link:
                link.recv(1)
        with pytest.raises(LinkFailed, match="turns this site away"):
            look_up(up.roster.member("milano"), stranger / "identity")
        look_up(up.roster.member("milano"), identity(up, "lyon"))  # and milano still listens
    assert [said for said in up.said if "turned away a caller from 127.0.0.1" in said]


def test_only_what_the_receiver_expects_is_kept(up):
    """A listed site that asks for more than its own part of an open round, each time in one way."""
    body = part_like(up, 1, 2)
    with up.listening():
        run = enrolled(up)
        refused = {
            "another run": header_of("ab" * 32, 0, 1, 2, body),
            "a round that has not come": header_of(run, 2, 1, 2, body),
            "in berlin's name": header_of(run, 0, 3, 2, body),
            "for berlin": header_of(run, 0, 1, 3, body),
            "too long": header_of(run, 0, 1, 2, body + b"\0"),
            "as long as a disk": Header(run, 0, 1, 2, 2**62, bytes(32)).pack(),
            "empty": header_of(run, 0, 1, 2, b""),
        }
        answers = {name: answer_to(up, "lyon", header) for name, header in refused.items()}
        assert answers == dict(zip(refused, (b"u", b"o", b"a", b"a", b"s", b"s", b"s"), strict=True))
        assert set(answers.values()) <= NOT_TAKEN.keys()
        assert answer_to(up, "lyon", header_of(run, 0, 1, 2, body), body[::-1]) == b"s"  # not what was announced
        wrongly_addressed = part_like(up, 3, 2)
        assert answer_to(up, "lyon", header_of(run, 0, 1, 2, wrongly_addressed), wrongly_addressed) == b"s"
    assert not list(up.folder("milano").glob("runs/*/inbox/*.part"))


def test_an_old_envelope_is_not_taken_again(up, wanted):
    """Recorded in round 0 by a thief of lyon's link key, and played back when that round is over."""
    recorded: list[tuple[bytes, bytes]] = []
    keep = Inbox.keep

    def record(inbox: Inbox, round_index: int, dealer: int, sealed: bytes) -> None:
        keep(inbox, round_index, dealer, sealed)
        run = inbox.folder.parent.name
        if (round_index, dealer) == (0, 1) and up.folder("milano") in inbox.folder.parents:
            recorded.append((header_of(run, 0, 1, 2, sealed), sealed))

    with up.listening(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inbox, "keep", record)
        result = federate(up.work)
        ((header, sealed),) = recorded
        assert answer_to(up, "lyon", header, sealed) == b"o"
        in_round_1 = header_of(Header.unpack(header).run, 1, 1, 2, sealed)
        assert answer_to(up, "lyon", in_round_1, sealed) == b"o"  # the run is closed
    np.testing.assert_array_equal(flatten(result.final), wanted)


def test_what_was_put_in_before_the_true_envelope_does_not_count(up, wanted):
    """A thief of lyon's link key fills lyon's place at milano; lyon's own part then goes through the coordinator."""
    progress: list = []
    with up.listening():
        run = enrolled(up)
        body = part_like(up, 1, 2)
        assert answer_to(up, "lyon", header_of(run, 0, 1, 2, body), body) == peer_link.KEPT
        assert answer_to(up, "lyon", header_of(run, 0, 1, 2, body)) == peer_link.KEPT  # held: not sent again
        result = federate(up.work, resume=True, progress=progress)
    np.testing.assert_array_equal(flatten(result.final), wanted)
    assert [done.by_relay for done in progress] == [("lyon to milano",), ()]
    assert relayed_entries(result) == [{"to": "milano", "why": "not taken"}]


def test_callers_who_stay_do_not_keep_the_others_out(up):
    """Two calls of one site at a time; a third has to wait, another site need not."""
    with up.listening():
        held = [call(up, identity(up, "lyon")) for _ in range(2)]
        assert [link.recv(1) for link in held] == [peer_link.WELCOME] * 2
        with call(up, identity(up, "lyon")) as third:
            assert third.recv(1) == b""
        look_up(up.roster.member("milano"), identity(up, "berlin"))
        for link in held:
            link.close()


# --- what passes the coordinator --------------------------------------------------------------------------------------


def test_the_very_same_bytes_go_by_link_and_by_relay(up, wanted, monkeypatch):
    """Every answer of a peer is lost on its way back, so each part is on both ways."""
    by_link: dict[tuple[int, int, int], bytes] = {}
    by_relay: dict[tuple[int, int, int], bytes] = {}
    true_hand_over = peer_link.hand_over

    def lose_answers(run, round_index, envelopes, **rest):
        assert not true_hand_over(run, round_index, envelopes, **rest)
        by_link.update({(round_index, rest["own"], receiver): raw for receiver, raw in envelopes.items()})
        return {receiver: LinkFailed("lost", "cut") for receiver in envelopes}

    def watch(message: Message, _: bytes) -> None:
        if message.has_content() and records.kind_of(message.content) == wire.PartsRequest.KIND:
            request = records.from_record(message.content, wire.PartsRequest)
            receiver = message.metadata.dst_node_id - 100
            for part in request.parts:
                by_relay[request.round_index, int.from_bytes(part[:2], "little"), receiver] = part

    monkeypatch.setattr(peer_link, "hand_over", lose_answers)
    with up.listening():
        result = federate(up.work, tap=Wiretap(on_message=watch))
    np.testing.assert_array_equal(flatten(result.final), wanted)
    assert by_link == by_relay
    assert len(by_link) == 2 * 3 * 2


def test_no_part_passes_the_coordinator_while_links_hold(up, wanted, monkeypatch):
    sent: list[bytes] = []
    seen: list[bytes] = []
    true_hand_over = peer_link.hand_over

    def note(run, round_index, envelopes, **rest):
        sent.extend(envelopes.values())
        return true_hand_over(run, round_index, envelopes, **rest)

    monkeypatch.setattr(peer_link, "hand_over", note)
    with up.listening():
        result = federate(up.work, tap=Wiretap(serialise=True, on_message=lambda _, raw: seen.append(raw)))
    np.testing.assert_array_equal(flatten(result.final), wanted)
    everything = b"".join(seen)
    assert len(sent) == 12
    assert not [part for part in sent if part[16:48] in everything]


def test_a_run_that_was_stopped_goes_on_though_the_links_are_gone(up, wanted):
    """What a site remembers of a request does not depend on the way on which parts came."""
    left = [2]

    def stop(message: Message) -> None:
        left[0] -= message.metadata.message_type == "query.parts" and not message.metadata.reply_to_message_id
        if not left[0]:
            raise KeyboardInterrupt

    with up.listening(), pytest.raises(KeyboardInterrupt):
        federate(up.work, tap=Wiretap(faults=stop))
    result = federate(up.work, resume=True)  # lyon answered query.parts before; nobody listens now
    np.testing.assert_array_equal(flatten(result.final), wanted)


def test_parts_too_large_for_the_coordinator_go_by_links_or_not_at_all(up, wanted, monkeypatch):
    monkeypatch.setattr(relay_sessions, "_MOST_PARTS_BYTES", 100)
    with up.listening("milano"), pytest.raises(FederationError, match="mend the direct links, then resume"):
        federate(up.work)
    with up.listening():
        result = federate(up.work, resume=True)
    np.testing.assert_array_equal(flatten(result.final), wanted)
    with pytest.raises(FederationError, match="use shares = 'compressed'"):
        federate(up.work / "unlinked")  # no site has an address: nothing was asked


def test_a_lost_inbox_is_said_and_a_resume_fills_it_again(up, wanted):
    def lose(message: Message) -> None:
        if message.metadata.message_type == "query.parts":
            for path in up.folder("milano").glob("runs/*/inbox/*.part"):
                path.unlink()

    with up.listening():
        with pytest.raises(FederationError, match=r"\(parts\)"):
            federate(up.work, tap=Wiretap(faults=lose))
        result = federate(up.work, resume=True)
    np.testing.assert_array_equal(flatten(result.final), wanted)


def test_a_link_key_that_cannot_be_used_costs_the_links_that_it_was_for(up, wanted):
    progress: list = []
    with up.listening():
        (identity(up, "lyon") / KEY).write_bytes(b"")
        result = federate(up.work, progress=progress)
    np.testing.assert_array_equal(flatten(result.final), wanted)
    assert set(progress[0].by_relay) == {"lyon to milano", "lyon to berlin"}
    assert {link["why"] for link in relayed_entries(result)} == {"own key"}


def test_a_lost_link_key_and_certificate_only_cost_the_links(up, wanted):
    (identity(up, "lyon") / KEY).unlink()
    (identity(up, "lyon") / CERTIFICATE).unlink()
    progress: list = []
    with up.listening():
        assert [said for said in up.said if "another certificate" in said]
        result = federate(up.work, progress=progress)
    np.testing.assert_array_equal(flatten(result.final), wanted)
    assert set(progress[0].by_relay) == {"lyon to milano", "lyon to berlin", "milano to lyon", "berlin to lyon"}


def test_nothing_listens_unless_configuration_policy_and_roster_say_so(tmp_path):
    refusing = founded_for(tmp_path / "refusing", PIPELINE.replace(federation__transport="relay"), tuple(SITES))
    alone = founded_for(tmp_path / "alone", PIPELINE, tuple(SITES), unlinked=("milano", "berlin"))
    silent = founded_for(tmp_path / "silent", PIPELINE, tuple(SITES), unlinked=("milano",))
    for up, site, why in (
        (refusing, "lyon", "direct = false"),
        (alone, "lyon", "no other site has an address"),
        (silent, "milano", ""),
    ):
        with Mailbox(up.folder(site), site, say=up.said.append) as box:
            assert not box.listens
        assert not why or why in up.said[-1]
    with silent.listening(), pytest.raises(OSError), socket.create_server(("127.0.0.1", silent.port("lyon"))):
        pass
    with socket.create_server(("127.0.0.1", silent.port("lyon"))):
        with Mailbox(silent.folder("lyon"), "lyon", say=silent.said.append) as box:
            assert not box.listens
        assert "cannot listen" in silent.said[-1]
