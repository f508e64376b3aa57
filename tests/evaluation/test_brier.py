import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.evaluation.brier import baseline_hazard, integrated_brier


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_it_follows_its_definition(seed):
    """By loops over patients and days, with ties and censoring."""
    rng = np.random.default_rng(seed)
    days, event = rng.integers(1, 9, 15) * 1.0, rng.integers(0, 2, 15) * 1.0
    grid, predicted = np.array([2.0, 4.0, 6.0, 20.0]), rng.random((15, 4))

    def followed(day: float, *, before: bool) -> float:
        out = 1.0
        for t in sorted(set(days[event == 0])):
            if t < day or (t == day and not before):
                out *= 1 - ((days == t) & (event == 0)).sum() / (days >= t).sum()
        return out

    scores = []
    for g, day in enumerate(grid):
        if day >= days.max() or followed(day, before=False) == 0:
            continue
        total = 0.0
        for i in range(15):
            if event[i] and days[i] <= day:
                total += predicted[i, g] ** 2 / followed(days[i], before=True)
            elif days[i] > day:
                total += (1 - predicted[i, g]) ** 2 / followed(day, before=False)
        scores.append(total / 15)
    found = integrated_brier(predicted, grid, days, event)
    assert found == pytest.approx(np.mean(scores)) if scores else np.isnan(found)


def test_a_coin_scores_a_quarter_and_the_truth_nothing():
    days, grid = np.arange(1.0, 41.0), np.arange(5.0, 35.0, 5.0)
    truth = (days[:, None] > grid).astype(float)
    assert integrated_brier(np.full((40, 6), 0.5), grid, days, np.ones(40)) == pytest.approx(0.25)
    assert integrated_brier(truth, grid, days, np.ones(40)) == 0


def test_the_baseline_hazard_is_lifelines():
    import pandas as pd
    from lifelines import CoxPHFitter

    rng = np.random.default_rng(0)
    x = rng.normal(size=120)
    days, event = rng.exponential(100 * np.exp(-x)), (rng.random(120) < 0.7) * 1.0
    fitted = CoxPHFitter().fit(pd.DataFrame({"x": x, "days": days, "event": event}), "days", "event")
    beta = float(fitted.params_["x"])
    theirs = fitted.baseline_cumulative_hazard_.iloc[:, 0]  # of a patient with the mean of x
    grid = np.quantile(days, [0.1, 0.5, 0.9])
    ours = baseline_hazard((x - x.mean()) * beta, days, event, grid)
    assert ours == pytest.approx([float(theirs[theirs.index <= day].iloc[-1]) for day in grid], rel=1e-6)
