"""`report.json`: the published form, the same bytes, and editions that fail closed."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthfed.errors import DossierError, PrivacyError
from synthfed.evaluation.scorecard import Cost, Metric, Scorecard
from synthfed.privacy.events import PrivacyEvent
from synthfed.privacy.statement import central_ledger
from synthfed.report import render_html, report_bytes, validate_report
from synthfed.report.build import canonical
from tests.report import sample
from tests.report.conftest import build


def with_metric(metric_id: str, **changes: Any) -> Scorecard:
    card = sample.scorecard()
    metrics = tuple(replace(m, **changes) if m.id == metric_id else m for m in card.metrics)
    return replace(card, metrics=metrics)


@pytest.mark.parametrize("edition", ["internal", "release", "simulated"])
def test_every_edition_follows_the_published_schema(reports: dict[str, dict[str, Any]], edition: str) -> None:
    validate_report(reports[edition])
    validate_report(json.loads(report_bytes(reports[edition])))


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert report_bytes(build()) == report_bytes(build())


def test_report_stays_small(reports: dict[str, dict[str, Any]]) -> None:
    assert len(report_bytes(reports["simulated"])) < 300_000


def test_validation_names_the_place_and_not_the_value(reports: dict[str, dict[str, Any]]) -> None:
    broken = {**reports["simulated"], "edition": "secret-value"}
    with pytest.raises(DossierError, match=r"\$\.edition") as caught:
        validate_report(broken)
    assert "secret-value" not in str(caught.value)


def test_a_release_with_a_number_from_patients_is_refused() -> None:
    with pytest.raises(PrivacyError, match=r"faithful\.shapes"):
        build("release", scorecard=sample.scorecard(real=True))


def paid(card: Scorecard, **changes: Any) -> Scorecard:
    """The release's scorecard with one number from held-out patients, and what it names as its cost."""
    ledger = sample.scored_ledger()
    event = next(event for event in ledger["events"] if event["population"] == "holdout")
    cost = Cost(float(event["cost"]["epsilon_alone"]), 1e-5, event["purpose"])
    given: dict[str, Any] = {"rows_used": "holdout", "cost": cost, **changes}
    counted = Metric("counted.shapes", "faithful", "deciding", "likeness", 0.97, "higher", light="green", **given)
    return replace(card, metrics=(*card.metrics, counted))


def test_a_number_that_held_out_patients_paid_for_is_released_with_its_cost() -> None:
    report = build("release", scorecard=paid(sample.scorecard(real=False)), ledger=sample.scored_ledger())
    validate_report(report)
    entry = next(metric for metric in report["metrics"] if metric["id"] == "counted.shapes")
    assert (entry["releasable"], entry["rows_used"]) == ("noisy", "holdout")
    assert entry["cost"]["ledger_event"] == "scoring held-out patients"
    assert set(report["privacy"]["statement"]["populations"]) == {"train", "holdout"}


@pytest.mark.parametrize(
    "changes",
    [
        {"cost": None},
        {"cost": Cost(0.01, 1e-5, "scoring held-out patients")},
        {"cost": Cost(3.0, 1e-5, "another run")},
        {"cost": Cost(math.inf, 1e-5, "")},
        {"rows_used": "train"},
    ],
)
def test_a_number_that_nobody_paid_for_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PrivacyError, match=r"counted\.shapes"):
        build("release", scorecard=paid(sample.scorecard(real=False), **changes), ledger=sample.scored_ledger())


def test_a_charge_that_the_ledger_does_not_hold_pays_for_nothing() -> None:
    with pytest.raises(PrivacyError, match=r"counted\.shapes"):
        build("release", scorecard=paid(sample.scorecard(real=False)))


def test_counts_of_patients_without_a_charge_are_refused() -> None:
    clean = sample.scorecard(real=False)
    card = replace(clean, figures={**clean.figures, "counted": {"patients": 1, "columns": [], "survival": []}})
    with pytest.raises(PrivacyError, match=r"figures\.counted"):
        build("release", scorecard=card)


def test_exact_sums_are_told_and_nothing_is_called_private_that_left_with_them() -> None:
    ledger = sample.scored_ledger(exact=True)
    card = paid(sample.scorecard(real=False), cost=Cost(math.inf, 1e-5, ""))
    report = build("release", scorecard=card, ledger=ledger)
    validate_report(report)
    assert next(m for m in report["metrics"] if m["id"] == "counted.shapes")["releasable"] == "summed"
    assert not report["privacy"]["sentence"].startswith("All that left each hospital")
    assert "no epsilon covers" in report["privacy"]["sentence"]
    assert "no epsilon covers" in ledger["guarantee"]


@pytest.mark.parametrize("key", ["marginals", "associations", "survival", "membership", "risks"])
def test_a_release_with_patients_in_a_figure_is_refused(key: str) -> None:
    clean, real = sample.scorecard(real=False), sample.scorecard(real=True)
    card = replace(clean, figures={**clean.figures, key: real.figures[key]})
    with pytest.raises(PrivacyError, match=rf"figures\.{key}"):
        build("release", scorecard=card)


