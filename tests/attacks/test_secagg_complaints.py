"""Attack 19, before MASKED: a dealer seals something else than it published, or a site says so of an honest one.

Whoever lied is named by everybody alike: by the complainer, by the other sites, by the relay.
"""

import pytest

from synthfed.errors import SecAggError
from synthfed.secagg import masks, messages
from synthfed.secagg.complaints import judge
from synthfed.secagg.messages import Kind
from synthfed.secagg.protocol import SiteSession, Stage
from synthfed.secagg.refusals import (
    BadShare,
    BadSignature,
    MalformedMessage,
    OutOfOrder,
    SplitView,
    UnknownSender,
    WrongContext,
)
from tests.secagg.federation import MODEL, attempt, key
from tests.secagg.liars import LIES, box_of, deliveries_with_a_liar, key_of_pair, mask


def complaint_by(run, holder, dealer, *, seal_private=None, box=None, signer=None, pair_key=b""):
    """A complaint with whatever its author likes to claim."""
    name = run.roster.at(holder).site
    body = messages.Complaint(
        dealer,
        key_of_pair(run, holder, dealer) if seal_private is None else seal_private,
        pair_key,
        run.relay._sealed[dealer][holder] if box is None else box,
    ).pack()
    return messages.write(
        Kind.COMPLAINT, context=run.context.digest(), sender=holder, body=body, identity=key(signer or name)
    )


def verdicts(run, complaint, shares):
    """Everybody's verdict."""
    found = {site.judge(complaint, shares) for site in run.sites.values()}
    assert len(found) == 1
    assert run.relay.add_complaint(complaint) == next(iter(found))
    return found.pop()


@pytest.mark.parametrize("mode", ["compressed", "pairwise", "full", "shamir"])
@pytest.mark.parametrize("lie", LIES)
def test_a_lying_dealer_is_named_by_everybody(lie, mode, monkeypatch):
    if mode != "compressed" and lie in ("self_share", "mask_share"):
        return  # no key shares are dealt
    run = attempt(4, smallest=3, config={"mode": mode})
    delivery = deliveries_with_a_liar(run, monkeypatch, dealer=10, victim=3, lie=lie)[3]
    site = run.sites[3]
    step = site.mask if mode in ("compressed", "pairwise") else site.deal
    with pytest.raises(BadShare, match="site1") as caught:
        step(run.inputs[3], MODEL, delivery.shares, delivery.sealed)
    assert (caught.value.party, caught.value.site) == ("site1", "site1")
    assert site.stage == Stage.SHARED
    complaint = site.complain(delivery.shares, delivery.sealed)
    assert verdicts(run, complaint, delivery.shares) == ("site1",)
    assert run.relay.complaints() == (complaint,)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_a_hybrid_sum_is_proved_where_the_box_opens(lie, monkeypatch):
    """What the pair's secret gives the box key cannot be checked by others: an unopened box names both."""
    run = attempt(3, config={"post_quantum": True})
    delivery = deliveries_with_a_liar(run, monkeypatch, dealer=10, victim=3, lie=lie)[3]
    complaint = run.sites[3].complain(delivery.shares, delivery.sealed)
    expected = ("site1", "site0") if lie == "junk" else ("site1",)
    assert verdicts(run, complaint, delivery.shares) == expected
    secret = run.sites[3]._pair_keys[10]
    assert secret not in complaint


def test_a_complaint_about_an_honest_dealer_names_its_author():
    """With the true key the box opens and is as published; with another key or box the signed HELLO and SHARE tell."""
    run = attempt(4, smallest=3)
    shares = run.deliveries()[17].shares
    other_box = run.relay._sealed[10][24]
    lies = [
        complaint_by(run, 3, 10),
        complaint_by(run, 3, 10, seal_private=bytes([9] * 32)),
        complaint_by(run, 3, 10, seal_private=key_of_pair(run, 3, 17)),
        complaint_by(run, 3, 10, box=bytes(130)),
        complaint_by(run, 3, 10, box=other_box),
    ]
    for lie in lies:
        for site in run.sites.values():
            assert site.judge(lie, shares) == ("site0",)
    assert run.relay.add_complaint(lies[1]) == ("site0",)


def test_a_relay_that_changes_a_box_finds_no_dealer_blamed():
    """The flaw that hashes of boxes close: a box that the relay altered would look like its dealer's lie."""
    run = attempt(3)
    delivery = run.deliveries()[3]
    raw = box_of(delivery, 10)
    altered = [raw[:-1] + bytes([raw[-1] ^ 1]) if box == raw else box for box in delivery.sealed]
    with pytest.raises(SplitView, match="the relay carries another box of site 'site1'") as caught:
        run.sites[3].mask(run.inputs[3], MODEL, delivery.shares, altered)
    assert caught.value.site is None
    with pytest.raises(SplitView):
        run.sites[3].complain(delivery.shares, altered)
    assert run.sites[3].stage == Stage.SHARED


def test_there_is_nothing_to_complain_of_after_honest_shares_nor_after_masking():
    run = attempt(3)
    delivery = run.deliveries()[3]
    with pytest.raises(OutOfOrder, match="nothing to complain of"):
        run.sites[3].complain(delivery.shares, delivery.sealed)
    mask(run, 3, delivery)
    with pytest.raises(OutOfOrder, match="MASKED; wanted SHARED"):
        run.sites[3].complain(delivery.shares, delivery.sealed)


