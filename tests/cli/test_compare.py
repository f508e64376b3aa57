"""`synthfed compare`: one table, a verdict, pages in a folder; real patients only after their price was agreed to."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from synthfed.cli.app import app
from synthfed.errors import ConfigError, DossierError
from tests.cli.command import synthfed


def compare(*words: str) -> Result:
    return CliRunner().invoke(app, ["compare", "smoke", *words], env={"COLUMNS": "200"})


def test_a_comparison_ends_with_a_recommendation_and_its_pages(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--kinds", "marginal,ctgan-cold", "--seeds", "1", "--epsilon", "3", "--out", str(out))
    done = compare(*words)
    assert done.exit_code == 0, done.exception
    assert "fresh patients" in done.stdout
    last = done.stdout.rstrip().splitlines()[-1]
    assert last.startswith("epsilon 3: ")
    assert "marginal" in last
    assert {path.name for path in out.iterdir()} == {"smoke.md", "smoke.json", "smoke.png", "cells", "compared.json"}
    assert "](smoke.png)" in (out / "smoke.md").read_text(encoding="utf-8")
    assert (out / "smoke.png").read_bytes().startswith(b"\x89PNG")

    refused = compare(*words)
    assert isinstance(refused.exception, DossierError)
    assert "--resume" in str(refused.exception)
    again = compare(*words, "--resume", "--json")
    assert again.exit_code == 0, again.exception
    said = json.loads(again.stdout)
    assert said["schema"] == "synthfed.comparison/1"
    assert [cell["kind"] for cell in said["cells"]] == ["marginal", "ctgan-cold"]


def test_help_shows_an_example(tmp_path: Path) -> None:
    done = synthfed("compare", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Example: synthfed compare aml" in done.stdout


def test_real_tables_are_told_the_price_and_left_alone(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["cohort", "smoke", "--out", str(tmp_path / "tables")]).exit_code == 0
    done = compare("--data", str(tmp_path / "tables"), "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, ConfigError)
    assert "real patients" in str(done.exception)
    assert "--spend" in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--epsilon", "a,b"], ["--kinds", "gan"], ["--kinds", ","]])
def test_wrong_options_are_named(words: list[str], tmp_path: Path) -> None:
    done = compare("--out", str(tmp_path / "out"), *words)
    assert isinstance(done.exception, ConfigError)
    assert not (tmp_path / "out").exists()
