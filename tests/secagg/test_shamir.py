import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg.refusals import MalformedMessage, SitesMissing
from synthfed.secagg.shamir import PRIME, combine, split
from tests.secagg.federation import stream

secrets = st.binary(min_size=32, max_size=32)


def test_modulus_is_prime():
    """Miller-Rabin with forty bases; and 2**257 - 93 is the largest such number below 2**257."""

    def probably_prime(n):
        odd, twos = n - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in range(2, 42):
            power = pow(base, odd, n)
            if power in (1, n - 1):
                continue
            for _ in range(twos - 1):
                power = power * power % n
                if power == n - 1:
                    break
            else:
                return False
        return True

    assert probably_prime(PRIME)
    assert not any(probably_prime(n) for n in range(PRIME + 2, 2**257, 2))


@given(secrets, st.integers(1, 10), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_any_threshold_shares_open(secret, threshold, more):
    indices = [5 * i + 2 for i in range(threshold + more)]
    shares = split(secret, indices, threshold=threshold, entropy=os.urandom)
    for chosen in itertools.islice(itertools.combinations(indices, threshold), 20):
        assert combine({index: shares[index] for index in chosen}, threshold=threshold) == secret


@given(secrets, secrets)
@settings(max_examples=30, deadline=None)
def test_fewer_shares_fit_every_secret(secret, other):
    """t-1 shares and any other secret lie on one polynomial of the same degree: they tell nothing."""
    shares = split(secret, [0, 1, 2, 3], threshold=3, entropy=os.urandom)
    known = {index: shares[index] for index in (1, 3)}
    points = {0: int.from_bytes(other, "little")} | {i + 1: int.from_bytes(s, "little") for i, s in known.items()}
    forged = 0
    for x, y in points.items():  # the share at index 0 (x = 1) that would make it so
        term = y
        for z in points:
            if z != x:
                term = term * (1 - z) * pow(x - z, -1, PRIME) % PRIME
        forged = (forged + term) % PRIME
    assert combine(known | {0: forged.to_bytes(33, "little")}, threshold=3) == other


def test_fewer_shares_are_refused():
    shares = split(bytes(32), [0, 1, 2], threshold=3, entropy=os.urandom)
    with pytest.raises(SitesMissing):
        combine({0: shares[0], 1: shares[1]}, threshold=3)


def test_a_share_outside_the_field_is_refused():
    with pytest.raises(MalformedMessage):
        combine({0: PRIME.to_bytes(33, "little")}, threshold=1)
    with pytest.raises(MalformedMessage):
        combine({0: (2**256).to_bytes(33, "little")}, threshold=1)


def test_impossible_dealings_are_refused():
    for indices, threshold, secret in (([0, 0], 1, bytes(32)), ([0], 2, bytes(32)), ([0], 1, bytes(31))):
        with pytest.raises(ValueError):
            split(secret, indices, threshold=threshold, entropy=os.urandom)


def test_known_answer():
    shares = split(bytes(range(32)), [0, 1, 2], threshold=2, entropy=stream("shamir"))
    assert shares[0].hex() == "ace3c2f1bf071265f0b0a2e6b7d177128261c167011a871696a26d1710b7360301"
