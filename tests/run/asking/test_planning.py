"""A plan follows from the dictionary alone, asks nothing twice, and fits the round it has."""

import pytest

from synthfed.run.asking.language import describe, read_question
from synthfed.run.asking.planning import make_plan
from synthfed.secagg.analytics import Plan, noisy_plan
from synthfed.secagg.questions import BinnedQuantiles, Histogram, Moments, Quantiles, RawMoments
from synthfed.tables.dictionary import load_dictionary


def planned(*texts, exact=False, disease="aml"):
    schema = load_dictionary(disease).schema
    return make_plan([asking for text in texts for asking in read_question(text, schema)], schema, exact=exact)


@pytest.mark.parametrize("disease", ["aml", "scd"])
@pytest.mark.parametrize("exact", [True, False])
def test_every_column_of_a_dictionary_can_be_described(disease, exact):
    schema = load_dictionary(disease).schema
    found = make_plan(describe(schema), schema, exact=exact)
    assert Plan.from_json(found.plan.to_json()) == found.plan
    if not exact:
        assert noisy_plan(found.plan) == found.plan


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_edges_of_quantiles_cover_the_bounds_and_lie_between_values(disease):
    schema = load_dictionary(disease).schema
    for column in (column for column in schema.columns if column.is_number):
        (question,) = planned(f"median {column.name}", disease=disease).plan.questions
        assert isinstance(question, BinnedQuantiles)
        assert question.edges[0] < column.lower < question.edges[1]
        assert question.edges[-2] < column.upper < question.edges[-1]
        assert 8 <= len(question.edges) <= 80
        halves = [(edge - column.lower) * 10**column.decimals + 0.5 for edge in question.edges]
        assert all(abs(half - round(half)) < 1e-6 for half in halves)


def test_questions_that_one_answer_serves_are_asked_once():
    found = planned(
        "mean age_years",
        "sd age_years",
        "median age_years",
        "quantiles 5 95 of age_years",
        "correlation age_years, hb_g_dl",
        "covariance hb_g_dl, age_years",
        "count by sex",
        "count by sex",
    )
    assert len(found.plan.questions) == 4
    assert found.places == (0, 0, 1, 1, 2, 2, 3, 3)
    assert isinstance(found.plan.questions[0], RawMoments)
    assert found.plan.questions[1].probabilities == (0.05, 0.5, 0.95)


def test_other_patients_are_another_question():
    found = planned("mean age_years", "mean age_years where sex == female", "mean age_years where sex == male")
    assert len(set(found.places)) == 3


def test_exact_answers_take_the_forms_of_several_rounds():
    found = planned("sd age_years", "median age_years", exact=True)
    assert [type(question) for question in found.plan.questions] == [Moments, Quantiles]


def test_histograms_show_the_published_quantiles_or_as_many_bins_as_wanted():
    (default,) = planned("histogram age_years").plan.questions
    (twelve,) = planned("histogram age_years in 12 bins").plan.questions
    (wide,) = planned("histogram wbc_10e9_l in 4 bins").plan.questions
    assert isinstance(default, Histogram)
    assert default.edges == (18.0, 34.0, 47.0, 56.0, 63.0, 69.0, 75.0, 81.0, 100.0)
    assert len(twelve.edges) == 13
    assert wide.edges == pytest.approx((0.1, 1.0, 10.0, 100.0, 1000.0))


def test_a_condition_on_the_column_narrows_its_bounds():
    (mean,) = planned("mean wbc_10e9_l where wbc_10e9_l <= 200 and sex == female").plan.questions
    assert (mean.question.of.lower, mean.question.of.upper) == (0.1, 200.0)
    (median,) = planned("median wbc_10e9_l where wbc_10e9_l <= 200").plan.questions
    assert 200 < median.question.edges[-1] < 200.1
    (histogram,) = planned("histogram age_years where age_years >= 60").plan.questions
    assert histogram.question.edges == (60.0, 63.0, 69.0, 75.0, 81.0, 100.0)
    for text in ("wbc_10e9_l <= 200 or sex == female", "not wbc_10e9_l >= 200", "wbc_10e9_l is missing"):
        (whole,) = planned(f"mean wbc_10e9_l where {text}").plan.questions
        assert (whole.question.of.lower, whole.question.of.upper) == (0.1, 1000.0)
