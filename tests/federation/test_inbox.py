"""Parts on a site's disk: the first one stays, of two rounds at most, until its round is over."""

import hashlib

from synthfed.federation.inbox import Inbox, NotKept


def answer(inbox: Inbox, round_index: int, dealer: int, sealed: bytes) -> str:
    try:
        inbox.keep(round_index, dealer, sealed)
    except NotKept as refused:
        return refused.answer.decode()
    return "+"


def test_the_first_envelope_of_a_round_and_dealer_stays(tmp_path):
    inbox = Inbox(tmp_path)
    assert inbox.find(0, 1) is None
    assert not inbox.holds(0, 1, hashlib.sha256(b"part").digest())
    assert [answer(inbox, 0, 1, part) for part in (b"part", b"part", b"other")] == ["+", "+", "k"]
    assert answer(inbox, 0, 2, b"of another dealer") == "+"
    assert inbox.find(0, 1) == b"part"
    assert inbox.holds(0, 1, hashlib.sha256(b"part").digest())


def test_only_the_round_that_is_open_and_the_next_are_taken(tmp_path):
    inbox = Inbox(tmp_path)
    assert [answer(inbox, index, 1, b"part") for index in (0, 1, 2)] == ["+", "+", "o"]
    inbox.drop(0)
    assert [answer(inbox, index, 1, b"part") for index in (0, 1, 2, 3)] == ["o", "+", "+", "o"]
    assert inbox.find(0, 1) is None
    inbox.drop(7)
    assert not list(tmp_path.glob("inbox/*.part"))
    assert [answer(inbox, index, 1, b"part") for index in (7, 8, 9, 10)] == ["o", "+", "+", "o"]


def test_what_lies_there_is_its_owners_alone(tmp_path):
    inbox = Inbox(tmp_path)
    inbox.keep(0, 1, b"part")
    (file,) = inbox.folder.glob("*.part")
    assert file.stat().st_mode & 0o777 == 0o600
    assert inbox.folder.stat().st_mode & 0o777 == 0o700
