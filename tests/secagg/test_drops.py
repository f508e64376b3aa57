"""Sites that vanish: the exact sum of the rest, or a clean refusal; and what becomes of each."""

import resource
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg import messages
from synthfed.secagg.protocol import SiteSession, Stage
from synthfed.secagg.refusals import (
    AlreadyAnswered,
    OutOfOrder,
    ReleaseRefused,
    SitesMissing,
    SplitView,
    TagMismatch,
)
from tests.secagg.federation import MODEL, STEPS, attempt, key


def int64_sum(vectors):
    return sum(vector.view(np.int32).astype(np.int64) for vector in vectors)


def drops(sites):
    return (sites - 1) // 3


def reduced(sites, **options):
    """An attempt whose policies allow floor((N-1)/3) drops."""
    return attempt(sites, options.pop("length", 5), smallest=max(3, sites - drops(sites)), **options)


def require_exact(run, gone):
    total, counted = run.with_drops(gone)
    lost = {index for index, step in gone.items() if step in ("hello", "share", "mask")}
    assert set(counted) == run.inputs.keys() - lost
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs[index] for index in counted))
    return run


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("sites", [4, 5, 6, 7, 8, 10])
def test_a_third_of_the_sites_may_vanish_before_any_step(sites, step):
    run = reduced(sites)
    require_exact(run, {member.index: step for member in run.members[: drops(sites)]})


@pytest.mark.parametrize("sites", [11, 12, 13, 16, 20, 27, 33])
def test_a_third_of_many_sites_may_vanish(sites):
    """Two steps here; every step, up to fifty sites, in the slow test."""
    run = reduced(sites, length=2)
    require_exact(run, {member.index: ("mask", STEPS[sites % 6])[i % 2] for i, member in pick(run)})


def pick(run):
    """Sites spread over the roster, so that pairs with lower and with higher neighbours break."""
    sites = len(run.members)
    chosen = np.random.default_rng(sites).permutation(sites)[: drops(sites)]
    return list(enumerate(run.members[position] for position in chosen))


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("sites", range(11, 51))
def test_a_third_of_many_sites_may_vanish_before_any_step(sites, step):
    run = reduced(sites, length=2)
    require_exact(run, {member.index: step for _, member in pick(run)})


@given(st.integers(4, 12), st.data())
@settings(max_examples=25, deadline=None)
def test_any_mixture_of_drops_gives_the_exact_sum(sites, data):
    run = reduced(sites, length=3)
    order = data.draw(st.permutations([member.index for member in run.members]))
    steps = data.draw(st.lists(st.sampled_from(STEPS), max_size=drops(sites)))
    require_exact(run, dict(zip(order, steps, strict=False)))


@pytest.mark.parametrize("step", ["hello", "share", "mask", "unmask"])
@pytest.mark.parametrize("sites", [3, 4, 7])
def test_one_drop_more_is_a_clean_refusal(sites, step):
    run = reduced(sites)
    with pytest.raises(SitesMissing, match="missing: site0"):
        run.with_drops({member.index: step for member in run.members[: drops(sites) + 1]})


def test_a_drop_too_many_among_survivors_is_a_clean_refusal():
    run = reduced(7)
    with pytest.raises(SitesMissing, match="4 sites sent a SURVIVORS, 5 are needed; missing: site1, site2"):
        run.with_drops({3: "mask", 10: "survivors", 17: "survivors"})
    run = reduced(7)
    with pytest.raises(SitesMissing, match="4 sites sent a UNMASK, 5 are needed; missing: site1, site2"):
        run.with_drops({3: "mask", 10: "survivors", 17: "unmask"})


def test_a_long_vector_loses_sites_of_both_sides_exactly():
    run = reduced(7, length=70_001)
    run.sites = dict(run.sites)
    require_exact(run, {run.members[3].index: "mask", run.members[0].index: "mask"})