def test_a_complaint_ends_the_complainers_attempt_and_survives_a_restart(monkeypatch):
    run = attempt(4, smallest=3)
    delivery = deliveries_with_a_liar(run, monkeypatch, dealer=10, victim=3, lie="junk")[3]
    site = run.sites[3]
    secrets = [site._state.seal_secret, site._state.mask_seed, site._state.self_seed, site._state.tag_part]
    complaint = site.complain(delivery.shares, delivery.sealed)
    frozen = site.freeze()
    assert not any(secret in frozen for secret in secrets)
    again = SiteSession.thaw(frozen, run.roster, "site0", key("site0"), run.context, smallest=3)
    assert again.complain(delivery.shares, delivery.sealed) == complaint
    assert again.stage == Stage.ABORTED
    for step in (lambda: mask(run, 3, delivery), again.hello, lambda: again.unmask(b"")):
        with pytest.raises(SecAggError):
            step()


def test_a_complaint_shows_one_pairs_boxes_and_no_other(monkeypatch):
    """What everybody learns, the liar knew: the boxes between the two. All other boxes stay closed."""
    run = attempt(4, smallest=3)
    delivery = deliveries_with_a_liar(run, monkeypatch, dealer=10, victim=3, lie="self_share")[3]
    complaint = run.sites[3].complain(delivery.shares, delivery.sealed)
    body = messages.Complaint.unpack(messages.body_of(complaint), box_bytes=130)
    ctx0 = run.context.digest()
    shown = {
        i: messages.Hello.unpack(messages.body_of(s.hello()), run.roster, i) for i, s in run.sites.items() if i != 3
    }
    private = masks.X25519PrivateKey.from_private_bytes(body.seal_private)
    for sender, boxes in run.relay._sealed.items():
        for receiver, raw in boxes.items():
            keys = {key for hello in shown.values() for key in (*hello.seal_keys.values(), hello.mask_key)}
            opens = 0
            for public in keys:
                secret = masks.seal_key(private, public, ctx0, sender=sender, receiver=receiver)
                try:
                    masks.open_box(secret, raw[4:], ctx0, sender=sender, receiver=receiver)
                except MalformedMessage:
                    continue
                opens += 1
            assert opens == (1 if {sender, receiver} == {3, 10} else 0)


def test_the_others_finish_without_the_complainer_where_drops_are_allowed(monkeypatch):
    """To the relay a complainer is a site lost before MASKED. The next attempt leaves the liar out."""
    run = attempt(5, smallest=4)
    deliveries = deliveries_with_a_liar(run, monkeypatch, dealer=10, victim=3, lie="mask_share")
    complaint = run.sites[3].complain(deliveries[3].shares, deliveries[3].sealed)
    assert run.relay.add_complaint(complaint, came_from=3) == ("site1",)
    here = [10, 17, 24, 31]
    for index in here:
        run.relay.add_masked(mask(run, index, deliveries[index]), came_from=index)
    heads = run.relay.heads()
    for index in here:
        run.relay.add_survivors(run.sites[index].sign_survivors(heads), came_from=index)
    for index in here:
        run.relay.add_unmask(run.sites[index].release(run.relay.survivors()), came_from=index)
    message, total = run.relay.result()
    assert all((run.sites[index].verify(message) == total).all() for index in here)
    after = attempt(5, smallest=4, changes={"attempt": 1})
    after.sites.pop(10)
    assert after.hellos()
    assert len(after.relay._u0) == 4


def test_a_site_either_masks_or_complains():
    run = attempt(4, smallest=3)
    deliveries = run.deliveries()
    run.relay.add_masked(mask(run, 3, deliveries[3]))
    with pytest.raises(SplitView, match="masked and complains") as caught:
        run.relay.add_complaint(complaint_by(run, 3, 10))
    assert caught.value.site == "site0"
    run.relay.add_complaint(complaint_by(run, 17, 10))
    with pytest.raises(SplitView, match="complains and masked") as caught:
        run.relay.add_masked(mask(run, 17, deliveries[17]))
    assert caught.value.site == "site2"


def test_what_is_no_complaint_is_refused_and_names_its_author():
    run = attempt(4, smallest=3)
    shares = run.deliveries()[3].shares
    judging = {
        "roster": run.roster,
        "config": run.sites[3]._config,
        "context0": run.context.digest(),
        "hellos": run.relay._received[Kind.HELLO],
        "shares": run.relay._received[Kind.SHARE],
    }
    itself = complaint_by(run, 3, 3, seal_private=bytes(32), box=bytes(130))
    stranger = complaint_by(run, 3, 4, seal_private=bytes(32), box=bytes(130))
    short = complaint_by(run, 3, 10, box=bytes(129))
    for wrong in (itself, stranger, short):
        with pytest.raises(MalformedMessage):
            judge(wrong, **judging)
        with pytest.raises(MalformedMessage) as caught:
            run.relay.add_complaint(wrong)
        assert caught.value.site == "site0"
        with pytest.raises(MalformedMessage):
            run.sites[10].judge(wrong, shares)
    with pytest.raises(BadSignature):
        judge(complaint_by(run, 3, 10, signer="site1"), **judging)
    with pytest.raises(WrongContext):
        judge(complaint_by(run, 3, 10), **judging | {"context0": bytes(32)})
    with pytest.raises(UnknownSender) as caught:
        run.relay.add_complaint(complaint_by(run, 3, 10), came_from=17)
    assert caught.value.site == "site2"


def test_the_dealer_cannot_escape_by_publishing_two_shares():
    """A verdict rests on signed messages alone; the box hash of a SHARE is the dealer's word for ever."""
    run = attempt(3)
    reply = run.sites[10].share(run.hellos())
    swapped = dict(reply.sealed) | {3: reply.sealed[3][:-1] + bytes([reply.sealed[3][-1] ^ 1])}
    with pytest.raises(MalformedMessage, match="sealed another share than it published") as caught:
        run.relay.add_share(reply.public, swapped)
    assert caught.value.site == "site1"
