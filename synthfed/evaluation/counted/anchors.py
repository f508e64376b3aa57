"""Anchors without a real row: what perfect data, and a table without dependence, would get under the same noise.

Perfect data: S* and H* drawn anew from the synthetic table's own rows, as many as the table has and as were counted,
H* with the noise that the patients' counts got. No dependence: the same from its columns permuted one by one. Whole
rows are drawn, so that scores that average over columns move together as they do for patients.
"""

from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.counted.count import count, places
from synthfed.evaluation.counted.statistics import Chance, pair_residuals, patients
from synthfed.evaluation.counted.tables import CountPlan
from synthfed.evaluation.rows import Floats, Ints, Rows

DRAWS = 200
MOST_ROWS = 10_000  # drawn for one S*; beyond, its sampling is far below the noise


@dataclass(frozen=True, slots=True)
class Anchors:
    """Counts to compare the real ones with; float64 (draws, cells).

    Attributes:
        perfect_reference, perfect_candidate: H* and S*, drawn alike.
        shuffled: The synthetic table with its columns permuted, scored in its place against the patients.
        chance: What pairs without dependence show.
    """

    perfect_reference: Floats
    perfect_candidate: Floats
    shuffled: Floats
    chance: Chance


def draw_anchors(
    plan: CountPlan, counts: Floats, stddevs: Floats, synthetic: Rows, *, seed: int, draws: int = DRAWS
) -> Anchors:
    """Draw them; the same arguments, the same anchors. Post-processing of the noisy counts.

    Args:
        counts: The noisy sum over all sites; float64[cells].
        stddevs: Standard deviation of its noise; float64[cells].
    """
    rng = np.random.default_rng([seed, 8])
    size = round(float(patients(plan, counts[None], stddevs)[0]))
    candidate_size = min(len(synthetic), MOST_ROWS)
    cells = places(plan, synthetic)
    shuffled = synthetic.shuffled(rng)
    apart = places(plan, shuffled)
    perfect = _drawn(plan, cells, size, draws, rng) + rng.normal(size=(draws, plan.cells)) * stddevs
    without = _drawn(plan, apart, size, draws, rng) + rng.normal(size=(draws, plan.cells)) * stddevs
    plain = _drawn(plan, apart, candidate_size, draws, rng)
    squares = (pair_residuals(plan, without, patients(plan, without, stddevs)) ** 2).sum(axis=1)
    own = (pair_residuals(plan, plain, np.full(draws, float(candidate_size))) ** 2).sum(axis=1)
    return Anchors(
        perfect_reference=perfect,
        perfect_candidate=_drawn(plan, cells, candidate_size, draws, rng),
        shuffled=np.stack([count(plan, synthetic.shuffled(rng)) for _ in range(5)]).astype(np.float64),
        chance=Chance(float(squares.mean()), float(own.mean()), float(squares.std())),
    )


def _drawn(plan: CountPlan, cells: Ints, size: int, draws: int, rng: np.random.Generator) -> Floats:
    """Counts of `size` rows drawn with replacement, `draws` times."""
    out = np.empty((draws, plan.cells))
    for draw in range(draws):
        out[draw] = np.bincount(cells[rng.integers(len(cells), size=size)].ravel(), minlength=plan.cells)
    return out
