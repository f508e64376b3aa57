"""Membership inference by an attacker who can run the same generator: shadow models.

The attacker trains the generator again and again on random halves of a pool of patients and learns, for every patient,
how the tables look that were made with this one and without. A likelihood ratio then says of a new table which it is
(the idea of LiRA, arXiv 2112.03570; for synthetic tables arXiv 2306.10308). That is the strongest attacker without
the model's parameters: one who knows everything about every patient but who took part.

Every table is judged by what the other tables taught, so that no guess was learned from itself. What it finds depends
on the pool: run it on simulated patients, or inside a site on that site's own, where the result stays.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.evaluation.distance import Gower, nearest
from synthfed.evaluation.learning import auc
from synthfed.evaluation.rows import Bools, Floats, Ints, Rows, Shape, in_content_order, read_rows
from synthfed.evaluation.scorecard import Metric
from synthfed.tables.schema import Schema

FitAndSample = Callable[[pd.DataFrame, int], pd.DataFrame]
"""(training rows, number of the fit) -> a synthetic table of about as many rows."""

RATE = 0.01  # of outsiders who are wrongly accused
EXPOSED = 10  # patients looked at as the most exposed
TRIPLES = 100  # of columns, on which equal rows are counted
LEAST_FITS = 8
_CELLS = 8  # that numbers are cut into where rows are compared for equality
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class Shadow:
    """What shadow models find out.

    Attributes:
        found: Share of members accused where `RATE` of the outsiders are; with its 95 % interval over the fits.
        area: Area under the curve over all patients and tables.
        exposed_area: The same for the patients that the first half of the tables showed most exposed, on the others.
    """

    found: float
    low: float
    high: float
    area: float
    exposed_area: float
    fits: int
    patients: int


def shadow_attack(
    pool: pd.DataFrame,
    schema: Schema,
    fit_and_sample: FitAndSample,
    *,
    fits: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Shadow:
    """Train `fits` shadow generators on random halves of `pool` and attack each table with what the others taught.

    Args:
        fit_and_sample: The generator as it is used in earnest, with the same settings and budget.
        progress: Called with (fits done, fits).

    Raises:
        ValueError: Fewer than `LEAST_FITS` fits, or fewer than 20 patients.
    """
    if fits < LEAST_FITS or len(pool) < 20:
        raise ValueError(f"{fits} fits on {len(pool)} patients; wanted at least {LEAST_FITS} fits and 20 patients")
    rng = np.random.default_rng([seed, 17])
    shape = Shape.of(schema)
    patients = in_content_order(pool, shape)
    targets = read_rows(patients, shape)
    looks = _Looks(targets, rng)
    joined = np.zeros((fits, len(patients)), dtype=bool)
    seen = np.zeros((fits, len(patients), 3))
    for fit in range(fits):
        joined[fit, rng.permutation(len(patients))[: len(patients) // 2]] = True
        seen[fit] = looks.of(read_rows(fit_and_sample(patients[joined[fit]], fit), shape))
        if progress is not None:
            progress(fit + 1, fits)
    return _judge(likelihood_ratios(seen, joined), joined, rng)


class _Looks:
    """How a table looks from a patient: nearness of one and of five rows, and how many rows share three columns."""

    def __init__(self, targets: Rows, rng: np.random.Generator) -> None:
        self._targets = targets
        self._gower = Gower.spread_of(targets)
        cuts = np.linspace(0, 1, _CELLS + 1)[1:-1]
        self._edges = [
            np.unique(np.quantile(column[~np.isnan(column)], cuts)) if (~np.isnan(column)).any() else np.empty(0)
            for column in targets.numbers.T
        ]
        columns = len(targets.shape.columns)
        self._triples = [rng.permutation(columns)[:3] for _ in range(TRIPLES)]
        self._cells = self._cut(targets)

    def of(self, table: Rows) -> Floats:
        """float64 (patients, 3), higher where the table looks more as if the patient had taken part."""
        distances = self._gower.between(self._targets, table)
        return np.column_stack([-nearest(distances), -nearest(distances, 5), self._matches(self._cut(table))])

    def _cut(self, rows: Rows) -> Ints:
        numbers = [
            np.where(np.isnan(column), -1, np.searchsorted(edges, column, side="right"))
            for edges, column in zip(self._edges, rows.numbers.T, strict=True)
        ]
        return np.column_stack([*numbers, rows.codes]).astype(np.int64) + 1

    def _matches(self, cells: Ints) -> Floats:
        """Mean over the triples of the logarithm of how many rows equal the patient on it, one added."""
        total = np.zeros(len(self._cells))
        for triple in self._triples:
            there, here = (_keys(table[:, triple]) for table in (self._cells, cells))
            values, counts = np.unique(here, return_counts=True)
            place = np.minimum(np.searchsorted(values, there), len(values) - 1)
            total += np.log1p(np.where(values[place] == there, counts[place], 0))
        return total / len(self._triples)


def _keys(cells: Ints) -> Ints:
    """One number per combination of up to three cells; no column has a million of them."""
    return np.asarray(cells @ (np.int64(1_000_003) ** np.arange(cells.shape[1], dtype=np.int64)))


def likelihood_ratios(seen: Floats, joined: Bools) -> Floats:
    """float64 (fits, patients): log likelihood of having joined against not, learned from the other fits.

    Normal laws with means per patient and one covariance for all, since a patient has too few fits for one of its own.

    Args:
        seen: float64 (fits, patients, features).
        joined: bool (fits, patients).
    """
    means = [_others_mean(seen, side) for side in (joined, ~joined)]
    residual = np.where(joined[:, :, None], seen - means[0], seen - means[1]).reshape(-1, seen.shape[2])
    covariance = np.cov(residual, rowvar=False) + 1e-9 * np.eye(seen.shape[2])
    inverse = np.linalg.inv(covariance)
    inside, outside = (np.einsum("fpi,ij,fpj->fp", seen - m, inverse, seen - m) for m in means)
    return np.asarray((outside - inside) / 2)


def _others_mean(seen: Floats, side: Bools) -> Floats:
    """Mean over the fits on this side but the one asked about."""
    weight = side[:, :, None].astype(np.float64)
    total, count = (weight * seen).sum(axis=0), weight.sum(axis=0)
    return np.asarray((total - weight * seen) / np.maximum(count - weight, 1.0))


def _judge(scores: Floats, joined: Bools, rng: np.random.Generator) -> Shadow:
    fits = len(scores)
    draws = [_caught(scores[picked], joined[picked]) for picked in rng.integers(0, fits, (_DRAWS, fits))]
    low, high = np.quantile(draws, [0.025, 0.975])
    half = fits // 2
    exposure = np.array([_area(scores[:half, p], joined[:half, p]) for p in range(scores.shape[1])])
    worst = np.argsort(-np.nan_to_num(exposure, nan=0.5), kind="stable")[:EXPOSED]
    return Shadow(
        found=_caught(scores, joined),
        low=float(low),
        high=float(high),
        area=_area(scores.ravel(), joined.ravel()),
        exposed_area=_area(scores[half:, worst].ravel(), joined[half:, worst].ravel()),
        fits=fits,
        patients=scores.shape[1],
    )


def _caught(scores: Floats, joined: Bools) -> float:
    """Share of members strictly above the score that `RATE` of the outsiders exceed."""
    outsiders = np.sort(scores[~joined])[::-1]
    threshold = outsiders[math.floor(RATE * len(outsiders))]
    return float((scores[joined] > threshold).mean())


def _area(scores: Floats, joined: npt.NDArray[np.bool_]) -> float:
    return float(auc(scores, joined.astype(np.float64))[0])


def shadow_metric(found: Shadow) -> Metric:
    """`private.shadow`: information, because it rests on a pool of other patients or on one site's."""
    return Metric(
        id="private.shadow",
        question="private",
        role="info",
        label="members found by an attacker with shadow models",
        value=found.found,
        direction="lower",
        ceiling=RATE,
        reason=(
            f"of 1,000 patients {1000 * found.found:.0f} are found where {100 * RATE:.0f} in 100 outsiders are accused "
            f"and guessing finds {1000 * RATE:.0f}; area {found.area:.2f}, for the {EXPOSED} most exposed patients "
            f"{found.exposed_area:.2f} (.5 is guessing); {found.fits} generators on halves of {found.patients} patients"
        ),
        n={"fits": found.fits, "patients": found.patients},
        rows_used="train",
        value_low=found.low,
        value_high=found.high,
    )
