"""Brier score of predicted survival under censoring: how far predicted probabilities are from what happened.

At a day t, patients known to have died are asked for the square of their predicted survival, patients known to live
for the square of one minus it, each weighted by the inverse probability of having been followed that long; patients
lost before t weigh nothing (Graf et al., Statistics in Medicine 1999;18:2529). 0 is perfect, and predicting 1/2 for
everybody scores 1/4.
"""

import math

import numpy as np

from synthfed.evaluation.rows import Floats
from synthfed.evaluation.survival import kaplan_meier

GRID = 40  # days at which the score is taken, evenly over the horizon


def integrated_brier(survival: Floats, grid: Floats, days: Floats, event: Floats) -> float:
    """Mean Brier score over a grid of days; censoring is estimated from the same patients.

    Args:
        survival: float64 (patients, days of the grid), predicted probability of living beyond each day.
        grid: float64 (days,), increasing; days nobody was followed to are left out.
        days, event: float64 (patients,), no NaN.

    Returns:
        NaN where no day of the grid can be judged.
    """
    censoring = kaplan_meier(days, (event <= 0).astype(np.float64))
    steps = np.concatenate([[1.0], censoring.survival])
    followed_to_death = steps[np.searchsorted(censoring.days, days, side="left")]  # just before each day
    followed = censoring.at(grid)
    judged = (grid < days.max(initial=-math.inf)) & (followed > 0)
    if not judged.any():
        return math.nan
    dead = (event[:, None] > 0) & (days[:, None] <= grid) & (followed_to_death[:, None] > 0)
    alive = days[:, None] > grid
    weight = np.where(dead, 1 / np.where(followed_to_death > 0, followed_to_death, 1.0)[:, None], 0.0)
    weight += np.where(alive & judged, 1 / np.where(followed > 0, followed, 1.0), 0.0)
    squares = np.where(dead, survival, 1 - survival) ** 2
    return float((weight * squares).mean(axis=0)[judged].mean())


def baseline_hazard(risk: Floats, days: Floats, event: Floats, grid: Floats) -> Floats:
    """Breslow's cumulative hazard of a Cox model at the days of the grid: deaths over the summed hazard ratios at risk.

    Args:
        risk: float64 (patients,), log hazard ratio of each.
    """
    order = np.argsort(-days, kind="stable")  # longest first: the risk set is a prefix
    t, died = days[order], event[order] > 0
    at_risk = np.cumsum(np.exp(np.clip(risk[order], -30, 30)))
    last = np.searchsorted(-t, -t, side="right") - 1  # everyone with time >= t
    steps = t[died][::-1]
    jumps = np.cumsum((1 / at_risk[last][died])[::-1])
    return np.concatenate([[0.0], jumps])[np.searchsorted(steps, grid, side="right")]
