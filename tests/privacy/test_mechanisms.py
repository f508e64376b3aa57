"""The noise stream: published vectors, the right distributions, and nothing but the key decides."""

import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synthfed.privacy.mechanisms import NoiseStream, seeded_key

KEY = bytes(range(32))


def test_key_stream_is_aes_256_in_counter_mode() -> None:
    """AES-256 of blocks 0 and 1 under the zero key: NIST AESAVS appendix B and GCM specification, test case 13."""
    blocks = bytes.fromhex("dc95c078a2408989ad48a21492842087" + "530f8afbc74536b9a963b4f1c4cb738b")
    words = [int.from_bytes(blocks[i : i + 8], "little") for i in range(0, 32, 8)]
    expected = [((word >> 12) * 2 + 1) / 2**53 for word in words]
    assert NoiseStream(bytes(32)).uniform(4).tolist() == expected


def test_long_draws_keep_to_the_same_key_stream() -> None:
    count = 200_001  # several internal pieces and an odd end
    encryptor = Cipher(algorithms.AES256(KEY), modes.CTR(bytes(16))).encryptor()
    words = np.frombuffer(encryptor.update(bytes(8 * count)), dtype="<u8")
    assert np.array_equal(NoiseStream(KEY).uniform(count), (words >> np.uint64(12)) * 2.0**-52 + 2.0**-53)


def _box_muller(key_stream: bytes, pairs: int) -> list[float]:
    """The definition, one number at a time: first the words of all distances, then the directions."""
    distances = struct.unpack_from(f"<{pairs}Q", key_stream)
    directions = struct.unpack_from(f"<{pairs}i", key_stream, 8 * pairs)
    radii = [math.sqrt(-2 * math.log((word >> 1) * 2.0**-63 + 2.0**-64)) for word in distances]
    angles = [math.pi * turn / 2**31 for turn in directions]
    return [r * math.cos(t) for r, t in zip(radii, angles, strict=True)] + [
        r * math.sin(t) for r, t in zip(radii, angles, strict=True)
    ]


def test_normals_are_box_muller_of_the_key_stream() -> None:
    """AES-256 of blocks 0 and 1 under the zero key, as above: two pairs take 24 of the 32 bytes."""
    blocks = bytes.fromhex("dc95c078a2408989ad48a21492842087" + "530f8afbc74536b9a963b4f1c4cb738b")
    assert NoiseStream(bytes(32)).normal(4).tolist() == pytest.approx(_box_muller(blocks, 2), abs=2e-6)


@settings(max_examples=30, deadline=None)
@given(key=st.binary(min_size=32, max_size=32), first=st.integers(0, 50), second=st.integers(0, 50))
def test_a_draw_goes_on_where_the_last_one_ended(key: bytes, first: int, second: int) -> None:
    """No byte of the key stream makes two numbers, and an odd draw throws one number away."""
    stream = NoiseStream(key)
    stream.normal(first)
    used = 12 * ((first + 1) // 2)
    pairs = (second + 1) // 2
    key_stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(used + 12 * pairs))
    expected = _box_muller(key_stream[used:], pairs)[:second]
    assert stream.normal(second).tolist() == pytest.approx(expected, abs=1e-5)


def test_every_piece_of_a_long_draw_follows_the_definition() -> None:
    piece = 1 << 14
    pairs = 2 * piece + 7
    key_stream = Cipher(algorithms.AES256(KEY), modes.CTR(bytes(16))).encryptor().update(bytes(12 * pairs))
    expected: list[float] = []
    for start in range(0, pairs, piece):
        expected += _box_muller(key_stream[12 * start : 12 * (start + piece)], min(piece, pairs - start))
    np.testing.assert_allclose(NoiseStream(KEY).normal(2 * pairs), expected, atol=2e-6)


def test_shapes_are_filled_in_row_order() -> None:
    assert np.array_equal(NoiseStream(KEY).normal((3, 4)).ravel(), NoiseStream(KEY).normal(12))
    assert NoiseStream(KEY).normal((3, 5)).shape == (3, 5)


def test_a_later_draw_leaves_an_earlier_one_alone() -> None:
    stream = NoiseStream(KEY)
    first = stream.normal(1000)
    kept = first.copy()
    stream.normal(1000)
    stream.uniform(1000)
    assert np.array_equal(first, kept)


def test_another_key_gives_unrelated_noise() -> None:
    other = NoiseStream(bytes(31) + b"\x01").normal(100_000)
    assert abs(np.corrcoef(NoiseStream(bytes(32)).normal(100_000), other)[0, 1]) < 0.015


