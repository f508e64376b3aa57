"""The noise stream: published vectors, the right distributions, and nothing but the key decides."""

import math

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


@settings(max_examples=30, deadline=None)
@given(key=st.binary(min_size=32, max_size=32), first=st.integers(0, 50), second=st.integers(0, 50))
def test_two_draws_equal_one_longer_draw(key: bytes, first: int, second: int) -> None:
    stream = NoiseStream(key)
    pieces = np.concatenate([stream.normal(first), stream.normal(second)])
    assert np.array_equal(pieces, NoiseStream(key).normal(first + second))


def test_shapes_are_filled_in_row_order() -> None:
    assert np.array_equal(NoiseStream(KEY).normal((3, 4)).ravel(), NoiseStream(KEY).normal(12))


def test_another_key_gives_unrelated_noise() -> None:
    other = NoiseStream(bytes(31) + b"\x01").normal(100_000)
    assert abs(np.corrcoef(NoiseStream(bytes(32)).normal(100_000), other)[0, 1]) < 0.015


def test_uniforms_are_uniform_and_open() -> None:
    draws = NoiseStream(KEY).uniform(200_000)
    assert draws.min() > 0
    assert draws.max() < 1
    assert stats.kstest(draws, "uniform").pvalue > 0.01


@pytest.mark.parametrize("word", [0, 2**64 - 1])
def test_extreme_words_give_finite_symmetric_normals(word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoiseStream, "_words", lambda self, count: np.full(count, word, dtype=np.uint64))
    assert abs(NoiseStream(KEY).normal(1)[0]) == pytest.approx(8.2095, abs=1e-3)


def test_normals_are_standard_and_uncorrelated_in_time() -> None:
    draws = NoiseStream(KEY).normal(400_000)
    assert stats.kstest(draws, "norm").pvalue > 0.01
    assert draws.mean() == pytest.approx(0, abs=4 / math.sqrt(draws.size))
    assert draws.var() == pytest.approx(1, abs=4 * math.sqrt(2 / draws.size))
    assert stats.kurtosis(draws) == pytest.approx(0, abs=4 * math.sqrt(24 / draws.size))
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 4 / math.sqrt(draws.size)


def test_far_tails_are_there() -> None:
    draws = np.abs(NoiseStream(KEY).normal(1_000_000))
    assert (draws > 4).sum() == pytest.approx(2e6 * stats.norm.sf(4), rel=0.35)


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
