"""Two vectors under one mask, secrets in the wrong place, wrong shares: the attacks 10, 17 and 19."""

import hashlib
import logging
import traceback

import numpy as np
import pytest

from synthfed.errors import SecAggError
from synthfed.secagg import masks, messages, shamir
from synthfed.secagg.messages import body_of
from synthfed.secagg.protocol import SiteSession
from synthfed.secagg.refusals import AlreadyAnswered, BadShare
from synthfed.secagg.roster import RELAY
from synthfed.secagg.sealed import seal, unseal
from synthfed.secagg.tag import TagKey
from tests.secagg.federation import MODEL, attempt, key

SITE_KEY = bytes(range(32))


def thawed(run, index, sealed):
    name = run.roster.at(index).site
    state = unseal(SITE_KEY, sealed, row=name.encode())
    return SiteSession.thaw(state, run.roster, name, key(name), run.context)


def stored(run, index):
    return seal(SITE_KEY, run.sites[index].freeze(), row=run.roster.at(index).site.encode())


# --- 17: replay -------------------------------------------------------------------------------------------------------


def test_two_vectors_under_one_mask_give_their_difference():
    """The flaw, were it possible: y - y' = q - q'."""
    run, twin = attempt(3, fixed="reuse"), attempt(3, fixed="reuse", seed=1)
    first, second = (messages.Masked.unpack(body_of(r.masked()[3]), length=16).vector for r in (run, twin))
    assert np.array_equal(first - second, run.inputs[3] - twin.inputs[3])


def test_a_mask_covers_one_vector_only():
    run = attempt(3)
    delivery = run.deliveries()[3]
    site, vector = run.sites[3], run.inputs[3]
    sent = site.mask(vector, MODEL, delivery.shares, delivery.sealed)
    assert site.mask(vector, MODEL, delivery.shares, delivery.sealed) == sent
    other = vector.copy()
    other[0:1] += np.uint32(1)
    for changed_vector, model in ((other, MODEL), (vector, hashlib.sha256(b"other").digest())):
        with pytest.raises(AlreadyAnswered):
            site.mask(changed_vector, model, delivery.shares, delivery.sealed)


def test_a_mask_covers_one_set_only():
    run = attempt(4, smallest=3)
    delivery = run.deliveries()[3]
    run.sites[3].mask(run.inputs[3], MODEL, delivery.shares, delivery.sealed)
    with pytest.raises(AlreadyAnswered):
        run.sites[3].mask(run.inputs[3], MODEL, delivery.shares[:3], delivery.sealed[:2])


def test_shares_are_dealt_for_one_set_only():
    run = attempt(4, smallest=3)
    hellos = run.hellos()
    site = run.sites[3]
    first = site.share(hellos)
    again = site.share(hellos[::-1])
    assert (again.public, again.sealed) == (first.public, first.sealed)
    with pytest.raises(AlreadyAnswered):
        site.share(hellos[:3])


@pytest.mark.parametrize("lost", ["reply", "state"])
def test_a_crash_at_every_step_repeats_the_bytes_or_starts_nothing(lost):
    """Stored and not sent: the same bytes again. Not stored (so not sent): a step that nobody has seen."""
    run = attempt(3)
    site_of = run.sites

    def step(index, act):
        before = stored(run, index)
        reply = act(site_of[index])
        site_of[index] = thawed(run, index, stored(run, index) if lost == "reply" else before)
        again = act(site_of[index])
        if lost == "reply":
            assert again == reply
        return again

    for index in site_of:
        run.relay.add_hello(step(index, lambda site: site.hello()))
    hellos = run.relay.hellos()
    for index in site_of:
        reply = step(index, lambda site: site.share(hellos))
        run.relay.add_share(reply.public, reply.sealed)
    deliveries = run.relay.deliveries(MODEL)
    for index, delivery in deliveries.items():
        vector = run.inputs[index]
        message = step(index, lambda site, v=vector, d=delivery: site.mask(v, MODEL, d.shares, d.sealed))
        run.relay.add_masked(message)
    heads = run.relay.heads()
    for index in site_of:
        run.relay.add_unmask(step(index, lambda site: site.unmask(heads)))
    message, total = run.relay.result()
    for index in site_of:
        assert np.array_equal(site_of[index].verify(message), total)


