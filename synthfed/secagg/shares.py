"""The literal scheme behind the masks: which part each site would have sent to each other one.

In additive secret sharing as it is usually drawn, site i splits q_i into N parts, sends part r_ij to site j, and every
site uploads the sum of the parts it holds, A_i = sum_j r_ji. Since A_i = q_i + sum_j (r_ji - r_ij), the upload depends
on the antisymmetric differences alone, and those are the pair masks. `explain` undoes that step for small vectors: for
a report that shows the scheme, and for tests that show it is the same. It needs every site's secrets, which nobody has
outside a simulation. `describe` writes the five steps as a text, `example` for numbers of the reader's choice.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp, u16
from synthfed.secagg.masks import KEY_BYTES, apply_keystream, exchange, hkdf, mask_private_key, pair_mask, self_mask
from synthfed.secagg.ring import Ring
from synthfed.secagg.shamir import Entropy

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


def example(inputs: Mapping[str, Sequence[int]], *, entropy: Entropy = os.urandom) -> str:
    """The five steps for made-up sites and numbers, with fresh secrets, as `describe` tells them.

    Args:
        inputs: Whole numbers per site, all of one length, each below 2**31 / number of sites in size.

    Raises:
        ValueError: No sites, lists of different lengths, or numbers that could wrap.
    """
    names = list(inputs)
    if len({len(row) for row in inputs.values()}) != 1 or not inputs[names[0]]:
        raise ValueError("an example needs one list of whole numbers per site, all of one length")
    if any(abs(value) * len(names) >= 2**31 for row in inputs.values() for value in row):
        raise ValueError(f"numbers must stay below 2**31 / {len(names)}, so that their sum cannot wrap")
    explained = explain(
        {i: np.array(inputs[name], dtype=np.int32).view(np.uint32) for i, name in enumerate(names)},
        mask_seeds={i: entropy(KEY_BYTES) for i in range(len(names))},
        self_seeds={i: entropy(KEY_BYTES) for i in range(len(names))},
        context0=entropy(KEY_BYTES),
        context1=entropy(KEY_BYTES),
    )
    return describe(explained, dict(enumerate(names)))


def describe(explained: Explanation, names: Mapping[int, str]) -> str:
    """The five steps as a text that a person can check with pencil and paper; all numbers modulo 2**32."""
    sites = [names[index] for index in explained.indices]
    width = max(len(name) for name in [*sites, "result"])

    def row(name: str, values: Ring) -> str:
        return f"  {name:<{width}}  " + "  ".join(f"{value:>10d}" for value in values.tolist())

    inputs = explained.parts.sum(axis=1, dtype=np.uint32)
    lines = ["All numbers are whole and counted modulo 2**32 = 4294967296; a negative number -a is 2**32 - a.", ""]
    lines += ["1. Each site has a vector, as whole numbers, and splits it into one part per site."]
    for i, name in enumerate(sites):
        lines += ["", f"  {name} has      " + "  ".join(f"{value:d}" for value in inputs[i].view(np.int32).tolist())]
        lines += [row(f"{to}", explained.parts[i, j]) + f"   for {to}" for j, to in enumerate(sites)]
        lines += [row("sum", inputs[i])]
    lines += ["", "2. Each part goes to its site, sealed. One part alone is a random number: it tells nothing.", ""]
    lines += ["3. Each site adds up the parts it holds: a column of the table above.", ""]
    lines += [row(name, explained.held[j]) for j, name in enumerate(sites)]
    lines += [
        "",
        "   Before it sends this, it adds a mask of its own, which is opened later for all sites at once.",
        "",
    ]
    lines += [row(name, explained.self_masks[j]) + "   mask" for j, name in enumerate(sites)]
    lines += ["", "4. Each site sends the masked sum to the server. This is all that the server receives.", ""]
    lines += [row(name, explained.masked[j]) for j, name in enumerate(sites)]
    lines += ["", "5. The server adds them up, takes the masks off, and gives everybody the sum.", ""]
    lines += [row("sum", explained.masked.sum(axis=0, dtype=np.uint32))]
    lines += [row("masks", explained.self_masks.sum(axis=0, dtype=np.uint32))]
    lines += [row("result", explained.total)]
    signed = "  ".join(f"{value:d}" for value in explained.total.view(np.int32).tolist())
    lines += [f"  read as signed numbers: {signed}", ""]
    lines += [
        "In the default mode no part travels: what two sites would give each other comes to one number, drawn by both",
        "from a key that only the two know. Mode `full` sends the parts. The sums are the same.",
    ]
    return "\n".join(lines) + "\n"
