"""What a relay gets out of drops, real or invented: attacks 4, 6, 14 and 15, each with the flaw where it was found."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import SecAggError
from synthfed.secagg import masks, messages, shamir
from synthfed.secagg.messages import Kind, body_of
from synthfed.secagg.protocol import SiteSession
from synthfed.secagg.refusals import (
    AlreadyAnswered,
    BadSignature,
    MalformedMessage,
    OutOfOrder,
    ReleaseRefused,
    SitesMissing,
    SplitView,
)
from synthfed.secagg.roster import RELAY, default_threshold
from synthfed.secagg.tag import TagKey, add_words
from tests.secagg.federation import attempt, key


def heads_of(run, signed):
    body = messages.Heads(signed).pack(run.roster)
    return messages.write(Kind.HEADS, context=run.relay.context1, sender=RELAY, body=body, identity=key("relay"))


def everything_masked(sites, **options):
    """All sites masked; the relay holds every signature and may announce what it likes."""
    run = attempt(sites, 3, smallest=options.pop("smallest", max(3, sites - (sites - 1) // 3)), **options)
    for message in run.masked().values():
        run.relay.add_masked(message)
    return run, dict(run.relay._signed_heads)


def fork(run, index):
    """A copy of a site as it is now."""
    name = run.roster.at(index).site
    return SiteSession.thaw(run.sites[index].freeze(), run.roster, name, key(name), run.context, smallest=run.smallest)


# --- 15: the patterns of answers --------------------------------------------------------------------------------------
#
# A site's first answer decides all its later ones (tested on real sessions), and sites do not talk to each other. So a
# relay's choice is one answer per honest site: none, fast, or a signature on one U2. What it can open follows from
# these answers alone; the model below computes it, for colluders that give it all their shares and sign everything.


@dataclass(frozen=True)
class Rules:
    """The rules of section 7; a test switches one off to show why it is there."""

    sites: int
    threshold: int
    colluders: frozenset[int]
    signatures: bool = True

    @property
    def smallest(self):
        return max(self.threshold, 3)

    @property
    def honest(self):
        return [i for i in range(self.sites) if i not in self.colluders]

    def answers(self, site):
        every = frozenset(range(self.sites))
        sets = [frozenset(c) for k in range(self.smallest, self.sites + 1) for c in itertools.combinations(every, k)]
        return ["none", "fast", *(u2 for u2 in sets if site in u2)]


def opened(rules, pattern):
    """Which keys the relay can open, and the sets of honest inputs whose sum it reads; pattern: answer per site."""
    every = frozenset(range(rules.sites))
    self_shares = dict.fromkeys(every, len(rules.colluders))
    mask_shares = dict.fromkeys(every, len(rules.colluders))
    for answer in pattern.values():
        if answer == "none":
            continue
        u2 = every if answer == "fast" else answer
        if answer != "fast" and rules.signatures:
            signers = sum(other == answer for other in pattern.values()) + len(rules.colluders & u2)
            if signers < rules.threshold:
                continue
        for v in every:
            if v in u2:
                self_shares[v] += 1
            else:
                mask_shares[v] += 1
    honest = set(rules.honest)
    bare = {v for v in honest if self_shares[v] >= rules.threshold}
    gone = {v for v in honest if mask_shares[v] >= rules.threshold}
    return bare, gone, sums(honest, bare, gone)


def sums(honest, bare, gone):
    """Smallest sets of honest inputs whose sum is free of unknown masks: a pair mask falls if either rho is known."""
    found = []
    whole = honest - gone
    if whole and whole <= bare:
        found.append(frozenset(whole))  # joined by pair masks that cancel in their sum only
    found += [frozenset({v}) for v in gone & bare]  # all its pair masks are known: its vector is read
    return found


def require_one_sum(rules, pattern):
    bare, gone, readable = opened(rules, pattern)
    assert not bare & gone
    assert len(readable) <= 1
    assert all(len(sum_of) >= rules.smallest - len(rules.colluders) for sum_of in readable)


@pytest.mark.parametrize("sites", [3, 4, 5])
def test_no_pattern_of_answers_opens_two_sums(sites):
    """Exhaustive: every threshold a roster allows, every number of colluders it bears, every pattern of answers."""
    patterns = readable = 0
    for threshold in range(sites // 2 + 1, sites + 1):
        if 2 * threshold <= sites + 1:
            continue
        for count in range(min(2 * threshold - sites - 1, sites - 2) + 1):
            rules = Rules(sites, threshold, frozenset(range(count)))
            honest = rules.honest
            for answers in itertools.product(*(rules.answers(site) for site in honest)):
                pattern = dict(zip(honest, answers, strict=True))
                require_one_sum(rules, pattern)
                patterns += 1
                readable += len(opened(rules, pattern)[2])
    assert patterns > 3**sites / 3
    assert readable  # the model does open sums


def all_patterns(rules):
    """Every pattern of answers at once, in blocks: `opened` for millions of patterns.

    Yields per block two boolean arrays over (patterns, honest sites): whose b opens, whose rho opens.
    """
    honest = rules.honest
    answers = {site: rules.answers(site) for site in honest}
    sets = sorted({u2 for listed in answers.values() for u2 in listed if not isinstance(u2, str)}, key=sorted)
    code = {u2: number for number, u2 in enumerate(sets)} | {"none": -1, "fast": -2}
    choices = [np.array([code[answer] for answer in answers[site]], dtype=np.int8) for site in honest]
    member = np.array([[v in u2 for v in honest] for u2 in sets], dtype=bool)
    helped = np.array([len(rules.colluders & u2) for u2 in sets])
    first = max(0, len(honest) - 4)
    tail = np.stack(np.meshgrid(*choices[first:], indexing="ij"), axis=-1).reshape(-1, len(honest) - first)
    for head in itertools.product(*choices[:first]):
        pattern = np.concatenate([np.tile(np.array(head, dtype=np.int8), (len(tail), 1)), tail], axis=1)
        self_shares = np.full(pattern.shape, len(rules.colluders), dtype=np.int8)
        mask_shares = self_shares.copy()
        self_shares += (pattern == code["fast"]).sum(axis=1, dtype=np.int8)[:, None]
        for number in range(len(sets)):
            signers = (pattern == number).sum(axis=1, dtype=np.int8)
            released = np.where(signers + helped[number] >= rules.threshold, signers, 0).astype(np.int8)
            self_shares += np.where(member[number], released[:, None], 0).astype(np.int8)
            mask_shares += np.where(member[number], 0, released[:, None]).astype(np.int8)
        yield self_shares >= rules.threshold, mask_shares >= rules.threshold


def require_one_sum_in_every_pattern(rules):
    """As `require_one_sum`, over `all_patterns`; gives the numbers of patterns and of patterns with a readable sum."""
    patterns = readable = 0
    for bare, gone in all_patterns(rules):
        assert not (bare & gone).any()  # so no single input is read, and at most the sum over honest without gone
        whole = ~gone
        opens = whole.any(axis=1) & ~(whole & ~bare).any(axis=1)
        assert (whole.sum(axis=1)[opens] >= rules.smallest - len(rules.colluders)).all()
        patterns += len(bare)
        readable += int(opens.sum())
    return patterns, readable


def test_patterns_at_once_and_one_by_one_agree():
    for threshold, count in ((3, 0), (3, 1), (4, 2)):
        rules = Rules(4, threshold, frozenset(range(count)))
        honest = rules.honest
        one_by_one = []
        for answers in itertools.product(*(rules.answers(site) for site in honest)):
            bare, gone, _ = opened(rules, dict(zip(honest, answers, strict=True)))
            one_by_one.append(([v in bare for v in honest], [v in gone for v in honest]))
        blocks = [pair for bare, gone in all_patterns(rules) for pair in zip(bare.tolist(), gone.tolist(), strict=True)]
        assert sorted(blocks) == sorted(one_by_one)


@pytest.mark.slow
def test_no_pattern_of_six_sites_opens_two_sums():
    """Exhaustive as above for N = 6, 36 million patterns; without colluders and t = 4 alone 34 million."""
    patterns = readable = 0
    for threshold in (4, 5, 6):
        for count in range(min(2 * threshold - 6 - 1, 4) + 1):
            found = require_one_sum_in_every_pattern(Rules(6, threshold, frozenset(range(count))))
            patterns, readable = patterns + found[0], readable + found[1]
    assert patterns > 18**6
    assert readable


@given(st.integers(6, 10), st.data())
@settings(max_examples=300, deadline=None)
def test_no_pattern_opens_two_sums_with_more_sites(sites, data):
    threshold = data.draw(st.integers((sites + 1) // 2 + 1, sites))
    count = data.draw(st.integers(0, min(2 * threshold - sites - 1, sites - 2)))
    rules = Rules(sites, threshold, frozenset(range(count)))
    every = list(range(sites))
    drawn = st.sets(st.sampled_from(every), min_size=rules.smallest).map(frozenset)
    views = data.draw(st.lists(drawn, min_size=1, max_size=3))
    pattern = {}
    for site in rules.honest:
        pattern[site] = data.draw(st.sampled_from(["none", "fast", *(u2 for u2 in views if site in u2)]))
    require_one_sum(rules, pattern)


def test_a_low_threshold_opens_two_sums():
    """The flaw: t = 3 of 5 with one colluder. Two sites are told that site 4 vanished, two that it did not."""
    whole, without = frozenset(range(5)), frozenset({0, 1, 2, 3})
    pattern = {1: without, 2: without, 3: whole, 4: whole}
    bare, gone, readable = opened(Rules(5, 3, frozenset({0})), pattern)
    assert bare & gone == {4}
    assert frozenset({4}) in readable
    assert not opened(Rules(5, default_threshold(5), frozenset({0})), pattern)[1]


def test_without_signatures_a_sum_of_two_opens():
    """The flaw: N = 50, t = 34, c = 17. Without SURVIVORS the relay tells every honest site another set of allowed
    size, so that 31 of the 33 honest sites are reported lost by 17 sites each."""
    sites, threshold = 50, default_threshold(50)
    colluders = frozenset(range(17))
    honest = [i for i in range(sites) if i not in colluders]
    missing = {site: set() for site in honest}
    for v in honest[2:]:
        ready = sorted((site for site in honest if site != v), key=lambda site: (len(missing[site]), site == v + 1))
        for site in ready[: threshold - len(colluders)]:
            missing[site].add(v)
    pattern = {site: frozenset(range(sites)) - missing[site] for site in honest}
    weak, strong = (Rules(sites, threshold, colluders, signatures=signed) for signed in (False, True))
    assert all(site in u2 and len(u2) >= weak.smallest for site, u2 in pattern.items())
    assert frozenset(honest[:2]) in opened(weak, pattern)[2]
    assert opened(strong, pattern)[2] == []


@pytest.mark.parametrize("sites", [3, 4, 5])
def test_a_real_sites_first_answer_decides_all_others(sites):
    """Every set as first request, every set as second, by either path; the relay holds every signature."""
    run, signed = everything_masked(sites, smallest=max(3, default_threshold(sites)))
    every = sorted(signed)
    subsets = [frozenset(c) for k in range(sites + 1) for c in itertools.combinations(every, k)]
    heads = {u2: heads_of(run, {i: signed[i] for i in u2}) for u2 in subsets}
    words = {}
    for u2 in subsets:
        words[u2] = [fork(run, i).sign_survivors(heads[u2]) for i in u2 if len(u2) >= run.smallest]
    own = every[1]
    for first in subsets:
        allowed = own in first and len(first) >= run.smallest
        site = fork(run, own)
        if not allowed:
            with pytest.raises(ReleaseRefused):
                site.sign_survivors(heads[first])
            continue
        site.sign_survivors(heads[first])
        for second in subsets:
            with pytest.raises(AlreadyAnswered):
                site.unmask(heads[second])
            if second != first:
                with pytest.raises(AlreadyAnswered):
                    site.sign_survivors(heads[second])
                with pytest.raises((SplitView, SitesMissing)):
                    site.release(words[second])
        reply = messages.Unmask.unpack(body_of(site.release(words[first])), every)
        assert reply.self_shares.keys() == first
        assert reply.mask_shares.keys() == set(every) - first
        for second in subsets:
            with pytest.raises(AlreadyAnswered):
                site.unmask(heads[second])
            if second != first:
                with pytest.raises(AlreadyAnswered):
                    site.sign_survivors(heads[second])
                with pytest.raises(AlreadyAnswered):
                    site.release(words[second])
    site = fork(run, own)
    site.unmask(heads[frozenset(every)])
    for second in subsets:
        with pytest.raises(AlreadyAnswered):
            site.sign_survivors(heads[second])
        with pytest.raises((AlreadyAnswered, OutOfOrder)):
            site.release(words[second])


def test_survivors_need_every_signature_on_what_was_masked():
    run, signed = everything_masked(4)
    three = {i: signed[i] for i in (3, 10, 17)}
    site = run.sites[3]
    with pytest.raises(BadSignature, match="site1"):
        site.sign_survivors(heads_of(run, three | {10: (bytes(32), signed[10][1])}))
    with pytest.raises(ReleaseRefused, match="another vector"):
        site.sign_survivors(heads_of(run, three | {3: (bytes(32), signed[3][1])}))
    with pytest.raises(ReleaseRefused, match="without this site"):
        site.sign_survivors(heads_of(run, {i: signed[i] for i in (10, 17, 24)}))
    genuine = heads_of(run, three)
    forged = messages.write(
        Kind.HEADS, context=run.relay.context1, sender=RELAY, body=body_of(genuine), identity=key("site1")
    )
    with pytest.raises(BadSignature, match="relay"):
        site.sign_survivors(forged)
    assert site.sign_survivors(genuine)


def test_words_of_puppets_or_of_the_relay_do_not_count():
    run, signed = everything_masked(4)
    heads = heads_of(run, {i: signed[i] for i in (3, 10, 17)})
    site = run.sites[3]
    own, other = site.sign_survivors(heads), run.sites[10].sign_survivors(heads)
    gone = messages.write(
        Kind.SURVIVORS, context=run.relay.context1, sender=24, body=body_of(own), identity=key("site3")
    )
    with pytest.raises(SplitView, match="site3"):  # a site that is said to have vanished does not vote
        site.release([own, other, gone])
    relays = messages.write(
        Kind.SURVIVORS, context=run.relay.context1, sender=17, body=body_of(own), identity=key("relay")
    )
    with pytest.raises(BadSignature):
        site.release([own, other, relays])
    twin, its = everything_masked(4, changes={"attempt": 1})
    old = twin.sites[17].sign_survivors(heads_of(twin, {i: its[i] for i in (3, 10, 17)}))
    with pytest.raises(SecAggError):
        site.release([own, other, old])


def test_two_views_of_one_drop_open_nothing():
    """The relay tells two sites that one vanished and two that another did: nobody finds t words on its set."""
    run, signed = everything_masked(5, smallest=4)
    every = sorted(signed)
    views = {
        i: heads_of(run, {j: signed[j] for j in every if j != (every[4] if i in every[:2] else every[0])})
        for i in every[:4]
    }
    views[every[0]] = views[every[1]]
    words = {i: run.sites[i].sign_survivors(views[i]) for i in every[:4]}
    for i in every[:4]:
        with pytest.raises((SplitView, SitesMissing)):
            run.sites[i].release(list(words.values()))
        same = [words[j] for j in words if views[j] == views[i]]
        with pytest.raises(SitesMissing):
            run.sites[i].release(same)


# --- 6: alive and dead ------------------------------------------------------------------------------------------------


def test_a_client_that_answers_alive_and_dead_opens_its_peer():
    """The flaw, in Flower's SecAgg+ client: one request with a node in both lists gives both kinds of shares."""
    secaggplus = pytest.importorskip("flwr.client.mod.secure_aggregation.secaggplus_mod")
    state = secaggplus.SecAggPlusState()
    state.nid, state.threshold = 1, 2
    state.rd_seed_share_dict = {1: b"own seed share", 2: b"seed share of 2"}
    state.sk1_share_dict = {1: b"own key share", 2: b"key share of 2"}
    wanted = {secaggplus.Key.ACTIVE_NODE_ID_LIST: [1, 2], secaggplus.Key.DEAD_NODE_ID_LIST: [2]}
    reply = secaggplus._unmask(state, wanted)
    assert {b"seed share of 2", b"key share of 2"} <= set(reply[secaggplus.Key.SHARE_LIST])


