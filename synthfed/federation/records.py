"""How a message is written: as canonical bytes, and as Flower's records. The one place that knows the latter.

A `RecordDict` holds one `ConfigRecord` (protocol and kind of the message) and one `ArrayRecord` of `uint8` arrays,
which Flower chunks and hashes once; bytes in a `ConfigRecord` it does not. Small fields travel together in one array,
because each array costs Flower more than its bytes; a large one travels alone, because Flower keeps an array that goes
to all sites once. Decoding is strict: another protocol number, another message, a missing, unknown or mistyped field
is `BadMessage`, and nothing of it is used.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from synthfed.federation.wire import BadMessage, M
from synthfed.secagg.evidence import Evidence

PROTOCOL = 2
_CONFIG, _ARRAYS, _FIELDS = "message", "arrays", "fields"
_ALONE = 16_384  # bytes from which a field travels in an array of its own
_PLAIN = (str, int, bool)


def to_record(message: Any) -> RecordDict:
    """Write a message of `wire` as Flower records."""
    parts = _parts_of(message)
    alone = {name: part for name, part in parts.items() if len(part) >= _ALONE}
    together = framed(b"" if name in alone else part for name, part in parts.items())
    arrays = {name: Array(np.frombuffer(part, dtype=np.uint8)) for name, part in {**alone, _FIELDS: together}.items()}
    config = ConfigRecord({"protocol": PROTOCOL, "kind": message.KIND})
    return RecordDict({_CONFIG: config, _ARRAYS: ArrayRecord(arrays)})


def from_record(record: RecordDict, kind: type[M]) -> M:
    """Read a message of the wanted kind.

    Raises:
        BadMessage: Anything but exactly that message in this protocol.
    """
    config, arrays = record.get(_CONFIG), record.get(_ARRAYS)
    if not isinstance(config, ConfigRecord) or not isinstance(arrays, ArrayRecord) or len(record) != 2:
        raise BadMessage("a message has one record of its kind and one of arrays; found other records")
    if dict(config) != {"protocol": PROTOCOL, "kind": _kind(kind)}:
        raise BadMessage(
            f"found protocol {config.get('protocol')!r}, message {config.get('kind')!r}; "
            f"wanted protocol {PROTOCOL}, message {_kind(kind)!r}: run the same synthfed everywhere"
        )
    alone = {name: _bytes_of(array, name) for name, array in arrays.items()}
    together = split_frames(alone.pop(_FIELDS, b""), _FIELDS)
    if len(together) != len(_shape(kind)):
        raise BadMessage(f"message {_kind(kind)!r} has missing or unknown fields")
    parts = dict(zip(_shape(kind), together, strict=True))
    for name, raw in alone.items():
        if parts.get(name) != b"" or len(raw) < _ALONE:
            raise BadMessage(f"message {_kind(kind)!r} has an array {name!r} that is no large field of it")
    if any(len(part) >= _ALONE for part in together):
        raise BadMessage(f"message {_kind(kind)!r} has a large field among the small ones")
    return _message({**parts, **alone}, kind)


def kind_of(record: RecordDict) -> str:
    """The name of the message inside, empty when there is none."""
    found = record.get(_CONFIG)
    kind = found.get("kind", "") if isinstance(found, ConfigRecord) else ""
    return kind if isinstance(kind, str) else ""


def size(record: RecordDict) -> int:
    """Payload bytes: those of every array."""
    return sum(
        int(np.prod(array.shape, dtype=np.int64))
        for part in record.values()
        if isinstance(part, ArrayRecord)
        for array in part.values()
    )


def pack(message: Any) -> bytes:
    """Canonical bytes of a message: what a site stores and what a request is recognised by."""
    return framed((message.KIND.encode(), *_parts_of(message).values()))


def unpack(raw: bytes, kind: type[M]) -> M:
    """Undo `pack`.

    Raises:
        BadMessage: The bytes hold another message.
    """
    named, *parts = split_frames(raw, "packed message") or (b"",)
    if named != _kind(kind).encode() or len(parts) != len(_shape(kind)):
        raise BadMessage("the stored bytes hold another message")
    return _message(dict(zip(_shape(kind), parts, strict=True)), kind)


def fingerprint(message: Any) -> bytes:
    """SHA-256 of a message's canonical bytes: the same request has the same fingerprint, and only it."""
    return hashlib.sha256(b"synthfed/wire/v1\0" + pack(message)).digest()


