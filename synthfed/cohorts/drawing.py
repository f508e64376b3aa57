"""Draws that both simulators need: correlated uniforms, bounded normals, and odds solved for a wanted share.

Everything takes a `numpy.random.Generator`; nothing here knows a disease.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri

from synthfed.errors import DictionaryError
from synthfed.resources import dictionary_path

Values = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SiteEffects:
    """How one simulated hospital differs from the average one (assumptions: no source publishes such effects).

    Attributes:
        age_shift: Years added to the mean age.
        lab_shift: Added to the logarithm of the white count: another analyser, another referral pattern.
        missing_factor: Multiplies the shares of missing values.
        severity: Log odds added to the severe genetic classes or genotypes.
    """

    age_shift: float = 0.0
    lab_shift: float = 0.0
    missing_factor: float = 1.0
    severity: float = 0.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """An increasing map that moves the quantiles of a simulated column to the published ones; ranks stay.

    Attributes:
        found, wanted: The same quantiles before and after, increasing.
        log: Whether the map is straight between the logarithms.
    """

    found: tuple[float, ...]
    wanted: tuple[float, ...]
    log: bool

    def __call__(self, values: Values) -> Values:
        found, wanted, at = np.array(self.found), np.array(self.wanted), np.asarray(values, dtype=np.float64)
        if self.log:
            found, wanted, at = np.log(found), np.log(wanted), np.log(np.maximum(at, 1e-3))
        inside = np.interp(at, found, wanted)
        moved = inside + np.minimum(at - found[0], 0.0) + np.maximum(at - found[-1], 0.0)  # outside: shifted
        return np.asarray(np.exp(moved) if self.log else moved)


def calibration_of(values: Values, levels: Sequence[float], wanted: Sequence[float], *, log: bool) -> Calibration:
    """The map that gives `values` the quantiles `wanted` at `levels` (0 to 1)."""
    found = np.quantile(values, levels)
    return Calibration(tuple(float(q) for q in found), tuple(wanted), log)


def load_prior(disease: str) -> dict[str, Any]:
    """The public constants of `datasets/<disease>/prior.toml`."""
    path = dictionary_path(disease).parent / "prior.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DictionaryError(f"prior file {path} cannot be read: {error}") from error


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the entries of `changes` in place of its own, table by table."""
    result = dict(base)
    for key, value in changes.items():
        result[key] = merged(base[key], value) if isinstance(value, Mapping) and key in base else value
    return result


def correlated_uniforms(correlation: Values, rows: int, rng: np.random.Generator) -> Values:
    """Uniforms of shape (rows, k) under a Gaussian copula; a matrix rounded to be slightly indefinite is mended."""
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.clip(values, 1e-6, None))
    normal = rng.standard_normal((rows, len(correlation))) @ root.T
    return np.asarray(ndtr(normal / np.sqrt((root**2).sum(axis=1))))


def normal_of_spearman(rank_correlation: Values) -> Values:
    """The Gaussian copula's correlation for a wanted rank correlation."""
    return np.asarray(2.0 * np.sin(np.pi / 6.0 * rank_correlation))


def bounded_normal(mean: Values, sd: Values, lower: Values, upper: Values, rng: np.random.Generator) -> Values:
    """Normal draws truncated to [lower, upper], one per entry of `mean`."""
    low, high = ndtr((lower - mean) / sd), ndtr((upper - mean) / sd)
    return np.asarray(mean + sd * ndtri(low + (high - low) * rng.random(len(mean))))


def pick(weights: Values, rng: np.random.Generator) -> Codes:
    """One position per row, with odds `weights` of shape (rows, k)."""
    edges = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    drawn = (rng.random(len(weights))[:, None] > edges).sum(axis=1)
    return np.asarray(np.minimum(drawn, weights.shape[1] - 1), dtype=np.int64)


def chance(probability: Values | float, rows: int, rng: np.random.Generator) -> Mask:
    """True with `probability` in each of `rows` rows."""
    return np.asarray(rng.random(rows) < probability)


def intercept_for(share: float, log_odds: Values, weights: Values | None = None) -> float:
    """The number to add to `log_odds` so that the (weighted) mean probability is `share`."""
    if len(log_odds) == 0 or share <= 0.0:
        return -30.0
    if share >= 1.0:
        return 60.0
    return bisect(lambda x: float(np.average(expit(log_odds + x), weights=weights)) - share, -30.0, 30.0)


def bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """The root of an increasing function."""
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return 0.5 * (low + high)
