"""Real numbers as integers modulo 2**32, so that a sum of masked vectors is the exact sum of integers.

A coordinate x becomes q = rint(clip(x, -B, B) * w * 2**s) with a public bound B, the site's weight w and
s = 30 - ceil(log2 B). While the weights add up to at most 1, |sum q| <= B 2**s sum w + N/2 <= 2**30 + N/2 < 2**31: the
sum of any number of sites up to 50 cannot wrap, whatever the inputs. Everything is computed in float64 and rounded
half to even, so that every machine gets the same integers.

A vector of the ring is a `uint32` array; read as `int32` its entries are the signed integers above. Counts and sums of
squares need more room: they live modulo 2**64, in `uint64` arrays, which `analytics` fills. Everything that hides and
adds vectors works on both.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from synthfed.secagg.refusals import NonFinite, WeightRefused

Ring = npt.NDArray[np.unsignedinteger[Any]]  # uint32: entries modulo 2**32; uint64: modulo 2**64

_CHUNK = 1 << 16
_MOST_WEIGHT = 1.01  # 1 and the rounding of up to 50 weights, with room to spare below 2


@dataclass(frozen=True, slots=True)
class Encoded:
    """A vector ready to be masked.

    Attributes:
        values: uint32[d].
        clipped_fraction: Share of coordinates outside the bound; reported, never silent.
        scale_bits: s.
    """

    values: Ring
    clipped_fraction: float
    scale_bits: int


def scale_bits(bound: float) -> int:
    """s = 30 - ceil(log2 B), exactly.

    Raises:
        ValueError: The bound is not a number in [2**-64, 2**30].
    """
    if not 2.0**-64 <= bound <= 2.0**30:
        raise ValueError(f"bound {bound} is outside [2**-64, 2**30]")
    mantissa, exponent = math.frexp(bound)  # bound = mantissa * 2**exponent, mantissa in [0.5, 1)
    return 30 - (exponent - 1 if mantissa == 0.5 else exponent)


def encode(x: npt.NDArray[np.floating], *, bound: float, weight: float) -> Encoded:
    """Round a vector into the ring.

    Args:
        x: float32[d] (or float64[d]).
        bound: Public B > 0; coordinates outside [-B, B] are clipped and counted.
        weight: Public w in (0, 1]; the weights of all sites add up to 1.

    Raises:
        NonFinite: `x` holds a NaN or an infinity.
        WeightRefused: The weight is outside (0, 1].
    """
    if x.ndim != 1:
        raise ValueError(f"encode wants one vector, found shape {x.shape}")
    if not 0.0 < weight <= 1.0:
        raise WeightRefused(f"weight {weight} is outside (0, 1]; the sum could wrap")
    bits = scale_bits(bound)
    factor = weight * 2.0**bits
    values = np.empty(x.size, dtype=np.int32)
    buffer = np.empty(min(_CHUNK, x.size))
    clipped = 0
    for start in range(0, x.size, _CHUNK):  # while a chunk is in the cache
        chunk = x[start : start + _CHUNK]
        scaled = buffer[: chunk.size]
        if -bound <= float(chunk.min()) and float(chunk.max()) <= bound:  # in float64; false for a NaN
            np.multiply(chunk, factor, out=scaled, dtype=np.float64)  # in float64, not rounded to 24 bits first
        else:
            scaled[:] = chunk
            if not np.isfinite(scaled).all():
                broken = int(np.count_nonzero(~np.isfinite(x)))
                raise NonFinite(f"{broken} of {x.size} coordinates are NaN or infinite; nothing was sent")
            clipped += int(np.count_nonzero(np.abs(scaled) > bound))
            np.clip(scaled, -bound, bound, out=scaled)
            np.multiply(scaled, factor, out=scaled)
        np.rint(scaled, out=scaled)
        values[start : start + _CHUNK] = scaled
    return Encoded(values.view(np.uint32), clipped / max(1, x.size), bits)


def decode_sum(total: Ring, *, bound: float, total_weight: float) -> npt.NDArray[np.float64]:
    """The weighted mean that a sum of encoded vectors stands for; float64[d].

    It differs from the exact mean of the clipped vectors by at most (N/2) 2**-s / `total_weight`. Elementwise, so
    every machine gets the same bits.

    Raises:
        WeightRefused: The total weight is outside (0, 1.01].
    """
    _require_total_weight(total_weight)
    signed: npt.NDArray[np.float64] = total.view(np.int32).astype(np.float64)
    return signed * 2.0 ** -scale_bits(bound) / total_weight


def add(left: Ring, right: Ring) -> Ring:
    """Sum in the ring of `left`."""
    total: Ring = np.add(left, right, dtype=left.dtype)
    return total


def neg(value: Ring) -> Ring:
    """Additive inverse in the ring."""
    inverse: Ring = np.negative(value)
    return inverse


def _require_total_weight(total_weight: float) -> None:
    if not 0.0 < total_weight <= _MOST_WEIGHT:
        raise WeightRefused(f"the weights add up to {total_weight}; wanted a sum in (0, {_MOST_WEIGHT}]")
