import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from scipy.stats.contingency import crosstab

from synthfed.evaluation.association import associations, concordance
from synthfed.evaluation.rows import Shape, read_rows
from synthfed.tables.schema import Column, Schema
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
NAMES = [column.name for column in SHAPE.columns]


def test_number_pairs_are_spearman():
    table = cheats.simulate(500, 1)
    table["hb"] = np.random.default_rng(0).normal(9, 2, 500).round(1)
    found = associations(read_rows(table, SHAPE)).values
    i, j = NAMES.index("age_years"), NAMES.index("hb")
    k = NAMES.index("os_days")
    assert found[i, j] == pytest.approx(spearmanr(table["age_years"], table["hb"]).statistic)
    assert found[i, k] == pytest.approx(spearmanr(table["age_years"], table["os_days"].astype(float)).statistic)


def test_level_pairs_are_corrected_cramer_v():
    table = cheats.simulate(400, 2)
    found = associations(read_rows(table, SHAPE)).values[NAMES.index("risk"), NAMES.index("response")]
    known = table.dropna(subset=["response"])
    counts = crosstab(known["risk"].astype(str), known["response"].astype(str)).count
    n = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    phi2 = ((counts - expected) ** 2 / expected).sum() / n
    r, k = counts.shape
    corrected = max(0.0, phi2 - (r - 1) * (k - 1) / (n - 1))
    width = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
    assert found == pytest.approx(np.sqrt(corrected / width))


def test_number_with_level_is_adjusted_eta_on_ranks():
    table = cheats.simulate(300, 3)
    found = associations(read_rows(table, SHAPE)).values[NAMES.index("age_years"), NAMES.index("risk")]
    ranks = table["age_years"].rank()
    groups = ranks.groupby(table["risk"], observed=True)
    between = (groups.size() * (groups.mean() - ranks.mean()) ** 2).sum()
    eta2 = between / ((ranks - ranks.mean()) ** 2).sum()
    assert found == pytest.approx(np.sqrt(1 - (1 - eta2) * 299 / 297))


def test_independent_columns_are_near_zero():
    rows = read_rows(cheats.shuffled(cheats.simulate(3000, 4)), SHAPE)
    values = associations(rows).values
    assert np.nanmean(np.abs(values[np.triu_indices(len(values), 1)])) < 0.03


def test_pairs_with_few_joint_rows_are_unknown():
    schema = Schema("t", (Column("a", "continuous", lower=0, upper=1), Column("b", "continuous", lower=0, upper=1)))
    values = np.linspace(0, 1, 60)
    table = pd.DataFrame(
        {"a": np.where(np.arange(60) < 30, values, np.nan), "b": np.where(np.arange(60) < 45, np.nan, values)}
    )
    assert np.isnan(associations(read_rows(table, Shape.of(schema))).values[0, 1])


vectors = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=30)


@given(vectors)
@settings(max_examples=50, deadline=None)
def test_concordance_is_one_with_itself_and_at_most_one(values):
    x = np.array(values)
    rng = np.random.default_rng(len(values))
    assert concordance(x, x) == pytest.approx(1.0)
    assert concordance(x, rng.permutation(x)) <= 1 + 1e-12


def test_concordance_sees_a_constant_shift_and_a_shrunken_scale():
    x = np.linspace(-1, 1, 50)
    assert concordance(x, x + 1) < 0.6
    assert concordance(x, 0.3 * x) < 0.6
