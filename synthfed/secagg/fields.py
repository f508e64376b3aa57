"""How the parts of a message are written and strictly read: sets of sites, tags, vectors.

One value has one encoding. Integers are little-endian; a set is a bitmap over the roster's order.
"""

from collections.abc import Collection

import numpy as np

from synthfed.secagg.refusals import MalformedMessage
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import Roster
from synthfed.secagg.tag import Form, Words


class Reader:
    """Takes fields off a body, front to back, and refuses what is too short or too long."""

    def __init__(self, body: bytes, what: str) -> None:
        self._body = body
        self._what = what
        self._at = 0

    def take(self, length: int) -> bytes:
        """The next bytes.

        Raises:
            MalformedMessage: Fewer are left.
        """
        if length > len(self._body) - self._at:
            raise MalformedMessage(f"{self._what} is too short: {len(self._body)} bytes")
        self._at += length
        return self._body[self._at - length : self._at]

    def take_rows(self, count: int, length: int) -> list[bytes]:
        """The next `count` times `length` bytes.

        Raises:
            MalformedMessage: Fewer are left.
        """
        block = self.take(count * length)
        return [block[at : at + length] for at in range(0, len(block), length)]

    def left(self) -> int:
        """How many bytes are left."""
        return len(self._body) - self._at

    def end(self) -> None:
        """Refuse trailing bytes.

        Raises:
            MalformedMessage: There are some.
        """
        if self._at != len(self._body):
            raise MalformedMessage(f"{self._what} has {len(self._body) - self._at} trailing bytes")


def pack_set(indices: Collection[int], roster: Roster) -> bytes:
    """A set of sites as a bitmap over the roster's order."""
    bits = sum(1 << position for position, member in enumerate(roster.members) if member.index in indices)
    return bits.to_bytes(-(-len(roster.members) // 8), "little")


def take_set(reader: Reader, roster: Roster) -> tuple[int, ...]:
    """Undo `pack_set`.

    Raises:
        MalformedMessage: A bit beyond the roster.
    """
    bits = int.from_bytes(reader.take(-(-len(roster.members) // 8)), "little")
    if bits >> len(roster.members):
        raise MalformedMessage("a set of sites has bits beyond the roster")
    return tuple(member.index for position, member in enumerate(roster.members) if bits >> position & 1)


def words_bytes(words: Words, form: Form) -> bytes:
    """A tag, each word little-endian."""
    return b"".join(word.to_bytes(form.word_bytes, "little") for word in words)


def take_words(reader: Reader, form: Form) -> Words:
    """Undo `words_bytes`.

    Raises:
        MalformedMessage: A word is not below its prime.
    """
    words = tuple(int.from_bytes(reader.take(form.word_bytes), "little") for _ in form.moduli)
    if any(word >= modulus for word, modulus in zip(words, form.moduli, strict=True)):
        raise MalformedMessage("a tag word is not reduced")
    return words


def take_vector(reader: Reader, length: int, form: Form) -> Ring:
    """Undo `vector_bytes`: a read-only view of `length` words."""
    vector: Ring = np.frombuffer(reader.take(form.dtype.itemsize * length), dtype=form.dtype)
    return vector


def split_vector_and_tag(body: bytes, form: Form) -> tuple[Ring, Words]:
    """A vector of any length and the tag behind it.

    Raises:
        MalformedMessage: Impossible length, or a word that is not below its prime.
    """
    reader = Reader(body, "a vector with its tag")
    length, left = divmod(len(body) - form.tag_bytes, form.dtype.itemsize)
    if length < 0 or left:
        raise MalformedMessage(f"a vector with its tag cannot have {len(body)} bytes")
    return take_vector(reader, length, form), take_words(reader, form)


def vector_bytes(vector: Ring) -> bytes:
    """Little-endian words."""
    return vector.astype(vector.dtype.newbyteorder("<"), copy=False).tobytes()
