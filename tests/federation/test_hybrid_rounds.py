"""Networks that start from noisy tables: counted, distilled, trained and released through the real apps."""

from pathlib import Path

import numpy as np
import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.federation.checkpoints import Checkpoints
from synthfed.federation.in_process import FederationResult, run_in_process
from synthfed.federation.manifest import read_manifest
from synthfed.federation.training import TrainingCourse
from synthfed.generators import warm_start
from synthfed.generators.base import Layout
from synthfed.generators.registry import make_generator
from synthfed.pipeline import Pipeline
from synthfed.tables.transform import public_transformer

COLUMNS = ("patient_id", "age_years", "sex", "NPM1", "FLT3_ITD", "os_days", "os_event")
COHORT = load_cohort("aml", sites=("lyon", "milano", "barcelona"), patients=300, columns=COLUMNS)
TRANSFORMER = public_transformer(COHORT.schema)
SITES = {site: TRANSFORMER.encode(rows) for site, rows in COHORT.sites.items()}
LAYOUT = Layout(TRANSFORMER.names, TRANSFORMER.widths)


def hybrid(kind: str, **changes: object) -> Pipeline:
    pipeline = Pipeline.load("smoke").replace(
        cohort__columns=COLUMNS, generator__kind=kind, evaluation__targets=("os_event",), evaluation__groups=()
    )
    return pipeline.replace(generator__start="marginals", federation__rounds=2, **changes)


@pytest.fixture(autouse=True)
def _short_distillation(monkeypatch):
    """Enough steps to learn the frequencies of five columns."""
    distil = warm_start.distil
    monkeypatch.setattr(warm_start, "distil", lambda *given, **named: distil(*given, **named, steps=300))


def federate(work: Path, pipeline: Pipeline) -> FederationResult:
    return run_in_process(pipeline=pipeline, transformer=TRANSFORMER, sites=SITES, work=work, simulated=True)


@pytest.mark.parametrize("kind", ["tvae", "ctgan"])
def test_counts_and_training_are_charged_each_once_and_keep_one_budget(tmp_path, kind):
    result = federate(tmp_path, hybrid(kind))
    assert result.rounds == 4
    for ledger in result.ledgers.values():
        purposes = [event["purpose"] for event in ledger["events"]]
        assert purposes == ["round 0, counting tables", "round 1, counting edges", "round 2", "round 3"]
        assert 9.8 < ledger["epsilon_spent"] <= 10.0
    rows = make_generator(hybrid(kind).generator).sample(result.released, LAYOUT, rows=4000, seed=1)
    real = np.concatenate(list(SITES.values()))
    for block, width in enumerate(LAYOUT.widths):
        found, wanted = (np.bincount(codes[:, block], minlength=width) / len(codes) for codes in (rows, real))
        assert np.abs(found - wanted).sum() / 2 < 0.2, LAYOUT.names[block]


@pytest.mark.parametrize("kind", ["tvae", "ctgan"])
def test_what_ships_was_judged_by_the_sums_and_a_coordinator_that_comes_back_says_the_same(tmp_path, kind):
    """From its checkpoint alone: sums, the tree, the network as it started and as it was trained."""
    pipeline = hybrid(kind)
    result = federate(tmp_path, pipeline)
    finished = result.finished
    assert finished is not None
    assert finished.judged is not None
    assert finished.judged.kept == finished.kept
    start = finished.begun.released
    assert list(start) == list(finished.released) == list(result.released)
    same = all(np.array_equal(start[name], tensor) for name, tensor in result.released.items())
    assert same == (finished.kept == "start")

    manifest = read_manifest((tmp_path / "coordinator" / "manifest.json").read_bytes())
    point = Checkpoints(tmp_path / "coordinator" / manifest.hash()).latest()
    again = TrainingCourse(manifest, make_generator(pipeline.generator)).finished(point.standing)
    assert again.judged == finished.judged
    assert all(np.array_equal(again.begun.released[name], tensor) for name, tensor in start.items())
    assert all(np.array_equal(again.released[name], tensor) for name, tensor in result.released.items())


def test_all_of_the_budget_may_go_to_the_counts_and_no_round_of_training_is_left(tmp_path):
    result = federate(tmp_path, hybrid("tvae", generator__training_share=0.0))
    assert result.rounds == 2
    assert {name.split(".")[0] for name in result.released} == {"decoder"}
    assert (result.finished.kept, result.finished.judged) == ("start", None)
