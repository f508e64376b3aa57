"""Flaws that were read or measured in other systems, in the smallest form that has them, each beside ours: attacks 3,
11, 12, 18 and 20. The miniatures are written from the description of the flaw, not from the other system's code."""

import re
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import synthfed
from synthfed.secagg import messages, questions
from synthfed.secagg.audit import AuditHead, append_line, verify_lines
from synthfed.secagg.messages import Kind, body_of
from synthfed.secagg.protocol import SiteSession
from synthfed.secagg.refusals import AuditBroken, TagMismatch
from synthfed.secagg.ring import decode_sum, encode
from synthfed.secagg.roster import RELAY
from synthfed.secagg.tag import TagKey, add_words
from tests.secagg.federation import attempt, key, make_context


def int64_sum(vectors):
    return sum(vector.view(np.int32).astype(np.int64) for vector in vectors)


# --- 3: parts in clear through the relay ------------------------------------------------------------------------------


def test_a_relay_that_carries_parts_in_clear_adds_up_every_input():
    """The flaw: peers' parts pass the server unsealed, so it sums a row of them."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(1000).astype(np.float32)
    parts = [rng.standard_normal(1000).astype(np.float32) for _ in range(2)]
    parts.append(x - parts[0] - parts[1])
    assert np.abs(sum(parts) - x).max() < 1e-6


@pytest.mark.parametrize("mode", ["full", "shamir"])
def test_our_parts_pass_the_relay_closed(mode):
    """Nothing that the relay carried, added up as words in any way by dealer, is the dealer's vector."""
    run = attempt(3, 64, config={"mode": mode})
    run.parts()
    boxes = {}
    for raw in run.transcript:
        if raw[:3] != b"SA1" and len(raw) > 4 * 64:
            boxes.setdefault(int.from_bytes(raw[:2], "little"), []).append(raw)
    assert all(len(found) == 2 for found in boxes.values())
    for dealer, found in boxes.items():
        for offset in range(16, 40):
            words = [np.frombuffer(raw[offset : offset + 4 * 32], dtype="<u4") for raw in found]
            for guess in (*words, words[0] + words[1], words[0] - words[1]):
                assert np.count_nonzero(guess == run.inputs[dealer][:32]) < 3


# --- 11: shares without a modulus -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("secret", "leak"), [(10**9, 0.001), (10**11, 0.1)])
def test_shares_without_a_modulus_leak_at_their_edges(secret, leak):
    """The flaw: x - r for a uniform r in [0, 10**12) falls outside what x = 0 can give, with probability x / 10**12."""
    drawn = np.random.default_rng(0).integers(0, 10**12, 200_000)
    seen = secret - drawn
    assert abs(np.mean(seen > 0) - leak) < 0.1 * leak + 0.0005


def test_our_shares_of_extreme_inputs_have_one_distribution():
    """Word by word, a masked 0 and a masked 2**32 - 1 land in the same sixteenths equally often."""
    counts = []
    for value in (0, 2**32 - 1):
        vectors = {i: np.full(50_000, value, dtype=np.uint32) for i in range(3)}
        run = attempt(3, vectors=vectors, fixed=f"edge{value}")
        words = messages.Masked.unpack(body_of(run.masked()[3]), length=50_000).vector
        counts.append(np.bincount(words >> np.uint32(28), minlength=16))
    for found in counts:
        assert ((found - 3125) ** 2 / 3125).sum() < 15 + 6 * 30**0.5


# --- 12: what statistics show beside themselves -----------------------------------------------------------------------


def test_extremes_and_keys_in_clear_belong_to_single_patients():
    """The flaw: a minimum over sites, computed by showing each site's, is one patient's value."""
    ages = {"a": [34, 61, 71], "b": [19, 55], "c": [48, 93]}
    shown = {site: (len(values), min(values), max(values)) for site, values in ages.items()}
    assert shown["b"] == (2, 19, 55)


def test_no_question_of_ours_is_about_one_patient():
    """No minimum, maximum, record, key list or intersection can be asked for."""
    names = " ".join(questions.__all__).lower()
    for word in ("minimum", "maximum", "intersect", "record", "row", "keys", "join"):
        assert word not in names


