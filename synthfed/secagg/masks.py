"""Keys, keystreams and sealed boxes: how 32 secret bytes hide a vector of any length.

Every site makes X25519 keys per attempt for two purposes that must never meet. One pair per peer (`e_ij`) seals
messages to it. One more (`s`, derived from the shared seed `rho`) makes pair masks and can be rebuilt by t sites after
a drop; were it used for sealing too, a drop would hand the relay the key of the result tag.

A pair's mask is added by the lower roster index and subtracted by the higher, so it cancels in the sum. A self mask
stays until t sites open it. Masks are AES-256-CTR keystreams: without the key a masked vector is indistinguishable from
uniform words. Each key serves one `ctx1` and one vector; `protocol` sees to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from synthfed.secagg.contexts import digest, lp, u16
from synthfed.secagg.refusals import BadKey, BadShare, MalformedMessage
from synthfed.secagg.ring import Ring
from synthfed.secagg.shamir import Entropy

CHUNK_BYTES = 128 * 1024  # keystream is made and added while it is in the cache
KEY_BYTES = 32
TAG_MASK_BYTES = 40  # five words of 64 bits
NONCE_BYTES = 12
_ZEROS = memoryview(bytes(CHUNK_BYTES))


def hkdf(secret: bytes, context: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869) with the context as salt."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=context, info=info).derive(secret)


@dataclass(frozen=True, slots=True, repr=False)
class MaskKey:
    """What hides one vector and its tag: an AES-256 key and five 64-bit words."""

    stream: bytes
    tag: bytes


def mask_private_key(mask_seed: bytes, context0: bytes) -> X25519PrivateKey:
    """s_i from rho_i. Whoever holds t shares of rho_i can do the same; nothing sealed depends on it."""
    return X25519PrivateKey.from_private_bytes(hkdf(mask_seed, context0, lp(b"mask-x25519"), KEY_BYTES))


def seal_private_key(seal_secret: bytes, context0: bytes, peer: int) -> X25519PrivateKey:
    """e_ij: what one site seals to and opens from one peer. A complaint shows it; it opens that pair's boxes only."""
    return X25519PrivateKey.from_private_bytes(hkdf(seal_secret, context0, lp(b"seal-x25519", u16(peer)), KEY_BYTES))


def exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    """X25519 (RFC 7748).

    Raises:
        BadKey: The public key is of low order, so the secret would be zero for everybody.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise BadKey("a site's X25519 key is malformed or of low order; its software must be checked") from error


def pair_mask(
    private: X25519PrivateKey, public: bytes, context1: bytes, *, own: int, peer: int, half: bytes = b""
) -> MaskKey:
    """The mask key that two sites share; both compute the same from (s_i, S_j) and (s_j, S_i).

    `half` is h_ij of `hybrid`, if the sum is to stay secret after X25519 is broken.
    """
    low, high = min(own, peer), max(own, peer)
    info = lp(b"pair", u16(low), u16(high))
    return _mask_key(hkdf(exchange(private, public) + half, context1, info, KEY_BYTES + TAG_MASK_BYTES))


def self_mask(self_seed: bytes, context1: bytes) -> MaskKey:
    """The mask key that one site holds alone until t sites open `b_i`."""
    return _mask_key(hkdf(self_seed, context1, lp(b"self"), KEY_BYTES + TAG_MASK_BYTES))


def _mask_key(material: bytes) -> MaskKey:
    return MaskKey(material[:KEY_BYTES], material[KEY_BYTES:])


def apply_keystream(vector: Ring, key: bytes, *, sign: int) -> None:
    """Add (`sign=1`) or subtract (`sign=-1`) the AES-256-CTR keystream of `key`, in place.

    The counter starts at 0; the stream is read as little-endian words of the vector's width.
    """
    apply_keystreams(vector, [(key, sign)])


def apply_keystreams(vector: Ring, keys: Sequence[tuple[bytes, int]]) -> None:
    """`apply_keystream` for several keys and signs, chunk by chunk, while vector and stream are in the cache."""
    buffer = bytearray(CHUNK_BYTES)
    words = np.frombuffer(buffer, dtype=vector.dtype.newbyteorder("<"))
    streams = [
        (Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor(), {1: np.add, -1: np.subtract}[sign])
        for key, sign in keys
    ]
    for start in range(0, vector.size, words.size):
        chunk = vector[start : start + words.size]
        zeros, stream = _ZEROS[: chunk.nbytes], words[: chunk.size]
        for encryptor, combine in streams:
            encryptor.update_into(zeros, buffer)
            combine(chunk, stream, out=chunk)


def seal_key(
    private: X25519PrivateKey, public: bytes, context0: bytes, *, sender: int, receiver: int, pair_key: bytes = b""
) -> bytes:
    """Key of the box from `sender` to `receiver`; either of the two can compute it.

    `pair_key` is psk_ij of `hybrid`, if boxes are to stay closed after X25519 is broken.
    """
    return hkdf(exchange(private, public) + pair_key, context0, lp(b"enc", u16(sender), u16(receiver)), KEY_BYTES)


def part_key(
    private: X25519PrivateKey, public: bytes, context1: bytes, *, sender: int, receiver: int, pair_key: bytes = b""
) -> bytes:
    """Key of the part of a vector from `sender` to `receiver`; apart from the key of the shares."""
    return hkdf(exchange(private, public) + pair_key, context1, lp(b"part", u16(sender), u16(receiver)), KEY_BYTES)


def seal_box(
    key: bytes,
    plaintext: bytes,
    context0: bytes,
    *,
    sender: int,
    receiver: int,
    entropy: Entropy,
    beside: bytes = b"",
) -> bytes:
    """ChaCha20-Poly1305 (RFC 8439): random nonce, ciphertext and tag. The relay learns only the length.

    `beside` travels in clear with the box and is bound to it.
    """
    nonce = entropy(NONCE_BYTES)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, plaintext, _box_label(context0, sender, receiver, beside))


def open_box(key: bytes, box: bytes, context0: bytes, *, sender: int, receiver: int, beside: bytes = b"") -> bytes:
    """Undo `seal_box`.

    Raises:
        MalformedMessage: The box was altered, or was made for another pair or context.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(
            box[:NONCE_BYTES], box[NONCE_BYTES:], _box_label(context0, sender, receiver, beside)
        )
    except (InvalidTag, ValueError) as error:
        raise MalformedMessage(f"a sealed box from index {sender} to index {receiver} does not open") from error


def _box_label(context0: bytes, sender: int, receiver: int, beside: bytes) -> bytes:
    bound = (beside,) if beside else ()
    return digest(context0, b"share", u16(sender), u16(receiver), *bound)


def share_digest(context0: bytes, *, kind: bytes, dealer: int, holder: int, share: bytes) -> bytes:
    """What a dealer publishes of a share. A share has 257 random bits, so its hash tells nothing about it."""
    return digest(context0, b"share-digest", kind, u16(dealer), u16(holder), share)


def require_share(
    context0: bytes, *, kind: bytes, dealer: int, holder: int, share: bytes, published: bytes, blame: str
) -> None:
    """Compare a share with what its dealer published.

    Raises:
        BadShare: They differ; `blame` is the site to name.
    """
    if share_digest(context0, kind=kind, dealer=dealer, holder=holder, share=share) != published:
        raise BadShare(f"site {blame!r} gave a key share that is not the published one", party=blame)


def box_digest(context0: bytes, *, sender: int, receiver: int, box: bytes) -> bytes:
    """What a dealer publishes of a sealed box, so that it cannot deny it and the relay cannot change it."""
    return digest(context0, b"box", u16(sender), u16(receiver), box)


def tag_part_digest(context0: bytes, dealer: int, tag_part: bytes) -> bytes:
    """H(kappa_i): all peers get one and the same part of the tag key."""
    return digest(context0, b"tag-part", u16(dealer), tag_part)


def self_seed_digest(context0: bytes, dealer: int, self_seed: bytes) -> bytes:
    """H(b_i): lets everybody see that the opened self mask is the dealer's."""
    return digest(context0, b"self-seed", u16(dealer), self_seed)
