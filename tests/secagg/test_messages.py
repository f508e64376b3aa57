"""Every message has one encoding; any other bytes are refused, and with the right words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import SecAggError
from synthfed.secagg import messages
from synthfed.secagg.messages import Kind
from synthfed.secagg.refusals import BadSignature, MalformedMessage, UnknownSender, WrongContext
from synthfed.secagg.roster import RELAY
from tests.secagg.federation import attempt, key, make_roster

ROSTER = make_roster(4)
CTX = bytes(range(32))
WHOLE = attempt(4, 6, fixed="messages")
WHOLE.finish()
REDUCED = attempt(4, 6, fixed="messages", smallest=3)
REDUCED.with_drops({24: "mask"})
BY_KIND = {Kind(raw[3]): raw for raw in REDUCED.transcript + WHOLE.transcript if raw[:3] == b"SA1"}
BY_KIND[Kind.COMPLAINT] = messages.write(
    Kind.COMPLAINT, context=CTX, sender=3, body=bytes([10, 0]) + bytes(range(32)) + bytes(130), identity=key("site0")
)


def context_of(raw):
    return raw[8:40]


def unpack(kind, body):
    roster = WHOLE.roster
    return {
        Kind.HELLO: lambda: messages.Hello.unpack(body, roster, 3).pack(),
        Kind.SHARE: lambda: messages.Share.unpack(body, roster).pack(roster),
        Kind.MASKED: lambda: messages.Masked.unpack(body, length=6).pack(),
        Kind.HEADS: lambda: messages.Heads.unpack(body, roster).pack(roster),
        Kind.SURVIVORS: lambda: messages.Survivors.unpack(body).pack(),
        Kind.UNMASK: lambda: messages.Unmask.unpack(body, [m.index for m in roster.members]).pack(),
        Kind.RESULT: lambda: messages.Result.unpack(body, roster, length=6).pack(roster),
        Kind.CLOSE: lambda: messages.Close.unpack(body).pack(),
        Kind.COMPLAINT: lambda: messages.Complaint.unpack(body, box_bytes=130).pack(),
    }[kind]()


def body(kind):
    raw = BY_KIND[kind]
    return messages.read(raw, kind=kind, context=context_of(raw), roster=WHOLE.roster).body


@pytest.mark.parametrize("kind", list(Kind))
def test_decoding_and_encoding_gives_the_same_bytes(kind):
    assert unpack(kind, body(kind)) == body(kind)


@pytest.mark.parametrize("kind", list(Kind))
def test_trailing_and_missing_bytes_are_refused(kind):
    for wrong in (body(kind) + b"\0", body(kind)[:-1], b""):
        with pytest.raises(MalformedMessage):
            unpack(kind, wrong)


@given(st.sampled_from(list(Kind)), st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutated_body_is_refused_or_is_another_message(kind, data):
    """No two bodies decode to one message."""
    mutated = bytearray(body(kind))
    mutated[data.draw(st.integers(0, len(mutated) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        again = unpack(kind, bytes(mutated))
    except SecAggError:
        return
    assert again == bytes(mutated) != body(kind)


@given(st.sampled_from(list(Kind)), st.data())
@settings(max_examples=150, deadline=None)
def test_no_flipped_bit_of_a_message_is_accepted(kind, data):
    mutated = bytearray(BY_KIND[kind])
    position = data.draw(st.integers(0, 8 * len(mutated) - 1))
    mutated[position // 8] ^= 1 << position % 8
    with pytest.raises(SecAggError):
        messages.read(bytes(mutated), kind=kind, context=context_of(BY_KIND[kind]), roster=WHOLE.roster)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_arbitrary_bytes_are_refused(raw):
    for kind in Kind:
        with pytest.raises(MalformedMessage):
            messages.read(raw, kind=kind, context=CTX, roster=ROSTER)


def hello(sender=3, name="site0", kind=Kind.HELLO, context=CTX):
    return messages.write(kind, context=context, sender=sender, body=bytes(96), identity=key(name))


def test_each_refusal_has_its_class():
    messages.read(hello(), kind=Kind.HELLO, context=CTX, roster=ROSTER)
    with pytest.raises(WrongContext):
        messages.read(hello(context=bytes(32)), kind=Kind.HELLO, context=CTX, roster=ROSTER)
    with pytest.raises(BadSignature, match="site0"):
        messages.read(hello(name="site1"), kind=Kind.HELLO, context=CTX, roster=ROSTER)
    with pytest.raises(UnknownSender):
        messages.read(hello(sender=4), kind=Kind.HELLO, context=CTX, roster=ROSTER)
    with pytest.raises(MalformedMessage, match="wanted SHARE"):
        messages.read(hello(), kind=Kind.SHARE, context=CTX, roster=ROSTER)
    with pytest.raises(MalformedMessage, match="relay"):
        messages.read(hello(kind=Kind.HEADS), kind=Kind.HEADS, context=CTX, roster=ROSTER)
    unknown = bytearray(hello())
    unknown[3] = 99
    with pytest.raises(MalformedMessage, match="type 99"):
        messages.read(bytes(unknown), kind=Kind.HELLO, context=CTX, roster=ROSTER)


def test_the_relay_does_not_speak_as_a_site():
    raw = messages.write(Kind.HELLO, context=CTX, sender=RELAY, body=bytes(96), identity=key("relay"))
    with pytest.raises(UnknownSender):
        messages.read(raw, kind=Kind.HELLO, context=CTX, roster=ROSTER)


def test_stray_bits_and_unreduced_words_are_refused():
    with pytest.raises(MalformedMessage, match="beyond the roster"):
        messages.Heads.unpack(b"\x10", ROSTER)
    words = b"\xff\xff\xff\xff" * 5
    with pytest.raises(MalformedMessage, match="not reduced"):
        messages.Masked.unpack(bytes(4) + words + bytes(32), length=1)
    with pytest.raises(MalformedMessage, match="neither"):
        messages.Close.unpack(bytes(64) + b"\2")
    with pytest.raises(MalformedMessage, match="neither kind"):
        messages.Unmask.unpack(b"\3" + bytes(33), [3])


def test_an_unmask_of_both_kinds_for_one_site_cannot_be_written():
    with pytest.raises(ValueError, match="both kinds"):
        messages.Unmask({3: bytes(33)}, {3: bytes(33)})


def test_sizes_are_those_of_the_design():
    """N = 10: HELLO 456, SHARE 1130, sealed share 130, MASKED 4d + 156, SURVIVORS 136, UNMASK 444, CLOSE 169."""
    sizes = {}
    run = attempt(10, 7)
    run.finish()
    for raw in run.transcript:
        sizes["SEALED" if raw[:3] != b"SA1" else Kind(raw[3]).name] = len(raw)
    heads, result = sizes.pop("HEADS"), sizes.pop("RESULT")
    assert sizes == {"HELLO": 456, "SHARE": 1130, "SEALED": 130, "MASKED": 4 * 7 + 156, "UNMASK": 444, "CLOSE": 169}
    assert len(BY_KIND[Kind.SURVIVORS]) == 136
    assert (heads, result) == (104 + 2 + 960, 104 + 2 + 28 + 20)


def test_vectors_are_little_endian():
    assert messages.vector_bytes(np.array([1, 258], dtype=np.uint32)).hex() == "0100000002010000"
