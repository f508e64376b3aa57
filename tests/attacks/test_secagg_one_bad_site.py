"""One malicious or broken site against the relay: whatever it sends is refused, is blamed on it and on nobody else,
changes nothing, and the others finish without it.

The flaw where it was found (attack 4): one odd or missing answer ends everybody's round.
"""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthfed.secagg import messages
from synthfed.secagg.messages import Kind, body_of
from synthfed.secagg.parts import PRIME
from synthfed.secagg.refusals import (
    UNKNOWN_PARTY,
    AlreadyAnswered,
    BadKey,
    BadShare,
    MalformedMessage,
    OutOfOrder,
    SplitView,
    SumRefused,
)
from tests.secagg.federation import MODEL, attempt, key

BAD, NAME = 10, "site1"
STEPS = {
    "hello": Kind.HELLO,
    "share": Kind.SHARE,
    "mask": Kind.MASKED,
    "survivors": Kind.SURVIVORS,
    "unmask": Kind.UNMASK,
    "result": Kind.CLOSE,
}


def int64_sum(vectors):
    return sum(vector.view(np.int32).astype(np.int64) for vector in vectors)


def genuine(run, step):
    """What the bad site would send, were it good."""
    site, relay = run.sites[BAD], run.relay
    if step == "hello":
        return site.hello()
    if step == "share":
        return site.share(relay.hellos()).public
    if step == "mask":
        delivery = relay.deliveries(MODEL)[BAD]
        return site.mask(run.inputs[BAD], MODEL, delivery.shares, delivery.sealed)
    if step == "survivors":
        return site.sign_survivors(relay.heads())
    if step == "unmask":
        return site.release(relay.survivors())
    site.verify(relay.result()[0])
    return site.close()


def add(run, step, raw, came_from=BAD):
    relay = run.relay
    if step == "share":
        return relay.add_share(raw, run.sites[BAD].share(relay.hellos()).sealed, came_from=came_from)
    adds = {
        "hello": relay.add_hello,
        "mask": relay.add_masked,
        "survivors": relay.add_survivors,
        "unmask": relay.add_unmask,
        "result": relay.add_close,
    }
    return adds[step](raw, came_from=came_from)


def signed(run, step, body, *, signer=NAME, context=None, sender=BAD):
    kind = STEPS[step]
    own = run.context.digest() if kind in (Kind.HELLO, Kind.SHARE) else run.relay.context1
    return messages.write(kind, context=context or own, sender=sender, body=body, identity=key(signer))


def forged_bodies(run, step, body):
    """Well signed by the bad site, and wrong."""
    yield from (body[:-1], body + b"\0", b"")
    roster, members = run.roster, [member.index for member in run.members]
    if step == "hello":
        hello = messages.Hello.unpack(body, roster, BAD)
        for low in (bytes(32), bytes([1]) + bytes(31)):
            yield messages.Hello(low, hello.audit_head, hello.seal_keys).pack()
            yield messages.Hello(hello.mask_key, hello.audit_head, dict(hello.seal_keys) | {3: low}).pack()
        yield body + bytes(1184)
    elif step == "share":
        share = messages.Share.unpack(body, roster)
        fewer = {i: found for i, found in share.box_digests.items() if i != 3}
        yield messages.Share(share.tag_part_digest, fewer, bytes(32), share.self_digests, share.mask_digests).pack(
            roster
        )
        boxes = dict(share.box_digests) | {3: bytes(32)}
        yield messages.Share(
            share.tag_part_digest, boxes, share.self_seed_digest, share.self_digests, share.mask_digests
        ).pack(roster)
    elif step == "mask":
        yield body[:64] + bytes([255] * 20) + body[84:]
        yield body[4:]
    elif step == "survivors":
        yield bytes(32)
    elif step == "unmask":
        unmask = messages.Unmask.unpack(body, members)
        first = next(iter(unmask.self_shares))
        yield messages.Unmask(dict(unmask.self_shares) | {first: bytes(33)}, unmask.mask_shares).pack()
        fewer = {i: share for i, share in unmask.self_shares.items() if i != first}
        yield messages.Unmask(fewer, dict(unmask.mask_shares) | {first: bytes(33)}).pack()
        gone = next(iter(unmask.mask_shares))
        yield messages.Unmask(unmask.self_shares, {gone: bytes(33)}).pack()
    else:
        yield body[:-1] + b"\2"


