"""What a site remembers of one attempt, and its bytes: a process may die between any two messages.

The bytes hold every secret of the attempt in clear. The caller seals them (`sealed`) before they touch a disk, and
stores them durably before it sends the reply that goes with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum

from synthfed.secagg.contexts import lp, u8, u16
from synthfed.secagg.refusals import SealBroken

_FORMAT = b"synthfed/secagg/v1/site-state"


class Stage(IntEnum):
    """How far a site is. Modes with parts know DEALT; only a sum with drops knows SIGNED."""

    NEW = 0
    HELLO = 1
    SHARED = 2
    DEALT = 3
    MASKED = 4
    SIGNED = 5
    RELEASED = 6
    VERIFIED = 7
    CLOSED = 8
    ABORTED = 9


@dataclass(slots=True, repr=False)
class SiteState:
    """One attempt at one site. Names as in the protocol: e_i, rho_i, b_i, kappa_i.

    Attributes:
        seal_secret: e_i, raw X25519.
        mask_seed: rho_i.
        self_seed: b_i.
        tag_part: kappa_i.
        commitment_nonce: Opens the commitment in MASKED; stays at the site.
        hellos: HELLO of every site of U0, own one included, as received.
        sealed: Sealed share per receiver.
        parts: Sealed part per receiver, in modes with parts; `own_part` is kept.
        held: Per dealer of U1 (own one included): its share of b and of rho, 66 bytes. Its keys are U1.
        halves: h of the pair with each peer of U1, in hybrid attempts; see `hybrid`.
        seed_digests: H(b_v) per site of U1.
        counted: Head of MASKED per site of U2, the one set for which this site releases shares. Stays for ever.
        sent_length: d of the vector in MASKED, u64; stays when the message itself is forgotten.
        complaint: COMPLAINT, as sent in place of MASKED; stays.
        *_request: Digest of the request a stage answered; the same request gets the same reply again.
    """

    stage: Stage = Stage.NEW
    seal_secret: bytes = b""
    mask_seed: bytes = b""
    self_seed: bytes = b""
    tag_part: bytes = b""
    commitment_nonce: bytes = b""
    hello: bytes = b""
    hellos: dict[int, bytes] = field(default_factory=dict)
    share_request: bytes = b""
    share: bytes = b""
    sealed: dict[int, bytes] = field(default_factory=dict)
    own_shares: bytes = b""
    held: dict[int, bytes] = field(default_factory=dict)
    context1: bytes = b""
    deal_request: bytes = b""
    parts: dict[int, bytes] = field(default_factory=dict)
    own_part: bytes = b""
    tag_key: bytes = b""
    mask_request: bytes = b""
    masked: bytes = b""
    sent_length: bytes = b""
    head: bytes = b""
    commitment: bytes = b""
    halves: dict[int, bytes] = field(default_factory=dict)
    seed_digests: dict[int, bytes] = field(default_factory=dict)
    counted: dict[int, bytes] = field(default_factory=dict)
    sign_request: bytes = b""
    survivors: bytes = b""
    release_request: bytes = b""
    unmask: bytes = b""
    result_digest: bytes = b""
    accepted: bytes = b""
    close: bytes = b""
    complaint: bytes = b""

    def erase(self) -> None:
        """Forget every key, every share and the masked vector.

        Hashes and the verdict stay, and the nonce with which the site alone can open its own commitment.
        """
        self.seal_secret = self.mask_seed = self.self_seed = self.tag_part = b""
        self.own_shares = self.own_part = self.share = self.tag_key = self.masked = self.unmask = b""
        self.sealed = {}
        self.parts = {}
        self.halves = {}
        self.held = dict.fromkeys(self.held, b"")

    def pack(self, context0: bytes, index: int) -> bytes:
        """Canonical bytes, bound to the attempt and the site."""
        return lp(_FORMAT, context0, u16(index), *(_pack_value(getattr(self, item.name)) for item in fields(self)))

    @classmethod
    def unpack(cls, raw: bytes, context0: bytes, index: int) -> "SiteState":
        """Undo `pack`.

        Raises:
            SealBroken: Not these bytes, or of another attempt or site.
        """
        listed = split_lp(raw)
        names = [item.name for item in fields(cls)]
        if len(listed) != 3 + len(names) or listed[:3] != [_FORMAT, context0, u16(index)]:
            raise SealBroken("the stored state is not one of this attempt at this site")
        state = cls()
        try:
            for name, value in zip(names, listed[3:], strict=True):
                setattr(state, name, _unpack_value(value, like=getattr(state, name)))
        except ValueError as error:
            raise SealBroken("the stored state cannot be read") from error
        return state


def _pack_value(value: Stage | bytes | dict[int, bytes]) -> bytes:
    if isinstance(value, dict):
        return lp_map(value)
    return u8(value) if isinstance(value, Stage) else value


def _unpack_value(raw: bytes, *, like: Stage | bytes | dict[int, bytes]) -> Stage | bytes | dict[int, bytes]:
    if isinstance(like, dict):
        return split_lp_map(raw)
    return Stage(int.from_bytes(raw, "little")) if isinstance(like, Stage) else raw


def lp_map(entries: Mapping[int, bytes]) -> bytes:
    """Bytes by roster index, framed in order of the indices."""
    return lp(*(part for index in sorted(entries) for part in (u16(index), entries[index])))


def split_lp_map(raw: bytes) -> dict[int, bytes]:
    """Undo `lp_map`.

    Raises:
        SealBroken, ValueError: It was none.
    """
    pairs = split_lp(raw)
    return dict(zip((int.from_bytes(key, "little") for key in pairs[::2]), pairs[1::2], strict=True))


def split_lp(raw: bytes) -> list[bytes]:
    """Undo `lp`.

    Raises:
        SealBroken: A field is longer than what is there.
    """
    fields_found = []
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 8], "little")
        if at + 8 + length > len(raw):
            raise SealBroken("the stored state is cut short")
        fields_found.append(raw[at + 8 : at + 8 + length])
        at += 8 + length
    return fields_found
