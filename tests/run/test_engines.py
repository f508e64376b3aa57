"""A hybrid run draws its tree's table beside the network's, and compares with patients only where it may."""

import json

import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.evaluation.evaluate import evaluate
from synthfed.generators import warm_start
from synthfed.pipeline import Pipeline
from synthfed.run.drawing import draw_table, score_table
from synthfed.run.engines import compare_engines
from synthfed.run.training import restored, saved_model, train_one_site

COLUMNS = ("patient_id", "age_years", "sex", "NPM1", "FLT3_ITD", "os_days", "os_event")
PIPELINE = Pipeline.load("smoke").replace(
    cohort__columns=COLUMNS,
    generator__start="marginals",
    federation__rounds=2,
    evaluation__targets=("os_event",),
    evaluation__groups=(),
)


@pytest.fixture(scope="module")
def cohort():
    return load_cohort("aml", sites=("lyon",), patients=500, columns=COLUMNS)


@pytest.fixture(scope="module")
def trained(cohort):
    distil = warm_start.distil
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warm_start, "distil", lambda *given, **named: distil(*given, **named, steps=200))
        return train_one_site(PIPELINE, cohort)


def test_both_tables_are_scored_alike_and_only_where_real_rows_may_be_used(trained, cohort):
    table = draw_table(trained, cohort.rules, rows=300, seed=1)
    card = evaluate(
        table,
        schema=trained.schema,
        rules=cohort.rules,
        train=cohort.train,
        holdout=cohort.holdout,
        settings=PIPELINE.evaluation,
        seed=PIPELINE.seed,
        privacy=trained.ledger,
        likeness_only=True,
    )
    inside = compare_engines(trained, card, cohort, real_rows=True)
    by_id = {row["id"]: row for row in inside["scores"]}
    assert {"faithful.association", "faithful.shapes", "survival.km_area", "useful.tstr.os_event"} <= set(by_id)
    assert by_id["faithful.association"]["network"] == card["faithful.association"].value
    assert by_id["faithful.association"]["tree"] not in (None, card["faithful.association"].value)
    assert inside["kept"] == trained.finished.kept
    assert inside["judged"]["learned"]["trained"] == trained.finished.judged.learned.other

    outside = compare_engines(trained, card, cohort, real_rows=False)
    assert outside["scores"] == []
    assert outside["counts"] == inside["counts"]
    for row in outside["counts"]:
        assert row["network"] < row["shuffled"] or row["kind"] != "outcome"
        assert row["learned"] == (row["kind"] != "held back")
    json.dumps(outside, allow_nan=False)


def test_a_model_file_says_which_network_it_is_and_has_nothing_left_to_compare(trained, cohort):
    saved = saved_model(trained)
    assert saved.kept == trained.finished.kept
    back = restored(saved, "here")
    assert saved_model(back).kept == saved.kept
    table = draw_table(back, cohort.rules, rows=50, seed=1)
    card = score_table(back, table, cohort.rules, train=None, holdout=None)
    assert compare_engines(back, card, cohort, real_rows=False) is None
