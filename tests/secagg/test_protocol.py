import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg import messages
from synthfed.secagg.messages import Kind
from synthfed.secagg.protocol import RelaySession, SiteSession, Stage
from synthfed.secagg.refusals import (
    AlreadyAnswered,
    MalformedMessage,
    OutOfOrder,
    ReleaseRefused,
    RosterRefused,
    SealBroken,
    SitesMissing,
    SplitView,
    UnknownSender,
    WrongContext,
)
from synthfed.secagg.roster import RELAY
from tests.secagg.federation import MODEL, Attempt, attempt, key, make_context, make_roster


def int64_sum(vectors):
    return sum(vector.view(np.int32).astype(np.int64) for vector in vectors)


@given(st.integers(3, 8), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_the_sum_is_the_integer_sum_bit_for_bit(sites, length, seed):
    """Unequal sites: magnitudes differ by up to 2**27."""
    rng = np.random.default_rng(seed)
    vectors = {}
    for i in range(sites):
        reach = 2 ** int(rng.integers(1, 28))
        vectors[i] = rng.integers(-reach, reach, length).astype(np.int32).view(np.uint32)
    total = attempt(sites, vectors=vectors).finish()
    assert np.array_equal(total.view(np.int32), int64_sum(vectors.values()))


@pytest.mark.parametrize("sites", [9, 10, 50])
def test_many_sites_add_up(sites):
    run = attempt(sites, 33)
    assert np.array_equal(run.finish().view(np.int32), int64_sum(run.vectors.values()))


def test_a_vector_of_many_chunks_adds_up():
    run = attempt(3, 100_003)
    assert np.array_equal(run.finish().view(np.int32), int64_sum(run.vectors.values()))


@given(st.permutations(range(5)), st.permutations(range(5)))
@settings(max_examples=10, deadline=None)
def test_order_of_arrival_is_irrelevant(first, second):
    run = attempt(5)
    run.sites = {run.members[i].index: run.sites[run.members[i].index] for i in first}
    deliveries = run.deliveries()
    for i in second:
        index = run.members[i].index
        shares, sealed = deliveries[index].shares[::-1], deliveries[index].sealed[::-1]
        run.relay.add_masked(run.sites[index].mask(run.inputs[index], MODEL, shares, sealed))
    heads = run.relay.heads()
    for i in first:
        run.relay.add_unmask(run.sites[run.members[i].index].unmask(heads))
    message, total = run.relay.result()
    assert np.array_equal(total.view(np.int32), int64_sum(run.vectors.values()))
    assert all(np.array_equal(site.verify(message), total) for site in run.sites.values())


# --- a site is missing: a clean refusal -------------------------------------------------------------------------------


def test_a_missing_hello_ends_the_attempt():
    run = attempt(5)
    run.sites.pop(run.members[2].index)
    with pytest.raises(SitesMissing, match=r"4 sites sent a HELLO, 5 are needed; missing: site2\."):
        run.hellos()


def test_a_missing_share_ends_the_attempt():
    run = attempt(5)
    hellos = run.hellos()
    for site in list(run.sites.values())[1:]:
        reply = site.share(hellos)
        run.relay.add_share(reply.public, reply.sealed)
    with pytest.raises(SitesMissing, match="SHARE, 5 are needed; missing: site0"):
        run.relay.deliveries(MODEL)


def test_a_missing_vector_ends_the_attempt():
    run = attempt(5)
    for message in list(run.masked().values())[:-1]:
        run.relay.add_masked(message)
    with pytest.raises(SitesMissing, match="MASKED, 5 are needed; missing: site4"):
        run.relay.heads()


def test_a_missing_unmask_ends_the_attempt():
    run = attempt(5)
    heads = run.heads()
    for site in list(run.sites.values())[:4]:
        run.relay.add_unmask(site.unmask(heads))
    with pytest.raises(SitesMissing, match="UNMASK, 5 are needed; missing: site4"):
        run.relay.result()


def test_sites_refuse_a_set_below_their_own_smallest():
    """The relay would go on with 4 of 5; a site whose policy wants all refuses."""
    run = attempt(5, smallest=4)
    strict = SiteSession(run.roster, "site0", key("site0"), run.context)
    run.sites = {run.members[0].index: strict} | {m.index: run.sites[m.index] for m in run.members[1:4]}
    hellos = run.hellos()
    with pytest.raises(SitesMissing, match="site4"):
        strict.share(hellos)


def test_a_lower_smallest_set_goes_on_without_a_site():
    """One site never says HELLO, another never SHARE: the sum is over the rest."""
    run = attempt(7, smallest=5)
    run.sites.pop(run.members[6].index)
    hellos = run.hellos()
    gone = run.members[5].index
    for index, site in run.sites.items():
        reply = site.share(hellos)
        if index != gone:
            run.relay.add_share(reply.public, reply.sealed)
    deliveries = run.relay.deliveries(MODEL)
    rest = {index: site for index, site in run.sites.items() if index != gone}
    for index, site in rest.items():
        run.relay.add_masked(site.mask(run.inputs[index], MODEL, deliveries[index].shares, deliveries[index].sealed))
    heads = run.relay.heads()
    for site in rest.values():
        run.relay.add_unmask(site.unmask(heads))
    message, total = run.relay.result()
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs[index] for index in rest))
    assert all(site.members == tuple(rest) and np.array_equal(site.verify(message), total) for site in rest.values())


