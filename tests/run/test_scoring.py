"""Scores of a release from noisy counts of held-out patients: paid for, told, checked again, and charged once."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Message

from synthfed.cohorts.sites import Cohort, load_cohort
from synthfed.dossier import verify_dossier
from synthfed.dossier.basis import read_basis
from synthfed.dossier.logs import check_charges, check_logs
from synthfed.dossier.recounting import check_counts
from synthfed.errors import BudgetRefused, ConfigError
from synthfed.evaluation.counted.tables import CountPlan
from synthfed.federation.one_process import Wiretap
from synthfed.pipeline import Pipeline
from synthfed.resources import dictionary_path
from synthfed.run import flow, scoring
from synthfed.run.flow import RunResult, run_pipeline
from synthfed.run.training import LedgerHome

SMALL = ("patient_id", "age_years", "sex", "wbc_10e9_l", "NPM1", "FLT3_ITD", "TP53", "os_days", "os_event")
PIPELINE = (
    Pipeline.load("smoke")
    .with_settings(['generator={kind="marginal"}'])
    .replace(cohort__columns=SMALL, evaluation__benefit="off")
)


def patients(pipeline: Pipeline = PIPELINE) -> Cohort:
    """Simulated rows that the run takes for those of patients."""
    cohort = load_cohort("aml", sites=3, patients=300, columns=pipeline.cohort.columns, holdout_fraction=0.3)
    return replace(cohort, simulated=False)


def run(out: Path, pipeline: Pipeline = PIPELINE, **options: object) -> RunResult:
    given: dict = {"cohort": patients(pipeline)} | options
    return run_pipeline(pipeline, given.pop("cohort"), out=out, dictionary_file=dictionary_path("aml"), **given)


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of one's own, and no exact scores: they take seconds and are not what is asked here."""
    monkeypatch.setenv("SYNTHFED_HOME", str(tmp_path / "state"))
    whole = flow.score_table
    monkeypatch.setattr(flow, "score_table", lambda *given, **rows: whole(*given, train=None, holdout=None))


