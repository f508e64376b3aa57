"""What a malicious relay can try, with the keys of the relay in its hand: each attempt is refused or seen."""

import hashlib
import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import SecAggError
from synthfed.secagg import masks, messages
from synthfed.secagg.messages import Kind, body_of
from synthfed.secagg.protocol import SiteSession
from synthfed.secagg.refusals import (
    AlreadyAnswered,
    BadKey,
    BadSignature,
    MalformedMessage,
    OutOfOrder,
    ReleaseRefused,
    RosterRefused,
    SplitView,
    TagMismatch,
    UnknownSender,
    WrongContext,
)
from synthfed.secagg.roster import RELAY
from synthfed.secagg.tag import PRIMES, TagKey, add_words
from tests.secagg.federation import MODEL, attempt, key, make_context, make_roster


def relay_says(run, kind, body):
    return messages.write(kind, context=run.relay.context1, sender=RELAY, body=body, identity=key("relay"))


def heads_of(run, signed):
    return relay_says(run, Kind.HEADS, messages.Heads(signed).pack(run.roster))


def result_of(run, total, tag, members=None):
    every = tuple(member.index for member in run.members) if members is None else members
    return relay_says(run, Kind.RESULT, messages.Result(every, total, tag).pack(run.roster))


# --- 7: swapped keys, sybils, foreign rosters -------------------------------------------------------------------------


def hello_with(run, name, index, *, seal_key, mask_key):
    peers = [member.index for member in run.members if member.index != index]
    body = messages.Hello(mask_key, bytes(32), dict.fromkeys(peers, seal_key)).pack()
    return messages.write(Kind.HELLO, context=run.context.digest(), sender=index, body=body, identity=key(name))


def fresh():
    return X25519PrivateKey.generate().public_key().public_bytes_raw()


def test_a_swapped_key_is_refused():
    """The relay replaces a site's keys by its own, with any signature that it can make."""
    run = attempt(3)
    hellos = run.hellos()
    original = hellos[1]
    own_keys = fresh() + fresh()
    spliced = original[:40] + own_keys + original[40 + 64 :]
    resigned = hello_with(run, "relay", 10, seal_key=fresh(), mask_key=fresh())
    for forged in (spliced, resigned):
        with pytest.raises(BadSignature, match="site1"):
            run.sites[3].share([hellos[0], forged, hellos[2]])


def test_a_sybil_is_refused():
    run = attempt(3)
    hellos = run.hellos()
    for sender, name in ((4, "sybil"), (RELAY, "relay"), (65535, "relay")):
        sybil = hello_with(run, name, sender, seal_key=fresh(), mask_key=fresh())
        with pytest.raises(UnknownSender):
            run.sites[3].share([*hellos, sybil])


def test_a_foreign_roster_is_refused():
    run = attempt(3)
    context = make_context(make_roster(3, version=2))
    body = bytes(96)
    message = messages.write(Kind.HELLO, context=context.digest(), sender=10, body=body, identity=key("site1"))
    hellos = run.hellos()
    with pytest.raises(WrongContext):
        run.sites[3].share([hellos[0], message, hellos[2]])


@pytest.mark.parametrize("low_order", [bytes(32), bytes([1]) + bytes(31)])
def test_a_key_of_low_order_is_refused(low_order):
    """A site that shows the point 0 or 1 would make its pair masks known to everybody."""
    run = attempt(3)
    hellos = list(run.hellos())
    for seal_key, mask_key in ((fresh(), low_order), (low_order, fresh())):
        hellos[1] = hello_with(run, "site1", 10, seal_key=seal_key, mask_key=mask_key)
        with pytest.raises(BadKey):
            run.sites[3].share(hellos)


# --- 16: messages of another context ----------------------------------------------------------------------------------

