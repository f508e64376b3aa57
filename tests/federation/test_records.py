"""Messages survive the wire, and nothing but exactly the wanted message gets through."""

import hypothesis.strategies as st
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given

from synthfed.federation import records, wire

BLOBS = st.lists(st.binary(max_size=50), max_size=5).map(tuple)


@given(hello=st.binary(max_size=300), sealed=BLOBS, to=st.lists(st.integers(0, 2**63), max_size=5).map(tuple))
def test_a_message_is_read_as_it_was_written(hello, sealed, to):
    message = wire.UnmaskReply(hello, hello[::-1], to, sealed)
    assert records.from_record(records.to_record(message), wire.UnmaskReply) == message
    assert records.unpack(records.pack(message), wire.UnmaskReply) == message


@given(shares=BLOBS, other=BLOBS)
def test_two_requests_have_one_fingerprint_only_when_equal(shares, other):
    first = wire.RoundRequest("m", 1, 0, b"model", b"result", b"", shares, ())
    second = wire.RoundRequest("m", 1, 0, b"model", b"result", b"", other, ())
    assert (records.fingerprint(first) == records.fingerprint(second)) == (shares == other)


def test_moving_a_byte_between_fields_changes_the_fingerprint():
    first = wire.EnrolRequest(b"ab", b"c")
    assert records.fingerprint(first) != records.fingerprint(wire.EnrolRequest(b"a", b"bc"))


HELLO = {"protocol": records.PROTOCOL, "kind": "hello"}
FIELDS = records.framed([b'"m"', b"0", b"0"])


def _record(config: dict[str, object] = HELLO, **arrays: bytes | np.ndarray) -> RecordDict:
    """A HELLO request, with other or more arrays."""
    given = {"fields": FIELDS, **arrays}
    made = {name: Array(np.frombuffer(raw, np.uint8) if isinstance(raw, bytes) else raw) for name, raw in given.items()}
    return RecordDict({"message": ConfigRecord(config), "arrays": ArrayRecord(made)})


def test_a_hello_request_is_written_like_this():
    assert records.from_record(_record(), wire.HelloRequest) == wire.HelloRequest("m", 0, 0)
    assert records.to_record(wire.HelloRequest("m", 0, 0)).object_id == _record().object_id


@pytest.mark.parametrize(
    "record",
    [
        RecordDict(),
        _record(HELLO | {"protocol": 1}),
        _record(HELLO | {"kind": "share"}),
        _record(HELLO | {"surplus": 1}),
        RecordDict({"message": ConfigRecord(HELLO)}),
        RecordDict({**_record(), "metrics": MetricRecord({"loss": 0.1})}),
        RecordDict({**_record(), "arrays": ConfigRecord({})}),
        _record(fields=records.framed([b'"m"', b"0"])),
        _record(fields=records.framed([b'"m"', b"0", b"0", b"0"])),
        _record(fields=records.framed([b'"m"', b'"0"', b"0"])),
        _record(fields=records.framed([b'"m"', b"true", b"0"])),
        _record(fields=records.framed([b'"m"', b"00", b"0"])),
        _record(fields=records.framed([b'"m"', b" 0", b"0"])),
        _record(fields=records.framed([b'"m"', b"{", b"0"])),
        _record(fields=FIELDS[:-1]),
        _record(fields=FIELDS + b"\0"),
        _record(surplus=bytes(20_000)),
        _record(manifest=b'"m"'),
        _record(manifest=b'"' + b"m" * 20_000 + b'"'),
        _record(fields=records.framed([b'"' + b"m" * 20_000 + b'"', b"0", b"0"])),
        _record(fields=np.frombuffer(FIELDS + bytes(-len(FIELDS) % 4), np.float32)),
        _record(fields=np.frombuffer(FIELDS, np.uint8)[None]),
    ],
)
def test_anything_but_exactly_the_message_is_refused(record):
    with pytest.raises(wire.BadMessage):
        records.from_record(record, wire.HelloRequest)


@pytest.mark.parametrize("hellos", [b"\x05" + bytes(7) + b"abc", b"\x05\0\0"])
def test_a_list_of_another_length_is_refused(hellos):
    record = _record(
        {"protocol": records.PROTOCOL, "kind": "share"}, fields=records.framed([b'"m"', b"0", b"0", hellos])
    )
    with pytest.raises(wire.BadMessage):
        records.from_record(record, wire.ShareRequest)


def test_only_a_large_field_travels_in_an_array_of_its_own():
    model = bytes(range(256)) * 100
    record = records.to_record(wire.RoundRequest("m", 1, 0, model, b"result", b"", (), ()))
    assert set(record["arrays"]) == {"fields", "model"}
    assert record["arrays"]["model"].numpy().tobytes() == model
    read = records.from_record(record, wire.RoundRequest)
    assert (read.model, read.result) == (model, b"result")


def test_an_array_that_lies_about_its_size_is_refused():
    record = _record()
    honest = record["arrays"]["fields"]
    record["arrays"]["fields"] = Array("uint8", (2,), honest.stype, honest.data)
    with pytest.raises(wire.BadMessage):
        records.from_record(record, wire.HelloRequest)


def test_a_refusal_outside_the_closed_table_cannot_be_made():
    with pytest.raises(wire.BadMessage):
        wire.Refusal("row 17: age=47")
