"""Answers over all sites equal those of numpy on the pooled table, and show nothing else."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg.analytics import Plan, Query, answer_in_clear
from synthfed.secagg.contexts import Context0
from synthfed.secagg.protocol import Stage
from synthfed.secagg.questions import (
    Bounds,
    Contingency,
    Covariance,
    Frequency,
    Histogram,
    Moments,
    Quantiles,
    Sum,
)
from synthfed.secagg.refusals import MalformedMessage, OutOfOrder, WrongContext
from tests.secagg.federation import Attempt, make_context, make_roster

AGE = Bounds("age", 0.0, 120.0)
WBC = Bounds("wbc", 0.0, 500.0)
SEX, TYPE = ("male", "female"), ("de_novo", "secondary", "other")
EVERYTHING = Plan(
    questions=(
        Sum(WBC),
        Moments(AGE),
        Quantiles(AGE, 0.1, (0.01, 0.25, 0.5, 0.75, 0.99)),
        Quantiles(WBC, 0.001, (0.5,)),
        Histogram("age", (0.0, 18.0, 60.0, 75.0, 120.0)),
        Frequency("sex", SEX),
        Contingency(Frequency("sex", SEX), Frequency("type", TYPE)),
        Covariance((AGE, WBC, Bounds("hb", 0.0, 30.0))),
    ),
    records=10_000,
)


def table(seed, rows=60):
    rng = np.random.default_rng(seed)
    age = np.round(np.clip(rng.normal(60, 15, rows), 0, 120), 1)
    wbc = np.round(np.clip(rng.lognormal(2, 1, rows), 0, 500), 3)
    hb = np.round(9 + 0.02 * age + rng.normal(0, 1, rows), 1)
    age[rng.random(rows) < 0.1] = np.nan
    wbc[rng.random(rows) < 0.2] = np.nan
    return {
        "age": age,
        "wbc": wbc,
        "hb": hb,
        "sex": rng.integers(-1, 2, rows),
        "type": rng.integers(-1, 4, rows),  # 3 is no level
    }


def pooled(tables):
    return {name: np.concatenate([one[name] for one in tables.values()]) for name in next(iter(tables.values()))}


def securely(plan, tables, **options):
    """Every round through the whole protocol; what every site accepted."""
    roster = make_roster(len(tables))
    query = Query(plan)
    attempts = []
    while not query.done:
        config = plan.config(roster, smallest=len(tables), **options)
        context = make_context(
            roster,
            purpose=plan.purpose,
            round_index=query.round_index,
            config_digest=config.digest(),
            layout_digest=query.layout_digest(),
        )
        vectors = {i: query.fill(one) for i, one in enumerate(tables.values())}
        attempts.append(Attempt(vectors, roster, context, config=config, model=query.digest()))
        query = query.advance(attempts[-1].finish())
    return query.answers(), attempts


@pytest.fixture(scope="module")
def tables():
    return {f"site{i}": table(i, rows) for i, rows in enumerate((60, 41, 90, 1))}


@pytest.fixture(scope="module")
def found(tables):
    return securely(EVERYTHING, tables)


def test_one_vector_and_one_aggregation_a_round_answer_everything(found):
    _, attempts = found
    assert len(attempts) == 3
    assert all(site.stage == Stage.CLOSED for run in attempts for site in run.sites.values())


def test_secure_answers_are_the_answers_in_clear(found, tables):
    assert found[0] == answer_in_clear(EVERYTHING, tables)


def test_answers_are_those_of_numpy(found, tables):
    everybody = pooled(tables)
    total, moments, ages, wbc, histogram, sex, pairs, covariance = found[0]
    w = everybody["wbc"][~np.isnan(everybody["wbc"])]
    a = everybody["age"][~np.isnan(everybody["age"])]
    assert (total.count, total.missing, total.outside) == (w.size, everybody["wbc"].size - w.size, 0)
    assert abs(total.mean - w.mean()) < 1e-9
    assert math.isclose(total.total, w.sum(), rel_tol=1e-11)
    assert math.isclose(moments.mean, a.mean(), rel_tol=1e-11)
    assert math.isclose(moments.variance, a.var(ddof=1), rel_tol=1e-9)
    centred = a - a.mean()
    assert math.isclose(moments.skewness, (centred**3).mean() / a.std() ** 3, rel_tol=1e-6)
    assert math.isclose(moments.kurtosis, (centred**4).mean() / a.std() ** 4, rel_tol=1e-6)
    assert np.allclose(ages.values, np.quantile(a, (0.01, 0.25, 0.5, 0.75, 0.99)), atol=1e-9)
    assert math.isclose(wbc.values[0], np.median(w), abs_tol=1e-9)
    assert histogram.counts == tuple(np.histogram(a, histogram.edges)[0].tolist())
    assert sex.counts == tuple(int((everybody["sex"] == code).sum()) for code in (0, 1))
    assert sex.missing == int((everybody["sex"] == -1).sum())
    for i in range(2):
        row = everybody["type"][everybody["sex"] == i]
        assert pairs.counts[i] == tuple(int((row == code).sum()) for code in range(4))
    assert sum(map(sum, pairs.counts)) + pairs.missing == everybody["sex"].size
    stacked = np.array([everybody[name] for name in ("age", "wbc", "hb")])
    whole = stacked[:, ~np.isnan(stacked).any(axis=0)]
    assert covariance.count == whole.shape[1]
    assert np.allclose(covariance.means, whole.mean(axis=1), rtol=1e-11)
    assert np.allclose(covariance.matrix, np.cov(whole), rtol=1e-9)
    assert np.allclose(covariance.correlation(), np.corrcoef(whole), rtol=1e-9)
    design = np.column_stack([np.ones(whole.shape[1]), whole[0], whole[1]])
    expected = np.linalg.lstsq(design, whole[2], rcond=None)[0]
    fit = covariance.least_squares("hb")
    assert np.allclose([fit["intercept"], fit["age"], fit["wbc"]], expected, rtol=1e-7)


@pytest.mark.parametrize("mode", ["pairwise", "full"])
def test_other_modes_give_the_same_answers(found, tables, mode):
    assert securely(EVERYTHING, tables, mode=mode)[0] == found[0]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=40), st.floats(0, 1), st.sampled_from([0.1, 0.01, 1.0]))
@settings(max_examples=60, deadline=None)
def test_quantiles_are_those_of_numpy_for_values_on_the_grid(tenths, probability, step):
    values = np.array(tenths) * step
    bounds = Bounds("x", 0.0, 3000 * step)
    plan = Plan((Quantiles(bounds, step, (probability, 0.5)),), records=100)
    half = values.size // 2
    (answer,) = answer_in_clear(plan, {"a": {"x": values[:half]}, "b": {"x": values[half:]}})
    assert answer.count == values.size
    assert np.allclose(answer.values, np.quantile(values, (probability, 0.5)), atol=1e-6 * step * 3000)


def test_a_search_has_three_rounds_of_little():
    """A thousandth of [0, 200]: three rounds, two searches of at most 256 parts each; binary search takes 18."""
    question = Quantiles(Bounds("x", 0.0, 200.0), 0.001, (0.5,))
    query = Query(Plan((question,), records=1000))
    rng = np.random.default_rng(0)
    values = {"x": np.round(rng.random(500) * 200, 3)}
    sizes = []
    while not query.done:
        sizes.append(8 * query.length)
        query = query.advance(query.fill(values))
    assert len(sizes) == question.rounds == 3
    assert max(sizes) <= 2 * 256 * 8
    assert math.isclose(query.answers()[0].values[0], np.median(values["x"]), abs_tol=1e-9)


def test_values_off_the_grid_are_found_within_half_a_step():
    values = np.random.default_rng(0).random(99) * 7
    plan = Plan((Quantiles(Bounds("x", 0.0, 7.0), 0.25, (0.1, 0.5)),), records=100)
    (answer,) = answer_in_clear(plan, {"a": {"x": values}})
    assert np.abs(np.array(answer.values) - np.quantile(values, (0.1, 0.5))).max() <= 0.125 + 1e-12


def test_no_minimum_and_no_maximum_leaks():
    """Two tables that differ in how far their extremes lie outside the bounds give the same sums in every round."""
    near = {"x": np.array([-1.0, 5.0, 11.0]), "c": np.array([0, 7, -1])}
    far = {"x": np.array([-1e9, 5.0, 1e12]), "c": np.array([0, 99, -1])}
    bounds = Bounds("x", 0.0, 10.0)
    questions = (
        Sum(bounds),
        Moments(bounds),
        Quantiles(bounds, 0.01, (0.5,)),
        Histogram("x", (0.0, 5.0, 10.0)),
        Covariance((bounds, Bounds("c", 0.0, 1.0))),
        Frequency("c", ("a", "b")),
        Contingency(Frequency("c", ("a", "b")), Frequency("c", ("a", "b"))),
    )
    one, two = Query(Plan(questions, records=10)), Query(Plan(questions, records=10))
    while not one.done:
        left, right = one.fill(near), two.fill(far)
        assert np.array_equal(left, right)
        one, two = one.advance(left), two.advance(right)
    answers = one.answers()
    assert answers[0].outside == 2
    assert (answers[3].below, answers[3].above, answers[3].counts) == (1, 1, (0, 1))
    assert answers[5].counts == (1, 0)
    assert (answers[5].other, answers[5].missing) == (1, 1)


def test_questions_about_nobody_have_empty_answers():
    nobody = {name: values[:0] for name, values in table(0).items()}
    total, moments, ages, *_, covariance = answer_in_clear(EVERYTHING, {"a": nobody, "b": nobody})
    assert total.count == moments.count == ages.count == covariance.count == 0
    assert all(math.isnan(value) for value in (total.mean, moments.variance, moments.kurtosis, *ages.values))
    assert all(math.isnan(value) for value in (*covariance.means, *covariance.matrix[0]))


def test_all_values_missing_or_alike():
    plan = Plan((Moments(AGE), Quantiles(AGE, 0.1, (0.5,))), records=10)
    moments, median = answer_in_clear(plan, {"a": {"age": np.full(4, np.nan)}, "b": {"age": np.full(3, 41.5)}})
    assert (moments.count, moments.missing, moments.mean, moments.variance) == (3, 4, 41.5, 0.0)
    assert math.isnan(moments.skewness)
    assert median.values == (41.5,)


@given(st.integers(1, 10**6), st.floats(1e-3, 1e6))
@settings(deadline=None)
def test_no_sum_can_wrap(records, upper):
    """Fifty sites at the cap, every record at the bound, stay below 2**63."""
    plan = Plan((Sum(Bounds("x", -upper, upper)), Moments(Bounds("x", -upper, upper))), records=records)
    query = Query(plan)
    while not query.done:
        assert all(50 * records * (part.reach - 2) < 2**62 + 50 * records for part in query.all_parts())
        query = query.advance(np.zeros(query.length, dtype=np.uint64))


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_one_record_moves_no_cell_further_than_its_reach(seed):
    """What noise is scaled to: a table with and without its last row."""
    rows = table(seed, 12)
    query = Query(EVERYTHING)
    while not query.done:
        with_it, without = query.fill(rows), query.fill({name: values[:-1] for name, values in rows.items()})
        moved = np.abs((with_it - without).view(np.int64))
        for part in query.all_parts():
            cells, moved = moved[: part.cells], moved[part.cells :]
            assert np.all(cells <= part.reach)
            assert not part.one_of or np.count_nonzero(cells) <= 1
            assert math.hypot(*cells.tolist()) <= part.sensitivity * (1 + 1e-12)
        query = query.advance(with_it)


# --- binding and refusals ---------------------------------------------------------------------------------------------


def test_plans_and_queries_with_one_difference_have_other_hashes():
    plans = [
        Plan((Sum(AGE),), 10),
        Plan((Sum(AGE),), 11),
        Plan((Moments(AGE),), 10),
        Plan((Sum(Bounds("age", 0.0, 121.0)),), 10),
        Plan((Sum(Bounds("agf", 0.0, 120.0)),), 10),
        Plan((Quantiles(AGE, 0.1, (0.5,)),), 10),
        Plan((Quantiles(AGE, 0.2, (0.5,)),), 10),
        Plan((Quantiles(AGE, 0.1, (0.5, 0.6)),), 10),
        Plan((Frequency("sex", SEX),), 10),
        Plan((Frequency("sex", SEX[::-1]),), 10),
    ]
    assert len({plan.digest() for plan in plans}) == len(plans)
    query = Query(plans[2])
    sums = [query.advance(np.array([3, 0, 0, k], dtype=np.uint64)) for k in (1, 2)]
    assert len({query.digest(), *(after.digest() for after in sums)}) == 3


def test_sites_that_saw_other_sums_before_do_not_add_up():
    """The second round's `ctx1` rests on the first round's sum."""
    roster = make_roster(3)
    plan = Plan((Moments(AGE),), 100)
    queries = [Query(plan).advance(np.array([3, 0, 0, k], dtype=np.uint64)) for k in (0, 0, 5)]
    config = plan.config(roster, smallest=3)
    context: Context0 = make_context(
        roster,
        purpose=plan.purpose,
        round_index=1,
        config_digest=config.digest(),
        layout_digest=queries[0].layout_digest(),
    )
    vectors = {i: query.fill(table(i)) for i, query in enumerate(queries)}
    run = Attempt(vectors, roster, context, config=config, model=queries[0].digest())
    deliveries = run.deliveries()
    for (index, delivery), query in zip(deliveries.items(), queries, strict=True):
        sent = run.sites[index].mask(run.inputs[index], query.digest(), delivery.shares, delivery.sealed)
        if query.digest() == queries[0].digest():
            run.relay.add_masked(sent)
        else:
            with pytest.raises(WrongContext):
                run.relay.add_masked(sent)


def test_impossible_questions_are_refused():
    for make in (
        lambda: Bounds("x", 1.0, 1.0),
        lambda: Bounds("x", 0.0, math.inf),
        lambda: Histogram("x", (1.0,)),
        lambda: Histogram("x", (1.0, 1.0)),
        lambda: Quantiles(AGE, 0.0, (0.5,)),
        lambda: Quantiles(AGE, 1.0, ()),
        lambda: Quantiles(AGE, 1.0, (1.5,)),
        lambda: Covariance((AGE,)),
        lambda: Covariance((AGE, AGE)),
        lambda: Plan((), 10),
        lambda: Plan((Sum(AGE),), 0),
    ):
        with pytest.raises(ValueError):
            make()


def test_a_query_takes_what_it_asked_for_only():
    query = Query(Plan((Sum(AGE),), records=5))
    with pytest.raises(ValueError, match="at most 5 rows"):
        query.fill({"age": np.zeros(6)})
    with pytest.raises(ValueError, match="one length"):
        query.fill({"age": np.zeros(2), "sex": np.zeros(3)})
    with pytest.raises(OutOfOrder, match="round 0"):
        query.answers()
    for wrong in (np.zeros(3, dtype=np.uint64), np.zeros(4, dtype=np.uint32)):
        with pytest.raises(MalformedMessage):
            query.advance(wrong)
    done = query.advance(np.zeros(4, dtype=np.uint64))
    with pytest.raises(OutOfOrder, match="answered"):
        done.fill({"age": np.zeros(2)})


def test_columns_that_determine_each_other_give_no_regression():
    rows = {"a": np.arange(9.0), "b": np.arange(9.0), "y": np.arange(9.0) * 2}
    bounds = tuple(Bounds(name, 0.0, 32.0) for name in rows)
    (answer,) = answer_in_clear(Plan((Covariance(bounds),), 10), {"s": rows})
    with pytest.raises(ValueError):
        answer.least_squares("nobody")
    with pytest.raises(ValueError, match="determine each other"):
        answer.least_squares("y")