def test_both_keys_of_a_site_open_its_vector():
    """Why it matters: with b_v and rho_v the relay reads v's input out of its MASKED."""
    run, _ = everything_masked(4)
    context = run.relay.context1
    state = run.sites[10]._state
    vector = messages.Masked.unpack(body_of(state.masked), length=3).vector.copy()
    masks.apply_keystream(vector, masks.self_mask(state.self_seed, context).stream, sign=-1)
    private = masks.mask_private_key(state.mask_seed, run.context.digest())
    for peer in (3, 17, 24):
        public = messages.Hello.unpack(body_of(state.hellos[peer]), run.roster, peer).mask_key
        pair = masks.pair_mask(private, public, context, own=10, peer=peer)
        masks.apply_keystream(vector, pair.stream, sign=-1 if peer > 10 else 1)
    assert np.array_equal(vector, run.inputs[10])


def test_no_two_replies_of_a_site_hold_both_kinds_of_shares():
    """Across requests, paths and views: whatever a real site gives away, it is one kind per dealer."""
    run, signed = everything_masked(5, smallest=4)
    every = sorted(signed)
    fast = heads_of(run, signed)
    for order in itertools.permutations(["fast", *every[1:]], 3):
        site = fork(run, every[0])
        given = set()
        for request in order:
            try:
                if request == "fast":
                    reply = site.unmask(fast)
                else:
                    u2 = [i for i in every if i != request]
                    heads = heads_of(run, {i: signed[i] for i in u2})
                    site.sign_survivors(heads)
                    reply = site.release([fork(run, i).sign_survivors(heads) for i in u2])
            except SecAggError:
                continue
            unmask = messages.Unmask.unpack(body_of(reply), every)
            given |= {(v, "self") for v in unmask.self_shares} | {(v, "mask") for v in unmask.mask_shares}
        assert len(given) == len({v for v, _ in given}) == 5


