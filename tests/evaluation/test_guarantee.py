import math

import pytest

from synthfed.evaluation.guarantee import guarantee_metric


def _statement(epsilon: object, guarantee: str = "(epsilon, delta)-differential privacy", delta: object = 1e-5) -> dict:
    return {"populations": {"train": {"epsilon": epsilon, "delta": delta}}, "guarantee": guarantee}


@pytest.mark.parametrize(("epsilon", "light"), [(0.5, "green"), (1.0, "green"), (3.0, "amber"), (10.5, "red")])
def test_light_follows_the_tiers(epsilon, light):
    metric = guarantee_metric(_statement(epsilon))
    assert (metric.value, metric.light) == (epsilon, light)


@pytest.mark.parametrize(
    "statement",
    [
        {},
        {"populations": {}},
        {"populations": {"train": {}}},
        _statement(math.inf),
        _statement("inf"),
        _statement(None),
        _statement(-1.0),
        _statement(1.0, delta=None),
        _statement(1.0, guarantee=""),
        _statement(1.0, guarantee="No formal guarantee: the noise was seeded."),
    ],
)
def test_anything_incomplete_is_red(statement):
    metric = guarantee_metric(statement)
    assert metric.light == "red"
    assert metric.reason


def test_the_worst_population_counts():
    statement = _statement(0.5)
    statement["populations"]["holdout"] = {"epsilon": 4.0, "delta": 1e-5}
    assert guarantee_metric(statement).value == 4.0


def test_a_seeded_run_says_why_it_promises_nothing():
    words = "no formal guarantee: the noise follows from a public seed."
    metric = guarantee_metric(_statement(None, words) | {"formal": False})
    assert (metric.value, metric.light, metric.reason) == (None, "red", words)
