"""Where the noise that protects patients comes from: a stream of normals under one secret key.

`NoiseStream` is AES-256 in counter mode (NIST SP 800-38A) read as 64-bit words, turned into uniforms and, by the
inverse normal distribution function, into normals. Whoever lacks the key cannot tell the noise from a fresh draw unless
they break AES; whoever has it can subtract the noise and undo the guarantee. A real key comes from `os.urandom(32)`,
serves one stint and is never sent. A key derived from a seed makes runs repeatable and the guarantee void.

Outside every proof: the normals are doubles. Their set of values is finite (2**52, at most 8.3 standard deviations from
zero) and sums of doubles have gaps that depend on the summands (Mironov, doi:10.1145/2382196.2382264), so the guarantee
computed for real-valued noise holds for these numbers only up to floating point. Releases print this.
"""

import math

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Size = int | tuple[int, ...]

KEY_BYTES = 32
_ZEROS = bytes(1 << 19)


class NoiseStream:
    """Random numbers that are a function of the key and of how many were drawn before.

    Every number takes one 64-bit word of the key stream, so `normal(2)` then `normal(3)` equals `normal(5)`.

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

    def uniform(self, size: Size) -> npt.NDArray[np.float64]:
        """Draw uniforms on the odd multiples of 2**-53: symmetric about 1/2, never 0 and never 1."""
        words = self._words(math.prod(size) if isinstance(size, tuple) else size)
        words >>= np.uint64(12)
        draws = words.astype(np.float64)
        draws *= 2.0**-52
        draws += 2.0**-53
        return draws.reshape(size)

    def normal(self, size: Size) -> npt.NDArray[np.float64]:
        """Draw standard normals: the inverse distribution function of `uniform(size)`, |x| < 8.3."""
        from scipy.special import ndtri

        draws = self.uniform(size)
        ndtri(draws, out=draws)
        return draws

    def bernoulli(self, rate: float, n: int) -> npt.NDArray[np.bool_]:
        """Let each of `n` rows take part with probability `rate`, independently: Poisson sampling.

        Exact up to 2**-52 in the probability; `rate` 1 takes every row. The mask is as secret as the rows.

        Raises:
            ValueError: `rate` is outside [0, 1].
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is {rate}; a probability lies in [0, 1]")
        return self.uniform(n) < rate

    def _words(self, count: int) -> npt.NDArray[np.uint64]:
        words = np.empty(count + 2, dtype="<u8")  # update_into wants up to 15 spare bytes
        target = words.view(np.uint8).data
        for start in range(0, 8 * count, len(_ZEROS)):
            length = min(len(_ZEROS), 8 * count - start)
            self._keystream.update_into(memoryview(_ZEROS)[:length], target[start:])
        return words[:count]


def seeded_key(seed: int, *labels: str | int) -> bytes:
    """Derive a noise key from a public seed (HKDF-SHA256), one per list of labels: for simulated cohorts only.

    Whoever knows the seed can subtract the noise, so a run that uses this has no formal guarantee and must say so.
    """
    info = "|".join(["synthfed/noise/v1", *map(str, labels)]).encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(str(seed).encode())
