"""What a run is said to do, round by round, is what its plan says."""

import pytest

from synthfed.generators.plan import make_plan
from synthfed.generators.words import doing, engine, outline, round_names
from synthfed.pipeline import Pipeline

SMOKE = Pipeline.load("smoke")


def chosen(**changes: object) -> Pipeline:
    return SMOKE.replace(**changes)


@pytest.mark.parametrize(
    ("changes", "name", "line"),
    [
        ({"generator__start": "cold"}, "DP-SGD only", "4 rounds of tvae under DP-SGD"),
        (
            {"generator__start": "marginals"},
            "hybrid",
            "counting tables, counting edges, distilling, 4 rounds of tvae under DP-SGD",
        ),
        (
            {"generator__start": "marginals", "generator__training_share": 0.0},
            "hybrid",
            "counting tables, counting edges, distilling",
        ),
        (
            {"generator__kind": "ctgan", "generator__start": "marginals"},
            "hybrid",
            "counting tables, counting edges, distilling, 4 rounds of ctgan under DP-SGD, calibrating",
        ),
        ({"generator__kind": "marginal"}, "tree of noisy tables", "counting tables, counting edges, fitting the tree"),
        (
            {"generator__kind": "marginal", "generator__focus": (("sex", "NPM1", "os_days"), ("sex", "TP53"))},
            "tree of noisy tables",
            "counting tables with sex x NPM1 x os_days and sex x TP53, counting edges, fitting the tree",
        ),
        (
            {"generator__kind": "marginal", "privacy__epsilon": float("inf")},
            "tree of exact tables",
            "counting tables, counting edges, fitting the tree",
        ),
        (
            {"privacy__epsilon": float("inf")},
            "network trained without privacy",
            "4 rounds of tvae without privacy",
        ),
    ],
)
def test_a_run_is_outlined_before_it_begins(changes: dict[str, object], name: str, line: str) -> None:
    pipeline = chosen(**changes)
    assert engine(pipeline) == name
    assert outline(pipeline, make_plan(pipeline, sites=3)) == line


def test_every_round_has_a_name_and_counts_come_first() -> None:
    plan = make_plan(chosen(generator__start="marginals"), sites=3)
    assert round_names(plan) == ("counting tables", "counting edges", *["training"] * 4)
    assert [doing(plan, "tvae", index) for index in (0, 1, 2, 6)] == [
        "counting tables",
        "counting edges, distilling",
        "training",
        "",
    ]
