"""What one sum is about, as two 32-byte hashes under which every key is derived and every message is signed.

`ctx0` names the run, its purpose, the round, the attempt, the roster, the configuration and the layout; `ctx1` adds
who takes part, what keys and share digests they showed, and the global model. Each site computes both from its own
files and from messages it has verified, never from a hash that somebody sends. Two sites that disagree on one bit of
this derive different masks, so their vectors do not add up to anything (Pasquini et al., CCS 2022).

Everything hashed is framed: `lp` writes each field as a 64-bit length and its bytes, so no two different lists of
fields have the same bytes. Integers are little-endian; there are no floats (bounds are decimal strings).
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

_CONTEXT0 = b"synthfed/secagg/v1/0"
_CONTEXT1 = b"synthfed/secagg/v1/1"
_CONFIG = b"synthfed/secagg/v1/config"
_LAYOUT = b"synthfed/secagg/v1/layout"

Buffer = bytes | bytearray | memoryview


def u8(value: int) -> bytes:
    """One byte."""
    return value.to_bytes(1, "little")


def u16(value: int) -> bytes:
    """Two bytes, little-endian."""
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    """Four bytes, little-endian."""
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    """Eight bytes, little-endian."""
    return value.to_bytes(8, "little")


def lp(*fields: Buffer) -> bytes:
    """Frame fields: each as its length (u64) and its bytes."""
    return b"".join(part for field in fields for part in (u64(len(field)), field))


def digest(*fields: Buffer) -> bytes:
    """SHA-256 over framed fields; never over unframed bytes."""
    state = hashlib.sha256()
    for field in fields:
        state.update(u64(len(field)))
        state.update(field)
    return state.digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SumConfig:
    """Every public setting that decides what the integers mean and when keys may be opened.

    Attributes:
        bounds: One decimal string per tensor (or one for all): coordinates are clipped to it.
        scales: One power of two per bound.
        threshold: t, the shares that open a key.
        smallest: m, the fewest sites whose sum may be opened.
        weights: How inputs are weighted before they are shared; `uniform` is 1/N.
        mode: How summands are hidden; see `protocol`.
        ring: 2^32 for encoded vectors, 2^64 for analytics.
        verify: How sites check a sum: by its tag, or by adding up all signed vectors themselves.
        fast_release: Whether complete sums open without SURVIVORS.
        transport: Whether sealed parts may also go straight from site to site; never changes what is sealed.
        noise: Whether each summand carries all the noise that its patients need, or a share of it.
        aux: Whether two coordinates for the weight and the clipped fraction are appended.
        pipeline_digest: SHA-256 of the pipeline.
    """

    bounds: tuple[str, ...]
    scales: tuple[int, ...]
    threshold: int
    smallest: int
    pipeline_digest: bytes
    mode: Literal["compressed", "pairwise", "full", "shamir"] = "compressed"
    ring: Literal["2^32", "2^64"] = "2^32"
    weights: Literal["uniform"] = "uniform"
    verify: Literal["tag", "recompute"] = "tag"
    fast_release: bool = True
    noise: Literal["local", "shared"] = "local"
    transport: Literal["relay", "direct"] = "relay"
    post_quantum: bool = False
    aux: bool = True

    def __post_init__(self) -> None:
        if len(self.bounds) != len(self.scales):
            raise ValueError(f"{len(self.bounds)} bounds and {len(self.scales)} scales; each bound needs one scale")
        if self.post_quantum and self.verify == "recompute":
            raise ValueError(
                "post_quantum sums cannot be recomputed by sites: they lack the halves of other pairs' keys"
            )
        if self.mode == "shamir" and self.verify == "recompute":
            raise ValueError("mode 'shamir' opens a sum from t answers; sites cannot recompute it from all vectors")
        if self.mode == "shamir" and self.ring != "2^32":
            raise ValueError("mode 'shamir' shares residues modulo 2**32 - 5; it has no room for the ring 2^64")

    @property
    def deals_keys(self) -> bool:
        """Whether mask keys are shared, so that a sum can miss a site."""
        return self.mode == "compressed"

    @property
    def deals_parts(self) -> bool:
        """Whether vectors are split into parts, and hidden by no mask."""
        return self.mode in ("full", "shamir")

    def digest(self) -> bytes:
        """The 32 bytes that enter `ctx0`."""
        return digest(
            _CONFIG,
            self.mode.encode(),
            self.ring.encode(),
            lp(*(bound.encode() for bound in self.bounds)),
            lp(*(str(scale).encode() for scale in self.scales)),
            u16(self.threshold),
            u16(self.smallest),
            self.weights.encode(),
            self.verify.encode(),
            u8(self.fast_release),
            self.noise.encode(),
            self.transport.encode(),
            u8(self.post_quantum),
            u8(self.aux),
            self.pipeline_digest,
        )


def layout_digest(tensors: Iterable[tuple[str, Sequence[int]]]) -> bytes:
    """Hash names, shapes and order of the tensors that make up the vector, and their total size."""
    listed = [(name, tuple(shape)) for name, shape in tensors]
    return digest(
        _LAYOUT,
        *(lp(name.encode(), *(u64(side) for side in shape)) for name, shape in listed),
        u64(sum(math.prod(shape) for _, shape in listed)),
    )


@dataclass(frozen=True, slots=True)
class Context0:
    """What one attempt at one sum is about, before anybody has shown a key.

    Attributes:
        run_id: Hash of the signed run manifest, its nonce included.
        purpose: `train`, or `analytics:<plan hash>`.
        round_index: Counts sums within the run and purpose.
        attempt: Counts fresh starts of one round; each has fresh keys.
    """

    run_id: bytes
    purpose: str
    round_index: int
    attempt: int
    roster_digest: bytes
    config_digest: bytes
    layout_digest: bytes

    def digest(self) -> bytes:
        """`ctx0`, 32 bytes."""
        return digest(
            _CONTEXT0,
            self.run_id,
            self.purpose.encode(),
            u32(self.round_index),
            u16(self.attempt),
            self.roster_digest,
            self.config_digest,
            self.layout_digest,
        )


def context1(
    context0: bytes, *, hellos: Mapping[int, bytes], shares: Mapping[int, bytes], model_digest: bytes
) -> bytes:
    """`ctx1`, 32 bytes: `ctx0`, the set U1, its HELLOs and public SHAREs as sent, and the global model.

    `hellos` and `shares` map the roster index of every site in U1, and of nobody else, to the message it sent.
    """
    if hellos.keys() != shares.keys():
        raise ValueError("ctx1 needs one HELLO and one SHARE of every site in U1")
    members = sorted(hellos)
    return digest(
        _CONTEXT1,
        context0,
        b"".join(u16(member) for member in members),
        digest(*(hellos[member] for member in members)),
        digest(*(shares[member] for member in members)),
        model_digest,
    )