def test_a_restart_does_not_forget_what_was_masked():
    run = attempt(3)
    delivery = run.deliveries()[3]
    run.sites[3].mask(run.inputs[3], MODEL, delivery.shares, delivery.sealed)
    site = thawed(run, 3, stored(run, 3))
    with pytest.raises(AlreadyAnswered):
        site.mask(run.inputs[3] + np.uint32(1), MODEL, delivery.shares, delivery.sealed)


@pytest.mark.parametrize("lost", ["reply", "state"])
def test_a_crash_on_the_slow_path_repeats_the_bytes_or_starts_nothing(lost):
    """After a signature on one set was stored, no restart makes the site sign or release for another."""
    run = attempt(4, smallest=3)
    masked = run.masked()
    for index in (3, 10, 17):
        run.relay.add_masked(masked[index])
    heads = run.relay.heads()

    def thaw(index, frozen):
        name = run.roster.at(index).site
        state = unseal(SITE_KEY, frozen, row=name.encode())
        return SiteSession.thaw(state, run.roster, name, key(name), run.context, smallest=3)

    def step(index, act):
        before = stored(run, index)
        reply = act(run.sites[index])
        run.sites[index] = thaw(index, stored(run, index) if lost == "reply" else before)
        assert act(run.sites[index]) == reply  # nothing on this path draws randomness
        return reply

    for index in (3, 10, 17):
        run.relay.add_survivors(step(index, lambda site: site.sign_survivors(heads)))
    complete = messages.Heads({i: (messages.head_of(body_of(raw)), raw[-64:]) for i, raw in masked.items()})
    other = messages.write(
        messages.Kind.HEADS,
        context=run.relay.context1,
        sender=RELAY,
        body=complete.pack(run.roster),
        identity=key("relay"),
    )
    for index in (3, 10, 17):
        again = thaw(index, stored(run, index))
        for act in (again.sign_survivors, again.unmask):
            with pytest.raises(AlreadyAnswered):
                act(other)
    survivors = run.relay.survivors()
    for index in (3, 10, 17):
        run.relay.add_unmask(step(index, lambda site: site.release(survivors)))
    message, total = run.relay.result()
    for index in (3, 10, 17):
        assert np.array_equal(run.sites[index].verify(message), total)


# --- 10: secrets in state, errors, logs -------------------------------------------------------------------------------


def test_sealed_state_errors_logs_and_texts_show_no_secret(caplog):
    caplog.set_level(logging.DEBUG)
    run = attempt(3, 64)
    shown = []
    deliveries = run.deliveries()
    site = run.sites[3]
    for act in (
        lambda: site.share([]),
        lambda: site.mask(run.inputs[3], MODEL, [], []),
        lambda: site.mask(run.inputs[3], MODEL, deliveries[3].shares, [bytes(130), bytes(130)]),
        lambda: site.unmask(b"x" * 200),
        lambda: site.verify(b"x" * 200),
    ):
        with pytest.raises(SecAggError) as caught:
            act()
        shown.append("".join(traceback.format_exception(caught.value)))
    site.mask(run.inputs[3], MODEL, deliveries[3].shares, deliveries[3].sealed)
    state = site._state
    secrets = [state.seal_secret, state.mask_seed, state.self_seed, state.tag_part, state.tag_key]
    secrets += [*state.held.values(), run.inputs[3].tobytes()[:16]]
    text = "\n".join([*shown, caplog.text, repr(site), repr(run.relay), str(site)])
    text += repr([state, masks.self_mask(state.self_seed, bytes(32)), TagKey(state.tag_key, bytes(32))])
    text += repr(messages.DealtShares(state.own_shares[:33], state.own_shares[33:], state.tag_part))
    at_rest = stored(run, 3)
    for secret in secrets:
        assert secret not in at_rest
        for spelled in (secret.hex(), repr(secret), str(list(secret))):
            assert spelled not in text


