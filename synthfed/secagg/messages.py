"""The messages of one attempt, byte by byte: who says what to whom, and what is refused on reading.

Every message is an envelope of 40 bytes ("SA1", type u8, sender u16, receiver u16, context 32), a body, and an Ed25519
signature of 64 bytes over the framed type, context, sender, receiver and body. In MASKED the head, which is the hash of
the body, is signed in place of the body, so that sites can check each other's signature without the vectors.

| message | from -> to | context | body |
|---|---|---|---|
| HELLO | site -> all | ctx0 | E_i 32, S_i 32, audit head 32 |
| SHARE | site -> all | ctx0 | bitmap of U0, H(b_i) 32, per site of U0 the digests of its shares of b_i and rho_i, 64 |
| (sealed share) | site -> site | ctx0 | sender u16, receiver u16, nonce 12, box (shares of b_i, rho_i 66, kappa_i 32) |
| (sealed part) | site -> site | ctx1 | sender u16, receiver u16, nonce 12, box (part of vector and tag 4d + 20) |
| MASKED | site -> relay | ctx1 | y_i 4d, five tag words 20, commitment 32 |
| HEADS | relay -> all | ctx1 | bitmap of U2, per site of U2 the head 32 and the signature 64 of its MASKED |
| SURVIVORS | site -> all | ctx1 | H(U2 and the heads of its sites) 32 |
| UNMASK | site -> relay | ctx1 | per site of U1: kind u8, share 33 |
| RESULT | relay -> all | ctx1 | bitmap of U2, z 4d, five tag words 20 |
| CLOSE | site -> all | ctx1 | H(RESULT) 32, audit head 32, verdict u8 |

Modes without key shares leave out H(b_i), its digests and the shares; modulo 2**64 a vector has 8d bytes, a tag 16.
Sealed boxes carry no signature: only the two holders of the signed HELLO keys can make one. SURVIVORS exist only in
an attempt that lost a site after its SHARE: see `release`.

Decoders are strict: one message has one encoding. They refuse other lengths, stray bits in a bitmap, words outside
their prime and unknown types, before they look at a signature; and every signature before the content is used.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from synthfed.secagg.contexts import digest, lp, u8, u16
from synthfed.secagg.refusals import BadSignature, MalformedMessage, WrongContext
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import ALL, RELAY, Roster
from synthfed.secagg.shamir import SHARE_BYTES
from synthfed.secagg.tag import NARROW, Form, Words, form_of

_MAGIC = b"SA1"
_DOMAIN = b"synthfed/secagg/v1/envelope"
ENVELOPE_BYTES = 40
SIGNATURE_BYTES = 64
HASH_BYTES = 32
KEM_KEY_BYTES = 1184
_SEALED_OVERHEAD = 2 + 2 + 12 + 16


class Kind(IntEnum):
    """Message types on the wire."""

    HELLO = 1
    SHARE = 2
    MASKED = 3
    HEADS = 4
    SURVIVORS = 5
    UNMASK = 6
    RESULT = 7
    CLOSE = 8


_RECEIVER = {kind: RELAY if kind in (Kind.MASKED, Kind.UNMASK) else ALL for kind in Kind}
_FROM_RELAY = frozenset({Kind.HEADS, Kind.RESULT})

SELF_SHARE = 1  # kind of a share in UNMASK: of b_v, for a site whose vector counts
MASK_SHARE = 2  # of rho_v, for a site that vanished


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message whose form, context, sender and signature were checked."""

    kind: Kind
    sender: int
    body: bytes
    signature: bytes


def write(kind: Kind, *, context: bytes, sender: int, body: bytes, identity: Ed25519PrivateKey) -> bytes:
    """Frame and sign one message."""
    signature = identity.sign(_signed_bytes(kind, context, sender, _to_sign(kind, body)))
    return b"".join([_MAGIC, u8(kind), u16(sender), u16(_RECEIVER[kind]), context, body, signature])


