"""The main job on the smoke pipeline: from simulated hospitals to a dossier, through the real apps."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from synthfed.cohorts.simulated import simulated_cohort
from synthfed.errors import BudgetTooSmall, DossierError, EmptySite, TooFewSites
from synthfed.federation.in_process import RoundDone
from synthfed.pipeline import Pipeline
from synthfed.resources import dictionary_path
from synthfed.run.flow import RunResult, run_pipeline
from synthfed.run.progress import Silent
from synthfed.run.work import work_folder

PROMISED = {
    "synthetic.csv",
    "synthetic.parquet",
    "model.synthfed",
    "report.json",
    "report.html",
    "ledger.json",
    "audit.jsonl",
    "pipeline.toml",
    "dictionary.toml",
    "rules.toml",
    "SHA256SUMS",
}


def smoke_run(out: Path, pipeline: Pipeline | None = None, **options: object) -> RunResult:
    chosen = pipeline or Pipeline.load("smoke")
    return run_pipeline(
        chosen,
        simulated_cohort(chosen),
        out=out,
        dictionary_file=dictionary_path(chosen.disease),
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHFED_HOME", str(tmp_path_factory.mktemp("state")))
        return smoke_run(tmp_path_factory.mktemp("out") / "dossier")


def test_dossier_holds_what_was_promised(finished: RunResult) -> None:
    names = {str(path.relative_to(finished.dossier)) for path in finished.dossier.rglob("*") if path.is_file()}
    assert names >= PROMISED
    assert not any(name.startswith("internal/") for name in names)


def test_table_has_the_asked_size_and_obeys_its_dictionary(finished: RunResult) -> None:
    pipeline = Pipeline.load("smoke")
    schema = simulated_cohort(pipeline).schema
    table = finished.table
    assert len(table) == pipeline.release.rows
    assert tuple(table.columns) == schema.names
    for column in schema.columns:
        assert table[column.name].dtype == schema.cast(table)[column.name].dtype
        if column.is_number:
            known = table[column.name].dropna().astype(float)
            assert known.between(column.lower, column.upper).all()
            assert (known.round(column.decimals) == known).all()


def test_written_table_equals_the_returned_one(finished: RunResult) -> None:
    written = pd.read_parquet(finished.dossier / "synthetic.parquet")
    assert len(written) == len(finished.table)
    assert list(written.columns) == list(finished.table.columns)


def test_model_file_holds_no_pickle(finished: RunResult) -> None:
    names = zipfile.ZipFile(finished.dossier / "model.synthfed").namelist()
    assert all(name.endswith((".safetensors", ".json")) for name in names)


def test_same_seed_gives_the_same_table_and_model(finished: RunResult, tmp_path: Path) -> None:
    again = smoke_run(tmp_path / "again")
    for name in ("synthetic.csv", "synthetic.parquet", "model.synthfed", "pipeline.toml"):
        assert (again.dossier / name).read_bytes() == (finished.dossier / name).read_bytes(), name


def test_ledger_says_why_a_seeded_run_guarantees_nothing(finished: RunResult) -> None:
    ledger = json.loads((finished.dossier / "ledger.json").read_text())
    assert finished.epsilon is None
    assert "no formal guarantee" in json.dumps(ledger)


class _StopAt(Silent):
    def __init__(self, round_index: int) -> None:
        self._round_index = round_index

    def round_done(self, done: RoundDone) -> None:
        if done.round_index == self._round_index:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [0, 2])
def test_stopped_run_leaves_no_dossier_and_resumes_to_the_same_result(
    finished: RunResult, tmp_path: Path, stop: int
) -> None:
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        smoke_run(out, progress=_StopAt(stop))
    assert not out.exists()
    assert work_folder(out).is_dir()
    resumed = smoke_run(out, resume=True)
    assert (resumed.dossier / "synthetic.csv").read_bytes() == (finished.dossier / "synthetic.csv").read_bytes()
    assert not work_folder(out).exists()


def test_other_settings_are_not_resumed(tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        smoke_run(out, progress=_StopAt(0))
    with pytest.raises(DossierError, match="another pipeline"):
        smoke_run(out, Pipeline.load("smoke").replace(release__rows=10), resume=True)


def test_finished_dossier_is_never_overwritten_unasked(finished: RunResult) -> None:
    with pytest.raises(DossierError, match="--replace"):
        smoke_run(finished.dossier)


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(DossierError, match="nothing to resume"):
        smoke_run(tmp_path / "new", resume=True)


def test_two_sites_are_too_few(tmp_path: Path) -> None:
    pipeline = Pipeline.load("smoke").replace(
        cohort__simulated_sites=("lyon", "milano"), cohort__simulated_shares=(0.5, 0.5)
    )
    with pytest.raises(TooFewSites, match="at least 3"):
        smoke_run(tmp_path / "out", pipeline)
    assert not work_folder(tmp_path / "out").exists()


def test_small_site_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(EmptySite, match="barcelona"):
        smoke_run(tmp_path / "out", Pipeline.load("smoke").replace(cohort__min_rows=60))


def test_budget_too_small_to_train_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(BudgetTooSmall, match="epsilon"):
        smoke_run(tmp_path / "out", Pipeline.load("smoke").replace(privacy__epsilon=0.001))