CHANGES = [
    {"run_id": bytes(32)},
    {"purpose": "analytics:00"},
    {"round_index": 4},
    {"attempt": 1},
    {"config_digest": bytes(32)},
    {"layout_digest": bytes(32)},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_messages_of_another_context_are_refused(change):
    """HELLO, SHARE, MASKED, HEADS, UNMASK and RESULT of a run that differs in one field, replayed into this one."""
    run, other = attempt(3), attempt(3, changes=change)
    other.finish()
    old = {Kind(raw[3]): raw for raw in other.transcript if raw[:3] == b"SA1"}
    with pytest.raises(WrongContext):
        run.relay.add_hello(old[Kind.HELLO])
    hellos = run.hellos()
    with pytest.raises(WrongContext):
        run.sites[3].share([*hellos[:2], old[Kind.HELLO]])
    replies = {index: site.share(hellos) for index, site in run.sites.items()}
    with pytest.raises(WrongContext):
        run.relay.add_share(old[Kind.SHARE], {})
    for reply in replies.values():
        run.relay.add_share(reply.public, reply.sealed)
    deliveries = run.relay.deliveries(MODEL)
    with pytest.raises(WrongContext):
        run.sites[3].mask(run.inputs[3], MODEL, [*deliveries[3].shares[:2], old[Kind.SHARE]], deliveries[3].sealed)
    with pytest.raises(WrongContext):
        run.relay.add_masked(old[Kind.MASKED])
    for index, delivery in deliveries.items():
        run.relay.add_masked(run.sites[index].mask(run.inputs[index], MODEL, delivery.shares, delivery.sealed))
    with pytest.raises(WrongContext):
        run.sites[3].unmask(old[Kind.HEADS])
    heads = run.relay.heads()
    for site in run.sites.values():
        run.relay.add_unmask(site.unmask(heads))
    with pytest.raises((WrongContext, OutOfOrder)):
        run.relay.add_unmask(old[Kind.UNMASK])
    with pytest.raises(WrongContext):
        run.sites[3].verify(old[Kind.RESULT])


def test_a_message_relabelled_for_this_context_is_refused():
    run, other = attempt(3), attempt(3, changes={"round_index": 4})
    other.hellos()
    for raw in other.transcript:
        with pytest.raises(BadSignature):
            run.relay.add_hello(raw[:8] + run.context.digest() + raw[40:])


def test_a_sealed_share_of_another_round_does_not_open():
    run, other = attempt(3), attempt(3, changes={"round_index": 4})
    mine, theirs = run.deliveries()[3], other.deliveries()[3]
    with pytest.raises(SplitView, match="another box of site 'site2'"):
        run.sites[3].mask(run.inputs[3], MODEL, mine.shares, [mine.sealed[0], theirs.sealed[1]])


def test_a_box_for_another_site_or_under_another_name_is_refused():
    run = attempt(3)
    deliveries = run.deliveries()
    delivery = deliveries[3]
    with pytest.raises(MalformedMessage, match="not for this site"):
        run.sites[3].mask(run.inputs[3], MODEL, delivery.shares, [delivery.sealed[0], deliveries[10].sealed[1]])
    readdressed = deliveries[10].sealed[1][:2] + (3).to_bytes(2, "little") + deliveries[10].sealed[1][4:]
    with pytest.raises(SplitView, match="another box of site 'site2'"):
        run.sites[3].mask(run.inputs[3], MODEL, delivery.shares, [delivery.sealed[0], readdressed])


def test_different_models_do_not_open_anything():
    """The relay gives one site another model, to tell its vector from the others': no UNMASK, and only noise."""
    run = attempt(4)
    other_model = hashlib.sha256(b"crafted").digest()
    deliveries = run.deliveries()
    masked = {
        index: site.mask(
            run.inputs[index], other_model if index == 3 else MODEL, deliveries[index].shares, deliveries[index].sealed
        )
        for index, site in run.sites.items()
    }
    with pytest.raises(WrongContext):
        run.relay.add_masked(masked[3])
    relabelled = masked[3][:8] + run.relay.context1 + masked[3][40:]
    with pytest.raises(BadSignature):
        run.relay.add_masked(relabelled)
    signed = {index: (messages.head_of(body_of(raw)), raw[-64:]) for index, raw in masked.items()}
    with pytest.raises(WrongContext):
        run.sites[3].unmask(heads_of(run, signed))
    with pytest.raises(BadSignature, match="site0"):
        run.sites[10].unmask(heads_of(run, signed))
    total = np.sum(
        [messages.Masked.unpack(body_of(raw), length=16).vector for raw in masked.values()], axis=0, dtype=np.uint32
    )
    for site in run.sites.values():  # even with every self mask in hand
        context = site.context1
        masks.apply_keystream(total, masks.self_mask(site._state.self_seed, context).stream, sign=-1)
    truth = np.sum(list(run.inputs.values()), axis=0, dtype=np.uint32)
    assert np.count_nonzero(total == truth) == 0


def test_views_that_differ_do_not_open_anything():
    """Two honest SHAREs of one dealer cannot exist, so a split view means different sets: `ctx1` tells them apart."""
    run = attempt(5, smallest=4)
    hellos = run.hellos()
    replies = {index: site.share(hellos) for index, site in run.sites.items()}

    def mask(own, members):
        shares = [replies[index].public for index in members]
        sealed = [replies[index].sealed[own] for index in members if index != own]
        return run.sites[own].mask(run.inputs[own], MODEL, shares, sealed)

    every = [member.index for member in run.members]
    first, second = every[:4], [*every[1:]]
    raws = {every[0]: mask(every[0], first), every[4]: mask(every[4], second)}
    raws |= {index: mask(index, first) for index in every[1:4]}
    signed = {index: (messages.head_of(body_of(raws[index])), raws[index][-64:]) for index in second}
    body = messages.Heads(signed).pack(run.roster)
    site = run.sites[every[4]]
    heads = messages.write(Kind.HEADS, context=site.context1, sender=RELAY, body=body, identity=key("relay"))
    with pytest.raises(BadSignature):
        site.unmask(heads)


# --- 6 and 15: which set may be opened, and how often -----------------------------------------------------------------


@pytest.mark.parametrize("sites", [3, 4, 5])
def test_no_other_set_than_the_masked_one_is_released(sites):
    """Exhaustive over all subsets: the relay holds all signatures and its own key, and asks for every set."""
    run = attempt(sites)
    run.heads()
    signed = run.relay._signed_heads
    every = sorted(signed)
    site = run.sites[every[0]]
    for size in range(sites):
        for chosen in itertools.combinations(every, size):
            with pytest.raises(ReleaseRefused):
                site.unmask(heads_of(run, {index: signed[index] for index in chosen}))
    site.unmask(heads_of(run, signed))
    for size in range(sites):
        for chosen in itertools.combinations(every, size):
            with pytest.raises(AlreadyAnswered):
                site.unmask(heads_of(run, {index: signed[index] for index in chosen}))


@given(st.integers(6, 10), st.data())
@settings(max_examples=10, deadline=None)
def test_no_other_set_is_released_with_more_sites(sites, data):
    run = attempt(sites, 3)
    run.heads()
    signed = run.relay._signed_heads
    chosen = data.draw(st.sets(st.sampled_from(sorted(signed)), max_size=sites - 1))
    for site in run.sites.values():
        with pytest.raises(ReleaseRefused):
            site.unmask(heads_of(run, {index: signed[index] for index in chosen}))


def test_without_a_drop_no_share_of_a_mask_key_is_released():
    run = attempt(4)
    heads = run.heads()
    for site in run.sites.values():
        reply = site.unmask(heads)
        for held in site._state.held.values():
            assert held[:33] in reply
            assert held[33:] not in reply


def test_a_threshold_that_opens_two_sums_is_no_roster():
    """t = 3 of 5 with one colluder opens two sums of one round."""
    with pytest.raises(RosterRefused, match="threshold 3 with 5 sites"):
        make_roster(5, threshold=3)


def test_release_needs_every_signature_on_what_was_masked():
    run = attempt(3)
    run.heads()
    signed = run.relay._signed_heads
    invented = signed | {10: (hashlib.sha256(b"invented").digest(), signed[10][1])}
    unsigned = signed | {10: (signed[10][0], key("relay").sign(signed[10][0]))}
    for forged in (invented, unsigned):
        with pytest.raises(BadSignature, match="site1"):
            run.sites[3].unmask(heads_of(run, forged))
    genuine = heads_of(run, signed)
    by_a_site = messages.write(
        Kind.HEADS, context=run.relay.context1, sender=RELAY, body=body_of(genuine), identity=key("site1")
    )
    with pytest.raises(BadSignature, match="relay"):
        run.sites[3].unmask(by_a_site)


# --- 13: the sum that is announced ------------------------------------------------------------------------------------


def announced(run):
    message, total = run.result()
    return total, messages.Result.unpack(body_of(message), run.roster, length=total.size).tag


def scaled(words, factor):
    return tuple(factor * word % prime for word, prime in zip(words, PRIMES, strict=True))


def test_a_linear_tag_without_offsets_accepts_multiples():
    """The flaw: (c z, c T) and (0, 0) fit a purely linear tag."""
    tag_key = TagKey(bytes(32), bytes(32))
    z = np.arange(8, dtype=np.uint32)
    assert tag_key.linear(z * np.uint32(3)) == scaled(tag_key.linear(z), 3)
    assert not any(tag_key.linear(np.zeros(8, dtype=np.uint32)))


def test_a_shift_by_one_prime_passes_that_prime_alone():
    """The flaw: with one modulus below 2**32, z + p has the tag of z."""
    tag_key = TagKey(bytes(32), bytes(32))
    z = np.arange(8, dtype=np.uint32)
    for r, prime in enumerate(PRIMES):
        shifted = tag_key.linear(z + np.uint32(prime))
        assert shifted[r] == tag_key.linear(z)[r]
        assert sum(a == b for a, b in zip(shifted, tag_key.linear(z), strict=True)) == 1


@pytest.mark.parametrize("forgery", ["multiple", "zero", "one coordinate", "shift", "all shifted", "wrap", "tag"])
def test_a_false_sum_is_seen_by_every_site(forgery):
    run = attempt(4)
    total, tag = announced(run)
    z, t = total.copy(), tag
    if forgery == "multiple":
        z, t = z * np.uint32(2), scaled(t, 2)
    elif forgery == "zero":
        z, t = np.zeros_like(z), (0,) * 5
    elif forgery == "one coordinate":
        z[3:4] += np.uint32(1)
    elif forgery == "shift":
        z[0:1] += np.uint32(PRIMES[0])
    elif forgery == "all shifted":
        z += np.uint32(PRIMES[2])
    elif forgery == "wrap":
        z[0:1] += np.uint32(2**31)
    else:
        t = (t[0] ^ 1, *t[1:])
    message = result_of(run, z, t)
    for site in run.sites.values():
        with pytest.raises(TagMismatch):
            site.verify(message)
        with pytest.raises(AlreadyAnswered):
            site.verify(result_of(run, total, tag))  # the round is lost: no second try
        close = messages.Close.unpack(body_of(site.close()))
        assert not close.accepted


def test_a_result_of_another_set_or_length_is_refused():
    run = attempt(4)
    total, tag = announced(run)
    site = run.sites[3]
    with pytest.raises(SplitView):
        site.verify(result_of(run, total, tag, members=(3, 10, 17)))
    with pytest.raises(MalformedMessage):
        site.verify(result_of(run, total[:-1], tag))
    with pytest.raises(MalformedMessage):
        site.verify(relay_says(run, Kind.RESULT, b"\x0f"))
    assert np.array_equal(site.verify(result_of(run, total, tag)), total)


def test_offsets_bind_the_set():
    """The tag of a smaller sum does not pass for the full set, nor the other way."""
    tag_key = TagKey(bytes(32), bytes(32))
    vectors = {i: np.full(4, i, dtype=np.uint32) for i in range(4)}
    tags = [tag_key.tag(vector, i) for i, vector in vectors.items()]
    three = np.sum([vectors[i] for i in range(3)], axis=0, dtype=np.uint32)
    assert tag_key.accepts(three, range(3), add_words(tags[:3]))
    assert not tag_key.accepts(three, range(4), add_words(tags[:3]))


# --- 14: what recovery would open -------------------------------------------------------------------------------------


def test_mask_keys_of_all_sites_do_not_open_a_sealed_share():
    """With one key pair for masks and sealing, a drop hands the relay the tag key. Give it every rho and every b."""
    run = attempt(4)
    deliveries = run.deliveries()
    ctx0 = run.context.digest()
    private = {i: masks.mask_private_key(site._state.mask_seed, ctx0) for i, site in run.sites.items()}
    shown = {i: messages.Hello.unpack(body_of(site.hello()), run.roster, i) for i, site in run.sites.items()}
    assert all(shown[i].mask_key == private[i].public_key().public_bytes_raw() for i in private)
    for receiver, delivery in deliveries.items():
        for raw in delivery.sealed:
            box = messages.SealedBox.unpack(raw, holds=98)
            for holder in (box.sender, receiver):
                peer = receiver if holder == box.sender else box.sender
                for public in (*shown[peer].seal_keys.values(), shown[peer].mask_key):
                    secret = masks.seal_key(private[holder], public, ctx0, sender=box.sender, receiver=receiver)
                    with pytest.raises(MalformedMessage):
                        masks.open_box(secret, box.box, ctx0, sender=box.sender, receiver=receiver)


def test_the_sealing_key_is_drawn_apart_from_the_shared_seeds():
    """Every secret of an attempt is its own draw."""
    draws = iter([bytes([1] * 32), bytes([2] * 32), bytes([3] * 32), bytes([4] * 32), bytes([5] * 32)])
    run = attempt(3)
    site = SiteSession(run.roster, "site0", key("site0"), run.context, entropy=lambda n: next(draws))
    site.hello()
    state = site._state
    assert len({state.seal_secret, state.mask_seed, state.self_seed, state.tag_part, state.commitment_nonce}) == 5


# --- everything else a relay can send ---------------------------------------------------------------------------------


@given(st.binary(max_size=200))
@settings(max_examples=30, deadline=None)
def test_arbitrary_bytes_at_any_step_are_refused_and_change_nothing(noise):
    run = attempt(3, 2, fixed="noise")
    site = run.sites[3]
    hellos = run.hellos()
    for step in (lambda: site.share([noise]), lambda: site.share([*hellos, noise])):
        before = site.freeze()
        with pytest.raises(SecAggError):
            step()
        assert site.freeze() == before
    for one in run.sites.values():
        reply = one.share(hellos)
        run.relay.add_share(reply.public, reply.sealed)
    delivery = run.relay.deliveries(MODEL)[3]
    for shares, sealed in (([noise], []), (delivery.shares, [noise]), ([*delivery.shares, noise], delivery.sealed)):
        before = site.freeze()
        with pytest.raises(SecAggError):
            site.mask(run.inputs[3], MODEL, shares, sealed)
        assert site.freeze() == before
    site.mask(run.inputs[3], MODEL, delivery.shares, delivery.sealed)
    for step in (site.unmask, site.verify):
        with pytest.raises(SecAggError):
            step(noise)
