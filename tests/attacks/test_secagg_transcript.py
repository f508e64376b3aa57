"""What a curious relay sees: nothing that tells a site's vector from noise.

Each test shows the flaw where it was found, in the smallest form that has it, then runs it against us.
"""

import math

import numpy as np
import pytest

from synthfed.secagg import messages
from synthfed.secagg.messages import Kind
from synthfed.secagg.refusals import RosterRefused
from synthfed.secagg.ring import decode_sum, encode
from tests.secagg.federation import attempt

D = 50_000


def masked_words(run):
    """The words of every MASKED, by roster index."""
    found = {}
    for raw in run.transcript:
        if raw[:3] == b"SA1" and raw[3] == Kind.MASKED:
            sender = int.from_bytes(raw[4:6], "little")
            found[sender] = messages.Masked.unpack(messages.body_of(raw), length=raw_length(raw)).vector
    return found


def raw_length(raw):
    return (len(raw) - 156) // 4


def correlation(left, right):
    return abs(np.corrcoef(left.astype(np.float64), right.astype(np.float64))[0, 1])


def weights(seed, n=D):
    return (np.random.default_rng(seed).standard_normal(n) * 0.1).astype(np.float32)


def encoded_run(sites=3, n=D):
    """A run over realistic weight changes."""
    vectors = {i: encode(weights(i, n), bound=1.0, weight=1 / sites).values for i in range(sites)}
    return attempt(sites, vectors=vectors, fixed="curious")


@pytest.mark.parametrize(("rounds", "found"), [(1, 0.12), (10, 0.36), (100, 0.78)])
def test_float_shares_follow_the_weight(rounds, found):
    """Attack 1: shares drawn from [-1, 1]; the last one carries what is left, and rounds average the others away."""
    x = weights(0)
    rng = np.random.default_rng(9)
    last = np.mean([x - rng.uniform(-1, 1, D) - rng.uniform(-1, 1, D) for _ in range(rounds)], axis=0)
    assert abs(correlation(last, x) - found) < 0.02


def test_masked_words_follow_no_weight_however_many_rounds_are_averaged():
    """Ten rounds over the same inputs: each round's words, and their mean, are unrelated to every input."""
    seen = []
    for index in range(10):
        vectors = {i: encode(weights(i), bound=1.0, weight=1 / 3).values for i in range(3)}
        run = attempt(3, vectors=vectors, fixed=f"curious{index}", changes={"round_index": index})
        run.masked()
        seen.append(masked_words(run))
    limit = 4.5 / math.sqrt(D)  # 90 comparisons
    for index in seen[0]:
        words = [one[index].view(np.int32).astype(np.float64) for one in seen]
        for other in run.inputs.values():
            plain = other.view(np.int32)
            assert max(correlation(one, plain) for one in [*words, np.mean(words, axis=0)]) < limit


@pytest.mark.parametrize("counts", [(20, 50, 130), (100, 500, 940), (1, 1, 100_000)])
def test_weighting_after_sharing_is_wrong_and_before_sharing_is_exact(counts):
    """Attack 2: multiplying share sums by n_i mixes the sites' shares; weighting comes before sharing here."""
    n = 200
    changes = [weights(i, n).astype(np.float64) for i in range(3)]
    w = np.array(counts) / sum(counts)
    exact = sum(weight * change for weight, change in zip(w, changes, strict=True))
    rng = np.random.default_rng(3)
    parts = rng.standard_normal((3, 3, n))
    for i in range(3):
        parts[i, i] += changes[i] - parts[i].sum(axis=0)
    wrong = sum(weight * parts[:, j].sum(axis=0) for j, weight in enumerate(w))
    assert np.abs(wrong - exact).max() > 1.0 * np.abs(exact).max()

    vectors = {i: encode(changes[i], bound=1.0, weight=float(w[i])).values for i in range(3)}
    total = attempt(3, vectors=vectors).finish()
    expected = sum(vector.view(np.int32).astype(np.int64) for vector in vectors.values())
    assert np.array_equal(total.view(np.int32), expected)
    assert np.abs(decode_sum(total, bound=1.0, total_weight=float(w.sum())) - exact).max() < 4e-9


def test_a_classifier_on_transcripts_guesses():
    """Attack 3: the relay knows that a site holds one of two vectors and looks at everything it carried."""
    n = 8
    low, high = np.full(n, 5, dtype=np.uint32), np.full(n, 2**28, dtype=np.uint32)
    rest = {1: np.zeros(n, dtype=np.uint32), 2: np.zeros(n, dtype=np.uint32)}

    def features(vector, fixed):
        run = attempt(3, vectors={0: vector} | rest, fixed=fixed)
        run.masked()
        whole = np.frombuffer(b"".join(run.transcript), dtype=np.uint8).astype(np.float64)
        return masked_words(run)[3].astype(np.float64), whole

    runs = 60
    lows, highs = [features(low, f"low{i}") for i in range(runs)], [features(high, f"high{i}") for i in range(runs)]
    for part in (0, 1):
        a, b = (np.array([run[part] for run in side]) for side in (lows, highs))
        half = runs // 2
        direction = b[:half].mean(axis=0) - a[:half].mean(axis=0)  # learned on one half, judged on the other
        score_a, score_b = a[half:] @ direction, b[half:] @ direction
        auc = np.mean(score_b[:, None] > score_a[None, :])
        spread = math.sqrt((2 * half + 1) / (12 * half * half))
        assert abs(auc - 0.5) < 3 * spread


