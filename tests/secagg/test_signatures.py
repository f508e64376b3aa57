"""Two signatures where the roster names second keys; one, byte for byte as ever, where it does not."""

import datetime
import hashlib

import numpy as np
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import mldsa

from synthfed.secagg import hybrid, messages, signatures
from synthfed.secagg.audit import AuditHead, append_line, verify_lines
from synthfed.secagg.envelopes import body_of, signature_of
from synthfed.secagg.messages import Kind
from synthfed.secagg.protocol import RelaySession, SiteSession
from synthfed.secagg.refusals import BadKey, BadSignature, MalformedMessage, RosterRefused
from synthfed.secagg.roster import Member, Roster, sign_roster
from synthfed.secagg.signatures import SECOND_KEY_BYTES, SECOND_SIGNATURE_BYTES, Identity, public_keys
from tests.secagg.federation import FROM, MODEL, UNTIL, key, make_context, make_roster, public

CTX = bytes(range(32))


def identity(name):
    return Identity.from_seeds(hashlib.sha256(name.encode()).digest(), hashlib.sha256(f"{name}/2".encode()).digest())


def twice(sites=4, *, singly=(), relay=True):
    """A roster whose parties sign twice, but for the positions `singly`."""
    members = [
        Member(7 * i + 3, f"site{i}", f"Hospital {i}", *keys)
        for i in range(sites)
        for keys in [public_keys(key(f"site{i}") if i in singly else identity(f"site{i}"))]
    ]
    return sign_roster(
        members,
        steward=key("steward"),
        relay_key=public("relay"),
        valid_from=FROM,
        valid_until=UNTIL,
        relay_second_key=public_keys(identity("relay"))[1] if relay else b"",
    )


TWICE = twice()


def parties(roster):
    context = make_context(roster)
    sites = {
        m.index: SiteSession(roster, m.site, identity(m.site) if m.second_key else key(m.site), context, smallest=3)
        for m in roster.members
    }
    signer = identity("relay") if roster.relay_second_key else key("relay")
    return sites, RelaySession(roster, context, signer, length=3, smallest=3)


@pytest.mark.parametrize("singly", [(), (1,)])
def test_a_sum_with_a_drop_is_exact_where_parties_sign_twice(singly):
    """Parties with and without a second key work together; restarts repeat the same, randomised, bytes."""
    roster = twice(singly=singly)
    sites, relay = parties(roster)
    vectors = {i: np.full(3, i, dtype=np.uint32) for i in sites}
    for site in sites.values():
        relay.add_hello(site.hello())
        assert site.hello() == site.hello()
    hellos = relay.hellos()
    for site in sites.values():
        reply = site.share(hellos)
        relay.add_share(reply.public, reply.sealed)
    here = [3, 10, 17]
    for index in here:
        delivery = relay.deliveries(MODEL)[index]
        relay.add_masked(sites[index].mask(vectors[index], MODEL, delivery.shares, delivery.sealed))
    heads = relay.heads()
    again = RelaySession.thaw(relay.freeze(), roster, make_context(roster), identity("relay"), length=3, smallest=3)
    assert relay.heads() == again.heads() == heads
    for index in here:
        again.add_survivors(sites[index].sign_survivors(heads))
    for index in here:
        again.add_unmask(sites[index].release(again.survivors()))
    message, total = again.result()
    assert total.tolist() == [30] * 3
    assert all(np.array_equal(sites[index].verify(message), total) for index in here)
    assert all(again.add_close(sites[index].close()).accepted for index in here)
    sizes = {roster.at(i).site: len(signature_of(sites[i].hello())) for i in sites}
    assert sizes == {f"site{i}": 64 if i in singly else 64 + SECOND_SIGNATURE_BYTES for i in range(4)}


def hello(signer, sender=3):
    return messages.write(Kind.HELLO, context=CTX, sender=sender, body=bytes(160), identity=signer)


def test_both_signatures_must_hold():
    """Whoever forges one family alone is refused; so is a message with one signature too few or too many."""
    roster, plain = twice(), make_roster(4)
    good = hello(identity("site0"))
    assert messages.read(good, kind=Kind.HELLO, context=CTX, roster=roster).body == body_of(good)
    first, second = identity("site0"), identity("site1")
    forged = [
        hello(Identity(first.first, second.second)),
        hello(Identity(second.first, first.second)),
        hello(key("site0")),
        good[:-1] + bytes([good[-1] ^ 1]),
        b"SA1" + good[3:],
        b"SA2" + hello(key("site0"))[3:-64] + bytes(64 + SECOND_SIGNATURE_BYTES),
    ]
    for raw in forged:
        with pytest.raises(BadSignature, match="site0"):
            messages.read(raw, kind=Kind.HELLO, context=CTX, roster=roster)
    with pytest.raises(BadSignature):
        messages.read(good, kind=Kind.HELLO, context=CTX, roster=plain)
    with pytest.raises(MalformedMessage):
        messages.read(b"SA2" + hello(key("site0"))[3:], kind=Kind.HELLO, context=CTX, roster=roster)


