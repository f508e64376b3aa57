"""Shamir's secret sharing of 32-byte keys over the prime field of p = 2**257 - 93.

Any `threshold` shares open the secret; fewer are independent of it, whatever the computing power, because through
them and any value at zero there runs exactly one polynomial. Shares are points at x = roster index + 1, as 33 bytes,
little-endian. Python integers are not constant time: this runs at a site, where nobody measures it.

Source: A. Shamir, How to share a secret, CACM 22 (1979).
"""

from collections.abc import Callable, Mapping, Sequence

from synthfed.secagg.refusals import MalformedMessage, SitesMissing

PRIME = 2**257 - 93  # smallest field above every 32-byte secret whose elements fit 33 bytes
SHARE_BYTES = 33
SECRET_BYTES = 32

Entropy = Callable[[int], bytes]  # os.urandom, or a fixed stream in tests


def split(secret: bytes, indices: Sequence[int], *, threshold: int, entropy: Entropy) -> dict[int, bytes]:
    """Deal one share of `secret` to every roster index.

    Raises:
        ValueError: Not 32 bytes, repeated indices, or a threshold outside 1..number of indices.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, found {len(secret)}")
    if len(set(indices)) < len(indices) or not 1 <= threshold <= len(indices):
        raise ValueError(f"threshold {threshold} of {len(indices)} indices is not possible, or an index is repeated")
    coefficients = [int.from_bytes(secret, "little"), *(_field_element(entropy) for _ in range(threshold - 1))]
    return {index: _evaluate(coefficients, index + 1).to_bytes(SHARE_BYTES, "little") for index in indices}


def combine(shares: Mapping[int, bytes], *, threshold: int) -> bytes:
    """Open a secret from the `threshold` shares of lowest index.

    The result is only as good as the shares: callers compare it with a published hash.

    Raises:
        SitesMissing: Fewer shares than the threshold.
        MalformedMessage: A share is no field element, or the shares open no 32-byte secret.
    """
    if len(shares) < threshold:
        raise SitesMissing(f"{len(shares)} shares cannot open a key; {threshold} are needed")
    points = [(index + 1, _decode(shares[index])) for index in sorted(shares)[:threshold]]
    secret = 0
    for x, y in points:
        numerator, denominator = 1, 1
        for other, _ in points:
            if other != x:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - x) % PRIME
        secret = (secret + y * numerator * pow(denominator, -1, PRIME)) % PRIME
    if secret >= 1 << (8 * SECRET_BYTES):
        raise MalformedMessage("the shares open no 32-byte key; at least one was dealt or sent wrongly")
    return secret.to_bytes(SECRET_BYTES, "little")


def _decode(share: bytes) -> int:
    value = int.from_bytes(share, "little")
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise MalformedMessage("a key share is not an element of the field")
    return value


def _evaluate(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % PRIME
    return value


def _field_element(entropy: Entropy) -> int:
    """Uniform modulo p: 257 random bits, drawn again in the 93 of 2**257 cases that are too large."""
    while True:
        value = int.from_bytes(entropy(SHARE_BYTES), "little") & ((1 << 257) - 1)
        if value < PRIME:
            return value
