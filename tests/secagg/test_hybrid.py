"""Post-quantum sums: the same integers, closed to whoever breaks X25519 later, recovered from one seed as before."""

import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg import hybrid, masks, messages
from synthfed.secagg.messages import body_of
from synthfed.secagg.protocol import SiteSession
from synthfed.secagg.refusals import BadKey, BadSignature, MalformedMessage, SplitView
from tests.secagg.federation import MODEL, attempt, key, make_config, make_roster, pair_keys

PQ = {"post_quantum": True}
CTX = bytes(range(32))
RUN = bytes(32)


def int64_sum(vectors):
    return sum(vector.view(np.int32).astype(np.int64) for vector in vectors)


@pytest.mark.parametrize("mode", ["compressed", "pairwise", "full", "shamir"])
def test_all_modes_give_the_same_integers(mode):
    run = attempt(4, config=PQ | {"mode": mode})
    assert np.array_equal(run.finish().view(np.int32), int64_sum(run.inputs.values()))


@pytest.mark.parametrize("gone", list(itertools.combinations((3, 10, 17, 24, 31, 38, 45), 2)))
def test_two_vanished_of_seven_are_recovered_whoever_sent_the_halves(gone):
    run = attempt(7, smallest=5, config=PQ)
    total, counted = run.with_drops(dict.fromkeys(gone, "mask"))
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs[index] for index in counted))
    assert len(counted) == 5


def test_a_restart_keeps_the_halves():
    run = attempt(4, smallest=3, config=PQ)
    deliveries = run.deliveries()
    for index, delivery in deliveries.items():
        name = run.roster.at(index).site
        options = {"config": run.config, "smallest": 3, "pair_keys": pair_keys(run.roster, index)}
        again = SiteSession.thaw(run.sites[index].freeze(), run.roster, name, key(name), run.context, **options)
        run.relay.add_masked(again.mask(run.inputs[index], MODEL, delivery.shares, delivery.sealed))
        run.sites[index] = SiteSession.thaw(again.freeze(), run.roster, name, key(name), run.context, **options)
    heads = run.relay.heads()
    for site in run.sites.values():
        run.relay.add_unmask(site.unmask(heads))
    message, total = run.relay.result()
    halves = list(run.sites[3]._state.halves.values())
    assert len(set(halves)) == 3
    assert np.array_equal(run.sites[3].verify(message), total)
    assert not any(half in run.sites[3].freeze() for half in halves)


# --- halves -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_one_side_of_every_pair_sends(one, other):
    if one != other:
        assert hybrid.sends_half(one, other) != hybrid.sends_half(other, one)


def test_senders_are_spread_evenly():
    sent = [sum(hybrid.sends_half(i, j) for j in range(50) if j != i) for i in range(50)]
    assert set(sent) <= {24, 25}


def test_either_seed_gives_the_half():
    sender, receiver = os.urandom(32), os.urandom(32)
    half = hybrid.half_of(sender, CTX, sender=1, receiver=3)
    wrapped = hybrid.wrap_half(half, hybrid.kem_public_key(receiver, CTX), CTX, sender=1, receiver=3)
    assert len(wrapped) == hybrid.WRAPPED_BYTES
    assert hybrid.sends_half(1, 3)
    assert hybrid.recovered_half(sender, CTX, gone=1, counted=3, wrapped=b"") == half
    assert hybrid.recovered_half(receiver, CTX, gone=3, counted=1, wrapped=wrapped) == half
    assert hybrid.recovered_half(os.urandom(32), CTX, gone=3, counted=1, wrapped=wrapped) != half
    assert half not in wrapped
    altered = bytes([wrapped[0] ^ 1]) + wrapped[1:]
    assert hybrid.recovered_half(receiver, CTX, gone=3, counted=1, wrapped=altered) != half


def test_a_malformed_kem_key_is_refused():
    for wrong in (b"", bytes(1183), b"\xff" * 1184):
        with pytest.raises(BadKey):
            hybrid.wrap_half(bytes(32), wrong, CTX, sender=1, receiver=3)