def test_uniforms_are_uniform_and_open() -> None:
    draws = NoiseStream(KEY).uniform(200_000)
    assert draws.min() > 0
    assert draws.max() < 1
    assert stats.kstest(draws, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("byte", "distance"), [(0x00, math.sqrt(128 * math.log(2))), (0xFF, 0.0)])
def test_extreme_words_give_finite_normals(byte: int, distance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tails reach 9.42 standard deviations; nothing is ever infinite or NaN."""
    monkeypatch.setattr(NoiseStream, "_bytes", lambda self, count: np.full(count, byte, dtype=np.uint8))
    assert float(np.hypot(*NoiseStream(KEY).normal(2))) == pytest.approx(distance, abs=1e-6)


def test_normals_are_standard_and_uncorrelated_in_time() -> None:
    draws = NoiseStream(KEY).normal(400_000)
    assert stats.kstest(draws, "norm").pvalue > 0.01
    assert draws.mean() == pytest.approx(0, abs=4 / math.sqrt(draws.size))
    assert draws.var() == pytest.approx(1, abs=4 * math.sqrt(2 / draws.size))
    assert stats.kurtosis(draws) == pytest.approx(0, abs=4 * math.sqrt(24 / draws.size))
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 4 / math.sqrt(draws.size)


def test_the_two_of_a_pair_are_independent() -> None:
    """Cosine and sine share a distance: neither they nor their squares may be correlated, every angle is as likely."""
    cosines, sines = NoiseStream(KEY).normal(20 * (1 << 15)).reshape(20, 2, -1).swapaxes(0, 1).reshape(2, -1)
    bound = 4 / math.sqrt(cosines.size)
    assert abs(np.corrcoef(cosines, sines)[0, 1]) < bound
    assert abs(np.corrcoef(cosines**2, sines**2)[0, 1]) < bound
    assert stats.kstest(cosines, "norm").pvalue > 0.01
    assert stats.kstest(sines, "norm").pvalue > 0.01
    turns = np.arctan2(sines, cosines) / (2 * math.pi) + 0.5
    assert stats.kstest(turns, "uniform").pvalue > 0.01
    assert stats.kstest(np.square(cosines) + np.square(sines), "chi2", args=(2,)).pvalue > 0.01


@pytest.mark.parametrize("beyond", [2.0, 3.0, 4.0])
def test_far_tails_are_there(beyond: float) -> None:
    """On both sides, within four standard errors of the count."""
    draws = NoiseStream(KEY).normal(2_000_000)
    expected = draws.size * stats.norm.sf(beyond)
    for side in (draws, -draws):
        assert (side > beyond).sum() == pytest.approx(expected, abs=4 * math.sqrt(expected))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_poisson_sampling_includes_each_row_at_the_rate(rate: float) -> None:
    mask = NoiseStream(KEY).bernoulli(rate, 200_000)
    assert mask.dtype == np.bool_
    assert mask.mean() == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / mask.size))


def test_rates_zero_and_one_take_nobody_and_everybody() -> None:
    assert not NoiseStream(KEY).bernoulli(0.0, 1000).any()
    assert NoiseStream(KEY).bernoulli(1.0, 1000).all()


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_that_is_no_probability_is_wrong_use(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        NoiseStream(KEY).bernoulli(rate, 3)


@pytest.mark.parametrize("length", [0, 16, 33])
def test_a_key_of_another_length_is_wrong_use(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        NoiseStream(bytes(length))


def test_the_key_is_not_shown() -> None:
    assert KEY.hex() not in repr(NoiseStream(KEY))
    assert not hasattr(NoiseStream(KEY), "key")


def test_seeded_keys_repeat_and_differ_by_seed_and_label() -> None:
    keys = {seeded_key(seed, site, index) for seed in (1, 2) for site in ("lyon", "milano") for index in (0, 1)}
    assert len(keys) == 8
    assert seeded_key(1, "lyon", 0) in keys
    assert len(seeded_key(1)) == 32


def _chi_square(draws: np.ndarray, cumulative: Callable[[np.ndarray], np.ndarray]) -> float:
    """p of whole-numbered draws against their distribution, in bins of at least 20 expected."""
    width = max(1, int(draws.std() / 6))
    edges = np.arange(draws.min() - 0.5, draws.max() + width + 1, width)
    expected = draws.size * np.diff(cumulative(edges))
    seen = np.histogram(draws, edges)[0]
    kept = expected >= 20
    expected, seen = expected[kept], seen[kept]
    rest = draws.size - expected.sum()
    statistic = ((seen - expected) ** 2 / expected).sum() + (draws.size - seen.sum() - rest) ** 2 / max(rest, 1)
    return float(stats.chi2.sf(statistic, len(expected)))


@pytest.mark.parametrize("stddev", [0.3, 1.0, 2.5, 40.0])
def test_rounded_normals_have_the_mass_of_their_unit_interval(stddev: float) -> None:
    draws = NoiseStream(KEY).rounded_gaussian(300_001, stddev)
    assert draws.dtype == np.int64
    assert _chi_square(draws, stats.norm(scale=stddev).cdf) > 0.01


def test_rounded_normals_take_one_spread_for_each_number() -> None:
    spread = np.array([0.0, 5.0, 1000.0])
    draws = NoiseStream(KEY).rounded_gaussian((50_000, 3), spread)
    assert not draws[:, 0].any()
    np.testing.assert_allclose(draws[:, 1:].std(axis=0), np.sqrt(spread[1:] ** 2 + 1 / 12), rtol=0.02)
    assert abs(np.corrcoef(draws[:, 1], draws[:, 2])[0, 1]) < 0.02


def test_rounded_normals_are_box_muller_in_double_precision() -> None:
    """AES-256 of block 0 under the zero key, as above: one pair takes 16 bytes."""
    distance, direction = struct.unpack("<Qq", bytes.fromhex("dc95c078a2408989ad48a21492842087"))
    radius = math.sqrt(-2 * math.log((distance >> 1) * 2.0**-63 + 2.0**-64))
    angle = math.pi * direction / 2**63
    expected = [round(1e6 * radius * math.cos(angle)), round(1e6 * radius * math.sin(angle))]
    assert NoiseStream(bytes(32)).rounded_gaussian(2, 1e6).tolist() == expected


@pytest.mark.parametrize("variance", [0.01, 1.0, 8.0, 19.99, 20.0, 20.7, 60.0, 1000.0, 1e5])
def test_skellam_numbers_have_their_distribution(variance: float) -> None:
    """Inversion below a Poisson mean of 10, rejection from there on."""
    draws = NoiseStream(KEY).skellam(400_000, variance)
    assert draws.dtype == np.int64
    assert draws.mean() == pytest.approx(0, abs=4 * math.sqrt(variance / draws.size))
    assert draws.var() == pytest.approx(variance, rel=4 * math.sqrt((2 + 1 / variance) / draws.size))
    assert _chi_square(draws, stats.skellam(variance / 2, variance / 2).cdf) > 0.01


@pytest.mark.parametrize("variance", [1e9, 1e12, 2.0**57])
def test_skellam_numbers_of_large_variance_are_normal(variance: float) -> None:
    draws = NoiseStream(KEY).skellam(200_000, variance) / math.sqrt(variance)
    assert stats.kstest(draws, "norm").pvalue > 0.01
    assert draws.var() == pytest.approx(1, abs=4 * math.sqrt(2 / draws.size))


def test_shares_of_skellam_noise_add_up_to_skellam_noise() -> None:
    shares = [NoiseStream(seeded_key(7, site)).skellam(300_000, 4.0) for site in range(5)]
    assert _chi_square(np.sum(shares, axis=0), stats.skellam(10.0, 10.0).cdf) > 0.01


def test_whole_numbers_repeat_under_a_key_and_differ_under_another() -> None:
    for draw in (lambda s: s.skellam((3, 700), 900.0), lambda s: s.rounded_gaussian((3, 700), 30.0)):
        first, again = draw(NoiseStream(KEY)), draw(NoiseStream(KEY))
        assert first.shape == (3, 700)
        assert np.array_equal(first, again)
        other = draw(NoiseStream(bytes(32)))
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.1


def test_no_noise_is_zero_and_no_numbers_are_none() -> None:
    stream = NoiseStream(KEY)
    assert not stream.skellam(100, 0.0).any()
    assert not stream.rounded_gaussian(100, 0.0).any()
    assert stream.skellam(0, 5.0).size == stream.rounded_gaussian(0, 5.0).size == 0


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf, 1e30])
def test_noise_of_an_impossible_size_is_wrong_use(wrong: float) -> None:
    with pytest.raises(ValueError, match="variance"):
        NoiseStream(KEY).skellam(3, wrong)
    with pytest.raises(ValueError, match="stddev"):
        NoiseStream(KEY).rounded_gaussian(2, np.array([1.0, wrong]))
