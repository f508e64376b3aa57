"""The messages between coordinator and sites, as frozen values, and the one place that knows Flower's records.

A message becomes a `RecordDict` with one `ConfigRecord` (numbers and short texts) and one `ArrayRecord` (every blob
as `uint8`: arrays are chunked and hashed once, `ConfigRecord` bytes are not). Nothing else travels: no metric, no
number of examples, no loss, no text of an exception. Decoding is strict: another protocol number, another message,
a missing, unknown or mistyped field is `BadMessage`, and nothing of it is used.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar, get_type_hints

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from synthfed.errors import FederationError
from synthfed.secagg.evidence import Evidence

PROTOCOL = 1
_CONFIG = "message"
_BLOBS = "blobs"


class BadMessage(FederationError):
    """A message that does not decode: another protocol, kind, field or size than the wire knows."""


@dataclass(frozen=True, slots=True)
class EnrolRequest:
    """`query.enrol`: the signed run manifest; the site checks it and reserves the whole run's budget."""

    KIND: ClassVar[str] = "enrol"
    manifest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class EnrolReply:
    """Who answers, in which versions, and how far this run went at the site.

    Attributes:
        signature: Ed25519 of the site's identity key over `enrol_statement`: identity is this, not the node id.
    """

    KIND: ClassVar[str] = "enrol.reply"
    site: str
    versions: str
    last_round: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class HelloRequest:
    """`query.hello`: ask for a round's public keys, of all sites at the start, later of a site that comes back."""

    KIND: ClassVar[str] = "hello"
    manifest: str
    round_index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class HelloReply:
    """A HELLO envelope."""

    KIND: ClassVar[str] = "hello.reply"
    hello: bytes


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """`query.share`: the HELLOs of a round, to all sites at the start, later to a site that comes back."""

    KIND: ClassVar[str] = "share"
    manifest: str
    round_index: int
    attempt: int
    hellos: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ShareReply:
    """A public SHARE envelope and one sealed envelope per peer, `sealed_to` naming the peers' roster indices."""

    KIND: ClassVar[str] = "share.reply"
    share: bytes
    sealed_to: tuple[int, ...]
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """`train.round`, trip A: the model, the result of the round before, and the key shares of this round.

    Attributes:
        model: float32, little-endian, in the generator's tensor order.
        result: RESULT of round `round_index - 1`; empty in round 0. Its tag is checked before training, by every site
            that helped to open it.
        evidence: What lets the site add up that sum itself (`pack_evidence`); empty unless the run says `recompute`.
        shares: Public SHARE envelopes of all sites that take part.
        sealed: Sealed envelopes addressed to this site.
    """

    KIND: ClassVar[str] = "round"
    manifest: str
    round_index: int
    attempt: int
    model: bytes
    result: bytes
    evidence: bytes
    shares: tuple[bytes, ...]
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RoundReply:
    """MASKED of this round, or sealed parts of the vector by receiver; and HELLO of the next (empty after the last).

    Attributes:
        masked: Empty in modes with parts.
        parts_to, parts: Empty in modes with masks; of parts that went by direct links, none.
        complaint: COMPLAINT instead of all of these, where a dealer lied to this site; else empty.
    """

    KIND: ClassVar[str] = "round.reply"
    complaint: bytes
    masked: bytes
    parts_to: tuple[int, ...]
    parts: tuple[bytes, ...]
    hello: bytes


@dataclass(frozen=True, slots=True)
class PartsRequest:
    """`query.parts`, trip B in modes with parts: the parts that the others sealed for this site; HELLOs of the next.

    Attributes:
        dealers: Roster indices of the sites whose vectors are added up, this one included.
        parts: One per other dealer; those that came by a direct link may be missing.
    """

    KIND: ClassVar[str] = "parts"
    manifest: str
    round_index: int
    attempt: int
    dealers: tuple[int, ...]
    parts: tuple[bytes, ...]
    hellos: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PartsReply:
    """MASKED: the sum of the parts held; SHARE of the next round (empty after the last)."""

    KIND: ClassVar[str] = "parts.reply"
    masked: bytes
    share: bytes
    sealed_to: tuple[int, ...]
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ShowRequest:
    """`query.show`, once per hybrid run: ask for the site's public key of the run."""

    KIND: ClassVar[str] = "show"
    manifest: str