def require_blamed(run, step, raw, came_from=BAD):
    before = run.relay.freeze()
    with pytest.raises(SumRefused) as caught:
        add(run, step, raw, came_from)
    assert caught.value.site == NAME
    assert NAME in str(caught.value) or not isinstance(caught.value, BadShare | BadKey)
    assert run.relay.freeze() == before
    return caught.value


def bad_run():
    """Seven sites, of which policies may miss two: one vanishes, one is bad."""
    return attempt(7, smallest=5)


@pytest.mark.parametrize("step", STEPS)
def test_every_bad_message_is_blamed_on_its_sender_and_the_others_finish(step):
    run = bad_run()
    foreign = attempt(7, smallest=5, changes={"round_index": 9})

    def attack(now):
        if now != step:
            return
        good = genuine(run, step)
        body = body_of(good)
        for forged in forged_bodies(run, step, body):
            require_blamed(run, step, signed(run, step, forged))  # signed by it
            if len(forged) == len(body):
                with pytest.raises(SumRefused) as caught:
                    add(run, step, signed(run, step, forged), came_from=None)
                assert caught.value.site == NAME  # its own signature is enough
        brought = [
            os.urandom(len(good)),
            b"",
            good[:-1] + bytes([good[-1] ^ 1]),
            signed(run, step, body, signer="site0"),
            signed(run, step, body, context=foreign.context.digest()),
            signed(run, step, body, signer="site0", sender=3),  # a good message of another site, replayed
            signed(run, step, body, sender=4),
        ]
        for raw in brought:
            require_blamed(run, step, raw)
        for raw in brought[:5]:
            with pytest.raises(SumRefused) as caught:
                add(run, step, raw, came_from=None)
            assert caught.value.site is None  # anybody could have made it

    total, counted = run.with_drops({45: "mask", BAD: step}, attack)
    assert (BAD in counted) == (step in ("survivors", "unmask", "result"))
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs[index] for index in counted))
    if step == "result":
        with pytest.raises(SumRefused):
            add(run, step, b"")


def test_nobody_is_blamed_for_what_another_brings_in_its_name():
    """A site that forges messages of another cannot have it put out."""
    run = bad_run()
    victim = run.sites[3].hello()
    for raw in (victim, victim[:-1] + b"\0", signed(run, "hello", body_of(victim), sender=3)):
        error = require_blamed(run, "hello", raw)
        assert error.site == NAME
    run.relay.add_hello(victim, came_from=3)
    for site in run.sites.values():
        run.relay.add_hello(site.hello())
    assert len(run.relay.hellos()) == 7


@pytest.mark.parametrize("step", ["hello", "share", "mask"])
def test_a_second_different_message_is_blamed_and_the_first_stays(step):
    run, twin = bad_run(), bad_run()

    def attack(now):
        if now != step:
            return
        first = genuine(run, step)
        add(run, step, first)
        if step == "hello":
            require_blamed(run, step, twin.sites[BAD].hello())
        elif step == "share":
            before = run.relay.freeze()
            site, run.sites[BAD] = run.sites[BAD], again
            with pytest.raises(AlreadyAnswered) as caught:
                add(run, step, again.share(run.relay.hellos()).public)
            run.sites[BAD] = site
            assert caught.value.site == NAME
            assert run.relay.freeze() == before
        else:
            body = body_of(first)
            require_blamed(run, step, signed(run, step, bytes(4) + body[4:]))
        add(run, step, first)

    again = None
    if step == "share":  # the same HELLO, dealt from twice with fresh randomness
        again = type(run.sites[BAD])(run.roster, NAME, key(NAME), run.context, smallest=5)
        run.sites[BAD].hello()
        again = type(again).thaw(run.sites[BAD].freeze(), run.roster, NAME, key(NAME), run.context, smallest=5)
    total, counted = run.with_drops({45: "mask"}, attack)
    assert BAD in counted
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs[index] for index in counted))


def test_the_relays_own_disorder_blames_nobody():
    run = bad_run()
    for act in (
        lambda: run.relay.add_share(b"", {}, came_from=BAD),
        lambda: run.relay.add_masked(b"", came_from=BAD),
        lambda: run.relay.add_unmask(b"", came_from=BAD),
        lambda: run.relay.add_complaint(b"", came_from=BAD),
    ):
        with pytest.raises(OutOfOrder) as caught:
            act()
        assert caught.value.site is None


RUNS = dict.fromkeys(("hello", "share", "mask"))