def read(raw: bytes, *, kind: Kind, context: bytes, roster: Roster) -> Envelope:
    """Check one message against the roster and the context that the reader computed itself.

    Raises:
        MalformedMessage: Too short, another type, or another receiver than this type has.
        WrongContext: Made for another context.
        UnknownSender: The roster does not name the sender, or this type is not the sender's to send.
        BadSignature: Not signed by the sender's key in the roster.
    """
    if len(raw) < ENVELOPE_BYTES + SIGNATURE_BYTES or raw[:3] != _MAGIC:
        raise MalformedMessage(f"{len(raw)} bytes that are no message of this protocol; wanted a {kind.name}")
    if raw[3] != kind or int.from_bytes(raw[6:8], "little") != _RECEIVER[kind]:
        raise MalformedMessage(f"a message of type {raw[3]}; wanted {kind.name} ({kind.value}) to its receiver")
    if raw[8:ENVELOPE_BYTES] != context:
        raise WrongContext(
            f"a {kind.name} of another run, round, attempt, roster, configuration, layout or model; "
            "all parties must hold the same manifest and model"
        )
    sender = int.from_bytes(raw[4:6], "little")
    body, signature = raw[ENVELOPE_BYTES:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]
    if kind in _FROM_RELAY:
        if sender != RELAY:
            raise MalformedMessage(f"a {kind.name} that does not come from the relay")
        require_signature(roster, kind, context, RELAY, body, signature)
    else:
        require_signature(roster, kind, context, sender, _to_sign(kind, body), signature)
    return Envelope(kind, sender, body, signature)


def require_signature(roster: Roster, kind: Kind, context: bytes, sender: int, signed: bytes, signature: bytes) -> None:
    """Check a signature over what `write` signs: the body, or for MASKED its head.

    Raises:
        UnknownSender: The roster does not name the sender.
        BadSignature: The signature is not the sender's.
    """
    if kind in _FROM_RELAY:
        public, name = roster.relay_key, "the relay"
    else:
        member = roster.at(sender)  # the relay has no place in the roster, so it cannot speak as a site
        public, name = member.public_key, f"site {member.site!r}"
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _signed_bytes(kind, context, sender, signed))
    except InvalidSignature as error:
        raise BadSignature(f"a {kind.name} in the name of {name} is not signed with its key in the roster") from error


def body_of(raw: bytes) -> bytes:
    """The body of a message that `read` has checked before."""
    return raw[ENVELOPE_BYTES:-SIGNATURE_BYTES]


def head_of(masked_body: bytes) -> bytes:
    """The hash of a MASKED body: it stands for the vector, the tag and the commitment."""
    return digest(b"head", masked_body)


def _to_sign(kind: Kind, body: bytes) -> bytes:
    return head_of(body) if kind == Kind.MASKED else body


def _signed_bytes(kind: Kind, context: bytes, sender: int, signed: bytes) -> bytes:
    return lp(_DOMAIN, u8(kind), context, u16(sender), u16(_RECEIVER[kind]), signed)


# --- bodies -----------------------------------------------------------------------------------------------------------


class _Reader:
    """Takes fields off a body, front to back, and refuses what is too short or too long."""

    def __init__(self, body: bytes, what: str) -> None:
        self._body = body
        self._what = what
        self._at = 0

    def take(self, length: int) -> bytes:
        if length > len(self._body) - self._at:
            raise MalformedMessage(f"{self._what} is too short: {len(self._body)} bytes")
        self._at += length
        return self._body[self._at - length : self._at]

    def end(self) -> None:
        if self._at != len(self._body):
            raise MalformedMessage(f"{self._what} has {len(self._body) - self._at} trailing bytes")


