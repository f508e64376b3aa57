from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.evaluation.prognosis import prognosis_metrics, uno_c
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=600, holdout=300, fresh=600, seed=4)
TRAIN, HOLDOUT, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.holdout, REAL.fresh))
OS = cheats.SCHEMA.survivals[0]


def _metrics(synthetic, holdout=HOLDOUT):
    return {m.id: m for m in prognosis_metrics([OS], OS, TRAIN, holdout, synthetic, seed=0)}


def _metric(synthetic, holdout=HOLDOUT):
    return _metrics(synthetic, holdout)["survival.uno_c"]


def _forgetful():
    """Fresh patients whose survival is another patient's."""
    order = np.random.default_rng(0).permutation(len(FRESH))
    places = [i for i, c in enumerate(SHAPE.numbers) if c.name == "os_days"]
    flags = [i for i, c in enumerate(SHAPE.levels) if c.name == "os_event"]
    forgot = replace(FRESH, numbers=FRESH.numbers.copy(), codes=FRESH.codes.copy())
    forgot.numbers[:, places] = FRESH.numbers[order][:, places]
    forgot.codes[:, flags] = FRESH.codes[order][:, flags]
    return forgot


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_concordance_follows_its_definition(seed):
    """By loops over all pairs, with ties in time and risk."""
    rng = np.random.default_rng(seed)
    days, event, risk = rng.integers(1, 9, 20) * 1.0, rng.integers(0, 2, 20) * 1.0, rng.integers(0, 5, 20) * 1.0

    def followed(day: float) -> float:
        out = 1.0
        for t in sorted(set(days[(event == 0) & (days < day)])):
            out *= 1 - ((days == t) & (event == 0)).sum() / (days >= t).sum()
        return out

    right = total = 0.0
    for i in range(20):
        for j in range(20):
            if event[i] and days[i] < 7 and (days[j] > days[i] or (days[j] == days[i] and not event[j])):
                weight = followed(days[i]) ** -2
                total += weight
                right += weight * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
    if total:
        assert uno_c(risk, days, event, 7) == pytest.approx(right / total)
    else:
        assert np.isnan(uno_c(risk, days, event, 7))


def test_without_censoring_and_horizon_it_is_harrells():
    from lifelines.utils import concordance_index

    rng = np.random.default_rng(0)
    days, risk = rng.exponential(100, 80), rng.normal(size=80)
    assert uno_c(risk, days, np.ones(80), np.inf) == pytest.approx(concordance_index(days, -risk))


def test_fresh_patients_lose_no_concordance():
    metric = _metric(FRESH)
    assert metric.light in ("green", "grey")
    assert abs(metric.value or 0) < 0.05


def test_survival_that_forgets_the_patient_loses_concordance():
    metric = _metric(_forgetful())
    assert metric.light in ("amber", "red")
    assert (metric.value or 0) > (metric.high or 0)


def test_few_events_measure_nothing():
    metric = _metric(FRESH, HOLDOUT.take(np.arange(25)))
    assert metric.light == "grey"
    assert "needs 30 events" in metric.reason


def test_the_brier_score_tells_the_same():
    """It only informs: how much a loss of it matters depends on how well patients can be told apart at all."""
    good, bad = (_metrics(table)["survival.ibs"] for table in (FRESH, _forgetful()))
    assert good.role == bad.role == "info"
    assert abs(good.value or 0) < 0.01
    assert (bad.value or 0) > (bad.high or 0)