def test_a_classifier_on_words_guesses():
    """Attack 3, word by word: masked zeros and masked large numbers rank alike, as signed numbers and by each byte."""

    def words(value, fixed):
        vectors = {0: np.full(D, value, dtype=np.uint32)} | {i: np.zeros(D, dtype=np.uint32) for i in (1, 2)}
        run = attempt(3, vectors=vectors, fixed=fixed)
        run.masked()
        return masked_words(run)[3]

    low, high = words(0, "low"), words(2**29, "high")
    sides = np.repeat([0, 1], D)
    for view in (np.int32, *(lambda w, at=at: w >> np.uint32(8 * at) & np.uint32(255) for at in range(4))):
        a, b = (w.view(view) if view is np.int32 else view(w) for w in (low, high))
        ties = np.random.default_rng(0).random(2 * D)
        ranks = np.empty(2 * D)
        ranks[np.lexsort((ties, np.concatenate([a, b])))] = np.arange(2 * D)
        auc = (ranks[sides == 1].sum() - D * (D - 1) / 2) / D**2
        assert abs(auc - 0.5) < 0.02


def test_no_bytes_of_a_vector_or_of_a_secret_pass_the_relay():
    run = encoded_run(4, 512)
    run.heads()
    secrets = []
    for site in run.sites.values():
        state = site._state
        secrets += [state.seal_secret, state.mask_seed, state.self_seed, state.tag_part, state.tag_key]
        secrets += [state.commitment_nonce]
    seen = b"".join(run.transcript)
    assert all(secret not in seen for secret in secrets)
    for vector in run.inputs.values():
        raw = vector.tobytes()
        assert not any(raw[at : at + 8] in seen for at in range(0, len(raw), 8))


def test_masked_words_are_uniform():
    """Attack 11: shares without a modulus leak at their edges. Chi-square on all four bytes of constant inputs."""
    constant = {i: np.full(D, 1, dtype=np.uint32) for i in range(3)}
    run = attempt(3, vectors=constant, fixed="uniform")
    run.masked()
    for words in masked_words(run).values():
        for byte in words.view(np.uint8).reshape(-1, 4).T:
            counts = np.bincount(byte, minlength=256)
            statistic = ((counts - D / 256) ** 2 / (D / 256)).sum()
            assert 255 - 6 * math.sqrt(510) < statistic < 255 + 6 * math.sqrt(510)


def test_two_attempts_at_one_vector_share_no_words():
    vectors = {i: np.arange(D, dtype=np.uint32) for i in range(3)}
    one, two = (attempt(3, vectors=vectors, fixed=fixed) for fixed in ("one", "two"))
    one.masked()
    two.masked()
    left, right = masked_words(one)[3], masked_words(two)[3]
    assert np.count_nonzero(left == right) < 5
    assert correlation(left, right) < 4 / math.sqrt(D)


def test_sums_of_all_but_one_masked_vector_stay_uniform():
    """The relay may add up what it likes; without U1 whole, the missing pair masks stay in."""
    run = attempt(4, vectors={i: np.full(D, i, dtype=np.uint32) for i in range(4)}, fixed="partial")
    run.masked()
    words = list(masked_words(run).values())
    partial = np.sum(words[:3], axis=0, dtype=np.uint32)
    counts = np.bincount(partial.view(np.uint8), minlength=256)
    statistic = ((counts - 4 * D / 256) ** 2 / (4 * D / 256)).sum()
    assert statistic < 255 + 6 * math.sqrt(510)


def test_even_the_whole_sum_is_hidden_before_the_self_masks_open():
    run = attempt(3, vectors={i: np.ones(D, dtype=np.uint32) for i in range(3)})
    run.masked()
    total = np.sum(list(masked_words(run).values()), axis=0, dtype=np.uint32)
    assert np.count_nonzero(total == 3) < 5


def test_masks_come_from_32_byte_keys():
    """Attack 5: 32-bit seeds are searched in minutes. Every seed and key here has 256 bits."""
    run = attempt(3)
    run.masked()
    state = run.sites[3]._state
    for secret in (state.mask_seed, state.self_seed, state.tag_part, state.tag_key, state.seal_secret):
        assert len(secret) == 32


def test_two_sites_cannot_start():
    with pytest.raises(RosterRefused, match="2 sites"):
        attempt(2)
