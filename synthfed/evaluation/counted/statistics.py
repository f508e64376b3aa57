"""Distances between two vectors of counts, one of them noisy; many draws at once, to see what perfect data would get.

Every array of counts is float64 (draws, cells) in the order of a `CountPlan`. Squared distances are estimated without
bias: what noise and sampling add on average is taken off, so that a table from the patients' own distribution scores a
distance around zero however loud the noise, and the noise shows in the width of the band instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.counted.tables import CountPlan, CountTable
from synthfed.evaluation.genomics import GROUPS
from synthfed.evaluation.rows import Floats
from synthfed.tables.schema import Column, Schema

Values = Mapping[str, Floats]  # float64 (draws,) by name; NaN where undefined


@dataclass(frozen=True, slots=True)
class Chance:
    """What pairs would show had they no dependence: sums of squared residuals of both sides, by drawing.

    Attributes:
        reference, candidate: Expectation.
        spread: Standard deviation of the reference's.
    """

    reference: float
    candidate: float
    spread: float


def patients(plan: CountPlan, counts: Floats, stddevs: Floats) -> Floats:
    """How many patients were counted, from the totals of all tables, the quieter ones counting more; (draws,)."""
    totals = np.stack([counts[:, place].sum(axis=1) for _, place in plan.slices()], axis=1)
    noise = np.array([(stddevs[place] ** 2).sum() for _, place in plan.slices()])
    weights = 1 / np.maximum(noise, 1e-9)
    return np.asarray(np.maximum(totals @ weights / weights.sum(), 1.0))


def columns_apart(plan: CountPlan, reference: Floats, candidate: Floats, stddevs: Floats) -> dict[str, Floats]:
    """Per column an estimate of its squared total variation distance; negative where noise says so.

    With d the difference of shares over k cells, TVD^2 = (sum |d|)^2/4 <= k/4 sum d^2, with equality where all cells
    differ alike, as they do for a flag. k is taken as 1/sum p^2, the number of cells that matter, at least 2. Off sum
    d^2 go the noise's variance and (1 - sum p^2)(1/n + 1/m) for the sampling of n patients and m synthetic rows.
    """
    n = patients(plan, reference, stddevs)[:, None]
    found = {}
    for table, place in plan.block("columns"):
        m = candidate[:, place].sum(axis=1, keepdims=True)
        there, here = reference[:, place] / n, candidate[:, place] / m
        alike = (here**2).sum(axis=1)
        added = (stddevs[place] ** 2).sum() / n[:, 0] ** 2 + (1 - alike) * (1 / n + 1 / m)[:, 0]
        cells = np.maximum(1 / alike, 2.0)
        found[table.name] = cells / 4 * (((there - here) ** 2).sum(axis=1) - added)
    return found


def divergence(plan: CountPlan, reference: Floats, candidate: Floats) -> Floats:
    """Mean Jensen-Shannon divergence of single columns in bits; noise moves it up, as it moves that of perfect data."""
    parts = []
    for _, place in plan.block("columns"):
        there = np.maximum(reference[:, place], 0.0)
        there = there / np.maximum(there.sum(axis=1, keepdims=True), 1e-9)
        here = candidate[:, place] / candidate[:, place].sum(axis=1, keepdims=True)
        middle = (there + here) / 2
        parts.append(0.5 * (_entropy(there, middle) + _entropy(here, middle)))
    return np.mean(parts, axis=0) if parts else np.full(len(reference), np.nan)


def _entropy(first: Floats, second: Floats) -> Floats:
    seen = first > 0
    return np.asarray(
        np.where(seen, first * np.log2(np.where(seen, first / np.where(seen, second, 1), 1)), 0).sum(axis=1)
    )


def missing_apart(plan: CountPlan, reference: Floats, candidate: Floats, stddevs: Floats) -> Floats:
    """Largest difference of a column's missing share."""
    n = patients(plan, reference, stddevs)
    last = [place.stop - 1 for _, place in plan.block("columns")]
    rows = np.stack([candidate[:, place].sum(axis=1) for _, place in plan.block("columns")], axis=1)
    return np.asarray(np.abs(reference[:, last] / n[:, None] - candidate[:, last] / rows).max(axis=1))


def frequency_apart(plan: CountPlan, schema: Schema, reference: Floats, candidate: Floats) -> Floats:
    """Largest difference of how often an alteration is found among those tested; NaN without genomic flags."""
    gaps = [
        np.abs(_share_of_ones(reference[:, place]) - _share_of_ones(candidate[:, place]))
        for table, place in plan.block("columns")
        if genomic(schema, table)
    ]
    return np.max(gaps, axis=0) if gaps else np.full(len(reference), np.nan)


def genomic(schema: Schema, table: CountTable) -> bool:
    """Whether all of a table's columns are flags of genes or karyotype."""
    named: list[Column] = [schema[axis.name] for axis in table.axes if axis.kind == "level" and axis.name in schema]
    return len(named) == len(table.axes) and all(c.kind == "flag" and c.group in GROUPS for c in named)


def _share_of_ones(counts: Floats) -> Floats:
    """From (no, yes, missing); between 0 and 1 whatever the noise says."""
    tested = np.maximum(counts[:, 0] + counts[:, 1], 1.0)
    return np.clip(counts[:, 1] / tested, 0.0, 1.0)


