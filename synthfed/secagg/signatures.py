"""Who signed: Ed25519 always, and ML-DSA-65 beside it for parties whose roster entry has a second key.

Ed25519 falls to whoever has a large quantum computer *during* a run. A party with a second key signs everything twice,
and a message counts only if both signatures hold, so an attacker must break both families. Without a second key
nothing changes, byte for byte. The steward signs the roster with Ed25519 alone: sites pin its hash before any run.
"""

from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from synthfed.secagg.refusals import BadKey

SIGNATURE_BYTES = 64
SECOND_SIGNATURE_BYTES = 3309  # ML-DSA-65 (FIPS 204)
SECOND_KEY_BYTES = 1952
_NO_MLDSA = "the OpenSSL under `cryptography` has no ML-DSA; install its wheel, or a roster without second keys"


class Signer(Protocol):
    """What signs: an `Identity`, or a bare `Ed25519PrivateKey` where there is no second key."""

    def sign(self, data: bytes, /) -> bytes:
        """The signature, or both, one after the other."""


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A party's two signing keys. ML-DSA signatures are randomised: who must repeat bytes stores them."""

    first: Ed25519PrivateKey
    second: MLDSA65PrivateKey

    @classmethod
    def from_seeds(cls, first: bytes, second: bytes) -> "Identity":
        """Both keys from 32 secret bytes each, as they are stored.

        Raises:
            BadKey: This installation's OpenSSL has no ML-DSA.
        """
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(first), MLDSA65PrivateKey.from_seed_bytes(second))
        except UnsupportedAlgorithm as error:
            raise BadKey(_NO_MLDSA) from error

    def sign(self, data: bytes, /) -> bytes:
        """Ed25519 signature 64, ML-DSA-65 signature 3309."""
        return self.first.sign(data) + self.second.sign(data)


def public_keys(signer: Signer) -> tuple[bytes, bytes]:
    """The Ed25519 key and the ML-DSA-65 key (or nothing) of a signer, as a roster names them.

    Raises:
        TypeError: Neither an `Identity` nor an Ed25519 key.
    """
    second = signer.second.public_key().public_bytes_raw() if isinstance(signer, Identity) else b""
    return first_key(signer).public_key().public_bytes_raw(), second


def first_key(signer: Signer) -> Ed25519PrivateKey:
    """The Ed25519 key of a signer, for what outlives a run and is signed once: audit logs.

    Raises:
        TypeError: Neither an `Identity` nor an Ed25519 key.
    """
    key = signer.first if isinstance(signer, Identity) else signer
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"wanted an Identity or an Ed25519 key, found {type(signer).__name__}")
    return key


def signature_bytes(second_key: bytes) -> int:
    """How long a party's signature is."""
    return SIGNATURE_BYTES + (SECOND_SIGNATURE_BYTES if second_key else 0)


def verify(public_key: bytes, second_key: bytes, signature: bytes, data: bytes) -> None:
    """Check one signature, or both where the party has a second key.

    Raises:
        InvalidSignature: One of them is missing, too many or wrong.
        BadKey: The second key cannot be used here.
    """
    if len(signature) != signature_bytes(second_key):
        raise InvalidSignature
    Ed25519PublicKey.from_public_bytes(public_key).verify(signature[:SIGNATURE_BYTES], data)
    if second_key:
        try:
            second = MLDSA65PublicKey.from_public_bytes(second_key)
        except UnsupportedAlgorithm as error:
            raise BadKey(_NO_MLDSA) from error
        second.verify(signature[SIGNATURE_BYTES:], data)
