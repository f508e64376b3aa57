"""What a relay learns from statistics over all sites: their sums, and no site's count, extremes or keys.

The flaw is shown where it was found, in the smallest form that has it, then run against us.
"""

from itertools import pairwise

import numpy as np

from synthfed.secagg.analytics import Plan, Query, noisy_plan
from synthfed.secagg.messages import Kind
from synthfed.secagg.questions import Bounds, Contingency, Covariance, Frequency, Histogram, Moments, Quantiles, Sum
from tests.secagg.federation import Attempt, make_context, make_roster

LEVELS = ("a", "b", "c")
X = Bounds("x", 0.0, 100.0)
PLAN = Plan(
    (
        Sum(X),
        Moments(X),
        Quantiles(X, 0.1, (0.25, 0.5)),
        Histogram("x", (0.0, 10.0, 50.0, 100.0)),
        Frequency("level", LEVELS),
        Contingency(Frequency("level", LEVELS), Frequency("level", LEVELS)),
        Covariance((X, Bounds("y", 0.0, 1.0))),
    ),
    records=1000,
)


def federation(sizes, seed=0):
    """The same 60 patients, dealt out in sites of these sizes."""
    rng = np.random.default_rng(seed)
    whole = {
        "x": np.round(rng.uniform(1, 99, 60), 1),
        "y": rng.random(60),
        "level": rng.permutation(np.repeat([0, 1, 2], [50, 8, 2])),
    }
    ends = np.cumsum((0, *sizes))
    return [{name: values[start:end] for name, values in whole.items()} for start, end in pairwise(ends)]


def every_round(plan, sites):
    """Each round through the whole protocol; the attempts, and the answers."""
    roster = make_roster(len(sites))
    config = plan.config(roster, smallest=len(sites))
    query, attempts = Query(plan), []
    while not query.done:
        context = make_context(
            roster,
            purpose=plan.purpose,
            round_index=query.round_index,
            config_digest=config.digest(),
            layout_digest=query.layout_digest(),
        )
        vectors = {i: query.fill(one) for i, one in enumerate(sites)}
        attempts.append(Attempt(vectors, roster, context, config=config, model=query.digest()))
        query = query.advance(attempts[-1].finish())
    return attempts, query.answers()


def masked_words(run):
    return {
        int.from_bytes(raw[4:6], "little"): np.frombuffer(raw, dtype=np.uint8)
        for raw in run.transcript
        if raw[:3] == b"SA1" and raw[3] == Kind.MASKED
    }


def test_counts_extremes_and_keys_in_clear_against_sums_only():
    """Attack 12: univariate statistics announce n, min and max of each party, frequencies the union of its keys."""
    sites = federation((30, 20, 10))
    announced = [
        {"n": one["x"].size, "min": one["x"].min(), "max": one["x"].max(), "keys": set(one["level"].tolist())}
        for one in sites
    ]
    assert [said["n"] for said in announced] == [30, 20, 10]
    assert len({said["min"] for said in announced}) == 3  # the relay reads one patient's value of every site

    for plan in (PLAN, noisy_plan(PLAN)):
        attempts, _ = every_round(plan, sites)
        for run in attempts:
            told = masked_words(run)
            assert len(told) == len(sites)
            for index, raw in told.items():
                cells = set(run.inputs[index].tolist())
                words = set(raw[: raw.size - raw.size % 8].view(np.uint64).tolist())
                offsets = (raw[shift : shift + (raw.size - shift) // 8 * 8].view(np.uint64) for shift in range(1, 8))
                words |= {word for some in offsets for word in some.tolist()}
                assert not words & (cells - {0})


def test_the_relay_cannot_tell_how_patients_are_dealt_out():
    """The same patients in other sites: equal sums and equal lengths of all messages, in every round."""
    left, found = every_round(PLAN, federation((30, 20, 10)))
    right, again = every_round(PLAN, federation((5, 5, 50)))
    assert found == again
    for one, other in zip(left, right, strict=True):
        assert [len(raw) for raw in one.transcript] == [len(raw) for raw in other.transcript]
        assert np.array_equal(sum(one.inputs.values()), sum(other.inputs.values()))


def test_keys_that_only_one_site_has_do_not_change_what_is_sent():
    """Levels are public: a site without one sends a hidden zero for it, and an unknown one counts as `other`."""
    plan = Plan((Frequency("level", LEVELS),), records=1000)
    sites = [{"level": np.array(codes)} for codes in ([0, 0, 1], [0, 2], [7, -1])]
    attempts, (answer,) = every_round(plan, sites)
    lengths = {len(raw) for run in attempts for raw in run.transcript if raw[:3] == b"SA1" and raw[3] == Kind.MASKED}
    assert len(lengths) == 1
    assert (answer.counts, answer.other, answer.missing) == ((3, 1, 1), 1, 1)
