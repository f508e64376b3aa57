"""Noise on the sums: it costs what it says, and answers say how far off they may be."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg.analytics import (
    Plan,
    Query,
    answer_in_clear,
    noise_stddevs,
    noisy_plan,
    round_mu,
    stddevs_of_sum,
)
from synthfed.secagg.questions import (
    Among,
    BinnedQuantiles,
    Bounds,
    Count,
    Covariance,
    Every,
    Frequency,
    Is,
    Moments,
    Not,
    Present,
    Quantiles,
    RawCovariance,
    RawMoments,
    Some,
    Sum,
    Within,
)
from synthfed.secagg.refusals import MalformedMessage, OutOfOrder
from synthfed.secagg.uncertainty import cells_of, standard_errors
from tests.secagg.test_analytics import AGE, EVERYTHING, SEX, WBC, pooled, table

SITES = 4
MU = 0.8
AMONG = Among(Sum(AGE), Every((Is("sex", (1,)), Not(Within("wbc", 0.0, 5.0)))))
NOISY = noisy_plan(Plan((*EVERYTHING.questions, AMONG, Count()), EVERYTHING.records))


def tables(rows=400):
    return {f"site{i}": table(i, rows) for i in range(SITES)}


def ask(plan, sites, mu, rng):
    """One noisy round as sites would do it; the query afterwards and the noise of the sum."""
    query = Query(plan)
    stddevs = noise_stddevs(query, mu)
    vectors = [
        query.fill(one) + np.rint(rng.normal(0, stddevs)).astype(np.int64).view(np.uint64) for one in sites.values()
    ]
    return query.advance(np.sum(vectors, axis=0, dtype=np.uint64)), stddevs_of_sum(stddevs, len(sites))


def test_a_noisy_plan_takes_one_round_and_is_its_own_noisy_form():
    query = Query(NOISY)
    assert noisy_plan(NOISY) == NOISY
    assert query.advance(np.zeros(query.length, dtype=np.uint64)).done


def test_the_noise_of_all_parts_together_costs_what_is_charged():
    query = Query(NOISY)
    stddevs, at, spent = noise_stddevs(query, MU), 0, 0.0
    for part in query.all_parts():
        assert len(set(stddevs[at : at + part.cells])) == 1
        spent += (part.reach / stddevs[at]) ** 2 * (1 if part.one_of else part.cells)
        at += part.cells
    assert at == query.length
    assert math.isclose(math.sqrt(spent), round_mu(query, MU), rel_tol=1e-12)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_one_record_moves_the_scaled_vector_by_no_more_than_mu(seed):
    """The definition of the cost, whatever the record: the distance of neighbours in units of the noise."""
    rows = table(seed, 5)
    query = Query(NOISY)
    stddevs = noise_stddevs(query, MU)
    with_it, without = query.fill(rows), query.fill({name: values[:-1] for name, values in rows.items()})
    moved = (with_it - without).view(np.int64) / stddevs
    assert math.sqrt(float(moved @ moved)) <= MU * (1 + 1e-9)


def test_raw_forms_without_noise_are_as_right_as_their_units():
    everybody = tables()
    exact = answer_in_clear(Plan((Moments(AGE), Covariance((AGE, WBC))), 10_000), everybody)
    raw = answer_in_clear(Plan((RawMoments(AGE), RawCovariance((AGE, WBC))), 10_000), everybody)
    assert (raw[0].count, raw[0].missing) == (exact[0].count, exact[0].missing)
    half = np.array([AGE.half, WBC.half])
    assert abs(raw[0].mean - exact[0].mean) <= AGE.half / 4096
    assert abs(raw[0].variance - exact[0].variance) <= 4 * AGE.half**2 / 4096
    assert (np.abs(np.subtract(raw[1].means, exact[1].means)) <= half / 4096).all()
    assert (np.abs(np.subtract(raw[1].matrix, exact[1].matrix)) <= 4 * np.outer(half, half) / 4096).all()


def test_binned_quantiles_without_noise_lie_in_the_right_bin():
    everybody = tables()
    edges = tuple(np.linspace(0, 120, 61).tolist())
    wanted = (0.01, 0.25, 0.5, 0.75, 0.99)
    question = BinnedQuantiles("age", edges, wanted)
    query = Query(Plan((question,), 10_000))
    query = query.advance(np.sum([query.fill(one) for one in everybody.values()], axis=0, dtype=np.uint64))
    ages = pooled(everybody)["age"]
    truth = np.quantile(ages[~np.isnan(ages)], wanted)
    assert np.abs(np.array(query.answers()[0].values) - truth).max() <= 2.0
    for (low, high), value in zip(question.intervals(query.known[0], 0.0, 1.96), truth, strict=True):
        assert low <= value <= high <= low + 4.0


@given(
    st.lists(st.floats(-20, 120), min_size=1, max_size=60),
    st.integers(1, 40),
    st.floats(0.01, 0.99),
)
@settings(max_examples=80, deadline=None)
def test_binned_quantiles_of_any_values_lie_in_their_intervals(values, bins, probability):
    question = BinnedQuantiles("x", tuple(np.linspace(0, 100, bins + 1).tolist()), (probability,))
    query = Query(Plan((question,), 100))
    query = query.advance(query.fill({"x": np.array([*values, math.nan])}))
    (answer,) = query.answers()
    (interval,) = question.intervals(query.known[0], 0.0, 1.96)
    clipped = np.clip(values, 0, 100)
    right = float(np.quantile(clipped, probability, method="inverted_cdf"))
    assert answer.count == len(values)
    assert interval[0] <= right <= interval[1]
    assert interval[0] <= answer.values[0] <= interval[1]


def test_blocks_halve_the_noise_of_a_median():
    """Against 64 bins alone at the same cost: 4 deviations of a cell there, and a cell here has sqrt(3) of it."""
    rng = np.random.default_rng(0)
    rows = {"x": rng.uniform(0, 64, 100_000)}
    edges = tuple(float(edge) for edge in range(65))
    plan = Plan((BinnedQuantiles("x", edges, (0.5,)),), 200_000)
    mu = 0.01
    medians = []
    for _ in range(200):
        query, _ = ask(plan, {"a": rows}, mu, rng)
        medians.append(query.answers()[0].values[0])
    ranks = np.std(medians) / 64 * 100_000
    assert ranks < 0.65 * 4 / mu


def test_noisy_answers_lie_within_four_standard_errors():
    everybody = tables()
    truth = answer_in_clear(NOISY, everybody)
    query, stddevs = ask(NOISY, everybody, MU, np.random.default_rng(5))
    answers = query.answers()

    def figures(answer):
        return [answer.count, answer.mean]

    for question in (0, 1, 8):
        errors = standard_errors(query, question, stddevs, figures)
        for found, right, error in zip(figures(answers[question]), figures(truth[question]), errors, strict=True):
            assert 0 < abs(found - right) < 4 * error


def test_intervals_hold_the_truth_as_often_as_they_say():
    """200 draws of the noise: 95 % intervals hold the answer over all rows in 90 to 99 % of them, quantiles' at least
    in 93 %; four standard deviations of such a share are 6 %."""
    everybody = tables()
    edges = tuple(np.linspace(0, 120, 49).tolist())
    plan = noisy_plan(
        Plan(
            (
                Moments(AGE),
                BinnedQuantiles("age", edges, (0.25, 0.5)),
                Frequency("sex", SEX),
                Covariance((AGE, Bounds("hb", 0.0, 30.0))),
            ),
            records=10_000,
        )
    )
    ages = pooled(everybody)["age"]
    quartiles = np.quantile(ages[~np.isnan(ages)], (0.25, 0.5))
    shapes = {
        0: lambda a: [a.mean, a.variance],
        2: lambda a: [float(count) for count in a.counts],
        3: lambda a: [a.matrix[0][1], a.means[1]],
    }
    truth = {at: shape(answer_in_clear(plan, everybody)[at]) for at, shape in shapes.items()}
    rng = np.random.default_rng(1)
    held, held_quantiles, draws = [], [], 200
    for _ in range(draws):
        query, stddevs = ask(plan, everybody, 3.0, rng)
        for at, shape in shapes.items():
            errors = standard_errors(query, at, stddevs, shape)
            found = shape(query.answers()[at])
            held.append([abs(f - t) <= 1.96 * e for f, t, e in zip(found, truth[at], errors, strict=True)])
        spread = float(stddevs[cells_of(query, 1)][0])
        intervals = plan.questions[1].intervals(query.known[1], spread, 1.96)
        held_quantiles.append([low <= q <= high for (low, high), q in zip(intervals, quartiles, strict=True)])
    share = np.array(held).reshape(draws, -1).mean(axis=0)
    assert ((share >= 0.89) & (share <= 1.0)).all(), share
    assert abs(share.mean() - 0.95) < 0.02
    assert (np.mean(held_quantiles, axis=0) >= 0.93).all()


def test_conditions_choose_records_and_missing_values_meet_none():
    rows = {
        "age": np.array([30.0, 60.0, np.nan, 80.0]),
        "sex": np.array([0, 1, 1, -1]),
    }

    def count(condition):
        return answer_in_clear(Plan((Among(Count(), condition),), 10), {"a": rows})[0].count

    woman, old = Is("sex", (1,)), Within("age", 50.0, 1000.0)
    assert count(woman) == 2
    assert count(Not(woman)) == 1
    assert count(Is("sex", (0, 1))) == 3
    assert count(Within("age", -1e9, 1e9)) == 3
    assert count(Every((woman, old))) == 1
    assert count(Some((woman, old))) == 3
    assert count(Not(Every((woman, old)))) == 1
    assert count(Not(Some((woman, old)))) == 1
    assert count(Not(Present("sex"))) == 1
    (among,) = answer_in_clear(Plan((Among(Moments(AGE), Present("sex")),), 10), {"a": rows})
    assert (among.count, among.missing, among.mean) == (2, 1, 45.0)


# --- text -------------------------------------------------------------------------------------------------------------


def test_plans_travel_as_text():
    for plan in (EVERYTHING, NOISY):
        again = Plan.from_json(plan.to_json())
        assert again == plan
        assert again.digest() == plan.digest()
        assert again.to_json() == plan.to_json()


names = st.text(min_size=1, max_size=8)
numbers = st.floats(-1e6, 1e6)
bounds = st.builds(lambda c, low, width: Bounds(c, low, low + width), names, numbers, st.floats(1e-3, 1e6))
levels = st.lists(names, min_size=1, max_size=4, unique=True).map(tuple)
chances = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=3).map(tuple)
conditions = st.recursive(
    st.one_of(
        st.builds(Is, names, st.lists(numbers, min_size=1, max_size=3).map(tuple)),
        st.builds(Within, names, numbers, numbers),
        st.builds(Present, names),
    ),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Every, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Some, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)
questions = st.one_of(
    st.just(Count()),
    st.builds(Sum, bounds),
    st.builds(Moments, bounds),
    st.builds(RawMoments, bounds),
    st.builds(lambda b, p: Quantiles(b, (b.upper - b.lower) / 100, p), bounds, chances),
    st.builds(lambda b, p: BinnedQuantiles(b.column, (b.lower, b.middle, b.upper), p), bounds, chances),
    st.builds(Frequency, names, levels),
    st.builds(Among, st.builds(Sum, bounds), conditions),
)


@given(st.lists(questions, min_size=1, max_size=4).map(tuple), st.integers(1, 2**40))
@settings(max_examples=100, deadline=None)
def test_every_plan_is_rebuilt_from_its_text(asked, records):
    plan = Plan(asked, records)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.digest() == plan.digest()


def test_the_length_of_no_round_depends_on_sums():
    """What a site agrees to is known before anything is asked; searches that end in one interval are padded."""
    blank, asked = Query(EVERYTHING), Query(EVERYTHING)
    while not blank.done:
        assert (blank.length, blank.parts()) == (asked.length, asked.parts())
        blank = blank.advance(np.zeros(blank.length, dtype=np.uint64))
        asked = asked.advance(asked.fill(table(3)))
    assert asked.done


def test_only_canonical_text_is_a_plan():
    text = Plan((Sum(AGE), Frequency("sex", SEX)), 10).to_json()
    wrong = [
        "",
        "[]",
        "null",
        '"questions"',
        "[" * 100_000,
        text + " ",
        text.replace(":", ": ", 1),
        text.replace("0.0", "0", 1),
        text.replace("120.0", '"120.0"', 1),
        text.replace("120.0", "NaN", 1),
        text.replace("120.0", "1e999", 1),
        text.replace("120.0", "-1.0", 1),
        text.replace('"sum"', '"product"'),
        text.replace('"kind":"sum"', '"extra":1,"kind":"sum"'),
        text.replace('"records":10', '"records":10.0'),
        text.replace('"records":10', '"records":true'),
        text.replace('"records":10', '"records":0'),
        text.replace('"records":10', '"records":"10"'),
        text.replace('["male","female"]', '"mf"'),
        text.replace('{"column":"age","lower":0.0,"upper":120.0}', '[{"column":"age","lower":0.0,"upper":120.0}]'),
    ]
    assert len(set(wrong)) == len(wrong)
    for one in wrong:
        assert one != text
        with pytest.raises(MalformedMessage):
            Plan.from_json(one)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_noise_is_refused_where_it_would_mislead():
    searching = Query(Plan((Quantiles(AGE, 0.1, (0.5,)),), 100))
    with pytest.raises(ValueError, match="one round"):
        noise_stddevs(searching, 1.0)
    for mu in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="positive"):
            round_mu(Query(NOISY), mu)
    done = Query(NOISY).advance(np.zeros(Query(NOISY).length, dtype=np.uint64))
    with pytest.raises(OutOfOrder):
        noise_stddevs(done, 1.0)
    with pytest.raises(ValueError, match="nothing but noise"):
        noise_stddevs(Query(NOISY), 1e-9)


def test_extremes_belong_to_one_record():
    with pytest.raises(ValueError, match=r"0\.01 and 0\.99"):
        Quantiles(AGE, 0.1, (0.0, 1.0)).noisy()


def test_impossible_conditions_are_refused():
    for make in (
        lambda: Is("x", ()),
        lambda: Is("x", (math.nan,)),
        lambda: Within("x", -math.inf, 1.0),
        lambda: Every((Present("x"),)),
        lambda: Some(()),
        lambda: Among(AMONG, Present("x")),
        lambda: Plan((Frequency("x", tuple(map(str, range(2**20)))),), 10),
    ):
        with pytest.raises(ValueError):
            make()