def report_of(result: RunResult, folder: str = "") -> dict:
    return json.loads((result.dossier / folder / "report.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHFED_HOME", str(tmp_path_factory.mktemp("state")))
        return run(tmp_path_factory.mktemp("out") / "dossier")


def test_a_release_tells_noisy_scores_with_what_they_cost(finished: RunResult) -> None:
    report = report_of(finished)
    assert report["edition"] == "release"
    told = [metric for metric in report["metrics"] if metric["rows_used"] != "none"]
    assert {"counted.shapes", "counted.pairs", "counted.km_area"} <= {metric["id"] for metric in told}
    for metric in told:
        assert metric["rows_used"] == "holdout"
        assert metric["releasable"] == "noisy"
        assert metric["cost"]["epsilon"] == pytest.approx(finished.epsilon_holdout, rel=1e-5)
    assert report["lights"]["faithful"]["leading_metric"].startswith("counted.")


def test_the_internal_edition_keeps_the_exact_scores_and_their_lights(finished: RunResult) -> None:
    internal = report_of(finished, "internal")
    exact = {metric["id"] for metric in internal["metrics"] if metric["releasable"] == "no"}
    assert "faithful.shapes" in exact
    beside = [metric for metric in internal["metrics"] if metric["id"].startswith("counted.")]
    assert beside
    assert {metric["role"] for metric in beside} == {"info"}


def test_both_populations_are_stated_and_computed_again(finished: RunResult) -> None:
    found = verify_dossier(finished.dossier)
    assert found.ok
    again = {one.population: one.epsilon for one in found.recomputed}
    assert again["holdout"] == pytest.approx(finished.epsilon_holdout)
    assert again["train"] == pytest.approx(finished.epsilon)


def test_the_dossier_holds_what_was_counted_and_nothing_of_one_site(finished: RunResult) -> None:
    body = json.loads((finished.dossier / scoring.COUNTS).read_text())
    plan = CountPlan.from_json(json.dumps(body["plan"], sort_keys=True, separators=(",", ":")))
    assert plan.cells == len(body["counts"]) == len(body["stddevs"])
    assert min(body["stddevs"]) > 0
    logs = [json.loads(line) for line in (finished.dossier / scoring.AUDIT).read_text().splitlines()]
    assert sum(entry["seq"] == 0 for entry in logs) == 3


def test_a_charge_of_held_out_patients_that_is_taken_out_of_the_ledger_is_missed(finished: RunResult) -> None:
    files = {name: (finished.dossier / name).read_bytes() for name in ("audit.jsonl", scoring.AUDIT, "audit_keys.json")}
    ledger = json.loads((finished.dossier / "ledger.json").read_text())
    assert check_charges(files, ledger) == []
    less = {**ledger, "events": [event for event in ledger["events"] if event["population"] != "holdout"]}
    assert len(check_charges(files, less)) == 3
    bent = {**files, scoring.AUDIT: files[scoring.AUDIT].replace(b'"round":0', b'"round":1', 1)}
    assert [finding.name for finding in check_logs(bent)] == [scoring.AUDIT]


def _value(report: dict, files: dict, ledger: dict) -> None:
    next(m for m in report["metrics"] if m["id"] == "counted.shapes")["value"] = 0.999


def _light(report: dict, files: dict, ledger: dict) -> None:
    next(m for m in report["metrics"] if m["id"] == "counted.shapes")["light"] = "green"


def _left_out(report: dict, files: dict, ledger: dict) -> None:
    report["metrics"] = [m for m in report["metrics"] if m["id"] != "counted.km_area"]


def _counts(report: dict, files: dict, ledger: dict) -> None:
    body = json.loads(files[scoring.COUNTS])
    body["counts"] = [count + 9 for count in body["counts"]]
    files[scoring.COUNTS] = json.dumps(body).encode()


def _noise(report: dict, files: dict, ledger: dict) -> None:
    body = json.loads(files[scoring.COUNTS])
    body["stddevs"] = [0.01 * stddev for stddev in body["stddevs"]]
    files[scoring.COUNTS] = json.dumps(body).encode()


def _gone(report: dict, files: dict, ledger: dict) -> None:
    del files[scoring.COUNTS]


@pytest.mark.parametrize("forge", [_value, _light, _left_out, _counts, _noise, _gone])
def test_scores_that_do_not_follow_from_the_counts_are_found(finished: RunResult, forge: Callable[..., None]) -> None:
    files = {path.name: path.read_bytes() for path in finished.dossier.iterdir() if path.is_file()}
    report, ledger = json.loads(files["report.json"]), json.loads(files["ledger.json"])
    basis = read_basis(files)
    checked, findings = check_counts(report, basis, files, ledger)
    assert not findings
    assert "scores of held-out patients computed again" in checked[0]
    forge(report, files, ledger)
    assert check_counts(report, basis, files, ledger)[1]


def test_without_leave_nothing_is_asked_of_held_out_patients(tmp_path: Path, quick: None) -> None:
    result = run(tmp_path / "out", PIPELINE.replace(evaluation__release="synthetic-only"))
    report = report_of(result)
    assert {metric["rows_used"] for metric in report["metrics"]} == {"none"}
    assert set(report["privacy"]["statement"]["populations"]) == {"train"}
    assert result.epsilon_holdout is None
    assert not (result.dossier / scoring.COUNTS).exists()


def test_held_out_patients_may_have_a_budget_of_their_own(tmp_path: Path, quick: None) -> None:
    result = run(tmp_path / "out", PIPELINE.replace(evaluation__epsilon_holdout=2.0))
    assert 1.9 < result.epsilon_holdout <= 2.0
    assert 9.9 < result.epsilon <= 10.0


def test_exact_sums_are_told_to_two_digits_and_no_counts_are_written(tmp_path: Path, quick: None) -> None:
    result = run(tmp_path / "out", PIPELINE.replace(evaluation__release="exact-sums"))
    report = report_of(result)
    summed = [metric for metric in report["metrics"] if metric["releasable"] == "summed"]
    assert summed
    values = [metric["value"] for metric in summed if metric["value"] is not None]
    assert values == [round(value, 2) for value in values]
    assert "no epsilon covers" in report["privacy"]["sentence"]
    assert not (result.dossier / scoring.COUNTS).exists()
    assert verify_dossier(result.dossier).ok


@pytest.mark.parametrize("at", ["train.round", "query.settle"])
def test_a_run_killed_while_it_scores_goes_on_and_charges_the_held_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None, at: str
) -> None:
    seen: list[str] = []

    def stop(message: Message) -> None:
        seen.append(message.metadata.message_type)
        if seen.count(at) == 2:
            raise KeyboardInterrupt

    counting = scoring.count_holdout
    ledgers = LedgerHome(tmp_path / "homes", math.inf)
    cohort = patients()
    monkeypatch.setattr(
        flow, "count_holdout", lambda *given, **named: counting(*given, **named, wiretap=Wiretap(faults=stop))
    )
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", ledgers=ledgers, cohort=cohort)
    monkeypatch.setattr(flow, "count_holdout", counting)
    result = run(tmp_path / "out", ledgers=ledgers, cohort=cohort, resume=True)
    ledger = json.loads((result.dossier / "ledger.json").read_text())
    charged = [event for event in ledger["events"] if event["population"] == "holdout"]
    assert len(charged) == 1
    assert all(site["events"] == len(ledger["events"]) for site in ledger["sites"])
    assert result.spent_over_runs == pytest.approx(max(result.epsilon, result.epsilon_holdout))


def test_a_limit_that_scoring_would_exceed_is_said_before_training(tmp_path: Path, quick: None) -> None:
    ledgers, cohort = LedgerHome(tmp_path / "homes", 11.0), patients()
    run(tmp_path / "first", ledgers=ledgers, cohort=cohort, pipeline=PIPELINE.replace(privacy__epsilon=2.0))
    with pytest.raises(BudgetRefused, match="epsilon"):
        run(
            tmp_path / "second",
            PIPELINE.replace(privacy__epsilon=2.0, evaluation__epsilon_holdout=10.9),
            ledgers=ledgers,
            cohort=cohort,
        )


def test_a_declared_pair_that_the_run_lacks_is_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ASXL1"):
        run(tmp_path / "out", PIPELINE.replace(evaluation__pairs=(("NPM1", "ASXL1"),)))
