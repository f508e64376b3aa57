"""All modes give the same integers; what each of them shows to whom is bounded as the table of `protocol` says."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg import masks, messages, parts
from synthfed.secagg.messages import body_of
from synthfed.secagg.parts import PRIME, Part
from synthfed.secagg.protocol import PartsRelaySession, PartsSiteSession, RelaySession, SiteSession, Stage
from synthfed.secagg.refusals import (
    UNKNOWN_PARTY,
    AlreadyAnswered,
    BadShare,
    MalformedMessage,
    OutOfOrder,
    ReleaseRefused,
    SitesMissing,
    SplitView,
    TagMismatch,
    UnknownSender,
    WrongContext,
)
from synthfed.secagg.tag import NARROW
from tests.secagg.federation import MODEL, attempt, key, make_config, make_context, make_roster

MODES = ["compressed", "pairwise", "full", "shamir"]


def int64_sum(vectors):
    return sum(vector.view(np.int32).astype(np.int64) for vector in vectors)


@given(st.integers(3, 7), st.integers(1, 30), st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_all_modes_give_the_same_integers(sites, length, seed):
    rng = np.random.default_rng(seed)
    reach = 2**30 // sites
    vectors = {i: rng.integers(-reach, reach + 1, length).astype(np.int32).view(np.uint32) for i in range(sites)}
    for mode in MODES:
        total = attempt(sites, vectors=vectors, config={"mode": mode}).finish()
        assert total.dtype == np.uint32
        assert np.array_equal(total.view(np.int32), int64_sum(vectors.values())), mode


@pytest.mark.parametrize("sites", [10, 20])
def test_all_modes_give_the_same_integers_at_many_sites(sites):
    """The largest sums that an encoding makes, of both signs."""
    most = 2**30 // sites
    vectors = {i: np.array([most, -most, i], dtype=np.int32).view(np.uint32) for i in range(sites)}
    found = [attempt(sites, vectors=vectors, config={"mode": mode}).finish() for mode in MODES]
    assert all(np.array_equal(total, found[0]) for total in found)


@pytest.mark.parametrize("mode", ["compressed", "pairwise", "full"])
def test_the_wide_ring_adds_64_bit_integers(mode):
    vectors = {i: np.array([2**61, -(2**60) - i, i], dtype=np.int64).view(np.uint64) for i in range(3)}
    total = attempt(3, vectors=vectors, config={"mode": mode, "ring": "2^64"}).finish()
    assert total.view(np.int64).tolist() == [3 * 2**61, -3 * 2**60 - 3, 3]


def test_shamir_has_no_wide_ring():
    with pytest.raises(ValueError, match="no room"):
        make_config(make_roster(3), mode="shamir", ring="2^64")


def test_a_vector_of_another_ring_is_refused():
    narrow, wide = attempt(3), attempt(3, config={"ring": "2^64"})
    with pytest.raises(ValueError, match="uint32"):
        narrow.sites[3].mask(np.zeros(4, dtype=np.uint64), MODEL, [], [])
    with pytest.raises(ValueError, match="uint64"):
        wide.sites[3].mask(np.zeros(4, dtype=np.uint32), MODEL, [], [])


@pytest.mark.parametrize("mode", MODES)
def test_a_false_sum_is_seen_in_every_mode(mode):
    run = attempt(4, config={"mode": mode})
    message, total = run.opened()
    tag = messages.Result.unpack(body_of(message), run.roster, length=total.size).tag
    total[0:1] += np.uint32(1)
    body = messages.Result(tuple(run.sites), total, tag).pack(run.roster)
    forged = run.relay._write(messages.Kind.RESULT, body)
    for site in run.sites.values():
        with pytest.raises(TagMismatch):
            site.verify(forged)


def test_a_false_wide_sum_is_seen():
    """A shift by 2**61 - 1 passes tags modulo that prime; by 2**64 - 1, 2**63 and 1 ours see it."""
    vectors = {i: np.arange(3, dtype=np.uint64) for i in range(3)}
    for delta in (2**61 - 1, 2**64 - 1, 2**63, 1):
        run = attempt(3, vectors=vectors, config={"ring": "2^64"})
        run.unmasked()
        run.relay._total[1:2] += np.uint64(delta)
        message, _ = run.relay.result()
        with pytest.raises(TagMismatch):
            run.sites[3].verify(message)


# --- configuration ----------------------------------------------------------------------------------------------------


def test_a_session_takes_only_the_configuration_of_its_context():
    roster = make_roster(3)
    run = attempt(3)
    config = make_config(roster, mode="pairwise")
    with pytest.raises(WrongContext, match="configuration"):
        SiteSession(run.roster, "site0", key("site0"), run.context, config=config)
    with pytest.raises(WrongContext, match="configuration"):
        RelaySession(run.roster, run.context, key("relay"), length=1, config=config)


def test_a_policy_does_not_go_below_what_was_agreed():
    """The configuration's m and t are those of the sum; a site may want more sites, never fewer."""
    roster = make_roster(7)
    config = make_config(roster, smallest=6)
    context = make_context(roster, config_digest=config.digest())
    SiteSession(roster, "site0", key("site0"), context, config=config, smallest=6)
    for make in (
        lambda: SiteSession(roster, "site0", key("site0"), context, config=config, smallest=5),
        lambda: RelaySession(roster, context, key("relay"), length=1, config=config, smallest=5),
    ):
        with pytest.raises(ValueError, match=r"5 is outside 6\.\.7"):
            make()
    lower = make_config(roster, threshold=4)
    with pytest.raises(WrongContext, match="threshold 4, the roster 5"):
        SiteSession(roster, "site0", key("site0"), make_context(roster, config_digest=lower.digest()), config=lower)