def test_smallest_set_has_limits():
    roster = make_roster(5)
    for smallest in (3, 6):
        with pytest.raises(ValueError, match=r"4\.\.5"):
            SiteSession(roster, "site0", key("site0"), make_context(roster), smallest=smallest)


# --- order of steps ---------------------------------------------------------------------------------------------------


def test_steps_out_of_order_are_refused():
    run = attempt(3)
    site = run.sites[3]
    with pytest.raises(OutOfOrder):
        site.share([])
    with pytest.raises(OutOfOrder):
        site.mask(run.inputs[3], MODEL, [], [])
    with pytest.raises(OutOfOrder):
        site.unmask(b"")
    with pytest.raises(OutOfOrder):
        site.verify(b"")
    with pytest.raises(OutOfOrder):
        site.close()
    for step in (run.relay.heads, run.relay.result, lambda: run.relay.deliveries(MODEL)):
        with pytest.raises(OutOfOrder):
            step()
    run.hellos()
    with pytest.raises(OutOfOrder):
        run.relay.add_hello(site.hello())


def test_after_the_end_secrets_are_gone():
    run = attempt(3)
    message, total = run.result()
    site = run.sites[3]
    secrets = [site._state.seal_secret, site._state.mask_seed, site._state.self_seed, site._state.tag_part]
    secrets += [site._state.tag_key, *site._state.held.values(), site._state.masked]
    assert all(any(secret in frozen for frozen in [site.freeze()]) for secret in secrets)
    site.verify(message)
    assert not any(secret in site.freeze() for secret in secrets)
    assert site.stage == Stage.VERIFIED
    assert np.array_equal(site.verify(message), total)
    site.close()
    assert site.stage == Stage.CLOSED
    for step in (
        lambda: site.mask(run.inputs[3], MODEL, [], []),
        lambda: site.unmask(b""),
        lambda: site.share([]),
    ):
        with pytest.raises(OutOfOrder):
            step()


def test_an_aborted_attempt_is_over():
    run = attempt(3)
    deliveries = run.deliveries()
    site = run.sites[3]
    secret = site._state.mask_seed
    site.abort()
    assert secret not in site.freeze()
    assert site.stage == Stage.ABORTED
    for step in (
        site.hello,
        lambda: site.share([]),
        lambda: site.mask(run.inputs[3], MODEL, deliveries[3].shares, deliveries[3].sealed),
        lambda: site.unmask(b""),
    ):
        with pytest.raises(OutOfOrder):
            step()
    with pytest.raises(AlreadyAnswered):
        site.verify(b"")


@pytest.mark.parametrize(
    "vector", [np.zeros(4, dtype=np.int32), np.zeros((2, 2), dtype=np.uint32), np.zeros(0, dtype=np.uint32)]
)
def test_only_a_ring_vector_is_masked(vector):
    run = attempt(3)
    with pytest.raises(ValueError, match="uint32"):
        run.sites[3].mask(vector, MODEL, [], [])


# --- who may open a session -------------------------------------------------------------------------------------------


def test_a_session_needs_the_rosters_keys_and_context():
    roster = make_roster(3)
    context = make_context(roster)
    with pytest.raises(RosterRefused, match="identity key"):
        SiteSession(roster, "site0", key("site1"), context)
    with pytest.raises(RosterRefused, match="relay's key"):
        RelaySession(roster, context, key("site0"), length=1)
    other = make_context(make_roster(3, version=2))
    with pytest.raises(WrongContext):
        SiteSession(roster, "site0", key("site0"), other)
    with pytest.raises(WrongContext):
        RelaySession(roster, other, key("relay"), length=1)


# --- views that differ ------------------------------------------------------------------------------------------------