@dataclass(frozen=True, slots=True)
class ShowReply:
    """The signed key."""

    KIND: ClassVar[str] = "show.reply"
    shown: bytes


@dataclass(frozen=True, slots=True)
class OfferRequest:
    """`query.offer`: the keys of all sites, in roster order."""

    KIND: ClassVar[str] = "offer"
    manifest: str
    shown: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class OfferReply:
    """A sealed, signed pair key for each site of a higher roster index."""

    KIND: ClassVar[str] = "offer.reply"
    receivers: tuple[int, ...]
    offers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """`query.accept`: the offers for this site, by rising roster index of their senders."""

    KIND: ClassVar[str] = "accept"
    manifest: str
    senders: tuple[int, ...]
    offers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AcceptReply:
    """How many pair keys were opened."""

    KIND: ClassVar[str] = "accept.reply"
    accepted: int


@dataclass(frozen=True, slots=True)
class SurvivorsRequest:
    """`query.survivors`, trip B', only after a drop: HEADS of the sites whose vectors count."""

    KIND: ClassVar[str] = "survivors"
    manifest: str
    round_index: int
    attempt: int
    heads: bytes


@dataclass(frozen=True, slots=True)
class SurvivorsReply:
    """SURVIVORS: this site's word on that very set."""

    KIND: ClassVar[str] = "survivors.reply"
    survivors: bytes


@dataclass(frozen=True, slots=True)
class UnmaskRequest:
    """`query.unmask`, trip B: HEADS of this round, or after a drop the SURVIVORS; HELLOs of the next (none at last).

    Attributes:
        heads: Empty after a drop: the site has them from trip B'.
        survivors: Empty when nobody was lost.
    """

    KIND: ClassVar[str] = "unmask"
    manifest: str
    round_index: int
    attempt: int
    heads: bytes
    survivors: tuple[bytes, ...]
    hellos: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class UnmaskReply:
    """UNMASK of this round, SHARE of the next (empty after the last)."""

    KIND: ClassVar[str] = "unmask.reply"
    unmask: bytes
    share: bytes
    sealed_to: tuple[int, ...]
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """`query.close`: RESULT of the last round, and its evidence where the run says `recompute`."""

    KIND: ClassVar[str] = "close"
    manifest: str
    round_index: int
    attempt: int
    result: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class CloseReply:
    """CLOSE envelope (empty if the site was away from the last sum) and the ledger's export: no count, no loss."""

    KIND: ClassVar[str] = "close.reply"
    close: bytes
    ledger: bytes


@dataclass(frozen=True, slots=True)
class SettleRequest:
    """`query.settle`: everybody's CLOSE, so that each site sees that all saw the same last result."""

    KIND: ClassVar[str] = "settle"
    manifest: str
    closes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SettleReply:
    """The run is over at this site; its audit chain (JSON lines)."""

    KIND: ClassVar[str] = "settle.reply"
    audit: bytes