def pack_set(indices: Collection[int], roster: Roster) -> bytes:
    """A set of sites as a bitmap over the roster's order."""
    bits = sum(1 << position for position, member in enumerate(roster.members) if member.index in indices)
    return bits.to_bytes(-(-len(roster.members) // 8), "little")


def _take_set(reader: _Reader, roster: Roster) -> tuple[int, ...]:
    bits = int.from_bytes(reader.take(-(-len(roster.members) // 8)), "little")
    if bits >> len(roster.members):
        raise MalformedMessage("a set of sites has bits beyond the roster")
    return tuple(member.index for position, member in enumerate(roster.members) if bits >> position & 1)


def words_bytes(words: Words, form: Form) -> bytes:
    """A tag, each word little-endian."""
    return b"".join(word.to_bytes(form.word_bytes, "little") for word in words)


def _take_words(reader: _Reader, form: Form) -> Words:
    words = tuple(int.from_bytes(reader.take(form.word_bytes), "little") for _ in form.moduli)
    if any(word >= modulus for word, modulus in zip(words, form.moduli, strict=True)):
        raise MalformedMessage("a tag word is not reduced")
    return words


def _take_vector(reader: _Reader, length: int, form: Form) -> Ring:
    vector: Ring = np.frombuffer(reader.take(form.dtype.itemsize * length), dtype=form.dtype)
    return vector


def split_vector_and_tag(body: bytes, form: Form) -> tuple[Ring, Words]:
    """A vector of any length and the tag behind it."""
    reader = _Reader(body, "a vector with its tag")
    length, left = divmod(len(body) - form.tag_bytes, form.dtype.itemsize)
    if length < 0 or left:
        raise MalformedMessage(f"a vector with its tag cannot have {len(body)} bytes")
    return _take_vector(reader, length, form), _take_words(reader, form)


def vector_bytes(vector: Ring) -> bytes:
    """Little-endian words."""
    return vector.astype(vector.dtype.newbyteorder("<"), copy=False).tobytes()


@dataclass(frozen=True, slots=True)
class Hello:
    """Two public keys for one attempt, the head of the site's audit log, and an ML-KEM key if `post_quantum`."""

    seal_key: bytes
    mask_key: bytes
    audit_head: bytes
    kem_key: bytes = b""

    def pack(self) -> bytes:
        return self.seal_key + self.mask_key + self.audit_head + self.kem_key

    @classmethod
    def unpack(cls, body: bytes) -> "Hello":
        reader = _Reader(body, "a HELLO")
        keys = (reader.take(HASH_BYTES), reader.take(HASH_BYTES), reader.take(HASH_BYTES))
        hello = cls(*keys, reader.take(KEM_KEY_BYTES) if len(body) > 3 * HASH_BYTES else b"")
        reader.end()
        return hello


@dataclass(frozen=True, slots=True)
class Share:
    """What a dealer publishes of its shares: whom it dealt to, H(b_i), and two digests per holder.

    In modes without key shares the hash and the digests are empty: only the set is said.
    """

    self_seed_digest: bytes
    self_digests: Mapping[int, bytes]
    mask_digests: Mapping[int, bytes]

    def pack(self, roster: Roster) -> bytes:
        digests = (self.self_digests[holder] + self.mask_digests[holder] for holder in sorted(self.self_digests))
        return b"".join([pack_set(self.self_digests.keys(), roster), self.self_seed_digest, *digests])

    @classmethod
    def unpack(cls, body: bytes, roster: Roster, *, key_shares: bool = True) -> "Share":
        reader = _Reader(body, "a SHARE")
        holders = _take_set(reader, roster)
        size = HASH_BYTES if key_shares else 0
        self_seed = reader.take(size)
        digests = {holder: (reader.take(size), reader.take(size)) for holder in holders}
        reader.end()
        return cls(
            self_seed,
            {holder: pair[0] for holder, pair in digests.items()},
            {holder: pair[1] for holder, pair in digests.items()},
        )


@dataclass(frozen=True, slots=True, repr=False)
class DealtShares:
    """What one site gives another in a sealed box; in modes without key shares, its part of the tag key alone."""

    self_share: bytes
    mask_share: bytes
    tag_part: bytes

    def pack(self) -> bytes:
        return self.self_share + self.mask_share + self.tag_part

    @classmethod
    def unpack(cls, body: bytes, *, key_shares: bool = True) -> "DealtShares":
        reader = _Reader(body, "a dealt share")
        size = SHARE_BYTES if key_shares else 0
        dealt = cls(reader.take(size), reader.take(size), reader.take(HASH_BYTES))
        reader.end()
        return dealt


def addresses(sealed: bytes) -> tuple[int, int]:
    """Sender and receiver of a sealed box, before anything about it is checked."""
    return int.from_bytes(sealed[:2], "little"), int.from_bytes(sealed[2:4], "little")


def dealt_bytes(*, key_shares: bool) -> int:
    """Size of `DealtShares`."""
    return (2 * SHARE_BYTES if key_shares else 0) + HASH_BYTES


@dataclass(frozen=True, slots=True)
class SealedBox:
    """A sealed box with its addresses, as the relay carries it: dealt shares, or a part of a vector."""

    sender: int
    receiver: int
    box: bytes

    def pack(self) -> bytes:
        return u16(self.sender) + u16(self.receiver) + self.box

    @classmethod
    def unpack(cls, raw: bytes, *, holds: int) -> "SealedBox":
        """`holds`: how many bytes lie in the box."""
        if len(raw) != _SEALED_OVERHEAD + holds:
            raise MalformedMessage(f"a sealed box has {len(raw)} bytes; wanted {_SEALED_OVERHEAD + holds}")
        return cls(*addresses(raw), raw[4:])


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked vector and its masked tag: uniform words to whoever lacks one mask. The commitment binds the input."""

    vector: Ring
    tag: Words
    commitment: bytes

    def pack(self) -> bytes:
        return b"".join([vector_bytes(self.vector), words_bytes(self.tag, form_of(self.vector)), self.commitment])

    @classmethod
    def unpack(cls, body: bytes, *, length: int, form: Form = NARROW) -> "Masked":
        reader = _Reader(body, f"a MASKED of {length} coordinates")
        masked = cls(_take_vector(reader, length, form), _take_words(reader, form), reader.take(HASH_BYTES))
        reader.end()
        return masked


@dataclass(frozen=True, slots=True)
class Heads:
    """Per site whose vector the relay counts: the head and the signature of its MASKED."""

    signed: Mapping[int, tuple[bytes, bytes]]

    def pack(self, roster: Roster) -> bytes:
        listed = (head + signature for _, (head, signature) in sorted(self.signed.items()))
        return b"".join([pack_set(self.signed.keys(), roster), *listed])

    @classmethod
    def unpack(cls, body: bytes, roster: Roster) -> "Heads":
        reader = _Reader(body, "a HEADS")
        members = _take_set(reader, roster)
        signed = {index: (reader.take(HASH_BYTES), reader.take(SIGNATURE_BYTES)) for index in members}
        reader.end()
        return cls(signed)


@dataclass(frozen=True, slots=True)
class Survivors:
    """A site's word that it helps to open the sum over one set, and no other: the hash of that set's heads."""

    set_digest: bytes

    @classmethod
    def over(cls, heads: Mapping[int, bytes], roster: Roster) -> "Survivors":
        return cls(digest(b"survivors", pack_set(heads.keys(), roster), *(heads[index] for index in sorted(heads))))

    def pack(self) -> bytes:
        return self.set_digest

    @classmethod
    def unpack(cls, body: bytes) -> "Survivors":
        reader = _Reader(body, "a SURVIVORS")
        survivors = cls(reader.take(HASH_BYTES))
        reader.end()
        return survivors


@dataclass(frozen=True, slots=True, repr=False)
class Unmask:
    """One site's key shares: of b_v where v's vector counts, of rho_v where v vanished. Never both for one v."""

    self_shares: Mapping[int, bytes]
    mask_shares: Mapping[int, bytes]

    def __post_init__(self) -> None:
        if self.self_shares.keys() & self.mask_shares.keys():
            raise ValueError("both kinds of shares of one site would open its vector")

    def pack(self) -> bytes:
        listed = [(index, SELF_SHARE, share) for index, share in self.self_shares.items()]
        listed += [(index, MASK_SHARE, share) for index, share in self.mask_shares.items()]
        return b"".join(u8(kind) + share for _, kind, share in sorted(listed))

    @classmethod
    def unpack(cls, body: bytes, members: Iterable[int]) -> "Unmask":
        reader = _Reader(body, "an UNMASK")
        shares: dict[int, dict[int, bytes]] = {SELF_SHARE: {}, MASK_SHARE: {}}
        for member in sorted(members):
            kind = reader.take(1)[0]
            if kind not in shares:
                raise MalformedMessage("an UNMASK holds a share of neither kind")
            shares[kind][member] = reader.take(SHARE_BYTES)
        reader.end()
        return cls(shares[SELF_SHARE], shares[MASK_SHARE])


@dataclass(frozen=True, slots=True)
class Result:
    """The sum over the sites `members`, and the sum of their tags."""

    members: tuple[int, ...]
    total: Ring
    tag: Words

    def pack(self, roster: Roster) -> bytes:
        tag = words_bytes(self.tag, form_of(self.total))
        return b"".join([pack_set(self.members, roster), vector_bytes(self.total), tag])

    @classmethod
    def unpack(cls, body: bytes, roster: Roster, *, length: int, form: Form = NARROW) -> "Result":
        reader = _Reader(body, f"a RESULT of {length} coordinates")
        members = _take_set(reader, roster)
        result = cls(members, _take_vector(reader, length, form), _take_words(reader, form))
        reader.end()
        return result


@dataclass(frozen=True, slots=True)
class Close:
    """What a site saw: the hash of its RESULT, its audit head, and whether the tag held."""

    result_digest: bytes
    audit_head: bytes
    accepted: bool

    def pack(self) -> bytes:
        return self.result_digest + self.audit_head + u8(self.accepted)

    @classmethod
    def unpack(cls, body: bytes) -> "Close":
        reader = _Reader(body, "a CLOSE")
        result, head, verdict = reader.take(HASH_BYTES), reader.take(HASH_BYTES), reader.take(1)
        reader.end()
        if verdict not in (b"\0", b"\1"):
            raise MalformedMessage("a CLOSE with a verdict that is neither yes nor no")
        return cls(result, head, verdict == b"\1")
