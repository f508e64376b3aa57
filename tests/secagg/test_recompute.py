"""Sites that add up the signed vectors themselves see what the tag cannot: a false sum with a helper among them."""

import numpy as np
import pytest

from synthfed.secagg import messages
from synthfed.secagg.messages import Kind, body_of
from synthfed.secagg.protocol import Evidence, SiteSession
from synthfed.secagg.refusals import (
    RELAY_PARTY,
    BadShare,
    BadSignature,
    MalformedMessage,
    OutOfOrder,
    SplitView,
    TagMismatch,
    WrongContext,
)
from synthfed.secagg.roster import RELAY
from synthfed.secagg.tag import TagKey, add_words
from tests.secagg.federation import attempt, key, make_config, make_roster

RECOMPUTE = {"verify": "recompute"}


def opened(mode="compressed", gone=(), **settings):
    """An attempt up to its result, with the relay's evidence."""
    run = attempt(5, smallest=4, config=RECOMPUTE | {"mode": mode} | settings)
    if mode == "full":
        message, total = run.opened()
        return run, message, total, run.relay.evidence()
    masked = run.masked()
    here = [index for index in masked if index not in gone]
    for index in here:
        run.relay.add_masked(masked[index])
    if mode == "compressed":
        heads = run.relay.heads()
        if gone:
            for index in here:
                run.relay.add_survivors(run.sites[index].sign_survivors(heads))
        for index in here:
            site = run.sites[index]
            run.relay.add_unmask(site.release(run.relay.survivors()) if gone else site.unmask(heads))
    message, total = run.relay.result()
    run.sites = {index: run.sites[index] for index in here}
    return run, message, total, run.relay.evidence()


@pytest.mark.parametrize(("mode", "gone"), [("compressed", ()), ("compressed", (17,)), ("pairwise", ()), ("full", ())])
def test_every_site_adds_up_what_was_announced(mode, gone):
    run, message, total, evidence = opened(mode, gone)
    for site in run.sites.values():
        with pytest.raises(OutOfOrder, match="recompute"):
            site.verify(message)
        assert np.array_equal(site.recompute(message, evidence), total)
        assert np.array_equal(site.verify(message), total)  # afterwards it is known
    expected = sum(run.inputs[index].view(np.int32).astype(np.int64) for index in run.sites)
    assert np.array_equal(total.view(np.int32), expected)


def test_a_wide_sum_is_recomputed_too():
    vectors = {i: np.array([i, 2**40], dtype=np.uint64) for i in range(3)}
    run = attempt(3, vectors=vectors, config=RECOMPUTE | {"ring": "2^64"})
    message, total = run.result()
    assert all(np.array_equal(s.recompute(message, run.relay.evidence()), total) for s in run.sites.values())


def forged_with_help(run, total, tag_key):
    """The relay and a site that gave it K: another sum with a tag that fits."""
    shift = np.zeros_like(total)
    shift[0:1] = 1
    tag = add_words([run.relay._tag, tag_key.linear(shift)])
    members = run.relay._u2
    body = messages.Result(members, total + shift, tag).pack(run.roster)
    return messages.write(Kind.RESULT, context=run.relay.context1, sender=RELAY, body=body, identity=key("relay"))


def test_a_helper_of_the_relay_fools_the_tag():
    """The flaw that the tag documents: with K, a false sum verifies."""
    run = attempt(4)
    _, total = run.result()
    helper = run.sites[3]._state
    forged = forged_with_help(run, total, TagKey(helper.tag_key, helper.context1))
    assert not np.array_equal(run.sites[10].verify(forged), total)


def test_a_helper_of_the_relay_does_not_fool_a_site_that_recomputes():
    run, _, total, evidence = opened()
    helper = run.sites[3]._state
    forged = forged_with_help(run, total, TagKey(helper.tag_key, helper.context1))
    for index in (10, 17, 24, 31):
        with pytest.raises(TagMismatch):
            run.sites[index].recompute(forged, evidence)


@pytest.mark.parametrize("gone", [(), (17,)])
def test_evidence_that_was_tampered_with_is_refused(gone):
    run, message, total, evidence = opened(gone=gone)
    site, name = run.sites[10], run.roster.at(3).site
    first = evidence.masked[0]
    flipped = first[:60] + bytes([first[60] ^ 1]) + first[61:]
    with pytest.raises(BadSignature, match=name):
        site.recompute(message, Evidence((flipped, *evidence.masked[1:]), evidence.opened))
    other = messages.write(
        Kind.MASKED, context=run.relay.context1, sender=3, body=body_of(flipped), identity=key(name)
    )  # a colluding site signs a second vector
    with pytest.raises(SplitView, match="not the one it signed before"):
        site.recompute(message, Evidence((other, *evidence.masked[1:]), evidence.opened))
    with pytest.raises(MalformedMessage, match="site0 are missing"):
        site.recompute(message, Evidence(evidence.masked[1:], evidence.opened))
    with pytest.raises(SplitView, match="two of one site"):
        site.recompute(message, Evidence((first, *evidence.masked), evidence.opened))
    foreign = attempt(5, changes={"round_index": 9}).masked()[3]
    with pytest.raises(WrongContext):
        site.recompute(message, Evidence((foreign, *evidence.masked[1:]), evidence.opened))
    for index in evidence.opened:
        with pytest.raises(BadShare) as caught:
            site.recompute(message, Evidence(evidence.masked, dict(evidence.opened) | {index: bytes(32)}))
        assert caught.value.party == RELAY_PARTY
        assert caught.value.site is None
    assert np.array_equal(site.recompute(message, evidence), total)


def test_the_relay_keeps_vectors_only_where_sites_recompute():
    run = attempt(3)
    run.result()
    assert run.relay._vectors == {}
    with pytest.raises(OutOfOrder, match="unkept"):
        run.relay.evidence()


def test_shamir_cannot_be_recomputed():
    with pytest.raises(ValueError, match="t answers"):
        make_config(make_roster(3), mode="shamir", verify="recompute")


def test_a_restart_before_recomputing_changes_nothing():
    run, message, total, evidence = opened(gone=(17,))
    for index, site in run.sites.items():
        name = run.roster.at(index).site
        again = SiteSession.thaw(site.freeze(), run.roster, name, key(name), run.context, config=run.config, smallest=4)
        assert np.array_equal(again.recompute(message, evidence), total)
