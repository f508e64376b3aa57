"""Conditions mean what they say, refuse what they cannot mean, and never run anything."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.tables.schema import Column, Schema
from synthfed.tables.where import ConditionError, parse_where

TOY = Schema(
    "toy",
    (
        Column("patient_id", "id", missing="never"),
        Column("age_years", "count", lower=18, upper=100, unit="years"),
        Column("hb", "continuous", lower=2, upper=20, decimals=1),
        Column("sex", "category", levels=("male", "female")),
        Column("npm1", "flag"),
        Column("ecog", "ordinal", levels=("0", "1", "2")),
        Column("time to CR", "count", lower=0, upper=400),
    ),
)
TABLE = TOY.cast(
    pd.DataFrame(
        {
            "age_years": [18, 59, 60, 61, None],
            "hb": [8.5, 8.4, None, 20.0, 2.0],
            "sex": ["male", "female", "female", None, "male"],
            "npm1": [1, 0, 1, None, 0],
            "ecog": ["0", "1", "2", "2", None],
            "time to CR": [1, 2, 3, 4, 5],
        }
    )
)


def rows(text: str) -> list[int]:
    return np.flatnonzero(parse_where(text, TOY).holds(TABLE)).tolist()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("age_years >= 60", [2, 3]),
        ("age_years > 60", [3]),
        ("age_years < 59.5", [0, 1]),
        ("age_years <= 59", [0, 1]),
        ("age_years = 60", [2]),
        ("age_years == 60", [2]),
        ("age_years != 60", [0, 1, 3]),
        ("hb == 8.5 or hb == 20", [0, 3]),
        ("sex == 'female'", [1, 2]),
        ('sex == "female"', [1, 2]),
        ("sex == female", [1, 2]),
        ("sex in (male, 'female')", [0, 1, 2, 4]),
        ("sex in [male]", [0, 4]),
        ("sex not in (male)", [1, 2]),
        ("npm1 == 1", [0, 2]),
        ("ecog >= 1", [1, 2, 3]),
        ("ecog < '2'", [0, 1]),
        ("sex is missing", [3]),
        ("sex is not missing", [0, 1, 2, 4]),
        ("sex is known", [0, 1, 2, 4]),
        ("not sex is known", [3]),
        ("`time to CR` > 4", [4]),
        ("NOT (sex == male) AND age_years>=60", [2]),
        ("npm1 == 1 or npm1 == 0 and sex == male", [0, 2, 4]),  # and binds before or
        ("(npm1 == 1 or npm1 == 0) and sex == male", [0, 4]),
    ],
)
def test_a_condition_keeps_the_rows_it_says(text: str, wanted: list[int]) -> None:
    assert rows(text) == wanted


def test_a_missing_value_fulfils_neither_a_comparison_nor_its_negation() -> None:
    assert 4 not in rows("age_years >= 60") + rows("not age_years >= 60")
    assert 4 in rows("age_years >= 60 or sex == male")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a column's name"),
        ("age_years >=", "its end"),
        ("age_years", "a comparison"),
        ("age_years >= 60 and", "its end"),
        ("(age_years >= 60", r"'\)'"),
        ("age_years >= 60)", "the end"),
        ("age_years >= 60 sex == male", "'and', 'or' or the end"),
        ("age >= 60", "did you mean age_years"),
        ("agee_years >= 60", "did you mean age_years"),
        ("zzz >= 60", "its columns are age_years"),
        ("patient_id == 'a'", "not a column"),
        ("sex == mal", "levels: male, female"),
        ("sex >= male", "no order"),
        ("npm1 > 0", "no order"),
        ("hb == high", "is a number"),
        ("sex == missing", "sex is missing"),
        ("age_years > 150", "between 18 and 100 years"),
        ("age_years < 18", "between 18 and 100"),
        ("sex not male", "'in' after 'not'"),
        ("sex is male", "'missing' or 'known'"),
        ("sex in male", r"'\('"),
        ("and == 3", "a column's name"),
        ("60 <= age_years", "a column's name"),
        ("hb == 8.5.5", "not understood"),
        ("__import__('os').system('true')", "not understood"),
        ("age_years >= 60; drop", "not understood at '; drop'"),
        ("sex == 'male", "not understood"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(ConditionError, match=says):
        parse_where(text, TOY)


@pytest.mark.parametrize("text", ["(" * 200 + "npm1 == 1" + ")" * 200, "not " * 200 + "npm1 == 1", "npm1 == 1 " * 2000])
def test_oversized_conditions_are_refused(text: str) -> None:
    with pytest.raises(ConditionError, match=r"nested deeper|characters"):
        parse_where(text, TOY)


@given(text=st.text(st.sampled_from("agehbsx_yrmlenp1()[],'\"=<>! 0.-`\n\\")) | st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_condition_or_a_condition_error(text: str) -> None:
    try:
        condition = parse_where(text, TOY)
    except ConditionError:
        return
    assert condition.holds(TABLE).shape == (len(TABLE),)


PARTS = st.sampled_from(["age_years >= 60", "sex == male", "npm1 == 1", "hb is missing", "ecog < 2"])


@given(left=PARTS, right=PARTS)
@settings(max_examples=40, deadline=None)
def test_de_morgan_holds_in_three_values(left: str, right: str) -> None:
    assert rows(f"not ({left} or {right})") == rows(f"not {left} and not {right}")
    assert rows(f"not ({left} and {right})") == rows(f"not {left} or not {right}")
    assert rows(f"not not {left}") == rows(left)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("sex != male", ("female",)),
        ("sex == male and age_years > 60", ("male",)),
        ("sex == male or age_years > 60", ("male", "female")),
        ("age_years > 60", ("male", "female")),
        ("sex == male and sex == female", ()),
        ("sex is missing", ()),
    ],
)
def test_levels_a_condition_leaves(text: str, left: tuple[str, ...]) -> None:
    assert parse_where(text, TOY).levels_left("sex") == left


def test_a_condition_names_its_columns() -> None:
    assert parse_where("sex == male or not npm1 == 1", TOY).columns == {"sex", "npm1"}
