"""Where the noise that protects patients comes from: normals and whole numbers from a stream under one secret key.

`NoiseStream` is AES-256 in counter mode (NIST SP 800-38A), read as integers, turned into uniforms and, two at a time,
into normals (Box and Muller, doi:10.1214/aoms/1177706645). Whoever lacks the key cannot tell the noise from a fresh
draw unless they break AES; whoever has it can subtract the noise and undo the guarantee. A real key comes from
`os.urandom(32)`, serves one stint and is never sent. A key derived from a seed makes runs repeatable and the guarantee
void.

Outside every proof: the normals are floating point. Their set of values is finite (at most 9.42 standard deviations
from zero; the distance of a pair from the origin is double precision from 63 bits, its direction single precision from
32 bits: products in double precision, right to one part in 10**7) and sums of floats have gaps that depend on the
summands (Mironov, doi:10.1145/2382196.2382264), so the guarantee computed for real-valued noise holds for these numbers
only up to floating point. Releases print this.

Counts get whole numbers (`rounded_gaussian`, `skellam`) and integer sums have no such gaps: the sum of a count and its
noise is exact, and the proofs hold up to how the noise was drawn, which each sampler bounds.
"""

import math

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from synthfed.privacy.poisson import LARGEST_MEAN, poisson_offsets

Size = int | tuple[int, ...]

KEY_BYTES = 32
_WORDS = 1 << 14  # uniforms made at a time
_SPARE = 15  # bytes that `update_into` wants beyond what it writes
_PAIRS = 1 << 14  # pairs of normals made at a time: few calls, and the arrays stay in the cache
_PAIR_BYTES = 12  # 8 for the distance, 4 for the direction
_ZEROS = memoryview(bytes(max(8 * _WORDS, _PAIR_BYTES * _PAIRS)))
_MOST_SPREAD = 2.0**40
_TURN = np.float32(math.pi * 2.0**-31)  # from signed 32-bit integers to angles in [-pi, pi)