def rules_apart(plan: CountPlan, reference: Floats, candidate: Floats, stddevs: Floats) -> Floats:
    """Largest difference in how often a soft rule is broken; NaN without one."""
    asked = plan.block("rules")
    if not asked:
        return np.full(len(reference), np.nan)
    n = patients(plan, reference, stddevs)[:, None]
    broken = [place.start + 1 for _, place in asked]
    rows = np.stack([candidate[:, place].sum(axis=1) for _, place in asked], axis=1)
    return np.asarray(np.abs(reference[:, broken] / n - candidate[:, broken] / rows).max(axis=1))


def residuals(joint: Floats) -> Floats:
    """What two-way tables of shares are above independence among the observed; float64 (..., rows, columns)."""
    observed = joint.sum(axis=(-2, -1), keepdims=True)
    expected = joint.sum(axis=-1, keepdims=True) * joint.sum(axis=-2, keepdims=True)
    return np.asarray(joint - expected / np.where(np.abs(observed) > 1e-9, observed, 1.0))


def pair_residuals(plan: CountPlan, counts: Floats, rows: Floats) -> Floats:
    """The residuals of all asked pairs side by side; float64 (draws, cells of pairs).

    Args:
        rows: How many rows were counted; (draws,).
    """
    parts = []
    for table, place in plan.block("pairs"):
        joint = counts[:, place.start : place.stop - 1].reshape(-1, *table.shape) / rows[:, None, None]
        parts.append(residuals(joint).reshape(len(counts), -1))
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(counts), 0))


def pair_concordance(reference: Floats, candidate: Floats, chance: Chance) -> Floats:
    """2 sum rs / (sum r^2 + sum s^2) of patients' residuals r and the table's s, without what chance adds to squares.

    1 where both depend alike, 0 where one of them does not depend at all; NaN where neither does.
    """
    there = (reference**2).sum(axis=1) - chance.reference
    here = (candidate**2).sum(axis=1) - chance.candidate
    whole = np.maximum(there, 0.0) + np.maximum(here, 0.0)
    shared = 2 * (reference * candidate).sum(axis=1)
    return np.asarray(np.where(whole > 1e-12, shared / np.where(whole > 1e-12, whole, 1), np.nan))


def pair_slope(reference: Floats, candidate: Floats, chance: Chance) -> Floats:
    """sum rs / sum s^2: how much of the table's dependence patients show; linear in the noise, so seen through more.

    1 where they depend alike, below where the table overstates; NaN where the table has none.
    """
    here = (candidate**2).sum(axis=1) - chance.candidate
    seen = here > chance.candidate
    return np.asarray(np.where(seen, (reference * candidate).sum(axis=1) / np.where(seen, here, 1.0), np.nan))


def survival_curves(table: CountTable, counts: Floats) -> Floats:
    """Life-table estimates at the edges of the intervals, 0 included; float64 (draws, [groups,] edges + 1).

    One histogram of interval by event, because its noise does not add up over the patients at risk: these are sums
    from behind. Who left in an interval counts half in it. Nothing is counted twice: 1 is the most a patient moves.
    """
    cells = counts[:, :-1].reshape(-1, *table.shape)
    left, died = cells[..., 0], cells[..., 1]
    at_risk = np.cumsum((left + died)[..., ::-1], axis=-1)[..., ::-1]
    exposed = np.maximum(at_risk - left / 2, 1.0)
    hazard = np.clip(died / exposed, 0.0, 1.0)[..., :-1]  # the last interval lies beyond the horizon
    survival = np.cumprod(1 - hazard, axis=-1)
    return np.concatenate([np.ones((*survival.shape[:-1], 1)), survival], axis=-1)


def edges_of(table: CountTable) -> Floats:
    """Where the curve of a survival table is known: 0 and the edges of its intervals, in days."""
    return np.array([0.0, *table.axes[-2].edges])


def area_between(first: Floats, second: Floats, edges: Floats) -> Floats:
    """Mean absolute difference of curves up to the horizon; the last axis runs over the edges."""
    gap, widths = np.abs(first - second), np.diff(edges)
    return np.asarray(((gap[..., 1:] + gap[..., :-1]) / 2 * widths).sum(axis=-1) / edges[-1])


def mean_days(curves: Floats, edges: Floats) -> Floats:
    """Restricted mean survival time in days."""
    return np.asarray(((curves[..., 1:] + curves[..., :-1]) / 2 * np.diff(edges)).sum(axis=-1))


def events_within(table: CountTable, counts: Floats) -> Floats:
    """Events before the horizon; float64 (draws[, groups])."""
    return np.asarray(counts[:, :-1].reshape(-1, *table.shape)[..., :-1, 1].sum(axis=-1))


def log_odds(counts: Floats, stddev: float) -> tuple[Floats, Floats]:
    """Log odds ratio of a pair of flags and its standard error, noise included; (draws,). .5 is added to each cell."""
    cells = np.maximum(counts[:, :4], 0.0) + 0.5
    sign = np.array([1.0, -1.0, -1.0, 1.0])
    error = np.sqrt(((cells + stddev**2) / cells**2).sum(axis=1))
    return np.log(cells) @ sign, error
