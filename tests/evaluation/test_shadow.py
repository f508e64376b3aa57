import numpy as np
import pandas as pd
import pytest

from synthfed.evaluation.rows import Shape, in_content_order, read_rows
from synthfed.evaluation.shadow import RATE, Shadow, likelihood_ratios, shadow_attack, shadow_metric
from tests.evaluation import cheats

POOL = cheats.simulate(120, 3)


def _attack(generator, *, fits=16, pool=POOL) -> Shadow:
    return shadow_attack(pool, cheats.SCHEMA, generator, fits=fits, seed=0)


def _copies(rows: pd.DataFrame, fit: int) -> pd.DataFrame:
    return rows


def _fresh(rows: pd.DataFrame, fit: int) -> pd.DataFrame:
    return cheats.simulate(len(rows), 1000 + fit)


def _jittered(rows: pd.DataFrame, fit: int) -> pd.DataFrame:
    return cheats.jittered(rows, 0.1, seed=fit)


def test_a_generator_that_copies_is_found_out_completely():
    found = _attack(_copies)
    assert found.found == 1.0
    assert found.area == pytest.approx(1.0, abs=1e-4)


def test_jitter_does_not_hide_anybody():
    assert _attack(_jittered).area > 0.9


def test_a_generator_that_never_looked_at_anybody_gives_nobody_away():
    found = _attack(_fresh, fits=24)
    assert found.low <= RATE * 2.5
    assert found.area == pytest.approx(0.5, abs=0.04)


def test_one_memorised_patient_is_among_the_most_exposed():
    """The generator is safe but for an outlier, who is copied ten times whenever present."""
    pool = POOL.copy()
    pool.loc[7, ["age_years", "wbc", "ldh"]] = [98.0, 440.0, 18_000.0]

    def leaky(rows: pd.DataFrame, fit: int) -> pd.DataFrame:
        made = cheats.simulate(len(rows), 2000 + fit)
        odd = rows[rows["ldh"] == 18_000]
        return pd.concat([made, *[odd] * 10], ignore_index=True) if len(odd) else made

    safe, leaking = _attack(_fresh, pool=pool), _attack(leaky, pool=pool)
    assert leaking.exposed_area > safe.exposed_area + 0.02


def test_nobody_is_judged_by_what_his_own_table_taught():
    """Pure noise: were a fit's own look among what it is judged by, members would score higher."""
    rng = np.random.default_rng(0)
    joined = rng.random((10, 400)) < 0.5
    scores = likelihood_ratios(rng.normal(size=(10, 400, 3)), joined)
    gap = scores[joined].mean() - scores[~joined].mean()
    assert gap < 0.05


def test_rows_and_table_are_in_the_same_order():
    shape = Shape.of(cheats.SCHEMA)
    ordered = in_content_order(POOL, shape)
    assert read_rows(ordered, shape).number("age_years").tolist() == ordered["age_years"].astype(float).tolist()


def test_too_little_to_attack_is_refused():
    with pytest.raises(ValueError, match="wanted at least 8 fits and 20 patients"):
        _attack(_copies, fits=4)


def test_it_informs_in_words():
    metric = shadow_metric(_attack(_copies))
    assert (metric.role, metric.light) == ("info", "grey")
    assert metric.reason.startswith("of 1,000 patients 1000 are found")