def pack_evidence(evidence: Evidence) -> bytes:
    """What a relay received and opened in one attempt, as one run of bytes."""
    opened = [part for index, key in sorted(evidence.opened.items()) for part in (struct.pack("<Q", index), key)]
    return framed((framed(evidence.masked), framed(opened)))


def read_evidence(raw: bytes) -> Evidence:
    """Undo `pack_evidence`.

    Raises:
        BadMessage: The bytes are none.
    """
    outer = split_frames(raw, "evidence")
    if len(outer) != 2:
        raise BadMessage("evidence is missing, though this run's sums are added up by every site")
    opened = split_frames(outer[1], "evidence")
    if len(opened) % 2 or any(len(index) != 8 for index in opened[::2]):
        raise BadMessage("evidence names a key without its site")
    indices = [struct.unpack("<Q", index)[0] for index in opened[::2]]
    return Evidence(split_frames(outer[0], "evidence"), dict(zip(indices, opened[1::2], strict=True)))


def enrol_statement(manifest: str, site: str, node_id: int) -> bytes:
    """What a site signs on enrolment: this run, this name, this node."""
    return framed((b"synthfed/enrol/v1", manifest.encode(), site.encode(), str(node_id).encode()))


def framed(items: Iterable[bytes]) -> bytes:
    """Each item after its length (u64, little-endian)."""
    return b"".join(part for item in items for part in (struct.pack("<Q", len(item)), item))


def split_frames(raw: bytes, name: str) -> tuple[bytes, ...]:
    """Undo `framed`.

    Raises:
        BadMessage: The bytes of `name` are none.
    """
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


def _shape(kind: type) -> dict[str, Any]:
    """Fields and their types, in order."""
    found = _SHAPES.get(kind)
    if found is None:
        hints = get_type_hints(kind)
        found = _SHAPES[kind] = {field.name: hints[field.name] for field in fields(kind)}
    return found


_SHAPES: dict[type, dict[str, Any]] = {}


def _kind(kind: type) -> str:
    return str(getattr(kind, "KIND"))  # noqa: B009 - a ClassVar of every message, invisible to the type variable


def _parts_of(message: Any) -> dict[str, bytes]:
    """Each field as its canonical bytes."""
    return {name: _written(getattr(message, name), hint) for name, hint in _shape(type(message)).items()}


def _message(parts: Mapping[str, bytes], kind: type[M]) -> M:
    return kind(**{name: _read(part, _shape(kind)[name], name) for name, part in parts.items()})


def _written(value: Any, hint: Any) -> bytes:
    if hint is bytes:
        return bytes(value)
    if hint == tuple[bytes, ...]:
        return framed(value)
    if hint == tuple[int, ...]:
        return struct.pack(f"<{len(value)}Q", *value)
    return json.dumps(value).encode()


def _read(raw: bytes, hint: Any, name: str) -> Any:
    if hint is bytes:
        return raw
    if hint == tuple[bytes, ...]:
        return split_frames(raw, name)
    if hint == tuple[int, ...]:
        if len(raw) % 8:
            raise BadMessage(f"field {name!r} is not a list of 64-bit numbers")
        return struct.unpack(f"<{len(raw) // 8}Q", raw)
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise BadMessage(f"field {name!r} is not a {hint.__name__}") from error
    if type(value) is not hint or _written(value, hint) != raw:
        raise BadMessage(f"field {name!r} has another type than {hint.__name__}, or another spelling")
    return value


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
