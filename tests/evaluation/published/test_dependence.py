from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import entropy, pearsonr

from synthfed.evaluation.published.dependence import mixed_correlations
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
ROWS = read_rows(cheats.simulate(300, 5), SHAPE)
FOUND = mixed_correlations(ROWS)
COUNT = len(SHAPE.numbers)


def _place(name: str) -> int:
    return [column.name for column in SHAPE.columns].index(name)


def test_numbers_have_pearsons_r_with_blanks_as_minus_one():
    a, b = ROWS.number("wbc"), ROWS.number("ldh")
    wanted = pearsonr(np.where(np.isnan(a), -1, a), np.where(np.isnan(b), -1, b)).statistic
    assert FOUND[_place("wbc"), _place("ldh")] == pytest.approx(wanted)


def test_a_number_and_levels_have_the_correlation_ratio_both_ways():
    values, risk = ROWS.number("age_years"), ROWS.level("risk")
    groups = [values[risk == code] for code in np.unique(risk)]
    between = sum(len(g) * (g.mean() - values.mean()) ** 2 for g in groups)
    wanted = np.sqrt(between / ((values - values.mean()) ** 2).sum())
    assert FOUND[_place("age_years"), _place("risk")] == pytest.approx(wanted)
    assert FOUND[_place("risk"), _place("age_years")] == pytest.approx(wanted)


def test_levels_have_theils_u_which_is_not_symmetric():
    x, y = ROWS.level("NPM1"), ROWS.level("response")
    joint = np.histogram2d(x, y, bins=[np.arange(-1.5, 2), np.arange(-1.5, 4)])[0] / len(x)
    told = entropy(joint.sum(axis=1)) + entropy(joint.sum(axis=0)) - entropy(joint.ravel())
    assert FOUND[_place("NPM1"), _place("response")] == pytest.approx(told / entropy(joint.sum(axis=1)))
    assert FOUND[_place("response"), _place("NPM1")] == pytest.approx(told / entropy(joint.sum(axis=0)))


def test_a_column_that_repeats_another_is_told_fully_and_a_constant_one_has_no_r():
    numbers, codes = ROWS.numbers.copy(), ROWS.codes.copy()
    codes[:, 1] = codes[:, 0]
    numbers[:, 0] = 5.0
    found = mixed_correlations(replace(ROWS, numbers=numbers, codes=codes))
    assert found[COUNT, COUNT + 1] == pytest.approx(1.0)
    assert np.isnan(found[0, 1:COUNT]).all()
    assert np.isnan(np.diag(found)).all()
