"""The price of the hard rules is stated, and a million sampled rows break none."""

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from synthfed.cohorts.sites import Cohort, load_cohort
from synthfed.pipeline import Pipeline
from synthfed.run.drawing import draw_table, score_table
from synthfed.run.repairing import Repairs, measure_repairs, repair_metric
from synthfed.run.training import Trained, train


@cache
def counted(disease: str, columns: str = "pipeline") -> tuple[Trained, Cohort]:
    """A tree of counts fitted in seconds, on the pipeline's columns or on all that the simulator draws."""
    pipeline = Pipeline.load(disease).with_settings(['generator={kind="marginal"}'])
    chosen = pipeline.cohort.columns if columns == "pipeline" else "all"
    cohort = load_cohort(disease, sites=3, patients=1200, seed=3, columns=chosen)
    pipeline = pipeline.replace(cohort__columns=cohort.schema.names)
    with TemporaryDirectory() as work:
        return train(pipeline, cohort, work=Path(work)), cohort


def test_the_scorecard_states_what_the_rules_changed() -> None:
    trained, cohort = counted("aml")
    table = draw_table(trained, cohort.rules, rows=200, seed=1)
    metric = score_table(trained, table, cohort.rules, train=None, holdout=None)["valid.repairs"]
    assert metric.role == "info"
    assert metric.value is not None
    assert 0 < metric.value < 0.15
    assert "rows that broke one: H" in metric.reason
    again = re.search(
        r"; (\d+) of the rows were drawn again until eln2022 followed .*, (\d+) of them in", metric.reason
    )
    assert again is not None
    assert 100 < int(again[1]) < 2500
    assert int(again[2]) < 0.1 * int(again[1])
    assert metric.rows_used == "none"


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_enforcing_moves_no_columns_frequencies_far(disease: str) -> None:
    trained, cohort = counted(disease)
    found = measure_repairs(trained, cohort.rules, rows=4000, seed=2)
    derived = {column.name for column in cohort.schema.columns if column.derived}
    assert set(found.shift) == set(found.changed) == set(trained.transformer.names) - derived
    assert not set(found.broken) & {rule.id for rule in cohort.rules.hard if rule.derives}
    assert sum(found.shift.values()) / len(found.shift) < 0.01
    assert all(shift <= found.changed[name] + 1e-12 for name, shift in found.shift.items())


def test_a_model_that_breaks_nothing_costs_nothing() -> None:
    metric = repair_metric(Repairs(10, {"H01": 0.0}, {"a": 0.0}, {"a": 0.0}))
    assert metric.value == 0.0
    assert metric.reason.endswith("rows that broke one: none; frequencies moved most: none")


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["pipeline", "all"])
@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_a_million_sampled_rows_break_no_hard_rule(disease: str, columns: str) -> None:
    trained, cohort = counted(disease, columns)
    hard = [rule.id for rule in cohort.rules.hard]
    rows = 0
    for seed in range(20):
        table = draw_table(trained, cohort.rules, rows=50_000, seed=seed)
        assert not cohort.rules.check(table)[hard].to_numpy().any()
        rows += len(table)
    assert rows == 1_000_000
