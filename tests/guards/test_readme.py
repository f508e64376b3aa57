"""Every command and the Python of the README run; only the sizes are made small."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.pipeline import Pipeline
from synthfed.tables.writing import to_csv_bytes
from tests.cli.command import synthfed

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def _hospital_table(folder: Path) -> None:
    settings = Pipeline.load("smoke").cohort
    cohort = load_cohort("aml", sites=3, patients=300, seed=3, columns=settings.columns)
    parts = [pd.concat([rows, cohort.holdouts[site]]).assign(hospital=site) for site, rows in cohort.sites.items()]
    table = pd.concat(parts, ignore_index=True)
    lines = to_csv_bytes(table.drop(columns="hospital"), cohort.schema).decode().splitlines()
    rows = [f"{line},{site}" for line, site in zip(lines[1:], table["hospital"], strict=True)]
    (folder / "aml.csv").write_text("\n".join([lines[0] + ",hospital", *rows]) + "\n")


def test_console_commands_run_in_order(tmp_path: Path) -> None:
    _hospital_table(tmp_path)
    commands = [line.split("#")[0].strip() for block in _blocks("console") for line in block.splitlines()]
    assert [command.split()[1] for command in commands if command][:3] == ["check", "run", "verify"]
    for command in filter(None, commands):
        words = shlex.split(command)
        assert words[0] == "synthfed"
        small = ["smoke" if word == "aml" else word for word in words[1:]]
        done = synthfed(*small, cwd=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "more.csv").is_file()


def test_make_targets_named_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", README, flags=re.MULTILINE))
    named = {first or second for first, second in named}
    assert named >= {"aml", "scd"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


def test_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = _blocks("python")
    small = example.replace('"aml", sites=4, seed=7', '"aml", sites=4, seed=7, patients=600')
    small = small.replace("privacy__epsilon=10.0", "privacy__epsilon=10.0, federation__rounds=2")
    assert small.count("600") == small.count("federation__rounds=2") == 1
    monkeypatch.chdir(tmp_path)
    exec(compile(small, "README.md", "exec"), {})
    assert "faithful" in capsys.readouterr().out
    assert (tmp_path / "aml.synthfed").is_file()