def test_a_release_never_prints_how_many_patients_a_site_has(reports: dict[str, dict[str, Any]]) -> None:
    assert [site["rows"] for site in reports["release"]["sites"]] == [None] * 4
    assert reports["internal"]["sites"][0]["rows"] == 641


def test_patients_are_never_called_simulated() -> None:
    with pytest.raises(PrivacyError, match="run on patients"):
        build("simulated", run=sample.run_facts(simulated=False))


def test_lights_are_those_of_the_scorecard(reports: dict[str, dict[str, Any]]) -> None:
    card = sample.scorecard()
    assert {q: light["light"] for q, light in reports["simulated"]["lights"].items()} == dict(card.lights)


def test_no_red_and_no_grey_may_be_considered(reports: dict[str, dict[str, Any]]) -> None:
    assert reports["internal"]["verdict"]["sentence"] == "May be considered for controlled release."


@pytest.mark.parametrize("metric_id", ["private.exact", "guaranteed.epsilon"])
def test_red_privacy_is_not_for_release(metric_id: str) -> None:
    verdict = build(scorecard=with_metric(metric_id, light="red", value=12.0))["verdict"]
    assert verdict["code"] == "not_for_release"
    assert "12" in verdict["sentence"]
    assert "wanted at most" in verdict["sentence"]


def test_red_usefulness_is_not_fit_for_that_use() -> None:
    report = build(scorecard=with_metric("survival.km_area", light="red", value=0.2))
    assert report["verdict"]["code"] == "not_fit"
    assert report["verdict"]["sentence"].startswith("Not fit for prediction or survival analysis")
    assert any("usefulness is not shown" in line for line in report["verdict"]["may_not"])


def test_grey_never_counts_as_shown() -> None:
    card = sample.scorecard()
    metrics = tuple(
        replace(m, light="grey", value=None, reason="12 hold-out patients")
        if m.question == "private" and m.role == "deciding"
        else m
        for m in card.metrics
    )
    report = build(scorecard=replace(card, metrics=metrics, rows={"holdout": 12}))
    assert report["verdict"]["sentence"] == "Not shown: Exact copies cannot be measured with 12 hold-out patients."
    assert any("12 hold-out patients" in line for line in report["limits"])


def test_a_release_says_where_the_missing_scores_are() -> None:
    card = sample.scorecard(real=False)
    card = replace(card, metrics=tuple(m for m in card.metrics if m.rows_used == "none"))
    report = build("release", scorecard=card)
    assert report["lights"]["private"]["because"] == "needs patients' rows, which stay at the sites"
    assert "Private: needs patients' rows, which stay at the sites." in report["limits"]


def test_a_missing_value_always_has_a_reason() -> None:
    report = build(scorecard=with_metric("faithful.shapes", value=None, light="grey", reason=""))
    entry = next(m for m in report["metrics"] if m["id"] == "faithful.shapes")
    assert entry["reason"] == "not measured"


def test_seeded_noise_claims_no_guarantee() -> None:
    report = build(ledger=sample.ledger(seeded=True), scorecard=sample.scorecard(seeded=True))
    assert report["lights"]["guaranteed"]["light"] == "grey"  # simulated patients: nobody to promise it to
    assert "public seed" in report["lights"]["guaranteed"]["because"]
    assert not report["privacy"]["formal"]
    assert report["privacy"]["sentence"].startswith("No formal guarantee")
    assert report["privacy"]["trust"] == ""


def test_switched_off_privacy_claims_no_guarantee() -> None:
    pipeline = sample.pipeline(privacy__epsilon=math.inf)
    steps = pipeline.federation.local_steps
    events = [
        PrivacyEvent(f"round {index}", "gaussian", "train", 1.0, 0.0, 1.0, steps)
        for index in range(pipeline.federation.rounds)
    ]
    ledger = central_ledger(events, pipeline, site="lyon", simulated=False, seeded=False)
    report = build("internal", ledger=ledger, pipeline=pipeline)
    assert report["privacy"]["epsilon"] == "inf"
    assert report["privacy"]["sentence"].startswith("No formal guarantee: differential privacy was switched off")
    assert "none in force" in render_html(report)
    validate_report(report)


def test_epsilon_is_never_without_delta_and_unit(reports: dict[str, dict[str, Any]]) -> None:
    sentence = reports["release"]["privacy"]["sentence"]
    assert all(word in sentence for word in ("epsilon = 3 ", "delta = 1e-5", "one patient", "adding or removing"))


def test_numbers_become_plain_json() -> None:
    assert canonical({"a": np.float64(1 / 3), "b": math.nan, "c": (np.int64(3), True), "d": math.inf}) == {
        "a": 0.333333,
        "b": None,
        "c": [3, True],
        "d": "inf",
    }


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, synthfed.report; print([m for m in ('matplotlib', 'jinja2', 'pandas') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