def test_by_default_one_drop_ends_the_attempt():
    """Wait for all is the default, at the relay and at every site."""
    patient = attempt(5)
    with pytest.raises(SitesMissing, match="MASKED, 5 are needed; missing: site4"):
        patient.with_drops({31: "mask"})
    run = attempt(5, smallest=4)
    strict = SiteSession(run.roster, "site0", key("site0"), run.context)
    run.sites[3] = strict
    with pytest.raises(ReleaseRefused, match=r"4 sites \(missing: site4\); this site's policy wants 5"):
        run.with_drops({31: "mask"})
    assert strict.stage == Stage.MASKED


# --- the rows of the table --------------------------------------------------------------------------------------------


def slow(sites=4, gone=(24,), **options):
    """Up to HEADS without the sites `gone`, whose vectors were made and then lost."""
    run = attempt(sites, smallest=options.pop("smallest", 3), **options)
    masked = run.masked()
    for index, message in masked.items():
        if index not in gone:
            run.relay.add_masked(message)
    return SimpleNamespace(run=run, late={i: masked[i] for i in gone}, heads=run.relay.heads())


def test_the_relay_says_that_a_set_is_reduced():
    case = slow()
    assert case.run.relay.reduced
    assert case.run.sites[3].counted == ()
    case.run.sites[3].sign_survivors(case.heads)
    assert case.run.sites[3].counted == (3, 10, 17)
    assert case.run.sites[3].members == (3, 10, 17, 24)
    complete = attempt(4)
    complete.heads()
    assert not complete.relay.reduced


def test_a_late_vector_is_discarded_and_stays_unreadable():
    """The relay has the late site's vector and, by right, its mask seed. Its self mask is never opened."""
    case = slow(fixed="late")
    run = case.run
    with pytest.raises(OutOfOrder):
        run.relay.add_masked(case.late[24])
    survivors = []
    for index in (3, 10, 17):
        survivors.append(run.sites[index].sign_survivors(case.heads))
        run.relay.add_survivors(survivors[-1])
    for index in (3, 10, 17):
        reply = run.sites[index].release(survivors)
        opened = messages.Unmask.unpack(messages.body_of(reply), run.sites[index].members)
        assert opened.self_shares.keys() == {3, 10, 17}
        assert opened.mask_shares.keys() == {24}
        run.relay.add_unmask(reply)
    total = run.relay.result()[1]
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs[i] for i in (3, 10, 17)))


def test_a_vanished_site_cannot_accept_the_sum_without_it():
    """It never released, so it never verifies: it rejoins in the next attempt."""
    case = slow()
    run = case.run
    for index in (3, 10, 17):
        run.relay.add_survivors(run.sites[index].sign_survivors(case.heads))
    for index in (3, 10, 17):
        run.relay.add_unmask(run.sites[index].release(run.relay.survivors()))
    with pytest.raises(OutOfOrder, match="MASKED"):
        run.sites[24].verify(run.relay.result()[0])


def test_the_sum_without_a_site_is_tagged_too():
    case = slow()
    run = case.run
    for index in (3, 10, 17):
        run.relay.add_survivors(run.sites[index].sign_survivors(case.heads))
    for index in (3, 10, 17):
        run.relay.add_unmask(run.sites[index].release(run.relay.survivors()))
    run.relay._total[0:1] += np.uint32(1)
    message, _ = run.relay.result()
    for index in (3, 10, 17):
        with pytest.raises(TagMismatch):
            run.sites[index].verify(message)


def test_an_attempt_with_a_drop_survives_a_restart_before_every_step():
    run = attempt(7, smallest=5)

    def restart():
        for index, site in run.sites.items():
            name = run.roster.at(index).site
            run.sites[index] = SiteSession.thaw(
                site.freeze(), run.roster, name, key(name), run.context, smallest=run.smallest
            )

    deliveries = run.deliveries()
    restart()
    here = [index for index in run.sites if index not in (10, 38)]
    for index in here:
        delivery = deliveries[index]
        run.relay.add_masked(run.sites[index].mask(run.inputs[index], MODEL, delivery.shares, delivery.sealed))
    restart()
    heads = run.relay.heads()
    for index in here:
        sent = run.sites[index].sign_survivors(heads)
        restart()
        assert run.sites[index].sign_survivors(heads) == sent
        run.relay.add_survivors(sent)
    survivors = run.relay.survivors()
    for index in here:
        sent = run.sites[index].release(survivors)
        restart()
        assert run.sites[index].release(survivors[::-1]) == sent
        run.relay.add_unmask(sent)
    message, total = run.relay.result()
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs[i] for i in here))
    restart()
    for index in here:
        assert np.array_equal(run.sites[index].verify(message), total)
        assert run.sites[index].counted == tuple(here)


