"""Vectors split into parts, one per site: the literal scheme, for the modes `full` and `shamir`.

- `full`: N - 1 parts are uniform vectors from the operating system, the last is what makes the row add up to the
  vector. All N parts give it back; N - 1 of them are independent of it, whatever the computing power.
- `shamir`: part j is the value at x = j + 1 of a polynomial of degree t - 1 whose value at 0 is the vector, coordinate
  by coordinate, modulo p = 2**32 - 5. Any t parts give it back, t - 1 are independent of it. A coordinate q is written
  as q mod p; sums up to (p - 1)/2 in size, which is all that `ring.encode` makes, come back as they went.

Adding up the parts one holds is the same in both, and gives a part of the sum of the vectors. The tag is split along
with the vector, word by word, modulo its own primes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from synthfed.secagg import messages
from synthfed.secagg.contexts import SumConfig
from synthfed.secagg.refusals import UNKNOWN_PARTY, BadShare, MalformedMessage, SitesMissing
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import Roster
from synthfed.secagg.shamir import Entropy
from synthfed.secagg.tag import FORMS, Form, Words, add_words, form_of, reduced_words, subtract_words

PRIME = 2**32 - 5  # the largest prime below 2**32
_WORD_BYTES = 40

Mode = Literal["full", "shamir"]
Residues = npt.NDArray[np.uint64]  # entries below a prime of at most 32 bits: products fit 64


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """A part of a vector and of its tag; alone, it is uniform."""

    vector: Ring
    tag: Words

    def pack(self) -> bytes:
        return messages.vector_bytes(self.vector) + messages.words_bytes(self.tag, form_of(self.vector))

    @classmethod
    def unpack(cls, body: bytes, mode: Mode, form: Form) -> "Part":
        vector, tag = messages.split_vector_and_tag(body, form)
        require_residues(vector, mode)
        return cls(vector, tag)


def box_bytes(length: int, config: SumConfig) -> int:
    """How many bytes a sealed part of a vector of `length` coordinates has."""
    form = FORMS[config.ring]
    return messages.SEALED_OVERHEAD + length * form.dtype.itemsize + form.tag_bytes


def require_residues(vector: Ring, mode: str) -> None:
    """Refuse a vector of mode `shamir` that is not reduced modulo p.

    Raises:
        MalformedMessage: A word is p or more.
    """
    if mode == "shamir" and vector.size and int(vector.max()) >= PRIME:
        raise MalformedMessage("a part holds a word that is not reduced")


def split(
    mode: Mode, whole: Part, indices: Sequence[int], *, own: int, threshold: int, entropy: Entropy
) -> dict[int, Part]:
    """One part for every index of `indices`, the own one included; uint32[d] (or uint64[d], `full`) each."""
    return _split_full(whole, indices, own, entropy) if mode == "full" else _deal(whole, indices, threshold, entropy)


def add_up(mode: Mode, parts: Sequence[Part]) -> Part:
    """The sum of parts that one site holds: its part of the sum."""
    form = form_of(parts[0].vector)
    tag = add_words([part.tag for part in parts], form)
    if mode == "full":
        total = np.zeros_like(parts[0].vector)
        for part in parts:
            np.add(total, part.vector, out=total)
        return Part(total, tag)
    residues = np.zeros(parts[0].vector.size, dtype=np.uint64)
    for part in parts:  # at most 50 terms below 2**32
        residues += part.vector
    return Part((residues % np.uint64(PRIME)).astype(np.uint32), tag)


def open_sum(mode: Mode, parts: Mapping[int, Part], *, roster: Roster) -> Part:
    """The sum, from the parts of it that the sites uploaded, by index.

    `full` needs all of them; the caller sees to that. `shamir` opens from the t parts of lowest index and compares
    with the others.

    Raises:
        SitesMissing: `shamir`, fewer than t parts.
        BadShare: `shamir`, more than t parts and they do not agree. With t + 2 or more a single liar is named.
    """
    if mode == "full":
        return add_up(mode, list(parts.values()))
    if len(parts) < roster.threshold:
        raise SitesMissing(f"{len(parts)} parts cannot open the sum; {roster.threshold} are needed")
    if not _agree(parts, roster.threshold):
        raise BadShare(
            "the sites' parts of the sum do not lie on one polynomial; the round is lost",
            party=_liar(parts, roster),
        )
    return _at(parts, roster.threshold, 0)


# --- full -------------------------------------------------------------------------------------------------------------


def _split_full(whole: Part, indices: Sequence[int], own: int, entropy: Entropy) -> dict[int, Part]:
    form = form_of(whole.vector)
    rest, tag = whole.vector.copy(), whole.tag
    parts = {}
    for index in indices:
        if index == own:
            continue
        drawn: Ring = np.frombuffer(entropy(whole.vector.nbytes), dtype=whole.vector.dtype)
        words = reduced_words(entropy(_WORD_BYTES), form)
        np.subtract(rest, drawn, out=rest)
        tag = subtract_words(tag, words, form)
        parts[index] = Part(drawn, words)
    parts[own] = Part(rest, tag)
    return parts


# --- shamir -----------------------------------------------------------------------------------------------------------


def _deal(whole: Part, indices: Sequence[int], threshold: int, entropy: Entropy) -> dict[int, Part]:
    form = form_of(whole.vector)
    signed: npt.NDArray[np.int64] = whole.vector.view(np.int32).astype(np.int64)
    vector = [(signed % PRIME).astype(np.uint64)]
    vector += [_uniform(signed.size, entropy) for _ in range(threshold - 1)]
    tags = [whole.tag, *(reduced_words(entropy(_WORD_BYTES), form) for _ in range(threshold - 1))]
    parts = {}
    for index in indices:
        words = [_horner([tag[r] for tag in tags], index + 1, modulus) for r, modulus in enumerate(form.moduli)]
        parts[index] = Part(_horner_vector(vector, index + 1).astype(np.uint32), tuple(words))
    return parts


def _uniform(size: int, entropy: Entropy) -> Residues:
    """Uniform modulo p: 32 random bits each, drawn again in the 5 of 2**32 cases that are too large."""
    drawn = np.frombuffer(entropy(4 * size), dtype="<u4").astype(np.uint64)
    while (wrong := np.flatnonzero(drawn >= PRIME)).size:
        drawn[wrong] = np.frombuffer(entropy(4 * wrong.size), dtype="<u4")
    return drawn


def _horner(coefficients: Sequence[int], x: int, modulus: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % modulus
    return value


def _horner_vector(coefficients: Sequence[Residues], x: int) -> Residues:
    value = coefficients[-1].copy()
    for coefficient in coefficients[-2::-1]:  # value * x < 2**48
        value *= np.uint64(x)
        value += coefficient
        value %= np.uint64(PRIME)
    return value


def _at(parts: Mapping[int, Part], threshold: int, x: int) -> Part:
    """The value at `x` of the polynomial through the `threshold` parts of lowest index; at 0 as signed integers."""
    chosen = sorted(parts)[:threshold]
    points = [index + 1 for index in chosen]
    form = form_of(parts[chosen[0]].vector)
    residues = np.zeros(parts[chosen[0]].vector.size, dtype=np.uint64)
    for index, factor in zip(chosen, _lagrange(points, x, PRIME), strict=True):
        residues += parts[index].vector.astype(np.uint64) * np.uint64(factor) % np.uint64(PRIME)
    residues %= np.uint64(PRIME)
    tag = tuple(
        sum(f * parts[i].tag[r] for f, i in zip(_lagrange(points, x, modulus), chosen, strict=True)) % modulus
        for r, modulus in enumerate(form.moduli)
    )
    if x:
        return Part(residues.astype(np.uint32), tag)
    signed = residues.astype(np.int64)
    signed[signed > PRIME // 2] -= PRIME
    return Part(signed.astype(np.int32).view(np.uint32), tag)


def _lagrange(points: Sequence[int], x: int, modulus: int) -> list[int]:
    factors = []
    for point in points:
        numerator = denominator = 1
        for other in points:
            if other != point:
                numerator = numerator * (x - other) % modulus
                denominator = denominator * (point - other) % modulus
        factors.append(numerator * pow(denominator, -1, modulus) % modulus)
    return factors


def _agree(parts: Mapping[int, Part], threshold: int) -> bool:
    for index in sorted(parts)[threshold:]:
        expected = _at(parts, threshold, index + 1)
        if expected.tag != parts[index].tag or not np.array_equal(expected.vector, parts[index].vector):
            return False
    return True


def _liar(parts: Mapping[int, Part], roster: Roster) -> str:
    """The one site without which the others agree, if t + 1 others are left to agree; else nobody can be named."""
    if len(parts) >= roster.threshold + 2:
        for suspect in parts:
            others = {index: part for index, part in parts.items() if index != suspect}
            if _agree(others, roster.threshold):
                return roster.at(suspect).site
    return UNKNOWN_PARTY