def test_sessions_run_their_own_modes_only():
    run = attempt(3, config={"mode": "full"})
    with pytest.raises(ValueError, match="'full' is not run by SiteSession"):
        SiteSession(run.roster, "site0", key("site0"), run.context, config=run.config)
    with pytest.raises(ValueError, match="'full' is not run by RelaySession"):
        RelaySession(run.roster, run.context, key("relay"), length=1, config=run.config)
    plain = attempt(3)
    with pytest.raises(ValueError, match="'compressed' is not run by PartsSiteSession"):
        PartsSiteSession(plain.roster, "site0", key("site0"), plain.context)
    with pytest.raises(ValueError, match="'compressed' is not run by PartsRelaySession"):
        PartsRelaySession(plain.roster, plain.context, key("relay"), length=1)
    for step in (lambda: run.sites[3].mask(run.inputs[3], MODEL, [], []), run.relay.heads):
        with pytest.raises(OutOfOrder):
            step()


# --- pairwise ---------------------------------------------------------------------------------------------------------


def test_pairwise_shares_no_keys_and_asks_for_none():
    run = attempt(4, config={"mode": "pairwise"})
    run.finish()
    assert {raw[3] for raw in run.transcript if raw[:3] == b"SA1"} == {1, 2, 3, 7, 8}
    assert {len(raw) for raw in run.transcript if raw[:3] != b"SA1"} == {64}  # kappa, nonce, tag, addresses


def test_pairwise_has_no_sum_without_a_site():
    run = attempt(4, smallest=3, config={"mode": "pairwise"})
    masked = run.masked()
    for message in list(masked.values())[:3]:
        run.relay.add_masked(message)
    with pytest.raises(SitesMissing, match="MASKED, 4 are needed; missing: site3"):
        run.relay.result()
    for site in run.sites.values():
        with pytest.raises((AlreadyAnswered, OutOfOrder)):
            site.sign_survivors(b"")
        with pytest.raises(AlreadyAnswered):
            site.unmask(b"")


# --- full and shamir --------------------------------------------------------------------------------------------------