# Why a site may say no. A refusal carries the code alone; the words are added where they are read, so that no
# exception text and no value of a row can leave through it.
REFUSALS: Mapping[str, str] = {
    "message": "the message did not decode; the coordinator may run another version",
    "site": "the site's folder, keys or pinned roster cannot be used",
    "busy": "another message of this run is still being worked on",
    "manifest": "the run manifest is unknown, altered, or not signed by the roster's relay key",
    "roster": "the run names another roster than the pinned one",
    "versions": "the run was made by another version of synthfed",
    "policy.pipelines": "the pipeline is not among the policy's allowed pipelines",
    "policy.min_sites": "fewer sites than the policy demands",
    "policy.max_rounds": "more rounds than the policy allows",
    "policy.max_steps": "more private steps than the policy allows",
    "policy.max_missing": "sums may be opened without more sites than the policy allows",
    "policy.delta": "a larger delta than the policy allows",
    "policy.epsilon_run": "more would be lost in one run than the policy allows",
    "policy.epsilon_local": "with shared noise, more would be lost to all other sites together than the policy allows",
    "policy.questions": "the policy allows no more question runs",
    "policy.exact_answers": "the policy allows no answers without noise",
    "policy.direct": "sealed parts would go straight to and from the other sites, which the policy does not allow",
    "policy.allow_seeded": "seeded noise is not allowed by the policy, it protects nobody",
    "holdout": "patients would be scored as held out who train in another run of the site, or the other way round",
    "budget": "with what was charged before, more would be lost than the policy allows in all runs (epsilon_total)",
    "ledger": "the privacy ledger is missing, altered or restored from an old copy",
    "replay": "this stage was already answered for another request",
    "parts": "a sealed part is missing that came by a direct link, or should have",
    "order": "the message does not follow the site's last stage",
    "secagg": "the secure sum's rules forbid the answer",
    "data": "the site's rows do not fit the run's layout, or are too few",
    "training": "training at the site cannot go on",
    "internal": "the site's app failed",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A site's no, by a code of `REFUSALS`."""

    KIND: ClassVar[str] = "refusal"
    code: str

    def __post_init__(self) -> None:
        if self.code not in REFUSALS:
            raise BadMessage("a refusal carries a code outside the closed table")


M = TypeVar("M")
_PLAIN = (str, int, bool)


def to_record(message: Any) -> RecordDict:
    """Write a message of this module as Flower records."""
    config: dict[str, Any] = {"protocol": PROTOCOL, "kind": message.KIND}
    blobs: dict[str, Array] = {}
    for name, kind in _shape(type(message)).items():
        value = getattr(message, name)
        if kind is bytes:
            blobs[name] = _array(value)
        elif kind == tuple[bytes, ...]:
            blobs[name] = _array(_framed(value))
        elif kind == tuple[int, ...]:
            blobs[name] = _array(struct.pack(f"<{len(value)}Q", *value))
        else:
            config[name] = value
    records: dict[str, Any] = {_CONFIG: ConfigRecord(config)}
    if blobs:
        records[_BLOBS] = ArrayRecord(blobs)
    return RecordDict(records)


def from_record(record: RecordDict, kind: type[M]) -> M:
    """Read a message of the wanted kind.

    Raises:
        BadMessage: Anything but exactly that message in this protocol.
    """
    shape = _shape(kind)
    config, blobs = _parts(record)
    wanted = getattr(kind, "KIND")  # noqa: B009 - a ClassVar of every message, invisible to the type variable
    if config.get("protocol") != PROTOCOL or config.get("kind") != wanted:
        raise BadMessage(
            f"found protocol {config.get('protocol')!r}, message {config.get('kind')!r}; "
            f"wanted protocol {PROTOCOL}, message {wanted!r}: run the same synthfed everywhere"
        )
    plain = {name for name, hint in shape.items() if hint in _PLAIN}
    if set(config) != plain | {"protocol", "kind"} or set(blobs) != set(shape) - plain:
        raise BadMessage(f"message {wanted!r} has missing or unknown fields")
    values: dict[str, Any] = {}
    for name, hint in shape.items():
        if hint in _PLAIN:
            if type(config[name]) is not hint:
                raise BadMessage(f"field {name!r} of message {wanted!r} has another type than {hint.__name__}")
            values[name] = config[name]
            continue
        values[name] = _blob(_bytes_of(blobs[name], name), hint, name)
    return kind(**values)


def kind_of(record: RecordDict) -> str:
    """The name of the message inside, empty when there is none."""
    found = record.get(_CONFIG)
    kind = found.get("kind", "") if isinstance(found, ConfigRecord) else ""
    return kind if isinstance(kind, str) else ""


def size(record: RecordDict) -> int:
    """Payload bytes: every blob, and eight bytes or the text per plain field."""
    total = 0
    for part in record.values():
        if isinstance(part, ArrayRecord):
            total += sum(int(np.prod(array.shape, dtype=np.int64)) for array in part.values())
        elif isinstance(part, ConfigRecord):
            total += sum(len(value.encode()) if isinstance(value, str) else 8 for value in part.values())
    return total


def pack(message: Any) -> bytes:
    """Canonical bytes of a message: what a site stores and what a request is recognised by."""
    parts = [message.KIND.encode()]
    for name, kind in _shape(type(message)).items():
        value = getattr(message, name)
        if kind == tuple[bytes, ...]:
            value = _framed(value)
        elif kind == tuple[int, ...]:
            value = struct.pack(f"<{len(value)}Q", *value)
        elif kind is not bytes:
            value = json.dumps(value).encode()
        parts.append(value)
    return _framed(parts)


def unpack(raw: bytes, kind: type[M]) -> M:
    """Undo `pack`.

    Raises:
        BadMessage: The bytes hold another message.
    """
    shape = _shape(kind)
    parts = _items(raw, "packed message")
    if len(parts) != len(shape) + 1 or parts[0] != getattr(kind, "KIND").encode():  # noqa: B009 - see from_record
        raise BadMessage("the stored bytes hold another message")
    values: dict[str, Any] = {}
    for (name, hint), part in zip(shape.items(), parts[1:], strict=True):
        values[name] = _blob(part, hint, name) if hint not in _PLAIN else json.loads(part)
    return kind(**values)


def fingerprint(message: Any) -> bytes:
    """SHA-256 of a message's canonical bytes: the same request has the same fingerprint, and only it."""
    return hashlib.sha256(b"synthfed/wire/v1\0" + pack(message)).digest()


def pack_evidence(evidence: Evidence) -> bytes:
    """What a relay received and opened in one attempt, as one run of bytes."""
    opened = [part for index, key in sorted(evidence.opened.items()) for part in (struct.pack("<Q", index), key)]
    return _framed((_framed(evidence.masked), _framed(opened)))


def read_evidence(raw: bytes) -> Evidence:
    """Undo `pack_evidence`.

    Raises:
        BadMessage: The bytes are none.
    """
    outer = _items(raw, "evidence")
    if len(outer) != 2:
        raise BadMessage("evidence is missing, though this run's sums are added up by every site")
    opened = _items(outer[1], "evidence")
    if len(opened) % 2 or any(len(index) != 8 for index in opened[::2]):
        raise BadMessage("evidence names a key without its site")
    indices = [struct.unpack("<Q", index)[0] for index in opened[::2]]
    return Evidence(_items(outer[0], "evidence"), dict(zip(indices, opened[1::2], strict=True)))


def enrol_statement(manifest: str, site: str, node_id: int) -> bytes:
    """What a site signs on enrolment: this run, this name, this node."""
    return _framed((b"synthfed/enrol/v1", manifest.encode(), site.encode(), str(node_id).encode()))


def _shape(kind: type) -> dict[str, Any]:
    found = _SHAPES.get(kind)
    if found is None:
        hints = get_type_hints(kind)
        found = _SHAPES[kind] = {field.name: hints[field.name] for field in fields(kind)}
    return found


_SHAPES: dict[type, dict[str, Any]] = {}


def _array(raw: bytes) -> Array:
    return Array(np.frombuffer(raw, dtype=np.uint8))


def _parts(record: RecordDict) -> tuple[ConfigRecord, Mapping[str, Array]]:
    config = record.get(_CONFIG)
    blobs = record.get(_BLOBS)
    if not isinstance(config, ConfigRecord) or set(record) - {_CONFIG, _BLOBS}:
        raise BadMessage("a message has one record of plain fields and one of blobs; found other records")
    if blobs is None:
        return config, {}
    if not isinstance(blobs, ArrayRecord):
        raise BadMessage("the blobs of a message are not an array record")
    return config, blobs


def _bytes_of(array: Array, name: str) -> bytes:
    if array.dtype != "uint8" or array.stype != "numpy.ndarray" or len(array.shape) != 1:
        raise BadMessage(f"field {name!r} is not a plain run of bytes")
    try:
        values = array.numpy()
    except (ValueError, OSError, EOFError) as error:
        raise BadMessage(f"field {name!r} cannot be read as an array") from error
    if values.dtype != np.uint8 or values.shape != tuple(array.shape):
        raise BadMessage(f"field {name!r} has another size than it declares")
    return values.tobytes()


def _blob(raw: bytes, hint: Any, name: str) -> Any:
    if hint is bytes:
        return raw
    if hint == tuple[bytes, ...]:
        return _items(raw, name)
    if len(raw) % 8:
        raise BadMessage(f"field {name!r} is not a list of 64-bit numbers")
    return struct.unpack(f"<{len(raw) // 8}Q", raw)


def _framed(items: Iterable[bytes]) -> bytes:
    return b"".join(part for item in items for part in (struct.pack("<Q", len(item)), item))


def _items(raw: bytes, name: str) -> tuple[bytes, ...]:
    items, at = [], 0
    while at < len(raw):
        if at + 8 > len(raw):
            raise BadMessage(f"field {name!r} ends inside a length")
        (length,) = struct.unpack_from("<Q", raw, at)
        at += 8
        if length > len(raw) - at:
            raise BadMessage(f"field {name!r} ends inside an item")
        items.append(raw[at : at + length])
        at += length
    return tuple(items)
