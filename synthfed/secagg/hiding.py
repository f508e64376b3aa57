"""Adding a site's masks to its vector and to its tag: the arithmetic of MASKED.

`opening` takes them off again. The lower index of a pair adds the pair's keystream, the higher subtracts it.
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from synthfed.secagg import masks
from synthfed.secagg.ring import Ring
from synthfed.secagg.tag import Words, add_words, form_of, reduced_words, subtract_words


def hide(
    vector: Ring,
    tag: Words,
    *,
    own: int,
    private: X25519PrivateKey,
    mask_keys: Mapping[int, bytes],
    context1: bytes,
    self_seed: bytes = b"",
    halves: Mapping[int, bytes] | None = None,
) -> tuple[Ring, Words]:
    """A copy of the vector and its tag under one mask per peer, and under the self mask where there is one.

    Whoever lacks one of the keys sees uniform words.

    Args:
        private: s_i.
        mask_keys: S_j per site of U1; the own one is passed over.
        self_seed: b_i, in modes that share mask keys.
        halves: h_ij per peer, in hybrid attempts.
    """
    hidden, form = vector.copy(), form_of(vector)
    streams = []
    if self_seed:
        self_key = masks.self_mask(self_seed, context1)
        streams.append((self_key.stream, 1))
        tag = add_words([tag, reduced_words(self_key.tag, form)], form)
    for peer, mask_key in mask_keys.items():
        if peer == own:
            continue
        half = (halves or {}).get(peer, b"")
        pair = masks.pair_mask(private, mask_key, context1, own=own, peer=peer, half=half)
        streams.append((pair.stream, 1 if peer > own else -1))
        words = reduced_words(pair.tag, form)
        tag = add_words([tag, words], form) if peer > own else subtract_words(tag, words, form)
    masks.apply_keystreams(hidden, streams)
    return hidden, tag
