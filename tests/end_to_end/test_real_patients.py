"""The acceptance run on real patients; skipped where the table is not at hand. No row is copied anywhere."""

import json
from pathlib import Path

import pandas as pd
import pytest

from synthfed.cohorts.sites import read_cohort
from synthfed.dossier import verify_dossier
from synthfed.pipeline import Pipeline
from synthfed.resources import dictionary_path
from synthfed.run.flow import RunResult, run_pipeline
from synthfed.run.patients import ledger_home

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def table() -> Path:
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "beataml" / "beataml_adult_newly_diagnosed.csv"
    if not path.is_file():
        pytest.skip("the Beat AML table is not here")
    return path


@pytest.fixture(scope="module")
def result(table: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    pipeline = Pipeline.load("aml").replace(
        federation__rounds=5, release__rows=400, privacy__expected_patients=400, cohort__min_rows=30
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHFED_HOME", str(tmp_path_factory.mktemp("state")))
        cohort = read_cohort(
            table,
            dictionary="aml",
            columns=pipeline.cohort.columns,
            split_sites=4,
            split_rule="size",
            split_key=b"k" * 32,
        )
        return run_pipeline(
            pipeline,
            cohort,
            out=tmp_path_factory.mktemp("real") / "dossier",
            dictionary_file=dictionary_path("aml"),
            ledgers=ledger_home(table, None),
        )


def test_epsilon_is_claimed_and_within_the_budget(result: RunResult) -> None:
    assert result.epsilon is not None
    assert 9.5 < result.epsilon <= 10.0
    assert result.epsilon_holdout is not None
    assert result.epsilon_holdout <= 10.0
    assert result.spent_over_runs == pytest.approx(max(result.epsilon, result.epsilon_holdout))


def test_every_column_and_the_survival_pair_are_in_the_table(result: RunResult) -> None:
    assert set(result.table.columns) == set(Pipeline.load("aml").cohort.columns)
    known = result.table["os_days"].notna()
    assert (known == result.table["os_event"].notna()).all()
    assert known.mean() > 0.5
    assert result.table["ldh_u_l"].isna().any()


def test_release_holds_no_number_measured_on_patients_but_what_they_paid_for(result: RunResult) -> None:
    report = json.loads((result.dossier / "report.json").read_text())
    assert report["edition"] == "release"
    told = [metric for metric in report["metrics"] if metric["rows_used"] != "none"]
    assert all((metric["rows_used"], metric["releasable"]) == ("holdout", "noisy") for metric in told)
    assert all(metric["cost"]["epsilon"] <= 10.0 for metric in told)
    internal = json.loads((result.dossier / "internal" / "report.json").read_text())
    assert internal["edition"] == "internal"
    assert any(metric["rows_used"] != "none" for metric in internal["metrics"])


def test_no_patient_id_and_no_whole_row_is_in_the_release(result: RunResult, table: Path) -> None:
    raw = pd.read_csv(table, dtype=str)
    released = b"".join(
        path.read_bytes() for path in result.dossier.rglob("*") if path.is_file() and "internal" not in path.parts
    )
    assert not any(name.encode() in released for name in raw["patient_id"])
    labs = ["age_years", "wbc_10e9_l", "hb_g_dl", "platelets_10e9_l", "ldh_u_l", "os_days"]
    full = raw.dropna(subset=labs)
    patients = set(map(tuple, full[labs].astype(float).round(1).to_numpy()))
    synthetic = set(map(tuple, result.table.dropna(subset=labs)[labs].astype(float).round(1).to_numpy()))
    assert not patients & synthetic


def test_dossier_verifies_and_one_flipped_byte_does_not(result: RunResult) -> None:
    assert verify_dossier(result.dossier).ok
    victim = result.dossier / "ledger.json"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(bytes(content))
    found = verify_dossier(result.dossier)
    assert not found.ok
    assert any("ledger.json" in str(finding) for finding in found.findings)