def test_a_site_needs_its_own_messages_in_every_view():
    run = attempt(4, smallest=3)
    hellos = run.hellos()
    with pytest.raises(SplitView, match="own HELLO"):
        run.sites[3].share(hellos[1:])
    with pytest.raises(SplitView, match="two HELLOs") as caught:
        run.sites[3].share([*hellos, hellos[1]])
    assert caught.value.site is None  # the relay may have copied it
    other = attempt(4, smallest=3).sites[10].hello()
    with pytest.raises(SplitView, match="two HELLOs of site 'site1'") as caught:
        run.sites[3].share([*hellos, other])
    assert caught.value.site == "site1"  # it signed two
    delivery = run_on(run, hellos)[3]
    with pytest.raises(SplitView, match="own SHARE"):
        run.sites[3].mask(run.inputs[3], MODEL, delivery.shares[1:], delivery.sealed)
    with pytest.raises(SplitView, match="sealed shares"):
        run.sites[3].mask(run.inputs[3], MODEL, delivery.shares, delivery.sealed[1:])


def run_on(run: Attempt, hellos):
    for site in run.sites.values():
        reply = site.share(hellos)
        run.relay.add_share(reply.public, reply.sealed)
    return run.relay.deliveries(run.model)


def test_dealing_to_different_sets_is_refused():
    run = attempt(4, smallest=3)
    hellos = run.hellos()
    first = [site.share(hellos if index != 10 else hellos[:3]) for index, site in run.sites.items()]
    with pytest.raises(SplitView, match="another set"):
        run.relay.add_share(first[1].public, first[1].sealed)
    for_site0 = [reply.sealed[3] for reply in first[1:]]
    with pytest.raises(SplitView, match="'site1' dealt shares to another set"):
        run.sites[3].mask(run.inputs[3], MODEL, [reply.public for reply in first], for_site0)


def test_a_late_site_is_not_let_in():
    run = attempt(4, smallest=3)
    late = run.sites.pop(24)
    hellos = run.hellos()
    deliveries = run_on(run, hellos)
    assert deliveries.keys() == {3, 10, 17}
    late.hello()
    for index, delivery in deliveries.items():
        run.relay.add_masked(run.sites[index].mask(run.inputs[index], MODEL, delivery.shares, delivery.sealed))
    outsider = attempt(4, smallest=3)
    message = outsider.masked()[24]
    with pytest.raises((UnknownSender, WrongContext)):
        run.relay.add_masked(message)


def test_the_relay_refuses_a_second_different_message():
    run, twin = attempt(3), attempt(3)
    run.relay.add_hello(run.sites[3].hello())
    run.relay.add_hello(run.sites[3].hello())
    with pytest.raises(AlreadyAnswered, match="two different HELLO"):
        run.relay.add_hello(twin.sites[3].hello())


def test_a_masked_vector_is_added_once():
    run = attempt(3)
    masked = run.masked()
    for message in [*masked.values(), masked[3]]:
        run.relay.add_masked(message)
    heads = run.relay.heads()
    for site in run.sites.values():
        run.relay.add_unmask(site.unmask(heads))
    assert np.array_equal(run.relay.result()[1].view(np.int32), int64_sum(run.vectors.values()))


def test_a_site_that_forgets_what_it_sent_checks_the_sum_and_never_masks_again():
    """Whoever stored the reply may drop it from the session; the sum and its tag come out as before."""
    run = attempt(3)
    masked, delivery = run.masked(), run.relay.deliveries(MODEL)[3]
    whole = len(run.sites[3].freeze())
    for index, site in run.sites.items():
        site.forget_masked()
        name = run.roster.at(index).site
        run.sites[index] = SiteSession.thaw(site.freeze(), run.roster, name, key(name), run.context)
    assert len(run.sites[3].freeze()) == whole - len(masked[3])
    with pytest.raises(AlreadyAnswered):
        run.sites[3].mask(run.inputs[3], MODEL, delivery.shares, delivery.sealed)
    for message in masked.values():
        run.relay.add_masked(message)
    for site in run.sites.values():
        run.relay.add_unmask(site.unmask(run.relay.heads()))
    result, total = run.relay.result()
    assert np.array_equal(total.view(np.int32), int64_sum(run.vectors.values()))
    assert all(np.array_equal(site.verify(result), total) for site in run.sites.values())


def test_the_relay_fixes_the_model_once():
    run = attempt(3)
    run.deliveries()
    with pytest.raises(AlreadyAnswered, match="another model"):
        run.relay.deliveries(hashlib.sha256(b"other").digest())


