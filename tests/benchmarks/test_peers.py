"""The parts of `make bench-peers` that run no other tool: scores, reading, medians, and the page."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import public_transformer
from tests.benchmarks.peers import page
from tests.benchmarks.peers.adapters.fit import read_rows
from tests.benchmarks.peers.environments import portable, why
from tests.benchmarks.peers.plan import HERE, Comparison, Contestant, Environment, read_plan
from tests.benchmarks.peers.running import typed
from tests.benchmarks.peers.summary import Cell, check_aims, summarise
from tests.benchmarks.scores import score, shuffled
from tests.benchmarks.tables import Table

SCHEMA = Schema(
    "tiny",
    (
        Column("marker", "continuous", lower=0, upper=10, decimals=1),
        Column("stage", "category", levels=("early", "late")),
        Column("days", "count", lower=0, upper=100, missing="never", known_at="outcome"),
        Column("dead", "flag", missing="never", known_at="outcome"),
    ),
    (Survival("os", "days", "dead", horizon_days=90, primary=True),),
)
CALLED = {"environment": "x", "tool": "fit_x", "kind": "k", "licence": "MIT", "rank": 0, "covers": "all of it"}


def _patients(count: int, *, late: float = 0.5, seed: int = 0) -> pd.DataFrame:
    """Late patients have twice the marker and die; early ones live."""
    rng = np.random.default_rng(seed)
    ill = rng.random(count) < late
    return SCHEMA.cast(
        pd.DataFrame(
            {
                "marker": np.round(np.where(ill, 8.0, 2.0) + rng.random(count), 1),
                "stage": np.where(ill, "late", "early"),
                "days": np.where(ill, 20, 90),
                "dead": ill.astype(int),
            }
        )
    )


@pytest.fixture
def table() -> Table:
    parts = [_patients(400, seed=seed) for seed in (0, 1)]
    return Table(SCHEMA, public_transformer(SCHEMA), parts[0], parts[1], ("dead",), RuleSet(SCHEMA, ()))


def _plan(*contestants: Contestant, **changes: object) -> Comparison:
    plan = Comparison(1e-5, 100, 60, 60, contestants, {"x": Environment(("x==1.0",))}, {"tiny": (0, 9)})
    return replace(plan, **changes)


def test_training_rows_score_perfectly_and_shuffling_keeps_columns_but_not_pairs(table: Table) -> None:
    itself, apart = score(table, table.train), score(table, shuffled(table.train, 1))
    assert (itself["TV1"], itself["TV2"], itself["KM"]) == (0.0, 0.0, 0.0)
    assert (itself["AUC"], itself["C"]) == (1.0, 1.0)
    assert apart["TV1"] == 0.0
    assert apart["TV2"] > 0.2
    assert apart["KM"] > 0.1


def test_one_way_distance_is_the_share_of_rows_that_would_have_to_change(table: Table) -> None:
    """A quarter of the rows goes from early to late: so do stage, event and time, and the marker's cells with them."""
    train = pd.concat([_patients(200, late=0.0), _patients(200, late=1.0)], ignore_index=True)
    drawn = pd.concat([_patients(100, late=0.0), _patients(300, late=1.0)], ignore_index=True)
    found = score(replace(table, train=train), drawn)
    assert found["KM"] == pytest.approx(0.25)
    assert found["TV1"] == pytest.approx(0.25, abs=0.02)


def test_a_column_without_any_value_is_scored(table: Table) -> None:
    found = score(table, table.train.assign(marker=np.nan))
    assert found["AUC"] == 1.0
    assert found["TV1"] == pytest.approx(0.25)


def test_rows_of_a_tool_are_clipped_and_unknown_levels_missing_and_both_are_counted(table: Table) -> None:
    texts = pd.DataFrame(
        {
            "marker": ["1.04", "12", None, "5.0"],
            "stage": ["late", "_RARE_", None, "early"],
            "days": ["3", "40.4", "50", "-2"],
            "dead": ["1", "0.0", "1", "0"],
        }
    )
    rows, inside = typed(texts, table)
    assert rows["marker"].tolist()[:2] == [1.0, 10.0]
    assert rows["stage"].isna().tolist() == [False, True, True, False]
    assert rows["days"].tolist() == [3, 40, 50, 0]
    assert rows["dead"].tolist() == [1, 0, 1, 0]
    assert inside == pytest.approx(1 - 5 / 16)  # 1.04, 12, _RARE_, 40.4, -2


def test_a_tool_reads_numbers_as_numbers_and_levels_as_text(tmp_path: Path) -> None:
    _patients(3).assign(stage=["late", None, "early"]).to_csv(tmp_path / "train.csv", index=False)
    columns = [{"name": c.name, "levels": list(c.levels)} for c in SCHEMA.columns]
    rows = read_rows({"train": str(tmp_path / "train.csv"), "columns": columns})
    assert rows["days"].dtype == np.float64
    assert rows["stage"].tolist() == ["late", None, "early"]
    assert set(rows["dead"]) <= {"0", "1"}


