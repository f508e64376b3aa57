"""The verbs around a run: what they print, what they write, how they stop."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from synthfed.tables.files import read_frame
from tests.cli.command import CALL, environment, synthfed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one smoke dossier in `dossier-smoke` and the run's JSON summary in `run.json`."""
    place = tmp_path_factory.mktemp("verbs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHFED_HOME", str(tmp_path_factory.mktemp("state")))
        done = synthfed("run", "smoke", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "run.json").write_text(done.stdout)
    return place


def test_json_summary_names_the_results(folder: Path) -> None:
    summary = json.loads((folder / "run.json").read_text())
    assert Path(summary["report"]).parts[-2:] == ("dossier-smoke", "report.html")
    assert summary["rows"] == 150
    assert set(summary["lights"]) == {"valid", "faithful", "useful", "private", "guaranteed"}


def test_quiet_says_nothing(tmp_path: Path) -> None:
    done = synthfed("run", "smoke", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "dossier-smoke" / "report.html").is_file()


def test_report_renders_again_from_its_json(folder: Path) -> None:
    assert synthfed("report", "dossier-smoke", "--out", "again.html", cwd=folder).returncode == 0
    assert (folder / "again.html").read_bytes() == (folder / "dossier-smoke" / "report.html").read_bytes()


def test_score_needs_no_patient(folder: Path) -> None:
    done = synthfed("score", "dossier-smoke", "--table", "dossier-smoke/synthetic.csv", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "valid.hard_rules" in done.stdout


def test_sample_refuses_a_format_it_cannot_write(folder: Path) -> None:
    done = synthfed("sample", "dossier-smoke", "--rows", "5", "--out", "rows.txt", cwd=folder)
    assert done.returncode == 2
    assert ".parquet" in done.stderr


def test_verify_names_the_altered_file(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder / "dossier-smoke", copy)
    assert synthfed("verify", "copy", cwd=tmp_path).returncode == 0
    table = bytearray((copy / "synthetic.csv").read_bytes())
    table[100] ^= 1
    (copy / "synthetic.csv").write_bytes(bytes(table))
    done = synthfed("verify", "copy", cwd=tmp_path)
    assert done.returncode == 1
    assert "synthetic.csv" in done.stdout


def test_budget_lists_every_charge(folder: Path) -> None:
    done = synthfed("budget", "dossier-smoke", cwd=folder)
    assert done.returncode == 0
    assert all(f"round {index}" in done.stdout for index in range(4))
    assert all(site in done.stdout for site in ("lyon", "milano", "barcelona"))


def test_simulated_hospitals_can_be_written_and_checked(tmp_path: Path) -> None:
    assert synthfed("cohort", "smoke", "--out", "hospitals", cwd=tmp_path).returncode == 0
    done = synthfed("check", "smoke", "--data", "hospitals", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ready" in done.stdout
    focus = ["--set", "generator.kind=marginal", "--set", 'generator.focus=[["sex", "NPM1", "os_days"]]']
    done = synthfed("check", "smoke", "--data", "hospitals", *focus, cwd=tmp_path)
    assert "sex x NPM1 x os_days: counted as one table" in done.stdout


def test_simulated_hospitals_can_be_chosen(tmp_path: Path) -> None:
    words = ["--sites", "lyon,milano", "--patients", "80", "--split", "age", "--missing", "0", "--all-columns"]
    done = synthfed("cohort", "aml", "--out", "two", *words, "--profile", "trial", "--seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tables = {path.stem: read_frame(path) for path in sorted((tmp_path / "two").iterdir())}
    assert set(tables) == {"lyon", "milano"}
    assert sum(len(table) for table in tables.values()) == 80
    assert {"efs_days", "hsct_phase", "eln2017", "NPM1"} <= set(tables["lyon"].columns)
    assert (tables["lyon"]["wbc_10e9_l"] != "").all()
    wrong = synthfed("cohort", "scd", "--out", "three", "--profile", "trial", cwd=tmp_path)
    assert wrong.returncode != 0
    assert "exists for 'aml' only" in wrong.stderr


@pytest.mark.parametrize("verb", ["run", "check", "cohort", "sample", "score", "report", "verify", "budget"])
def test_help_shows_an_example(verb: str, tmp_path: Path) -> None:
    done = synthfed(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Example: synthfed" in done.stdout


def _hears_ctrl_c() -> None:
    """A shell's background jobs, of which the tests may be one, ignore it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_no_dossier_and_resume_finishes(tmp_path: Path) -> None:
    words = ("run", "smoke", "--set", "federation.rounds=60")
    running = subprocess.Popen(
        [*CALL, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=_hears_ctrl_c,
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "round 10/60" in line:
            break
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "--resume" in said
    assert [path.name for path in tmp_path.iterdir()] == ["dossier-smoke.work"]
    resumed = synthfed(*words, "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "round 10/60" not in resumed.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["dossier-smoke"]
