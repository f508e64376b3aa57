"""Is every kind of patient there?

Coverage: the share of fresh patients with a synthetic row in their neighbourhood. Density: how crowded those
neighbourhoods are; high density with low coverage means a table collapsed to the centre (Naeem et al. 2020,
arXiv 2002.09797).
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from synthfed.evaluation.anchors import SUBSETS, Anchored, judged
from synthfed.evaluation.distance import Gower
from synthfed.evaluation.rows import Rows, stack
from synthfed.evaluation.scorecard import Metric
from synthfed.evaluation.thresholds import MINIMUM_COVERAGE_ROWS

NEIGHBOURS = 5
SPLITS = 20  # halves of T and H in place of S: each costs one matrix of distances
ROW_CAP = 1000
COLLAPSED_DENSITY = 1.2


@dataclass(frozen=True, slots=True)
class Neighbourhoods:
    """Share of reference rows with a candidate row no farther than their 5th neighbour, and how many come so near."""

    coverage: float
    density: float


def neighbourhoods(gower: Gower, reference: Rows, candidate: Rows) -> Neighbourhoods:
    """PRDC's coverage and density with k = 5 under Gower's distance, in O(reference * (reference + candidate))."""
    kept = min(NEIGHBOURS, len(reference) - 1)
    if kept < 1 or not len(candidate):
        return Neighbourhoods(math.nan, math.nan)
    within = gower.between(reference, reference)
    np.fill_diagonal(within, np.inf)
    reach = np.partition(within, kept - 1, axis=1)[:, kept - 1]
    near = gower.between(reference, candidate) <= reach[:, None]
    return Neighbourhoods(float(near.any(axis=1).mean()), float(near.sum() / (kept * len(candidate))))


def anchored_neighbourhoods(
    train: Rows, holdout: Rows, synthetic: Rows, *, seed: int, splits: int = SPLITS
) -> dict[str, Anchored]:
    """Coverage and density of H by S at equal numbers of rows, with anchors.

    No perfect table covers everybody: the ceiling takes both sides from T and H pooled, at the same size. At most
    `ROW_CAP` rows of either side are compared. Empty when T, H or S has too few rows to have neighbours.
    """
    size = min(len(holdout), len(synthetic), ROW_CAP)
    if size < 2 or len(train) < size:
        return {}
    rng = np.random.default_rng([seed, 10])
    gower = Gower.spread_of(holdout, synthetic)

    def some(rows: Rows) -> Rows:
        return rows.take(rng.permutation(len(rows))[:size])

    reference = some(holdout)
    values, floors = [], []
    for _ in range(SUBSETS if size < len(synthetic) else 1):
        subset = some(synthetic)
        values.append(neighbourhoods(gower, reference, subset))
        floors.append(neighbourhoods(gower, reference, subset.shuffled(rng)))
    pool = stack(train, holdout)
    perfect = []
    for _ in range(splits):
        order = rng.permutation(len(pool))
        perfect.append(neighbourhoods(gower, pool.take(order[:size]), pool.take(order[size : 2 * size])))
    out = {}
    for name in ("coverage", "density"):
        low, ceiling, high = np.quantile([getattr(found, name) for found in perfect], [0.025, 0.5, 0.975])
        out[name] = Anchored(
            value=float(np.mean([getattr(found, name) for found in values])),
            floor=float(np.mean([getattr(found, name) for found in floors])),
            ceiling=float(ceiling),
            low=float(low),
            high=float(high),
            rows=size,
        )
    return out


def coverage_metrics(train: Rows, holdout: Rows, synthetic: Rows, *, seed: int) -> list[Metric]:
    """`faithful.coverage` (deciding) and `faithful.density` (information)."""
    found = anchored_neighbourhoods(train, holdout, synthetic, seed=seed)
    enough = len(holdout) >= MINIMUM_COVERAGE_ROWS
    few = "" if enough else f"needs {MINIMUM_COVERAGE_ROWS} hold-out rows, found {len(holdout)}"
    coverage, density = (
        judged(
            f"faithful.{name}",
            found.get(name),
            threshold=f"faithful.{name}",
            question="faithful",
            role="deciding" if name == "coverage" else "info",
            label=label,
            direction="higher",
            too_small=few,
        )
        for name, label in (
            ("coverage", "share of fresh patients with a synthetic row near by"),
            ("density", "synthetic rows in fresh patients' neighbourhoods"),
        )
    )
    crowded = "density" in found and found["density"].value > COLLAPSED_DENSITY
    if crowded and coverage.light in ("amber", "red"):
        coverage = replace(coverage, reason="collapsed to the centre: neighbourhoods are crowded and many are empty")
    return [coverage, density]