def test_full_parts_are_uniform_and_add_up():
    rng = np.random.default_rng(0)
    vector = np.full(50_000, 7, dtype=np.uint32)
    dealt = parts.split("full", Part(vector, (1,) * 5), [1, 2, 5], own=2, threshold=3, entropy=rng.bytes)
    assert np.array_equal(parts.add_up("full", list(dealt.values())).vector, vector)
    assert parts.add_up("full", list(dealt.values())).tag == (1,) * 5
    for part in dealt.values():
        counts = np.bincount(part.vector.view(np.uint8), minlength=256)
        assert ((counts - 781.25) ** 2 / 781.25).sum() < 255 + 6 * 510**0.5


@given(st.integers(-(2**30), 2**30), st.integers(3, 6), st.data())
@settings(max_examples=25, deadline=None)
def test_any_t_shamir_parts_open_and_fewer_do_not(value, sites, data):
    threshold = data.draw(st.integers(2, sites))
    indices = [9 * i for i in range(sites)]
    vector = np.array([value, -value], dtype=np.int32).view(np.uint32)
    whole = Part(vector, tuple(range(5)))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    dealt = parts.split("shamir", whole, indices, own=0, threshold=threshold, entropy=rng.bytes)
    roster = type("R", (), {"threshold": threshold})()
    for chosen in itertools.combinations(indices, threshold):
        opened = parts.open_sum("shamir", {i: dealt[i] for i in chosen}, roster=roster)
        assert np.array_equal(opened.vector, vector)
        assert opened.tag == whole.tag
    with pytest.raises(SitesMissing):
        parts.open_sum("shamir", {i: dealt[i] for i in indices[: threshold - 1]}, roster=roster)


def test_fewer_shamir_parts_fit_every_vector():
    """Through t - 1 parts and any value at zero runs one polynomial: here two parts, t = 3."""
    dealt = parts.split(
        "shamir",
        Part(np.array([5], dtype=np.uint32), (0,) * 5),
        [0, 1, 2],
        own=0,
        threshold=3,
        entropy=np.random.default_rng(1).bytes,
    )
    seen = {i: int(dealt[i].vector[0]) for i in (0, 1)}
    for value in (0, 1, 77, PRIME - 1):
        # the one value at x = 3 that makes the three points open `value`
        third = (value - 3 * seen[0] + 3 * seen[1]) % PRIME
        forged = dict(dealt) | {2: Part(np.array([third], dtype=np.uint32), (0,) * 5)}
        opened = parts.open_sum("shamir", forged, roster=type("R", (), {"threshold": 3})())
        assert int(opened.vector.view(np.int32)[0]) % PRIME == value


def test_words_that_are_not_reduced_are_refused():
    with pytest.raises(MalformedMessage, match="not reduced"):
        Part.unpack(np.array([PRIME], dtype=np.uint32).tobytes() + bytes(20), "shamir", NARROW)
    Part.unpack(np.array([PRIME], dtype=np.uint32).tobytes() + bytes(20), "full", NARROW)
    for wrong in (bytes(19), bytes(25)):
        with pytest.raises(MalformedMessage, match="cannot have"):
            Part.unpack(wrong, "full", NARROW)


def dealt_by(run, gone=()):
    """All sites but `gone` deal; the rest get their parts."""
    for index, delivery in run.deliveries().items():
        if index not in gone:
            dealt = run.sites[index].deal(run.inputs[index], MODEL, delivery.shares, delivery.sealed)
            run.relay.add_parts(index, dealt)
    return run.relay.part_deliveries()


@pytest.mark.parametrize(("mode", "ring"), [("full", "2^32"), ("full", "2^64"), ("shamir", "2^32")])
def test_the_size_of_a_part_is_known_before_it_comes(mode, ring):
    dtype = np.uint32 if ring == "2^32" else np.uint64
    run = attempt(3, vectors={i: np.arange(9, dtype=dtype) for i in range(3)}, config={"mode": mode, "ring": ring})
    sizes = {len(part) for received in dealt_by(run).values() for part in received}
    assert sizes == {parts.box_bytes(9, run.config)}


