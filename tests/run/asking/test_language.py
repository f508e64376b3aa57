"""A question is read as it is meant, or refused with what would be understood."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import ConfigError
from synthfed.run.asking.language import QuestionError, describe, read_question
from synthfed.tables.dictionary import load_dictionary

SCHEMA = load_dictionary("aml").schema


def read(text):
    return read_question(text, SCHEMA)


def one(text):
    (asking,) = read(text)
    return asking


@pytest.mark.parametrize(
    ("text", "verb", "columns"),
    [
        ("count", "count", ()),
        ("count by sex", "levels", ("sex",)),
        ("COUNT BY sex, NPM1", "pairs", ("sex", "NPM1")),
        ("frequency sex", "levels", ("sex",)),
        ("mean age_years", "mean", ("age_years",)),
        ("  mean   of  age_years ", "mean", ("age_years",)),
        ("average NPM1", "mean", ("NPM1",)),
        ("total wbc_10e9_l", "sum", ("wbc_10e9_l",)),
        ("std age_years", "sd", ("age_years",)),
        ("variance `age_years`", "variance", ("age_years",)),
        ("histogram ldh_u_l", "histogram", ("ldh_u_l",)),
        ("correlation age_years, wbc_10e9_l", "correlation", ("age_years", "wbc_10e9_l")),
        ("covariance age_years, NPM1, hb_g_dl", "covariance", ("age_years", "NPM1", "hb_g_dl")),
        ("regression of hb_g_dl on age_years, NPM1", "regression", ("hb_g_dl", "age_years", "NPM1")),
    ],
)
def test_verbs_are_read(text, verb, columns):
    asking = one(text)
    assert (asking.verb, asking.columns, asking.where) == (verb, columns, None)


def test_several_columns_of_a_number_are_several_questions():
    assert [asking.columns for asking in read("median age_years, hb_g_dl")] == [("age_years",), ("hb_g_dl",)]


@pytest.mark.parametrize(
    ("text", "probabilities"),
    [
        ("median age_years", (0.5,)),
        ("quantile 90 of age_years", (0.9,)),
        ("quantiles 5 25 50 75 95 of hb_g_dl", (0.05, 0.25, 0.5, 0.75, 0.95)),
        ("quantiles 5%, 99.5% of hb_g_dl", (0.05, 0.995)),
    ],
)
def test_quantiles_are_in_percent(text, probabilities):
    assert one(text).probabilities == pytest.approx(probabilities)


def test_conditions_follow_where():
    asking = one("mean age_years where eln2022 == 'adverse' and NPM1 == 1")
    assert asking.where is not None
    assert asking.where.columns == {"eln2022", "NPM1"}
    assert one("histogram age_years in 12 bins where sex == female").bins == 12


def test_the_default_describes_every_column_but_the_patients_names():
    asked = describe(SCHEMA)
    assert {name for asking in asked for name in asking.columns} == set(SCHEMA.names) - {"patient_id"}
    assert [asking.verb for asking in read("describe age_years, sex")] == ["sd", "quantiles", "levels"]
    assert one("describe sex where NPM1 == 1").text == "describe sex where NPM1 == 1"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "ask e.g."),
        ("medan age_years", "did you mean 'median'"),
        ("please", "ask for count, mean"),
        ("median age", "did you mean age_years"),
        ("mean hb_gdl", "did you mean hb_g_dl"),
        ("mean HB_G_DL", "did you mean hb_g_dl"),
        ("count by nothing_like_it", "there are age_years, sex"),
        ("mean", "a column is missing"),
        ("mean patient_id", "names patients"),
        ("mean eln2022", "count by eln2022"),
        ("median NPM1", "count by NPM1"),
        ("count by age_years", "histogram age_years"),
        ("count by sex, NPM1, TP53", "one or two columns"),
        ("mean age_years, age_years", "named twice"),
        ("correlation age_years", "2 or more"),
        ("regression hb_g_dl", "regression TARGET on"),
        ("quantiles of age_years", "in percent before 'of'"),
        ("quantiles 0 100 of age_years", "the extremes belong to one patient"),
        ("histogram age_years in 1 bins", "2 to 256"),
        ("count where", "nothing follows 'where'"),
        ("count where agee > 3", "age_years"),
        ("count where eln2022 == 'bad'", "no level 'bad'"),
        ("min age_years", "'quantiles 1 99 of age_years'"),
        ("range of hb_g_dl", "'quantiles 1 99 of hb_g_dl'"),
    ],
)
def test_what_is_not_understood_is_refused_with_advice(text, advice):
    with pytest.raises(ConfigError) as found:
        read(text)
    assert advice in str(found.value)


words = st.sampled_from(
    [
        "count",
        "by",
        "mean",
        "of",
        "where",
        "quantiles",
        "5",
        "on",
        "in",
        "bins",
        ",",
        "sex",
        "age_years",
        "==",
        "'x'",
        "(",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(words, max_size=8).map(" ".join)))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_question_or_an_error_of_ours(text):
    with suppress(ConfigError):
        assert all(asking.text == text or asking.text.startswith("describe") for asking in read(text))


def test_refusals_are_of_one_class():
    with pytest.raises(QuestionError):
        read("medan age_years")