@given(st.sampled_from(sorted(RUNS)), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_altered_message_is_taken_or_blamed_on_another(step, data):
    if RUNS[step] is None:
        run = RUNS[step] = bad_run()
        if step != "hello":
            run.hellos()
        if step == "mask":
            for site in run.sites.values():
                reply = site.share(run.relay.hellos())
                run.relay.add_share(reply.public, reply.sealed)
            run.relay.deliveries(MODEL)
    run = RUNS[step]
    raw = bytearray(genuine(run, step))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    require_blamed(run, step, bytes(raw))


def test_a_dealer_of_a_wrong_box_is_refused_before_anybody_opens_it():
    run = bad_run()
    reply = run.sites[BAD].share(run.hellos())
    for sealed in (
        dict(reply.sealed) | {3: reply.sealed[17]},
        dict(reply.sealed) | {3: b""},
        {index: box for index, box in reply.sealed.items() if index != 3},
        dict(reply.sealed) | {4: reply.sealed[3]},
        dict(reply.sealed) | {3: reply.sealed[3][:-1] + bytes([reply.sealed[3][-1] ^ 1])},
    ):
        with pytest.raises(MalformedMessage) as caught:
            run.relay.add_share(reply.public, sealed, came_from=BAD)
        assert caught.value.site == NAME
    run.relay.add_share(reply.public, reply.sealed)


# --- modes with parts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "shamir"])
def test_wrong_parts_are_blamed_on_their_dealer(mode):
    run = attempt(4, smallest=3, config={"mode": mode})
    deliveries = run.deliveries()
    dealt = {
        index: run.sites[index].deal(run.inputs[index], MODEL, delivery.shares, delivery.sealed)
        for index, delivery in deliveries.items()
    }
    before = run.relay.freeze()
    mine = dict(dealt[BAD])
    for wrong in ({}, mine | {3: b""}, mine | {3: mine[17]}, mine | {BAD: mine[3]}):
        with pytest.raises(MalformedMessage) as caught:
            run.relay.add_parts(BAD, wrong)
        assert caught.value.site == NAME
    assert run.relay.freeze() == before
    run.relay.add_parts(BAD, mine)
    with pytest.raises(SplitView) as caught:
        run.relay.add_parts(BAD, mine | {3: mine[3][:-1] + bytes([mine[3][-1] ^ 1])})
    assert caught.value.site == NAME


def test_a_word_that_is_not_reduced_is_blamed_and_the_others_open_the_sum():
    run = attempt(4, 5, smallest=3, config={"mode": "shamir"})
    for index, boxes in run.parts().items():
        raw = run.sites[index].add_up(boxes)
        if index == BAD:
            body = PRIME.to_bytes(4, "little") + body_of(raw)[4:]
            with pytest.raises(MalformedMessage) as caught:
                run.relay.add_masked(signed(run, "mask", body), came_from=BAD)
            assert caught.value.site == NAME
        else:
            run.relay.add_masked(raw, came_from=index)
    message, total = run.relay.result()
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs.values()))
    assert all(np.array_equal(run.sites[i].verify(message), total) for i in (3, 17, 24))


def test_a_site_that_adds_up_wrongly_is_set_aside_and_the_others_open_the_sum():
    run = attempt(7, 5, smallest=5, config={"mode": "shamir"})
    for index, boxes in run.parts().items():
        raw = run.sites[index].add_up(boxes)
        if index == BAD:
            body = body_of(raw)
            raw = signed(run, "mask", bytes([body[0] ^ 1]) + body[1:])
        run.relay.add_masked(raw, came_from=index)
    with pytest.raises(BadShare) as caught:
        run.relay.result()
    assert caught.value.site == NAME
    run.relay.set_aside(caught.value.site)
    message, total = run.relay.result()
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs.values()))
    assert all(np.array_equal(site.verify(message), total) for i, site in run.sites.items() if i != BAD)
    with pytest.raises(OutOfOrder):
        run.relay.set_aside("site0")


def test_a_liar_among_too_few_answers_is_named_by_nobody():
    run = attempt(4, 5, smallest=3, config={"mode": "shamir"})
    for index, boxes in run.parts().items():
        raw = run.sites[index].add_up(boxes)
        if index == BAD:
            raw = signed(run, "mask", bytes(4) + body_of(raw)[4:])
        run.relay.add_masked(raw)
    with pytest.raises(BadShare) as caught:
        run.relay.result()
    assert (caught.value.site, caught.value.party) == (None, UNKNOWN_PARTY)