# --- 19: bad shares ---------------------------------------------------------------------------------------------------


def test_a_holder_of_wrong_shares_is_named():
    run = attempt(3)
    heads = run.heads()
    site = run.sites[10]
    for dealer in site._state.held:
        site._state.held[dealer] = bytes([7] * 66)
    with pytest.raises(BadShare, match="site1") as caught:
        run.relay.add_unmask(site.unmask(heads))
    assert caught.value.party == "site1"


@pytest.mark.parametrize("degree", ["too high", "another secret"])
@pytest.mark.parametrize("path", ["fast", "slow"])
def test_a_dealer_of_shares_that_open_nothing_is_named(path, degree, monkeypatch):
    """Well-published shares of a polynomial of wrong degree, or of another key than H(b) or than S_v stands for.

    On the slow path the dealer is the site that vanished: its rho does not open.
    """
    run = attempt(4, smallest=3)
    hellos = run.hellos()
    honest = shamir.split

    def dishonest(secret, indices, *, threshold, entropy):
        if degree == "too high":
            return honest(secret, indices, threshold=threshold + 1, entropy=entropy)
        return honest(bytes(32), indices, threshold=threshold, entropy=entropy)

    for index, site in run.sites.items():
        with monkeypatch.context() as patch:
            if index == 17:
                patch.setattr("synthfed.secagg.shamir.split", dishonest)
            reply = site.share(hellos)
        run.relay.add_share(reply.public, reply.sealed)
    here = [index for index in run.sites if path == "fast" or index != 17]
    deliveries = run.relay.deliveries(MODEL)
    for index in here:
        delivery = deliveries[index]
        run.relay.add_masked(run.sites[index].mask(run.inputs[index], MODEL, delivery.shares, delivery.sealed))
    heads = run.relay.heads()
    if path == "fast":
        for index in here:
            run.relay.add_unmask(run.sites[index].unmask(heads))
    else:
        for index in here:
            run.relay.add_survivors(run.sites[index].sign_survivors(heads))
        for index in here:
            run.relay.add_unmask(run.sites[index].release(run.relay.survivors()))
    before = run.relay._total.copy()
    with pytest.raises(BadShare) as caught:
        run.relay.result()
    assert caught.value.party == "site2"
    assert np.array_equal(run.relay._total, before)


def test_a_holder_of_a_wrong_share_of_a_mask_seed_is_named():
    run = attempt(4, smallest=3)
    masked = run.masked()
    for index in (3, 10, 17):
        run.relay.add_masked(masked[index])
    heads = run.relay.heads()
    for index in (3, 10, 17):
        run.relay.add_survivors(run.sites[index].sign_survivors(heads))
    site = run.sites[10]
    site._state.held[24] = site._state.held[24][:33] + bytes([7] * 33)
    with pytest.raises(BadShare, match="site1") as caught:
        run.relay.add_unmask(site.release(run.relay.survivors()))
    assert caught.value.party == "site1"


def test_unchecked_shares_would_spoil_the_sum_without_a_name():
    """The flaw: one wrong share, no digests, and the key that opens is another one."""
    shares = shamir.split(bytes(32), [0, 1, 2], threshold=3, entropy=lambda n: bytes([5] * n))
    wrong = bytearray(shares[1])
    wrong[0] ^= 1
    try:
        opened = shamir.combine(shares | {1: bytes(wrong)}, threshold=3)
    except SecAggError:
        return
    assert opened != bytes(32)


def test_share_digests_do_not_repeat_between_dealers_holders_and_kinds():
    share = bytes(33)
    found = {
        masks.share_digest(bytes(32), kind=kind, dealer=dealer, holder=holder, share=share)
        for kind in (b"self", b"mask")
        for dealer in (1, 2)
        for holder in (1, 2)
    }
    assert len(found) == 8