class NoiseStream:
    """Random numbers that are a function of the key and of how many were drawn before.

    The same key and the same draws in the same order give the same numbers; a draw of another size gives others.

    Example:
        >>> import os
        >>> stream = NoiseStream(os.urandom(32))
        >>> batch = stream.bernoulli(0.1, 500)  # which of 500 patients take part in this step
        >>> noise = stream.normal(20_000) * 1.5  # standard deviation 1.5
    """

    def __init__(self, key: bytes) -> None:
        """Start the stream at its first word.

        Raises:
            ValueError: `key` is not 32 bytes.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a noise key has {KEY_BYTES} bytes, found {len(key)}; draw it with os.urandom(32)")
        self._keystream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        self._buffer = np.empty(len(_ZEROS) + _SPARE, dtype=np.uint8)
        self._radius = np.empty(_PAIRS)
        self._angle, self._turned = np.empty((2, _PAIRS), dtype=np.float32)

    def uniform(self, size: Size) -> npt.NDArray[np.float64]:
        """Draw uniforms on the odd multiples of 2**-53: symmetric about 1/2, never 0 and never 1."""
        count = math.prod(size) if isinstance(size, tuple) else size
        draws = np.empty(count)
        for start in range(0, count, _WORDS):
            piece = draws[start : start + _WORDS]
            words = self._bytes(8 * len(piece)).view("<u8")
            words >>= np.uint64(12)
            piece[:] = words.view("<i8")
        draws *= 2.0**-52
        draws += 2.0**-53
        return draws.reshape(size)

    def normal(self, size: Size) -> npt.NDArray[np.float64]:
        """Draw standard normals, |x| <= 9.42.

        In pairs from 12 bytes each: r cos t and r sin t, r = sqrt(-2 log u), u an odd multiple of 2**-64, t uniform on
        a circle of 2**32 points. Every piece of the stream gives all its cosines, then all its sines; of an odd number
        the last is thrown away.
        """
        count = math.prod(size) if isinstance(size, tuple) else size
        pairs = (count + 1) // 2
        draws = np.empty(2 * pairs)
        for start in range(0, pairs, _PAIRS):
            piece = draws[2 * start : 2 * (start + _PAIRS)]
            self._fill(*piece.reshape(2, -1))
        return draws[:count].reshape(size)

    def rounded_gaussian(self, size: Size, stddev: float | npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Draw normals of standard deviation `stddev` and round each to the nearest whole number.

        A whole-numbered query plus this is the query plus continuous normals, rounded: rounding commutes with adding a
        whole number. So it is post-processing of the Gaussian mechanism and costs what that costs at the same `stddev`
        (rounding adds up to 1/12 to the variance, and nothing to the cost).

        Outside the proof: finitely many values. These normals are not those of `normal`: they take 16 bytes a pair and
        stay in double precision. Distances of a pair end at 9.42 (mass beyond: 5e-20); a distance is a step function
        of 63 bits, a direction one of 53, and both, the logarithm and the cosine are right to a few units in the last
        place. A number near a boundary between two whole numbers may so be put on the wrong side: at most
        1e-14 (1 + stddev) of total variation per number. Numbers that no patient touches have the same law either way,
        so of all numbers only the few that one patient touches count: 1,000 of them at `stddev` 100 add 2e-9 (1 +
        exp(epsilon)) to delta at most.

        Args:
            stddev: One for all numbers, or an array that spreads over `size`. Zero gives zeros: no protection.

        Raises:
            ValueError: `stddev` is negative, above 2**40 or NaN somewhere.
        """
        spread = np.broadcast_to(np.asarray(stddev, dtype=np.float64), size)
        if not np.all((spread >= 0) & (spread <= _MOST_SPREAD)):
            raise ValueError(f"stddev is {stddev}; it must lie in [0, 2**40] everywhere")
        pairs = (spread.size + 1) // 2
        draws = np.empty((2, pairs))
        for start in range(0, pairs, _WORDS // 2):
            part = draws[:, start : start + _WORDS // 2]
            words = self._bytes(16 * part.shape[1]).view("<u8").reshape(2, -1)
            radius = np.sqrt(-2 * np.log((words[0] >> np.uint64(1)) * 2.0**-63 + 2.0**-64))
            angle = words[1].view("<i8") * (math.pi * 2.0**-63)
            part[0], part[1] = radius * np.cos(angle), radius * np.sin(angle)
        return np.rint(draws.ravel()[: spread.size].reshape(spread.shape) * spread).astype(np.int64)

    def skellam(self, size: Size, variance: float) -> npt.NDArray[np.int64]:
        """Draw differences of two independent Poisson numbers of mean `variance / 2`: mean 0, that variance.

        Sums of independent Skellam numbers are Skellam, variances adding up: so several sites can each add a share of
        the noise to whole-numbered sums, and the total has a law whose cost is known (arXiv 2110.04995). Whether a
        share protects anybody alone is a question for the accountant. What is assumed of the sampler: `poisson.py`.

        Raises:
            ValueError: `variance` is not in [0, 2**57].
        """
        if not 0 <= variance <= 2 * LARGEST_MEAN:
            raise ValueError(f"variance is {variance}; it must lie in [0, 2**57]")
        count = math.prod(size) if isinstance(size, tuple) else size
        draws = np.empty(count, dtype=np.int64)
        for start in range(0, count, _WORDS):
            part = draws[start : start + _WORDS]
            part[:] = poisson_offsets(self.uniform, variance / 2, len(part))
            part -= poisson_offsets(self.uniform, variance / 2, len(part))
        return draws.reshape(size)

    def bernoulli(self, rate: float, n: int) -> npt.NDArray[np.bool_]:
        """Let each of `n` rows take part with probability `rate`, independently: Poisson sampling.

        Exact up to 2**-52 in the probability; `rate` 1 takes every row. The mask is as secret as the rows.

        Raises:
            ValueError: `rate` is outside [0, 1].
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is {rate}; a probability lies in [0, 1]")
        return self.uniform(n) < rate

    def _fill(self, cosines: npt.NDArray[np.float64], sines: npt.NDArray[np.float64]) -> None:
        """One piece of normals; every operation writes into an array that is there already."""
        pairs = len(cosines)
        radius, angle, turned = self._radius[:pairs], self._angle[:pairs], self._turned[:pairs]
        key_stream = self._bytes(_PAIR_BYTES * pairs)
        words = key_stream[: 8 * pairs].view("<u8")
        words >>= np.uint64(1)  # signed integers become doubles much faster than unsigned ones
        np.multiply(words.view("<i8"), 2.0**-63, out=radius)
        radius += 2.0**-64
        np.log(radius, out=radius)
        radius *= -2.0
        np.sqrt(radius, out=radius)
        angle[:] = key_stream[8 * pairs :].view("<i4")
        angle *= _TURN
        np.multiply(radius, np.cos(angle, out=turned), out=cosines)
        np.multiply(radius, np.sin(angle, out=turned), out=sines)

    def _bytes(self, count: int) -> npt.NDArray[np.uint8]:
        """The next bytes of the key stream, at most a buffer full; the next call overwrites them."""
        self._keystream.update_into(_ZEROS[:count], self._buffer.data)
        return self._buffer[:count]


def seeded_key(seed: int, *labels: str | int) -> bytes:
    """Derive a noise key from a public seed (HKDF-SHA256), one per list of labels: for simulated cohorts only.

    Whoever knows the seed can subtract the noise, so a run that uses this has no formal guarantee and must say so.
    """
    info = "|".join(["synthfed/noise/v1", *map(str, labels)]).encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(str(seed).encode())
