"""Taking masks off a running sum, with key shares that at least t sites released: the relay's arithmetic.

After a drop the sum still holds, for every vanished site v and every counted site i, the mask of the pair (v, i). From
rho_v the relay derives v's half of it. Every rebuilt key is compared with what its dealer showed before, so a dealer of
bad shares is named and the sum stays untouched.
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from synthfed.secagg import masks, shamir
from synthfed.secagg.refusals import BadShare, MalformedMessage
from synthfed.secagg.ring import Ring
from synthfed.secagg.tag import Words, add_words, form_of, reduced_words, subtract_words


def open_self_seed(
    shares: Mapping[int, bytes], *, threshold: int, context0: bytes, dealer: int, name: str, published: bytes
) -> bytes:
    """b_v, checked against H(b_v).

    Raises:
        BadShare: The shares open another key than the dealer published, or none; `party` is the dealer.
    """
    seed = _combine(shares, threshold, name)
    if masks.self_seed_digest(context0, dealer, seed) != published:
        raise BadShare(f"site {name!r} dealt shares that open another key than it published", party=name)
    return seed


def open_mask_seed(shares: Mapping[int, bytes], *, threshold: int, context0: bytes, name: str, shown: bytes) -> bytes:
    """rho_v, checked against the S_v of its HELLO.

    Raises:
        BadShare: As for `open_self_seed`.
    """
    seed = _combine(shares, threshold, name)
    if mask_public_key(seed, context0) != shown:
        raise BadShare(f"site {name!r} dealt shares that open another mask key than it showed", party=name)
    return seed


def mask_public_key(seed: bytes, context0: bytes) -> bytes:
    """S_v from rho_v."""
    return masks.mask_private_key(seed, context0).public_key().public_bytes_raw()


def lift_self_mask(total: Ring, tag: Words, seed: bytes, context1: bytes) -> Words:
    """Take one self mask off `total`, in place, and off the tag, which is returned."""
    key = masks.self_mask(seed, context1)
    masks.apply_keystream(total, key.stream, sign=-1)
    form = form_of(total)
    return subtract_words(tag, reduced_words(key.tag, form), form)


def lift_pair_mask(
    total: Ring,
    tag: Words,
    private: X25519PrivateKey,
    public: bytes,
    context1: bytes,
    *,
    gone: int,
    counted: int,
    half: bytes = b"",
) -> Words:
    """Take off what site `counted` added for its pair with the vanished site `gone`."""
    pair = masks.pair_mask(private, public, context1, own=gone, peer=counted, half=half)
    added = gone > counted  # the lower index adds the pair's keystream
    masks.apply_keystream(total, pair.stream, sign=-1 if added else 1)
    form = form_of(total)
    words = reduced_words(pair.tag, form)
    return subtract_words(tag, words, form) if added else add_words([tag, words], form)


def lift_masks(
    total: Ring,
    tag: Words,
    *,
    context1: bytes,
    seeds: Mapping[int, bytes],
    vanished: Mapping[int, X25519PrivateKey],
    mask_keys: Mapping[int, bytes],
    halves: Mapping[tuple[int, int], bytes] | None = None,
) -> Words:
    """Take all masks off a sum over U2, in place, and off its tag, which is returned.

    Args:
        seeds: b_v for every v of U2.
        vanished: s_v for every v of U1 without U2.
        mask_keys: S_v for every v of U2.
        halves: In hybrid attempts, h per (vanished, counted).
    """
    for seed in seeds.values():
        tag = lift_self_mask(total, tag, seed, context1)
    for gone, private in vanished.items():
        for counted in seeds:
            public, half = mask_keys[counted], b"" if halves is None else halves[gone, counted]
            tag = lift_pair_mask(total, tag, private, public, context1, gone=gone, counted=counted, half=half)
    return tag


def _combine(shares: Mapping[int, bytes], threshold: int, dealer: str) -> bytes:
    try:
        return shamir.combine(shares, threshold=threshold)
    except MalformedMessage as error:
        raise BadShare(f"site {dealer!r} dealt shares that open no key", party=dealer) from error
