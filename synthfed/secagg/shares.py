"""The literal scheme behind the masks: which part each site would have sent to each other one.

In additive secret sharing as it is usually drawn, site i splits q_i into N parts, sends part r_ij to site j, and every
site uploads the sum of the parts it holds, A_i = sum_j r_ji. Since A_i = q_i + sum_j (r_ji - r_ij), the upload depends
on the antisymmetric differences alone, and those are the pair masks. `explain` undoes that step for small vectors: for
a report that shows the scheme, and for tests that show it is the same. It needs every site's secrets, which nobody has
outside a simulation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp, u16
from synthfed.secagg.masks import KEY_BYTES, apply_keystream, exchange, hkdf, mask_private_key, pair_mask, self_mask
from synthfed.secagg.ring import Ring

_MOST_CELLS = 100_000  # an explanation is read by people


@dataclass(frozen=True, slots=True)
class Explanation:
    """One sum as the literal scheme would show it; sites in order of `indices`, all modulo 2**32.

    Attributes:
        parts: uint32[N, N, d]; parts[i, j] is what site i gives site j. Row i adds up to input i.
        held: uint32[N, d]; held[j] is the sum of column j, what site j would upload.
        self_masks: uint32[N, d]; what site j adds on top, opened later for all.
        masked: uint32[N, d]; what site j really uploads: held + self_masks.
        total: uint32[d]; the sum of the inputs.
    """

    indices: tuple[int, ...]
    parts: npt.NDArray[np.uint32]
    held: npt.NDArray[np.uint32]
    self_masks: npt.NDArray[np.uint32]
    masked: npt.NDArray[np.uint32]
    total: Ring


def explain(
    inputs: Mapping[int, Ring],
    *,
    mask_seeds: Mapping[int, bytes],
    self_seeds: Mapping[int, bytes],
    context0: bytes,
    context1: bytes,
) -> Explanation:
    """The part matrix that the masks of one attempt imply.

    The off-diagonal parts are fixed up to what each pair could exchange back and forth; that freedom is filled from
    the pair's key, so every part alone is uniform.

    Args:
        inputs: Encoded vector per roster index, uint32[d].
        mask_seeds, self_seeds: rho_i and b_i per roster index.

    Raises:
        ValueError: More than 100,000 parts' coordinates.
    """
    indices = tuple(sorted(inputs))
    sites, length = len(indices), inputs[indices[0]].size
    if sites * sites * length > _MOST_CELLS:
        raise ValueError(f"{sites} sites and {length} coordinates are too many to explain; use a short vector")
    private = {index: mask_private_key(mask_seeds[index], context0) for index in indices}
    public = {index: private[index].public_key().public_bytes_raw() for index in indices}
    parts = np.zeros((sites, sites, length), dtype=np.uint32)
    for i, low in enumerate(indices):
        for j, high in enumerate(indices[i + 1 :], start=i + 1):
            secret = exchange(private[low], public[high])
            free = hkdf(secret, context1, lp(b"explain", u16(low), u16(high)), KEY_BYTES)
            apply_keystream(parts[i, j], free, sign=1)
            parts[j, i] = parts[i, j]
            pair = pair_mask(private[low], public[high], context1, own=low, peer=high)
            apply_keystream(parts[j, i], pair.stream, sign=1)  # r_ji - r_ij is the mask that the lower index adds
    for i, index in enumerate(indices):
        parts[i, i] = inputs[index] - parts[i].sum(axis=0, dtype=np.uint32)
    held = parts.sum(axis=0, dtype=np.uint32)
    self_masks = np.zeros((sites, length), dtype=np.uint32)
    for i, index in enumerate(indices):
        apply_keystream(self_masks[i], self_mask(self_seeds[index], context1).stream, sign=1)
    total = held.sum(axis=0, dtype=np.uint32)
    return Explanation(indices, parts, held, self_masks, held + self_masks, total)