# --- 14: what recovery opens ------------------------------------------------------------------------------------------


def after_a_drop():
    """A real drop of site 24: the relay has rebuilt its rho."""
    run = attempt(4, 1000, smallest=3)
    run.with_drops({24: "mask"})
    held = {i: run.relay._received[Kind.UNMASK][i] for i in (3, 10, 17)}
    shares = {i: messages.Unmask.unpack(body_of(raw), (3, 10, 17, 24)).mask_shares[24] for i, raw in held.items()}
    return run, shamir.combine(shares, threshold=run.roster.threshold)


def test_one_key_pair_would_hand_over_the_tag_key():
    """The flaw: were boxes sealed under the key pair that a drop opens, the relay would read every kappa, so K, and
    make a tag for any sum: here 1000 altered coordinates."""
    run = attempt(3)
    ctx0, ctx1 = run.context.digest(), bytes(32)
    seeds = {i: bytes([i] * 32) for i in (3, 10, 17)}
    private = {i: masks.mask_private_key(seed, ctx0) for i, seed in seeds.items()}
    public = {i: one.public_key().public_bytes_raw() for i, one in private.items()}
    kappa = {i: bytes([100 + i] * 32) for i in seeds}

    def box(sender, receiver):
        sealing = masks.seal_key(private[sender], public[receiver], ctx0, sender=sender, receiver=receiver)
        return masks.seal_box(
            sealing, kappa[sender], ctx0, sender=sender, receiver=receiver, entropy=lambda n: bytes(n)
        )

    recovered = private[17]  # a drop of site 17
    stolen = {}
    for sender in (3, 10):
        sealing = masks.seal_key(recovered, public[sender], ctx0, sender=sender, receiver=17)
        stolen[sender] = masks.open_box(sealing, box(sender, 17), ctx0, sender=sender, receiver=17)
    sealing = masks.seal_key(recovered, public[3], ctx0, sender=17, receiver=3)
    stolen[17] = masks.open_box(sealing, box(17, 3), ctx0, sender=17, receiver=3)
    vectors = {i: np.full(1000, i, dtype=np.uint32) for i in (3, 10)}
    honest, thief = TagKey.agree(kappa, ctx1), TagKey.agree(stolen, ctx1)
    tag = add_words([honest.tag(vector, i) for i, vector in vectors.items()])
    shift = np.arange(1, 1001, dtype=np.uint32)
    forged = vectors[3] + vectors[10] + shift
    assert honest.accepts(forged, (3, 10), add_words([tag, thief.linear(shift)]))