@pytest.mark.parametrize("mode", ["full", "shamir"])
def test_parts_that_the_sites_gave_each_other_need_not_pass_the_relay(mode):
    """Where the configuration says so; the relay still knows who dealt, and checks what it is given."""
    run = attempt(4, config={"mode": mode, "transport": "direct"})
    dealt = {
        index: run.sites[index].deal(run.inputs[index], MODEL, delivery.shares, delivery.sealed)
        for index, delivery in run.deliveries().items()
    }
    first, second, *_ = dealt
    wrong = {second: dealt[second][first]}  # its own part for another
    with pytest.raises(MalformedMessage, match="did not seal one part"):
        run.relay.add_parts(first, wrong)
    run.relay.add_parts(first, {second: dealt[first][second]})
    for index in dealt.keys() - {first}:
        run.relay.add_parts(index, {})
    passed = run.relay.part_deliveries()
    assert passed == {index: (dealt[first][second],) if index == second else () for index in dealt}
    for index in dealt:
        received = [boxes[index] for boxes in dealt.values() if index in boxes]
        run.relay.add_masked(run.sites[index].add_up(received))
    _, total = run.relay.result()
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs.values()))
    through = attempt(4, config={"mode": mode})
    delivery = through.deliveries()[first]
    one = through.sites[first].deal(through.inputs[first], MODEL, delivery.shares, delivery.sealed)
    with pytest.raises(MalformedMessage, match="did not seal one part"):
        through.relay.add_parts(first, {second: one[second]})


def test_shamir_survives_drops_before_and_after_the_parts():
    run = attempt(7, smallest=5, config={"mode": "shamir"})
    boxes = dealt_by(run, gone=(10,))
    for index in boxes:
        if index != 45:  # dealt, then vanished: its vector counts
            run.relay.add_masked(run.sites[index].add_up(boxes[index]))
    message, total = run.relay.result()
    assert np.array_equal(total.view(np.int32), int64_sum(run.inputs[i] for i in run.inputs if i != 10))
    for index in boxes:
        if index != 45:
            assert np.array_equal(run.sites[index].verify(message), total)
            assert run.sites[index].counted == tuple(boxes)


def test_full_needs_every_part_and_every_answer():
    run = attempt(4, smallest=3, config={"mode": "full"})
    with pytest.raises(SitesMissing, match="set of parts, 4 are needed; missing: site1"):
        dealt_by(run, gone=(10,))
    run = attempt(4, smallest=3, config={"mode": "full"})
    boxes = dealt_by(run)
    with pytest.raises(ReleaseRefused, match="sum of 3 sites"):
        run.sites[3].add_up(boxes[3][1:])
    for index in (3, 10, 17):
        run.relay.add_masked(run.sites[index].add_up(boxes[index]))
    with pytest.raises(SitesMissing, match="site3"):
        run.relay.result()


def test_shamir_waits_for_all_by_default():
    run = attempt(4, config={"mode": "shamir"})
    boxes = run.parts()
    for index in (3, 10, 17):
        run.relay.add_masked(run.sites[index].add_up(boxes[index]))
    with pytest.raises(SitesMissing, match="site3"):
        run.relay.result()


@pytest.mark.parametrize("mode", ["full", "shamir"])
def test_parts_are_added_up_for_one_set_once(mode):
    run = attempt(5, smallest=4, config={"mode": mode})
    boxes = run.parts()
    site = run.sites[3]
    sent = site.add_up(boxes[3])
    assert site.add_up(boxes[3][::-1]) == sent
    assert site.stage == Stage.RELEASED
    with pytest.raises(AlreadyAnswered):
        site.add_up(boxes[3][1:])
    other = run.sites[10]
    with pytest.raises(SplitView, match="second one"):
        other.add_up([*boxes[10], boxes[10][0]])
    with pytest.raises(MalformedMessage, match="not for this site"):
        other.add_up(boxes[17])
    with pytest.raises(ReleaseRefused):
        other.add_up(boxes[10][2:])