def test_order_and_number_of_survivors():
    case = slow(7, gone=(45,), smallest=5)
    run = case.run
    words = {i: run.sites[i].sign_survivors(case.heads) for i in run.sites if i != 45}
    four, five, every = list(words.values())[:4], list(words.values())[:5], list(words.values())
    site = run.sites[3]
    with pytest.raises(SitesMissing, match="4 sites signed the set of survivors, 5 are needed"):
        site.release(four)
    with pytest.raises(SplitView, match="second one"):
        site.release([*four, four[0]])
    for word in four:
        run.relay.add_survivors(word)
    with pytest.raises(SitesMissing, match="SURVIVORS, 5 are needed"):
        run.relay.survivors()
    sent = site.release(every)
    assert site.release(every[::-1]) == sent
    with pytest.raises(AlreadyAnswered):
        site.release(five)


def test_steps_of_the_slow_path_out_of_order_are_refused():
    run = attempt(4, smallest=3)
    site = run.sites[3]
    with pytest.raises(OutOfOrder):
        site.sign_survivors(b"")
    heads = run.heads()
    with pytest.raises(OutOfOrder, match="MASKED; wanted SIGNED"):
        site.release([])
    for step in (lambda: run.relay.add_survivors(b""), run.relay.survivors):
        with pytest.raises((OutOfOrder, SitesMissing)):
            step()
    word = site.sign_survivors(heads)  # a complete set may be signed too: slower, not weaker
    with pytest.raises(OutOfOrder, match="without a drop"):
        run.relay.add_survivors(word)
    rest = [run.sites[index].sign_survivors(heads) for index in (10, 17, 24)]
    for index in run.sites:
        run.relay.add_unmask(run.sites[index].release([word, *rest]))
    message, total = run.relay.result()
    assert np.array_equal(site.verify(message), total)
    for step in (lambda: site.sign_survivors(heads), lambda: site.release([word, *rest])):
        with pytest.raises(OutOfOrder):
            step()


def test_a_configuration_may_want_every_set_signed():
    run = attempt(4, smallest=3, config={"fast_release": False})
    total, counted = run.with_drops({})
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs.values()))
    assert len(counted) == 4
    assert run.relay.needs_survivors
    assert not run.relay.reduced
    run = attempt(3, config={"fast_release": False})
    heads = run.heads()
    with pytest.raises(ReleaseRefused, match="SURVIVORS in every round"):
        run.sites[3].unmask(heads)


# --- a thousand rounds ------------------------------------------------------------------------------------------------


def rounds(number):
    """Rounds of five sites; in two of three one site vanishes, somewhere."""
    rng = np.random.default_rng(number)
    weights, replay, memory = np.zeros(50, dtype=np.int64), np.zeros(50, dtype=np.int64), []
    for index in range(number):
        run = attempt(5, 50, seed=index, smallest=4, changes={"round_index": index})
        gone = {}
        if rng.random() < 2 / 3:
            gone[run.members[int(rng.integers(5))].index] = STEPS[int(rng.integers(6))]
        total, counted = run.with_drops(gone)
        weights += total.view(np.int32)
        replay += int64_sum(run.inputs[i] for i in counted)
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert np.array_equal(weights, replay)
    return memory


def test_many_rounds_with_drops_replay_as_integers():
    rounds(60)


@pytest.mark.slow
def test_a_thousand_rounds_with_drops_in_flat_memory():
    memory = rounds(1000)
    assert np.mean(memory[-100:]) <= 1.1 * np.mean(memory[:100])