def test_heads_carry_both_signatures():
    roster = twice()
    signed = {i: (bytes(32), bytes(64 + SECOND_SIGNATURE_BYTES)) for i in (3, 10, 17)}
    packed = messages.Heads(signed).pack(roster)
    assert messages.Heads.unpack(packed, roster).signed == signed
    with pytest.raises(MalformedMessage):
        messages.Heads.unpack(messages.Heads({3: (bytes(32), bytes(64))}).pack(roster), roster)


def test_pair_keys_of_a_run_are_signed_twice_too():
    roster, run, secret = twice(), bytes(32), bytes(range(96))
    shown = hybrid.show_run_key(secret, run, own=10, identity=identity("site1"))
    offer = hybrid.offer_pair_key(bytes(32), shown, run, own=3, receiver=10, roster=roster, identity=identity("site0"))
    assert (len(shown), len(offer)) == (1280 + SECOND_SIGNATURE_BYTES, 1232 + SECOND_SIGNATURE_BYTES)
    assert hybrid.accept_pair_key(offer, secret, run, sender=3, own=10, roster=roster) == bytes(32)
    once = hybrid.offer_pair_key(bytes(32), shown, run, own=3, receiver=10, roster=roster, identity=key("site0"))
    for wrong in (once, b"", offer[:-1]):
        with pytest.raises(BadSignature, match="site0"):
            hybrid.accept_pair_key(wrong, secret, run, sender=3, own=10, roster=roster)


# --- the roster -------------------------------------------------------------------------------------------------------


def test_second_keys_are_in_the_file_and_under_the_stewards_signature():
    roster = twice(singly=(2,))
    text = roster.to_toml()
    read = Roster.from_toml(text, steward_key=public("steward"), on=datetime.date(2026, 6, 1))
    assert read == roster
    assert text.count("second_key") == 4
    for line in [line for line in text.splitlines() if "second_key" in line]:
        with pytest.raises(RosterRefused, match="not signed"):
            Roster.from_toml(text.replace(line + "\n", ""), steward_key=public("steward"), on=datetime.date(2026, 6, 1))


def test_rosters_without_second_keys_are_as_they_were():
    assert "second_key" not in make_roster(3).to_toml()
    assert make_roster(3).digest().hex() == "746f16bee317f7254c79dd6f4660ccbe7a23f282f3000960f65c45360e9ec1e0"
    assert len({twice(singly=s, relay=r).digest() for s in ((), (0,), (1,)) for r in (False, True)}) == 6


def test_impossible_second_keys_are_refused():
    with pytest.raises(RosterRefused, match=f"second key of 5 bytes; ML-DSA-65 keys have {SECOND_KEY_BYTES}"):
        Member(1, "a", "A", bytes(32), b"short")
    members = [Member(i, f"s{i}", f"H{i}", bytes([i] * 32), bytes(SECOND_KEY_BYTES)) for i in range(3)]
    with pytest.raises(RosterRefused, match="one key"):
        sign_roster(members, steward=key("steward"), relay_key=public("relay"), valid_from=FROM, valid_until=UNTIL)


def test_a_session_needs_both_keys_of_the_roster():
    roster, plain = twice(), make_roster(4)
    for wrong in (key("site0"), identity("site1"), Identity(key("site0"), identity("site1").second)):
        with pytest.raises(RosterRefused, match="identity key"):
            SiteSession(roster, "site0", wrong, make_context(roster))
    with pytest.raises(RosterRefused):
        SiteSession(plain, "site0", identity("site0"), make_context(plain))
    with pytest.raises(RosterRefused, match="relay's key"):
        RelaySession(roster, make_context(roster), key("relay"), length=1)
    with pytest.raises(TypeError):
        SiteSession(plain, "site0", "key", make_context(plain))


def test_an_audit_log_is_signed_once():
    head, line = append_line(AuditHead(), time="2026-01-01", kind="x", body={}, identity=identity("site0"))
    assert verify_lines([line], public("site0")) == head
    assert append_line(AuditHead(), time="2026-01-01", kind="x", body={}, identity=key("site0")) == (head, line)


def test_an_openssl_without_ml_dsa_is_said_plainly(monkeypatch):
    class Missing:
        @staticmethod
        def from_seed_bytes(seed):
            raise UnsupportedAlgorithm("no")

        from_public_bytes = from_seed_bytes

    good = hello(identity("site0"))
    monkeypatch.setattr(signatures, "MLDSA65PrivateKey", Missing)
    monkeypatch.setattr(signatures, "MLDSA65PublicKey", Missing)
    with pytest.raises(BadKey, match="no ML-DSA"):
        Identity.from_seeds(bytes(32), bytes(32))
    with pytest.raises(BadKey, match="no ML-DSA"):
        messages.read(good, kind=Kind.HELLO, context=CTX, roster=TWICE)


def test_ml_dsa_is_the_one_of_fips_204():
    """Sizes of ML-DSA-65, and a key pair that follows from its seed."""
    one, two = (mldsa.MLDSA65PrivateKey.from_seed_bytes(bytes(32)) for _ in range(2))
    raw = one.public_key().public_bytes_raw()
    assert raw == two.public_key().public_bytes_raw()
    assert len(raw) == SECOND_KEY_BYTES
    assert len(one.sign(b"")) == SECOND_SIGNATURE_BYTES