@pytest.mark.parametrize("mode", ["full", "shamir"])
def test_a_vector_is_dealt_once(mode):
    run = attempt(3, config={"mode": mode})
    delivery = run.deliveries()[3]
    site = run.sites[3]
    with pytest.raises(OutOfOrder):
        site.add_up([])
    sent = site.deal(run.inputs[3], MODEL, delivery.shares, delivery.sealed)
    again = PartsSiteSession.thaw(site.freeze(), run.roster, "site0", key("site0"), run.context, config=run.config)
    assert again.deal(run.inputs[3], MODEL, delivery.shares, delivery.sealed) == sent
    with pytest.raises(AlreadyAnswered):
        again.deal(run.inputs[3] + np.uint32(1), MODEL, delivery.shares, delivery.sealed)


@pytest.mark.parametrize("mode", ["full", "shamir"])
def test_after_the_end_parts_are_gone(mode):
    run = attempt(3, config={"mode": mode})
    message, _ = run.opened()
    site = run.sites[3]
    kept = [site._state.own_part, *site._state.parts.values()]
    assert all(part in site.freeze() for part in kept)
    site.verify(message)
    assert not any(part in site.freeze() for part in kept)


def test_parts_of_other_rounds_pairs_or_strangers_are_refused():
    run, other = (attempt(3, config={"mode": "full"}, changes={"round_index": r}) for r in (1, 2))
    mine, theirs = run.parts(), other.parts()
    with pytest.raises(MalformedMessage, match="does not open"):
        run.sites[3].add_up([mine[3][0], theirs[3][1]])
    with pytest.raises(OutOfOrder):
        run.relay.add_parts(3, {})
    fresh = attempt(3, config={"mode": "full"})
    fresh.deliveries()
    with pytest.raises(UnknownSender):
        fresh.relay.add_parts(4, {})
    with pytest.raises(MalformedMessage, match="did not seal"):
        fresh.relay.add_parts(3, {})


def test_no_part_opens_under_the_key_of_the_shares():
    run = attempt(3, config={"mode": "full"})
    run.parts()
    receiver = run.sites[3]
    box = messages.SealedBox.unpack(run.relay._parts[10][3], holds=16 * 4 + 20)
    shown = messages.Hello.unpack(body_of(run.sites[10].hello()), run.roster, 10).seal_keys[3]
    for context in (run.context.digest(), run.relay.context1):
        sealing = masks.seal_key(receiver._dealing.seal_private(10), shown, context, sender=10, receiver=3)
        with pytest.raises(MalformedMessage):
            masks.open_box(sealing, box.box, run.relay.context1, sender=10, receiver=3)


def test_a_site_that_adds_up_wrongly_is_named_when_it_can_be():
    for sites, party in ((7, "site2"), (4, UNKNOWN_PARTY)):
        run = attempt(sites, config={"mode": "shamir"})
        boxes = run.parts()
        for index in run.sites:
            run.relay.add_masked(run.sites[index].add_up(boxes[index]))
        liar = run.relay._uploads[17]
        run.relay._uploads[17] = Part((liar.vector + np.uint32(1)) % np.uint32(PRIME), liar.tag)
        with pytest.raises(BadShare) as caught:
            run.relay.result()
        assert caught.value.party == party


@pytest.mark.parametrize("mode", ["full", "shamir"])
def test_no_bytes_of_a_vector_pass_the_relay_in_parts(mode):
    vectors = {i: np.full(64, 0x01020304 + i, dtype=np.uint32) for i in range(3)}
    run = attempt(3, vectors=vectors, config={"mode": mode})
    run.parts()
    seen = b"".join(run.transcript)
    assert not any(vector.tobytes()[:8] in seen for vector in vectors.values())