def test_nothing_of_ours_turns_off_the_check_of_a_certificate():
    """The flaw: `ssl_verify=False`. Flower carries our bytes; nothing in synthfed tells it to trust blindly. Callers of
    direct links trust no chain but the listed certificate itself, which is compared before anything is sent
    (`test_direct_links.test_another_certificate_is_named_and_hears_nothing`)."""
    folder = Path(synthfed.__file__).parent
    wanted = re.compile(
        r"verify\s*=\s*False|ssl_verify\s+off|CERT_NONE|_create_unverified|check_hostname\s*=\s*False|insecure"
    )
    sources = {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
    assert {name for name, source in sources.items() if wanted.search(source)} <= {"peer_tls.py"}
    calling = [source for name, source in sources.items() if "calling_context(" in source and name != "peer_tls.py"]
    assert [(source.count("calling_context("), source.count("require_listed(")) for source in calling] == [(1, 1)]


# --- 18: an equivocated last result, a restored backup ----------------------------------------------------------------


def test_an_equivocated_last_result_is_seen_by_every_honest_site():
    """A relay with a site's tag key can fool the tag; but the CLOSEs of two results do not agree, and the relay has
    signed both for one context: anybody can show that."""
    run = attempt(4)
    message, total = run.result()
    genuine = messages.Result.unpack(body_of(message), run.roster, length=total.size)
    helper = TagKey(run.sites[24]._state.tag_key, run.relay.context1)  # the helping site's
    shift = np.zeros_like(total)
    shift[0:1] = 7
    body = messages.Result(genuine.members, total + shift, add_words([genuine.tag, helper.linear(shift)])).pack(
        run.roster
    )
    other = messages.write(Kind.RESULT, context=run.relay.context1, sender=RELAY, body=body, identity=key("relay"))
    assert np.array_equal(run.sites[3].verify(message), total)
    assert np.array_equal(run.sites[10].verify(other), total + shift)
    closes = [messages.Close.unpack(body_of(run.sites[index].close())) for index in (3, 10)]
    assert all(close.accepted for close in closes)
    assert closes[0].result_digest != closes[1].result_digest
    for raw in (message, other):
        messages.read(raw, kind=Kind.RESULT, context=run.relay.context1, roster=run.roster)


def test_without_a_helper_the_second_result_is_refused_at_once():
    run = attempt(3)
    message, total = run.result()
    genuine = messages.Result.unpack(body_of(message), run.roster, length=total.size)
    body = messages.Result(genuine.members, total + np.uint32(1), genuine.tag).pack(run.roster)
    other = messages.write(Kind.RESULT, context=run.relay.context1, sender=RELAY, body=body, identity=key("relay"))
    run.sites[3].verify(message)
    with pytest.raises(TagMismatch):
        run.sites[10].verify(other)


def lines(count, identity):
    head, written, heads = AuditHead(), [], [AuditHead()]
    for index in range(count):
        head, line = append_line(
            head, time="2026-01-01T00:00:00Z", kind="masked", body={"round": index}, identity=identity
        )
        written.append(line)
        heads.append(head)
    return written, heads


def test_a_restored_backup_is_seen_by_whoever_holds_an_earlier_hello():
    """A HELLO shows the head of the log. A site restored from an older copy shows a head that its peers saw before, and
    its log, grown again, never passes through the later head that they hold."""
    identity = Ed25519PrivateKey.generate()
    before, heads = lines(4, identity)
    roster = attempt(3).roster
    shown = []
    for round_index, head in ((7, heads[4]), (8, heads[2])):  # between the two, the backup of two lines came back
        site = SiteSession(roster, "site0", key("site0"), make_context(roster, round_index=round_index))
        shown.append(messages.Hello.unpack(body_of(site.hello(head.id)), roster, 3).audit_head)
    assert shown[1] != shown[0] == heads[4].id
    grown, _ = lines(6, identity)
    regrown = before[:2]
    head = heads[2]
    for index in (97, 98, 99):
        head, line = append_line(
            head, time="2026-01-02T00:00:00Z", kind="masked", body={"round": index}, identity=identity
        )
        regrown.append(line)
    public = identity.public_key().public_bytes_raw()
    verify_lines(grown, public, expected=heads[4])
    with pytest.raises(AuditBroken, match="restored from an older copy"):
        verify_lines(regrown, public, expected=heads[4])


# --- 20: many sites, many rounds --------------------------------------------------------------------------------------


def test_slots_with_room_for_eight_summands_overflow_at_ten():
    """The flaw: several weights are packed into one integer, with carry bits for fewer sites than there are."""
    bits, carry = 16, 3
    low, high = 2**bits - 1, 5
    packed = sum(low + (high << (bits + carry)) for _ in range(10))
    assert packed >> (bits + carry) != 10 * high
    assert sum(low + (high << (bits + carry)) for _ in range(8)) >> (bits + carry) == 8 * high


@pytest.mark.parametrize(("sites", "bound"), [(3, 1.0), (4, 0.37), (9, 1.0), (10, 0.37), (11, 1.0), (50, 1.0)])
def test_our_largest_inputs_do_not_wrap_at_any_number_of_sites(sites, bound):
    """Every site sends its bound in every coordinate, with either sign."""
    x = np.array([bound, -bound, bound, 0.0])
    vectors = {i: encode(x, bound=bound, weight=1 / sites).values for i in range(sites)}
    total = attempt(sites, vectors=vectors).finish()
    assert np.array_equal(total.view(np.int32), int64_sum(vectors.values()))
    assert np.abs(decode_sum(total, bound=bound, total_weight=1.0) - x).max() < 1e-7
