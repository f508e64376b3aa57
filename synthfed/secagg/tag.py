"""The result tag: how sites see that an announced sum is the sum of what they sent, at 20 bytes per site.

Every site sends five words T_i[r] = sum_k alpha_rk q_i[k] + beta_ir mod p_r, masked like its vector. The relay adds
them up blindly. A site accepts the sum z only if tag(z) + sum_i beta_i equals the total. alpha and beta come from K,
which the sites share and the relay does not know.

Two traps, each with a test. A linear tag without offsets accepts (c z, c T) and (0, 0): hence beta, used once. A tag
modulo one p < 2**32 accepts a shift by p: hence five distinct primes, of which a shift 0 < |delta| < 2**32 can escape
at most one. A forgery succeeds with probability at most (2/p)**4, about 2**-76.

What it does not show: anything at all if the relay has a site's K, that is, if one site helps it. And like every
checksum of a sum, it does not show that the inputs are honest.

Coefficients have two levels, alpha_rk = row_r[k // 4096] * column_r[k % 4096], so that the sum over columns is one
float64 matrix product of 16-bit limbs: all partial sums are integers below 2**48, hence exact in any order.

Vectors modulo 2**64 have one word modulo p = 2**127 - 1 instead, on Python integers: such vectors are short, and p
exceeds every shift that a 64-bit word can hide (2**61 - 1 does not). A forgery succeeds with probability about 2**-127.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import lp, u16
from synthfed.secagg.masks import KEY_BYTES, TAG_MASK_BYTES, apply_keystream, hkdf
from synthfed.secagg.ring import Ring

PRIMES = (1048573, 1048571, 1048559, 1048549, 1048517)  # the five largest primes below 2**20
COLUMNS = 4096
_BLOCK_ROWS = 64  # rows per matrix product: 2 MiB of float64
_MODULI = np.array(PRIMES, dtype=np.uint64)

Words = tuple[int, ...]  # one integer per modulus of the form, word r in [0, moduli[r])


@dataclass(frozen=True, slots=True)
class Form:
    """How a vector and its tag are written: the ring's words, and the tag's words and their moduli."""

    dtype: np.dtype[np.unsignedinteger[Any]]
    moduli: tuple[int, ...]
    word_bytes: int

    @property
    def tag_bytes(self) -> int:
        return self.word_bytes * len(self.moduli)


NARROW = Form(np.dtype("<u4"), PRIMES, 4)
WIDE = Form(np.dtype("<u8"), (2**127 - 1,), 16)
FORMS: Mapping[str, Form] = {"2^32": NARROW, "2^64": WIDE}  # by `SumConfig.ring`


def form_of(vector: Ring) -> Form:
    """The form of a uint32 or uint64 vector."""
    return NARROW if vector.dtype.itemsize == NARROW.dtype.itemsize else WIDE


@dataclass(frozen=True, slots=True, repr=False)
class TagKey:
    """K and the context it serves. Known to every site of U1, not to the relay."""

    secret: bytes
    context1: bytes

    @classmethod
    def agree(cls, parts: Mapping[int, bytes], context1: bytes) -> "TagKey":
        """K from the parts kappa_j that the sites of U1 sealed to each other."""
        listed = lp(*(u16(index) + parts[index] for index in sorted(parts)))
        return cls(hkdf(listed, context1, lp(b"tag"), KEY_BYTES), context1)

    def offset(self, index: int, form: Form = NARROW) -> Words:
        """beta_i: the one-time offset of one site's tag."""
        return reduced_words(hkdf(self.secret, self.context1, lp(b"offset", u16(index)), TAG_MASK_BYTES), form)

    def linear(self, vector: Ring) -> Words:
        """sum_k alpha_rk q[k] mod p_r over the signed integers q; uint32[d] or uint64[d]."""
        if form_of(vector) is WIDE:
            return (self._linear_wide(vector),)
        rows, columns = self._coefficients(-(-vector.size // COLUMNS))
        sums = np.zeros(len(PRIMES), dtype=np.uint64)
        for start in range(0, rows.shape[0], _BLOCK_ROWS):
            block: npt.NDArray[np.int32] = vector[start * COLUMNS : (start + _BLOCK_ROWS) * COLUMNS].view(np.int32)
            inner = _inner_products(block, columns)  # (rows of the block, 5), each in [0, p_r)
            sums += (inner * rows[start : start + inner.shape[0]] % _MODULI).sum(axis=0, dtype=np.uint64)
        return tuple(int(word) for word in sums % _MODULI)

    def tag(self, vector: Ring, index: int) -> Words:
        """T_i before masking."""
        form = form_of(vector)
        return add_words([self.linear(vector), self.offset(index, form)], form)

    def accepts(self, total: Ring, indices: Iterable[int], announced: Words) -> bool:
        """Whether `announced` is the tag of `total` for the sites `indices`."""
        form = form_of(total)
        return add_words([self.linear(total), *(self.offset(index, form) for index in indices)], form) == announced

    def _linear_wide(self, vector: Ring) -> int:
        stream = np.zeros(2 * vector.size, dtype=np.uint64)
        apply_keystream(stream, hkdf(self.secret, self.context1, lp(b"alpha"), KEY_BYTES), sign=1)
        low, high = stream[::2].tolist(), stream[1::2].tolist()  # alpha_k = 128 bits mod p
        signed = vector.view(np.int64).tolist()
        total: int = sum((a + (b << 64)) * q for a, b, q in zip(low, high, signed, strict=True))
        return total % WIDE.moduli[0]

    def _coefficients(self, rows: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
        """Row coefficients uint64[rows, 5] and column coefficients float64[4096, 5], reduced mod p_r."""
        stream = np.zeros((COLUMNS + rows) * len(PRIMES) * 2, dtype=np.uint32)
        apply_keystream(stream, hkdf(self.secret, self.context1, lp(b"alpha"), KEY_BYTES), sign=1)
        reduced = stream.view("<u8").reshape(-1, len(PRIMES)) % _MODULI
        return reduced[COLUMNS:], reduced[:COLUMNS].astype(np.float64)


def _inner_products(block: npt.NDArray[np.int32], columns: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Products of the rows of `block` (padded with zeros to whole rows) with the columns, mod p_r; uint64[rows, 5]."""
    rows = -(-block.size // COLUMNS)
    if block.size < rows * COLUMNS:
        block = np.concatenate([block, np.zeros(rows * COLUMNS - block.size, dtype=np.int32)])
    matrix = block.reshape(rows, COLUMNS)
    low = ((matrix & 0xFFFF).astype(np.float64) @ columns).astype(np.int64)  # < 2**16 * 2**20 * 2**12
    high = ((matrix >> 16).astype(np.float64) @ columns).astype(np.int64)  # |.| < 2**47
    moduli = _MODULI.astype(np.int64)
    return ((low + (high % moduli) * 65536) % moduli).astype(np.uint64)


def reduced_words(material: bytes, form: Form = NARROW) -> Words:
    """One word per modulus out of 40 uniform bytes, split evenly; within 2**-43 of uniform.

    Five words of 64 bits for NARROW, one of 320 bits for WIDE.
    """
    size = len(material) // len(form.moduli)
    return tuple(int.from_bytes(material[size * r : size * (r + 1)], "little") % p for r, p in enumerate(form.moduli))


def add_words(terms: Sequence[Words], form: Form = NARROW) -> Words:
    """Sum of tags, word by word."""
    return tuple(sum(term[r] for term in terms) % p for r, p in enumerate(form.moduli))


def subtract_words(left: Words, right: Words, form: Form = NARROW) -> Words:
    """Difference of tags, word by word."""
    return tuple((left[r] - right[r]) % p for r, p in enumerate(form.moduli))