def test_heads_of_another_set_or_vector_are_refused():
    run = attempt(4)
    run.heads()

    def forge(signed):
        body = messages.Heads(signed).pack(run.roster)
        context = run.relay.context1
        return messages.write(Kind.HEADS, context=context, sender=RELAY, body=body, identity=key("relay"))

    signed = dict(run.relay._signed_heads)
    with pytest.raises(ReleaseRefused, match="missing: site3"):
        run.sites[3].unmask(forge({index: pair for index, pair in signed.items() if index != 24}))
    with pytest.raises(ReleaseRefused, match="another vector"):
        run.sites[3].unmask(forge(signed | {3: (bytes(32), signed[3][1])}))


# --- restart ----------------------------------------------------------------------------------------------------------


def test_an_attempt_survives_a_restart_before_every_step():
    run = attempt(4)
    plain = attempt(4)

    def restart():
        for index, site in run.sites.items():
            name = run.roster.at(index).site
            run.sites[index] = SiteSession.thaw(site.freeze(), run.roster, name, key(name), run.context)

    restart()
    hellos = run.hellos()
    restart()
    deliveries = run_on(run, hellos)
    restart()
    for index, delivery in deliveries.items():
        run.relay.add_masked(run.sites[index].mask(run.inputs[index], MODEL, delivery.shares, delivery.sealed))
        restart()
    heads = run.relay.heads()
    for site in run.sites.values():
        run.relay.add_unmask(site.unmask(heads))
    restart()
    message, total = run.relay.result()
    assert all(np.array_equal(site.verify(message), total) for site in run.sites.values())
    restart()
    assert all(run.relay.add_close(site.close()).accepted for site in run.sites.values())
    assert np.array_equal(total, plain.finish())


def test_state_of_another_attempt_or_site_is_refused():
    run = attempt(3)
    frozen = run.sites[3].freeze()
    other = make_context(run.roster, attempt=1)
    with pytest.raises(SealBroken):
        SiteSession.thaw(frozen, run.roster, "site0", key("site0"), other)
    with pytest.raises(SealBroken):
        SiteSession.thaw(frozen, run.roster, "site1", key("site1"), run.context)
    for broken in (frozen[:-1], frozen + b"\0", b""):
        with pytest.raises(SealBroken):
            SiteSession.thaw(broken, run.roster, "site0", key("site0"), run.context)


def test_equal_results_have_equal_hashes_in_close():
    run = attempt(3)
    message, _ = run.result()
    closes = []
    for site in run.sites.values():
        site.verify(message)
        closes.append(run.relay.add_close(site.close(bytes([9] * 32))))
        assert site.close() == site.close(bytes([8] * 32))
    assert len({close.result_digest for close in closes}) == 1
    assert {close.audit_head for close in closes} == {bytes([9] * 32)}
    assert all(len(site.commitment) == len(site.head) == len(site.context1) == 32 for site in run.sites.values())


def test_the_relay_wants_one_sealed_share_for_each_other_site():
    run = attempt(3)
    reply = run.sites[3].share(run.hellos())
    swapped = {10: reply.sealed[17], 17: reply.sealed[10]}
    for sealed in ({}, {10: reply.sealed[10]}, swapped, reply.sealed | {3: reply.sealed[10]}):
        with pytest.raises(MalformedMessage, match="did not seal"):
            run.relay.add_share(reply.public, sealed)
    run.relay.add_share(reply.public, reply.sealed)
    run.relay.add_share(reply.public, reply.sealed)


def test_a_site_outside_the_announced_set_cannot_deal():
    run = attempt(4, smallest=3)
    late, everybody = run.sites.pop(24), attempt(4, smallest=3)
    hellos = run.hellos()
    late.hello()
    others = everybody.hellos()
    with pytest.raises(SplitView, match="own HELLO"):
        late.share(hellos)
    reply = everybody.sites[24].share(others)
    with pytest.raises(UnknownSender, match="site3"):
        run.relay.add_share(reply.public, reply.sealed)


def test_the_result_is_announced_once_and_stays():
    run = attempt(3)
    message, total = run.result()
    total[:] = 0
    again, kept = run.relay.result()
    assert again == message
    assert kept.any()
    with pytest.raises(OutOfOrder):
        run.relay.add_unmask(b"")


def test_a_restored_state_with_a_stage_that_does_not_exist_is_refused():
    run = attempt(3)
    frozen = bytearray(run.sites[3].freeze())
    at = frozen.index(b"\x01" + bytes(7) + b"\x00", 8 + 28 + 8 + 32 + 8 + 2) + 8
    frozen[at] = 99
    with pytest.raises(SealBroken, match="cannot be read"):
        SiteSession.thaw(bytes(frozen), run.roster, "site0", key("site0"), run.context)