def test_a_recovered_mask_seed_opens_no_box():
    """With the rho that a real drop opened, no box to or from the vanished site opens under any pair of keys."""
    run, mask_seed = after_a_drop()
    ctx0 = run.context.digest()
    private = masks.mask_private_key(mask_seed, ctx0)
    shown = {i: messages.Hello.unpack(body_of(site.hello()), run.roster, i) for i, site in run.sites.items()}
    assert private.public_key().public_bytes_raw() == shown[24].mask_key
    for (sender, boxes), peer in itertools.product(run.relay._sealed.items(), run.sites):
        for receiver, raw in boxes.items():
            for public in (*shown[peer].seal_keys.values(), shown[peer].mask_key):
                sealing = masks.seal_key(private, public, ctx0, sender=sender, receiver=receiver)
                with pytest.raises(MalformedMessage):
                    masks.open_box(
                        sealing, messages.SealedBox.unpack(raw, holds=98).box, ctx0, sender=sender, receiver=receiver
                    )


# --- 4: what becomes of a drop ----------------------------------------------------------------------------------------


def test_a_table_of_neighbours_breaks_on_a_drop():
    """The flaw, in miniature: keys of all invited nodes are looked up, those of the missing one too (Flower SecAgg+:
    KeyError in setup and share keys); or a timeout gives None and the round is dead (FL_SMPC_example)."""
    neighbours = {1: {1, 2, 3}, 2: {1, 2, 3}, 3: {1, 2, 3}}
    keys = {1: b"", 2: b""}  # node 3 never answered
    with pytest.raises(KeyError):
        {nid: {peer: keys[peer] for peer in neighbours[nid]} for nid in neighbours}


@pytest.mark.parametrize("step", ["hello", "share", "mask", "survivors", "unmask", "result"])
def test_a_drop_at_any_step_ends_in_a_sum_or_in_one_class_of_refusal(step):
    """N = 4 bears one drop, N = 3 none."""
    total, counted = attempt(4, smallest=3).with_drops({10: step})
    assert total.size == 16
    assert (10 in counted) == (step in ("survivors", "unmask", "result"))
    run = attempt(3)
    if step in ("survivors", "result"):  # no slow path at N = 3, and the sum is there before the last step
        run.with_drops({10: step})
    else:
        with pytest.raises(SitesMissing, match="missing: site1"):
            run.with_drops({10: step})
