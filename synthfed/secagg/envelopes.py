"""The envelope of every message: who says what to whom, about which attempt, and under whose signature.

An envelope has 40 bytes ("SA1", type u8, sender u16, receiver u16, context 32), then the body, then an Ed25519
signature of 64 bytes over the framed type, context, sender, receiver and body. In MASKED the head, which is the hash of
the body, is signed in place of the body, so that sites can check each other's signature without the vectors. A party
with a second key in the roster writes "SA2" and signs twice; see `signatures`.

`read` is the only way from bytes to a message: it checks form, context, sender and signature before anybody looks at
the body.
"""

from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature

from synthfed.secagg.contexts import digest, lp, u8, u16
from synthfed.secagg.refusals import BadSignature, MalformedMessage, WrongContext
from synthfed.secagg.roster import ALL, RELAY, Roster
from synthfed.secagg.signatures import SECOND_SIGNATURE_BYTES, SIGNATURE_BYTES, Signer, verify

_ONE, _TWO = b"SA1", b"SA2"  # signed once, signed twice
_DOMAIN = b"synthfed/secagg/v1/envelope"
ENVELOPE_BYTES = 40


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
    COMPLAINT = 9


_RECEIVER = {kind: RELAY if kind in (Kind.MASKED, Kind.UNMASK) else ALL for kind in Kind}
_FROM_RELAY = frozenset({Kind.HEADS, Kind.RESULT})


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message whose form, context, sender and signature were checked."""

    kind: Kind
    sender: int
    body: bytes
    signature: bytes


def write(kind: Kind, *, context: bytes, sender: int, body: bytes, identity: Signer) -> bytes:
    """Frame and sign one message."""
    signature = identity.sign(_signed_bytes(kind, context, sender, _to_sign(kind, body)))
    magic = _ONE if len(signature) == SIGNATURE_BYTES else _TWO
    return b"".join([magic, u8(kind), u16(sender), u16(_RECEIVER[kind]), context, body, signature])


def read(raw: bytes, *, kind: Kind, context: bytes, roster: Roster) -> Envelope:
    """Check one message against the roster and the context that the reader computed itself.

    Raises:
        MalformedMessage: Too short, another type, or another receiver than this type has.
        WrongContext: Made for another context.
        UnknownSender: The roster does not name the sender, or this type is not the sender's to send.
        BadSignature: Not signed by the sender's key in the roster.
    """
    if raw[:3] not in (_ONE, _TWO) or len(raw) < ENVELOPE_BYTES + _signature_bytes(raw):
        raise MalformedMessage(f"{len(raw)} bytes that are no message of this protocol; wanted a {kind.name}")
    if raw[3] != kind or int.from_bytes(raw[6:8], "little") != _RECEIVER[kind]:
        raise MalformedMessage(f"a message of type {raw[3]}; wanted {kind.name} ({kind.value}) to its receiver")
    if raw[8:ENVELOPE_BYTES] != context:
        raise WrongContext(
            f"a {kind.name} of another run, round, attempt, roster, configuration, layout or model; "
            "all parties must hold the same manifest and model"
        )
    sender = claimed_sender(raw)
    body, signature = body_of(raw), signature_of(raw)
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
        BadSignature: The signature, or one of two, is not the sender's.
    """
    if kind in _FROM_RELAY:
        keys, name = (roster.relay_key, roster.relay_second_key), "the relay"
    else:
        member = roster.at(sender)  # the relay has no place in the roster, so it cannot speak as a site
        keys, name = (member.public_key, member.second_key), f"site {member.site!r}"
    try:
        verify(*keys, signature, _signed_bytes(kind, context, sender, signed))
    except InvalidSignature as error:
        raise BadSignature(f"a {kind.name} in the name of {name} is not signed with its key in the roster") from error


def claimed_sender(raw: bytes) -> int:
    """Whom a message says it is from, before anything about it is checked."""
    return int.from_bytes(raw[4:6], "little")


def body_of(raw: bytes) -> bytes:
    """The body of a message that `read` has checked before."""
    return raw[ENVELOPE_BYTES : -_signature_bytes(raw)]


def signature_of(raw: bytes) -> bytes:
    """The signature of a message, or both."""
    return raw[-_signature_bytes(raw) :]


def _signature_bytes(raw: bytes) -> int:
    return SIGNATURE_BYTES + (SECOND_SIGNATURE_BYTES if raw[:3] == _TWO else 0)


def head_of(masked_body: bytes) -> bytes:
    """The hash of a MASKED body: it stands for the vector, the tag and the commitment."""
    return digest(b"head", masked_body)


def _to_sign(kind: Kind, body: bytes) -> bytes:
    return head_of(body) if kind == Kind.MASKED else body


def _signed_bytes(kind: Kind, context: bytes, sender: int, signed: bytes) -> bytes:
    return lp(_DOMAIN, u8(kind), context, u16(sender), u16(_RECEIVER[kind]), signed)
