"""Where the noise that protects patients comes from: a stream of normals under one secret key.

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
"""

import math

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Size = int | tuple[int, ...]

KEY_BYTES = 32
_WORDS = 1 << 14  # uniforms made at a time
_SPARE = 15  # bytes that `update_into` wants beyond what it writes
_PAIRS = 1 << 14  # pairs of normals made at a time: few calls, and the arrays stay in the cache
_PAIR_BYTES = 12  # 8 for the distance, 4 for the direction
_ZEROS = memoryview(bytes(max(8 * _WORDS, _PAIR_BYTES * _PAIRS)))
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