# --- what a later break of X25519 opens -------------------------------------------------------------------------------


def test_all_x25519_secrets_open_no_box_and_no_mask():
    """The relay wrote everything down and later computes every X25519 secret from the public keys."""
    run = attempt(3, config=PQ)
    masked = run.masked()
    ctx0, ctx1 = run.context.digest(), run.relay.context1
    seal = {i: site._dealing.seal_private for i, site in run.sites.items()}
    mask = {i: site._dealing.mask_private for i, site in run.sites.items()}
    shown = {i: messages.Hello.unpack(body_of(site.hello()), run.roster, i) for i, site in run.sites.items()}
    for sender, boxes in run.relay._sealed.items():
        for receiver, raw in boxes.items():
            found = masks.seal_key(
                seal[receiver](sender), shown[sender].seal_keys[receiver], ctx0, sender=sender, receiver=receiver
            )
            size = hybrid.WRAPPED_BYTES if hybrid.sends_half(sender, receiver) else 0
            with pytest.raises(MalformedMessage):
                masks.open_box(found, raw[4 + size :], ctx0, sender=sender, receiver=receiver, beside=raw[4 : 4 + size])
    total = messages.Masked.unpack(body_of(masked[3]), length=16).vector.copy()
    masks.apply_keystream(total, masks.self_mask(run.sites[3]._state.self_seed, ctx1).stream, sign=-1)
    for peer in (10, 17):
        pair = masks.pair_mask(mask[3], shown[peer].mask_key, ctx1, own=3, peer=peer)
        masks.apply_keystream(total, pair.stream, sign=-1)
    assert not np.any(total == run.inputs[3])


def test_without_the_option_x25519_is_all_there_is():
    """The flaw that the option closes: the same adversary opens every box of a plain attempt."""
    run = attempt(3)
    run.deliveries()
    ctx0 = run.context.digest()
    shown = messages.Hello.unpack(body_of(run.sites[10].hello()), run.roster, 10).seal_keys[3]
    found = masks.seal_key(run.sites[3]._dealing.seal_private(10), shown, ctx0, sender=10, receiver=3)
    assert masks.open_box(found, run.relay._sealed[10][3][4:], ctx0, sender=10, receiver=3)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_an_altered_half_is_seen_before_it_is_used():
    run = attempt(3, config=PQ)
    delivery = run.deliveries()[10]
    receiver = run.sites[10]
    raws = [bytes(raw) for raw in delivery.sealed]
    at = next(k for k, raw in enumerate(raws) if len(raw) > 1000)
    raws[at] = raws[at][:100] + bytes([raws[at][100] ^ 1]) + raws[at][101:]
    with pytest.raises(SplitView, match="another box"):
        receiver.mask(run.inputs[10], MODEL, delivery.shares, raws)


def test_hellos_of_the_other_kind_are_refused():
    plain, run = attempt(3), attempt(3, config=PQ)
    hello = run.sites[3].hello()
    assert len(hello) == 104 + 4 * 32 + 1184
    body = messages.Hello.unpack(body_of(hello), run.roster, 3)
    bare = messages.Hello(body.mask_key, body.audit_head, body.seal_keys).pack()
    stripped = messages.write(
        messages.Kind.HELLO, context=run.context.digest(), sender=3, body=bare, identity=key("site0")
    )
    with pytest.raises(MalformedMessage, match="ML-KEM"):
        run.relay.add_hello(stripped)
    hellos = [stripped, *(run.sites[index].hello() for index in (10, 17))]
    with pytest.raises(MalformedMessage, match="ML-KEM"):
        run.sites[10].share(hellos)
    extra = messages.write(
        messages.Kind.HELLO,
        context=plain.context.digest(),
        sender=3,
        body=body.pack(),
        identity=key("site0"),
    )
    with pytest.raises(MalformedMessage, match="ML-KEM"):
        plain.relay.add_hello(extra)


