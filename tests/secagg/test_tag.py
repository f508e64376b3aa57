import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg.tag import COLUMNS, PRIMES, TagKey, add_words, reduced_words, subtract_words

KEY = TagKey(bytes(range(32)), bytes(range(32, 64)))


def plain_linear(key, vector):
    """The definition, coordinate by coordinate, in Python integers."""
    rows, columns = key._coefficients(-(-vector.size // COLUMNS))
    signed = vector.view(np.int32).tolist()
    return tuple(
        sum(int(rows[k // COLUMNS, r]) * int(columns[k % COLUMNS, r]) * q for k, q in enumerate(signed)) % p
        for r, p in enumerate(PRIMES)
    )


def words(size, seed=0):
    return np.random.default_rng(seed).integers(0, 2**32, size, dtype=np.uint32)


@pytest.mark.parametrize("size", [1, 5, COLUMNS - 1, COLUMNS, COLUMNS + 1, 3 * COLUMNS + 17, 65 * COLUMNS])
def test_fast_tag_is_the_definition(size):
    assert KEY.linear(words(size)) == plain_linear(KEY, words(size))


@pytest.mark.parametrize("extreme", [0x80000000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_extreme_words_are_exact(extreme):
    vector = np.full(2 * COLUMNS + 1, extreme, dtype=np.uint32)
    assert KEY.linear(vector) == plain_linear(KEY, vector)


@given(st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_tags_add_up_to_the_tag_of_the_sum(sites, seed):
    rng = np.random.default_rng(seed)
    vectors = [rng.integers(-(2**28), 2**28, 40).astype(np.int32) for _ in range(sites)]
    total = np.sum(vectors, axis=0, dtype=np.int32).view(np.uint32)
    tags = [KEY.tag(vector.view(np.uint32), index) for index, vector in enumerate(vectors)]
    assert KEY.accepts(total, range(sites), add_words(tags))


@given(st.integers(0, 39), st.integers(1, 2**32 - 1))
@settings(deadline=None)
def test_one_changed_coordinate_is_seen(position, delta):
    vector = words(40)
    forged = vector.copy()
    forged[position : position + 1] += np.uint32(delta)
    assert not KEY.accepts(forged, [3], KEY.tag(vector, 3))


def test_primes_are_the_five_largest_below_two_to_the_twenty():
    def is_prime(n):
        return all(n % d for d in range(2, 1024))

    assert [n for n in range(2**20 - 1, 2**20 - 60, -1) if is_prime(n)][:5] == list(PRIMES)


def test_every_site_and_context_has_its_own_offset():
    other = TagKey(KEY.secret, bytes(32))
    assert len({KEY.offset(0), KEY.offset(1), other.offset(0)}) == 3


def test_key_depends_on_every_part_and_holder():
    parts = {1: bytes(32), 2: bytes([1] * 32), 3: bytes([2] * 32)}
    keys = {TagKey.agree(parts, bytes(32)).secret, TagKey.agree(parts | {3: bytes(32)}, bytes(32)).secret}
    keys |= {TagKey.agree({1: parts[2], 2: parts[1], 3: parts[3]}, bytes(32)).secret}
    assert len(keys) == 3
    assert TagKey.agree(dict(reversed(parts.items())), bytes(32)) == TagKey.agree(parts, bytes(32))


def test_words_subtract_what_was_added():
    left, right = reduced_words(bytes(range(40))), reduced_words(bytes(range(40, 80)))
    assert subtract_words(add_words([left, right]), right) == left
