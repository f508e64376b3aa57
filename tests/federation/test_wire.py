"""Messages survive the wire, and nothing but exactly the wanted message gets through."""

import hypothesis.strategies as st
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given

from synthfed.federation import wire

BLOBS = st.lists(st.binary(max_size=50), max_size=5).map(tuple)


@given(hello=st.binary(max_size=300), sealed=BLOBS, to=st.lists(st.integers(0, 2**63), max_size=5).map(tuple))
def test_a_message_is_read_as_it_was_written(hello, sealed, to):
    message = wire.UnmaskReply(hello, hello[::-1], to, sealed)
    assert wire.from_record(wire.to_record(message), wire.UnmaskReply) == message
    assert wire.unpack(wire.pack(message), wire.UnmaskReply) == message


@given(shares=BLOBS, other=BLOBS)
def test_two_requests_have_one_fingerprint_only_when_equal(shares, other):
    first = wire.RoundRequest("m", 1, 0, b"model", b"result", b"", shares, ())
    second = wire.RoundRequest("m", 1, 0, b"model", b"result", b"", other, ())
    assert (wire.fingerprint(first) == wire.fingerprint(second)) == (shares == other)


def test_moving_a_byte_between_fields_changes_the_fingerprint():
    first = wire.EnrolRequest(b"ab", b"c")
    assert wire.fingerprint(first) != wire.fingerprint(wire.EnrolRequest(b"a", b"bc"))


def _record(**config: object) -> RecordDict:
    values = {"protocol": 1, "kind": "hello", "manifest": "m", "round_index": 0, "attempt": 0} | config
    return RecordDict({"message": ConfigRecord({k: v for k, v in values.items() if v is not None})})


@pytest.mark.parametrize(
    "record",
    [
        RecordDict(),
        _record(protocol=2),
        _record(kind="share"),
        _record(manifest=None),
        _record(surplus=1),
        _record(round_index="0"),
        _record(round_index=True),
        RecordDict({**_record(), "metrics": MetricRecord({"loss": 0.1})}),
        RecordDict({**_record(), "blobs": ArrayRecord({"hello": Array(np.zeros(3, np.uint8))})}),
        RecordDict({**_record(), "blobs": ConfigRecord({})}),
    ],
)
def test_anything_but_exactly_the_message_is_refused(record):
    with pytest.raises(wire.BadMessage):
        wire.from_record(record, wire.HelloRequest)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, np.float32),
        np.zeros((2, 2), np.uint8),
        np.frombuffer(b"\x05" + bytes(7) + b"abc", np.uint8),
        np.frombuffer(b"\x05\0\0", np.uint8),
    ],
)
def test_a_blob_of_another_type_or_length_is_refused(array):
    record = wire.to_record(wire.ShareRequest("m", 0, 0, (b"a",)))
    record["blobs"]["hellos"] = Array(array)
    with pytest.raises(wire.BadMessage):
        wire.from_record(record, wire.ShareRequest)


def test_an_array_that_lies_about_its_size_is_refused():
    record = wire.to_record(wire.HelloReply(b"abc"))
    honest = record["blobs"]["hello"]
    record["blobs"]["hello"] = Array("uint8", (2,), honest.stype, honest.data)
    with pytest.raises(wire.BadMessage):
        wire.from_record(record, wire.HelloReply)


def test_a_refusal_outside_the_closed_table_cannot_be_made():
    with pytest.raises(wire.BadMessage):
        wire.Refusal("row 17: age=47")
