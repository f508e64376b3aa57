"""What two sites say on a link: one header has one encoding, and nothing else is taken for one."""

import socket
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthfed.federation.peer_link import HEADER_BYTES, WELCOME, Header, look_up, read_exactly
from synthfed.federation.peer_tls import calling_context
from tests.federation.fakes import small_pipeline
from tests.federation.linked import Linked, founded_for

HEADERS = st.builds(
    Header,
    run=st.binary(min_size=32, max_size=32).map(bytes.hex),
    round_index=st.integers(0, 2**32 - 1),
    sender=st.integers(0, 2**16 - 1),
    receiver=st.integers(0, 2**16 - 1),
    length=st.integers(0, 2**64 - 1),
    digest=st.binary(min_size=32, max_size=32),
)


@given(HEADERS)
def test_a_header_reads_back_as_it_was_written(header):
    assert len(header.pack()) == HEADER_BYTES
    assert Header.unpack(header.pack()) == header


@given(HEADERS, st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_one_changed_byte_is_another_header_or_none(header, place, change):
    raw = bytearray(header.pack())
    raw[place] ^= change
    if place < 8:
        with pytest.raises(ValueError, match="not the header"):
            Header.unpack(bytes(raw))
    else:
        assert Header.unpack(bytes(raw)) != header


@given(st.binary(max_size=2 * HEADER_BYTES))
def test_other_bytes_are_no_header(raw):
    with suppress(ValueError):
        assert Header.unpack(raw).pack() == raw


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=8), st.integers(0, 40))
def test_bytes_are_read_whole_however_they_come_in_pieces(pieces, more):
    """Neither less, nor anything of what follows."""
    whole = b"".join(pieces)
    ours, theirs = socket.socketpair()

    def send() -> None:
        for piece in pieces:
            theirs.sendall(piece)
        theirs.sendall(bytes(more))

    with ours, theirs:
        sending = threading.Thread(target=send)
        sending.start()
        link: Any = ours
        assert read_exactly(link, len(whole), within_s=5.0) == whole
        sending.join()


def test_a_dripping_sender_meets_the_deadline_and_one_that_hangs_up_is_told_apart():
    ours, theirs = socket.socketpair()
    link: Any = ours
    with ours, theirs:
        end = threading.Event()

        def drip() -> None:
            while not end.wait(0.02):
                theirs.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(TimeoutError):
            read_exactly(link, 10_000, within_s=0.2)
        end.set()
        dripping.join()
        theirs.close()
        with pytest.raises(EOFError):
            read_exactly(link, 10_000, within_s=5.0)


@pytest.fixture(scope="module")
def up(tmp_path_factory) -> Linked:
    pipeline = small_pipeline(federation__shares="full", federation__transport="direct")
    return founded_for(tmp_path_factory.mktemp("up"), pipeline, ("lyon", "milano", "berlin"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=400))
def test_a_listed_caller_that_says_anything_at_all_ends_its_own_call_only(up, raw):
    with up.listening("lyon", "berlin"):
        plain = socket.create_connection(("127.0.0.1", up.port("milano")), timeout=5.0)
        with plain, calling_context(up.folder("lyon") / "identity").wrap_socket(plain) as link:
            assert link.recv(1) == WELCOME
            link.sendall(raw.ljust(HEADER_BYTES, b"\0"))
            with suppress(OSError):
                assert link.recv(1) == b""
        look_up(up.roster.member("milano"), up.folder("berlin") / "identity")
    assert not list((up.folder("milano") / "runs").iterdir())


def test_a_mailbox_that_is_shut_listens_no_more(up):
    began = time.monotonic()
    with up.listening() as boxes:
        assert all(box.listens for box in boxes.values())
    assert not any(box.listens for box in boxes.values())
    assert time.monotonic() - began < 30
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", up.port("milano")), timeout=5.0)