def test_pair_keys_are_needed_and_fail_closed():
    run = attempt(3, config=PQ)
    hellos = run.hellos()
    make = {"roster": run.roster, "site": "site0", "identity": key("site0"), "context": run.context}
    for wrong in (None, {4: bytes(32)}, {3: bytes(32)}, {10: bytes(31)}):
        with pytest.raises(ValueError, match="pair"):
            SiteSession(**make, config=run.config, pair_keys=wrong)
    plain = attempt(3)
    with pytest.raises(ValueError, match="pair_keys"):
        SiteSession(plain.roster, "site0", key("site0"), plain.context, pair_keys={10: bytes(32)})
    lacking = SiteSession.thaw(
        run.sites[3].freeze(),
        run.roster,
        "site0",
        key("site0"),
        run.context,
        config=run.config,
        pair_keys={10: bytes(32)},
    )
    with pytest.raises(BadKey, match="site2"):
        lacking.share(hellos)


def test_a_hybrid_sum_cannot_be_recomputed():
    with pytest.raises(ValueError, match="recomputed"):
        make_config(make_roster(3), post_quantum=True, verify="recompute")


# --- pair keys of a run -----------------------------------------------------------------------------------------------


def test_a_pair_agrees_on_a_key_for_a_run():
    roster = make_roster(3)
    secret, pair_key = os.urandom(96), os.urandom(32)
    shown = hybrid.show_run_key(secret, RUN, own=10, identity=key("site1"))
    offer = hybrid.offer_pair_key(pair_key, shown, RUN, own=3, receiver=10, roster=roster, identity=key("site0"))
    assert (len(shown), len(offer)) == (1280, 1232)
    assert pair_key not in offer
    assert hybrid.accept_pair_key(offer, secret, RUN, sender=3, own=10, roster=roster) == pair_key


def test_keys_of_others_runs_and_pairs_are_refused():
    roster = make_roster(3)
    secret = os.urandom(96)
    shown = hybrid.show_run_key(secret, RUN, own=10, identity=key("site1"))

    def offer(own=3, receiver=10, run=RUN, by="site0", to=shown):
        return hybrid.offer_pair_key(bytes(32), to, run, own=own, receiver=receiver, roster=roster, identity=key(by))

    with pytest.raises(BadSignature, match="site1"):
        offer(run=bytes([1] * 32))
    with pytest.raises(BadSignature, match="site2"):
        offer(receiver=17)
    with pytest.raises(BadSignature):
        offer(to=hybrid.show_run_key(secret, RUN, own=10, identity=key("relay")))
    good = offer()
    for wrong in (offer(by="relay"), good[:-1] + bytes([good[-1] ^ 1]), bytes([good[0] ^ 1]) + good[1:]):
        with pytest.raises(BadSignature, match="site0"):
            hybrid.accept_pair_key(wrong, secret, RUN, sender=3, own=10, roster=roster)
    with pytest.raises(BadSignature):
        hybrid.accept_pair_key(good, secret, bytes([1] * 32), sender=3, own=10, roster=roster)
    with pytest.raises(BadSignature):
        hybrid.accept_pair_key(good, secret, RUN, sender=17, own=10, roster=roster)
    with pytest.raises(MalformedMessage, match="does not open"):
        hybrid.accept_pair_key(good, os.urandom(96), RUN, sender=3, own=10, roster=roster)
    short = hybrid.offer_pair_key(b"x", shown, RUN, own=3, receiver=10, roster=roster, identity=key("site0"))
    with pytest.raises(MalformedMessage, match="1 bytes"):
        hybrid.accept_pair_key(short, secret, RUN, sender=3, own=10, roster=roster)
    malformed = hybrid.show_run_key(secret, RUN, own=10, identity=key("site1"))[:-64][:-1]
    signed = malformed + key("site1").sign(masks.lp(b"synthfed/secagg/v1/run-key", RUN, masks.u16(10), malformed))
    with pytest.raises(BadKey):
        offer(to=signed)