ANCHORS = [
    {
        "table": "tiny",
        "seed": seed,
        "train": 400,
        "fresh": 400,
        "columns": 4,
        "real": {"AUC": real, "C": 0.8},
        "real on the rest": {"AUC": real, "C": 0.8},
        "fresh patients": {"AUC": real, "C": 0.8},
        "shuffled": {"AUC": 0.5, "C": 0.5},
    }
    for seed, real in ((0, 0.9), (1, 0.8), (2, 0.7))
]


def _record(seed: int, auc: float, who: str = "ours", epsilon: object = 1.0) -> dict[str, object]:
    known = {"table": "tiny", "contestant": who, "epsilon": epsilon, "seed": seed, "cpu_s": 1.0, "peak_mb": 10.0}
    return {**known, "scores": {"AUC": auc, "C": 0.7}}


def test_gaps_are_taken_split_by_split_and_then_the_median() -> None:
    plan = _plan(Contestant("ours", epsilons=(1.0,), seeds=3, **CALLED))
    found = summarise(plan, ANCHORS, [_record(0, 0.8), _record(1, 0.79), _record(2, 0.65)])
    (cell,) = found.cells
    assert cell.values("gap AUC") == pytest.approx([0.1, 0.01, 0.05])
    assert cell.median("gap AUC") == pytest.approx(0.05)
    assert cell.median("gap C") == pytest.approx(0.1)
    assert found.floors["tiny"].median("gap AUC") == pytest.approx(0.3)


def test_an_aim_is_met_by_the_digits_that_are_printed() -> None:
    plan = _plan(
        Contestant("ours", epsilons=(1.0,), seeds=1, **CALLED),
        aims=(("tiny", "ours", 1.0, "gap AUC", 0.1), ("tiny", "ours", 1.0, "gap C", 0.05)),
    )
    found = check_aims(plan, summarise(plan, ANCHORS, [_record(0, 0.7999)]))
    assert [aim.met for aim in found] == [True, False]


def test_pages_show_every_contestant_with_its_number_or_its_reason() -> None:
    plan = _plan(
        Contestant("ours", epsilons=(1.0, math.inf), seeds=2, ours=True, **CALLED),
        Contestant("theirs", epsilons=(1.0,), seeds=1, **CALLED),
        Contestant("absent", epsilons=(1.0,), seeds=1, **CALLED),
    )
    failed = {"table": "tiny", "epsilon": 1.0, "seed": 0}
    records = [
        _record(0, 0.85),
        _record(1, 0.75),
        _record(0, 0.9, epsilon="inf"),
        {**failed, "contestant": "theirs", "failure": "stopped after 60 CPU s"},
        {**failed, "contestant": "absent", "failure": "not installed: needs another torch"},
    ]
    found = summarise(plan, ANCHORS, records)
    tables = page.all_tables(plan, found)
    assert "| **ours** | 0.100 | 0.050 | 1 | 10 | 2 |" in tables
    assert "- theirs: stopped after 60 CPU s" in tables
    assert "- absent: not installed: needs another torch" in tables
    assert "*shuffled columns*" in tables
    short = page.front(plan, found)
    assert "absent (not installed: needs another torch)" in " ".join(short.split())
    measured = json.loads(page.as_json(found))
    assert measured["tiny"]["cells"][0]["gap AUC"] == [0.05, 0.05]
    assert measured["tiny"]["cells"][-1]["epsilon"] == "inf"


def test_first_splits_of_quick_tools_come_first_and_epsilon_3_before_others() -> None:
    quick = Contestant("quick", epsilons=(3.0,), seeds=2, **CALLED)
    slow = Contestant("slow", epsilons=(1.0, 3.0), seeds=1, **{**CALLED, "rank": 1})
    order = [(fit.contestant.name, fit.epsilon, fit.seed) for fit in _plan(slow, quick).fits()]
    assert order == [("quick", 3.0, 0), ("slow", 3.0, 0), ("slow", 1.0, 0), ("quick", 3.0, 1)]


def test_every_tool_of_the_committed_plan_has_its_program_and_its_packages() -> None:
    plan = read_plan()
    assert len({fit.name for fit in plan.fits()}) == len(plan.fits())
    for one in plan.contestants:
        packages = plan.environments[one.environment].packages
        assert all("==" in package for package in packages)
        if (HERE / "constraints" / f"{one.environment}.txt").exists() or not packages:
            assert (HERE / "adapters" / f"{one.tool}.py").exists()
    for table, contestant, epsilon, _, _ in plan.aims:
        (one,) = (one for one in plan.contestants if one.name == contestant)
        assert epsilon in one.epsilons
        assert table in plan.tables


def test_reasons_are_one_line_and_pins_name_no_machine() -> None:
    said = (
        "Collecting x\nThe conflict is caused by:\n    The user requested torch==2.13.0\n    y 1 depends on torch<2.3\n"
    )
    assert why(said) == "The user requested torch==2.13.0; y 1 depends on torch<2.3"
    assert why("Traceback\n  File x\nsome.errors.BudgetError: too small\n") == "some.errors.BudgetError: too small"
    assert portable("torch==2.13.0+cpu\nx @ file:///a/b.whl\ny==1\n") == "torch==2.13.0\ny==1\n"
    assert Cell("t", "c", 1.0, ()).median("AUC") is None
