"""The messages of one attempt, byte by byte: who says what to whom, and what is refused on reading.

Every body travels in a signed envelope: see `envelopes`. How sets, tags and vectors are written: see `fields`.

| message | from -> to | context | body |
|---|---|---|---|
| HELLO | site -> all | ctx0 | S_i 32, audit head 32, per other site of the roster E_ij 32 |
| SHARE | site -> all | ctx0 | bitmap of U0, H(kappa_i), H(b_i), per site of U0: H(box), H(share of b_i), H(of rho_i) |
| (sealed share) | site -> site | ctx0 | sender u16, receiver u16, nonce 12, box (shares of b_i, rho_i 66, kappa_i 32) |
| (sealed part) | site -> site | ctx1 | sender u16, receiver u16, nonce 12, box (part of vector and tag 4d + 20) |
| COMPLAINT | site -> all | ctx0 | dealer u16, e_ji 32, the dealer's sealed share for the sender |
| MASKED | site -> relay | ctx1 | y_i 4d, five tag words 20, commitment 32 |
| HEADS | relay -> all | ctx1 | bitmap of U2, per site of U2 the head 32 and the signature 64 of its MASKED |
| SURVIVORS | site -> all | ctx1 | H(U2 and the heads of its sites) 32 |
| UNMASK | site -> relay | ctx1 | per site of U1: kind u8, share 33 |
| RESULT | relay -> all | ctx1 | bitmap of U2, z 4d, five tag words 20 |
| CLOSE | site -> all | ctx1 | H(RESULT) 32, audit head 32, verdict u8 |

Modes without key shares leave out H(b_i), its digests and the shares; modulo 2**64 a vector has 8d bytes, a tag 16.
Sealed boxes carry no signature of their own: the dealer's SHARE signs their hashes. SURVIVORS exist only in an attempt
that lost a site after its SHARE: see `release`. COMPLAINT exists only if a site lied: see `complaints`.

Decoders are strict: one message has one encoding. They refuse other lengths, stray bits in a bitmap, words outside
their prime and unknown types; and every signature is checked before the content is used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from synthfed.secagg.contexts import digest, u8, u16
from synthfed.secagg.envelopes import (
    Envelope,
    Kind,
    body_of,
    claimed_sender,
    head_of,
    read,
    require_signature,
    signature_of,
    write,
)
from synthfed.secagg.fields import (
    Reader,
    pack_set,
    split_vector_and_tag,
    take_set,
    take_vector,
    take_words,
    vector_bytes,
    words_bytes,
)
from synthfed.secagg.refusals import MalformedMessage
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import Roster
from synthfed.secagg.shamir import SHARE_BYTES
from synthfed.secagg.signatures import signature_bytes
from synthfed.secagg.tag import NARROW, Form, Words, form_of

__all__ = [
    "Close",
    "Complaint",
    "DealtShares",
    "Envelope",
    "Heads",
    "Hello",
    "Kind",
    "Masked",
    "Result",
    "SealedBox",
    "Share",
    "Survivors",
    "Unmask",
    "addresses",
    "body_of",
    "claimed_sender",
    "dealer_of",
    "dealt_bytes",
    "head_of",
    "pack_set",
    "read",
    "require_signature",
    "signature_of",
    "split_vector_and_tag",
    "vector_bytes",
    "words_bytes",
    "write",
]

HASH_BYTES = 32
KEM_KEY_BYTES = 1184
SEALED_OVERHEAD = 2 + 2 + 12 + 16

SELF_SHARE = 1  # kind of a share in UNMASK: of b_v, for a site whose vector counts
MASK_SHARE = 2  # of rho_v, for a site that vanished


@dataclass(frozen=True, slots=True)
class Hello:
    """A site's public keys for one attempt and the head of its audit log.

    Attributes:
        mask_key: S_i.
        seal_keys: E_ij per other site j of the roster; one pair each, so that a complaint opens one pair's boxes.
        kem_key: ML-KEM-768 key, if `post_quantum`.
    """

    mask_key: bytes
    audit_head: bytes
    seal_keys: Mapping[int, bytes]
    kem_key: bytes = b""

    def pack(self) -> bytes:
        keys = (self.seal_keys[peer] for peer in sorted(self.seal_keys))
        return b"".join([self.mask_key, self.audit_head, *keys, self.kem_key])

    @classmethod
    def unpack(cls, body: bytes, roster: Roster, sender: int) -> "Hello":
        reader = Reader(body, "a HELLO")
        mask_key, audit_head = reader.take(HASH_BYTES), reader.take(HASH_BYTES)
        peers = [member.index for member in roster.members if member.index != sender]
        seal_keys = dict(zip(peers, reader.take_rows(len(peers), HASH_BYTES), strict=True))
        hello = cls(mask_key, audit_head, seal_keys, reader.take(KEM_KEY_BYTES) if reader.left() else b"")
        reader.end()
        return hello


@dataclass(frozen=True, slots=True)
class Share:
    """What a dealer publishes of what it dealt, so that nobody can take it back later.

    Attributes:
        tag_part_digest: H(kappa_i).
        box_digests: Per site of U0 the hash of the box sealed for it; of no bytes at all for the dealer itself.
        self_seed_digest: H(b_i); empty, as the two maps' values below, in modes without key shares.
        self_digests, mask_digests: Per site of U0 the hash of its share of b_i and of rho_i.
    """

    tag_part_digest: bytes
    box_digests: Mapping[int, bytes]
    self_seed_digest: bytes
    self_digests: Mapping[int, bytes]
    mask_digests: Mapping[int, bytes]

    def pack(self, roster: Roster) -> bytes:
        digests = (
            self.box_digests[holder] + self.self_digests[holder] + self.mask_digests[holder]
            for holder in sorted(self.box_digests)
        )
        dealt_to = pack_set(self.box_digests.keys(), roster)
        return b"".join([dealt_to, self.tag_part_digest, self.self_seed_digest, *digests])

    @classmethod
    def unpack(cls, body: bytes, roster: Roster, *, key_shares: bool = True) -> "Share":
        reader = Reader(body, "a SHARE")
        holders = take_set(reader, roster)
        size = HASH_BYTES if key_shares else 0
        tag_part, self_seed = reader.take(HASH_BYTES), reader.take(size)
        rows = reader.take_rows(len(holders), HASH_BYTES + 2 * size)
        reader.end()
        box, self_share, mask_share = (
            {holder: row[start:end] for holder, row in zip(holders, rows, strict=True)}
            for start, end in ((0, HASH_BYTES), (HASH_BYTES, HASH_BYTES + size), (HASH_BYTES + size, None))
        )
        return cls(tag_part, box, self_seed, self_share, mask_share)


@dataclass(frozen=True, slots=True, repr=False)
class Complaint:
    """One site's proof that a box which a dealer published holds something else than the dealer published.

    Attributes:
        dealer: Whose box it is.
        seal_private: e_ji, the complainer's half of the pair's sealing key: who knows it opens the pair's boxes.
        pair_key: What psk_ij gives this attempt, if `post_quantum`.
        box: As it came.
    """

    dealer: int
    seal_private: bytes
    pair_key: bytes
    box: bytes

    def pack(self) -> bytes:
        return u16(self.dealer) + self.seal_private + self.pair_key + self.box

    @classmethod
    def unpack(cls, body: bytes, *, box_bytes: int, post_quantum: bool = False) -> "Complaint":
        """`box_bytes`: how many bytes a box of that dealer for that site has."""
        reader = Reader(body, "a COMPLAINT")
        dealer = int.from_bytes(reader.take(2), "little")
        keys = reader.take(HASH_BYTES), reader.take(HASH_BYTES if post_quantum else 0)
        complaint = cls(dealer, *keys, reader.take(box_bytes))
        reader.end()
        return complaint


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
        reader = Reader(body, "a dealt share")
        size = SHARE_BYTES if key_shares else 0
        dealt = cls(reader.take(size), reader.take(size), reader.take(HASH_BYTES))
        reader.end()
        return dealt


def dealer_of(complaint_body: bytes) -> int:
    """Whom a COMPLAINT is about, before anything about it is checked."""
    return int.from_bytes(complaint_body[:2], "little")


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
        if len(raw) != SEALED_OVERHEAD + holds:
            raise MalformedMessage(f"a sealed box has {len(raw)} bytes; wanted {SEALED_OVERHEAD + holds}")
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
        reader = Reader(body, f"a MASKED of {length} coordinates")
        masked = cls(take_vector(reader, length, form), take_words(reader, form), reader.take(HASH_BYTES))
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
        reader = Reader(body, "a HEADS")
        members = take_set(reader, roster)
        signed = {
            index: (reader.take(HASH_BYTES), reader.take(signature_bytes(roster.at(index).second_key)))
            for index in members
        }
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
        reader = Reader(body, "a SURVIVORS")
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
        reader = Reader(body, "an UNMASK")
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
        reader = Reader(body, f"a RESULT of {length} coordinates")
        members = take_set(reader, roster)
        result = cls(members, take_vector(reader, length, form), take_words(reader, form))
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
        reader = Reader(body, "a CLOSE")
        result, head, verdict = reader.take(HASH_BYTES), reader.take(HASH_BYTES), reader.take(1)
        reader.end()
        if verdict not in (b"\0", b"\1"):
            raise MalformedMessage("a CLOSE with a verdict that is neither yes nor no")
        return cls(result, head, verdict == b"\1")
