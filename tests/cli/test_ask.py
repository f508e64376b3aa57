"""`synthfed ask`: answers, what they cost and the honest words, for people and for machines."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from synthfed.cli.app import app
from synthfed.errors import ConfigError
from tests.cli.command import synthfed


def ask(*words: str, **state: str) -> str:
    done = CliRunner().invoke(app, ["ask", *words], env={"COLUMNS": "200", **state})
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_a_first_question_is_answered(tmp_path: Path) -> None:
    done = synthfed("ask", "smoke", "median age_years", "count by sex", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "95 % interval" in done.stdout
    assert "1 secure sum over 3 sites" in done.stdout
    assert "Any two that pool what they know can work out the third one's contribution." in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_json_holds_every_figure_and_what_it_cost() -> None:
    said = json.loads(ask("smoke", "count", "mean age_years where sex == female", "--json", "--exact"))
    assert said["answers"][0]["figures"] == [
        {"name": "patients", "value": 300.0, "low": None, "high": None, "note": None}
    ]
    assert said["answers"][1]["where"] == "sex == female"
    assert (said["exact"], said["epsilon"], said["sites"], said["rounds"]) == (True, None, 3, 1)
    assert said["adjacency"] == "add or remove one patient"
    assert said["words"]


def test_questions_come_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "questions.toml"
    file.write_text('questions = ["count by NPM1", "median age_years"]')
    said = json.loads(ask("smoke", "count", "--questions", str(file), "--json", "--exact"))
    assert [answer["question"] for answer in said["answers"]] == ["count", "count by NPM1", "median age_years"]


@pytest.mark.parametrize(
    "content", ["questions = []", 'questions = "count"', "questions = [1]", 'other = ["count"]', "questions = ["]
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "questions.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"--questions .*questions\.toml"):
        ask("smoke", "--questions", str(file))


def test_patients_are_asked_with_noise_unless_every_hospital_allows_otherwise(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["cohort", "smoke", "--out", str(tmp_path / "tables")]).exit_code == 0
    data = str(tmp_path / "tables")
    state = {"SYNTHFED_HOME": str(tmp_path / "state")}
    with pytest.raises(ConfigError, match="--sites-allow-exact"):
        ask("smoke", "count", "--data", data, "--exact", **state)
    said = ask("smoke", "count by sex", "--data", data, "--epsilon", "2", **state)
    assert "epsilon 2, delta 1e-05 per patient, of those who train and of those held out alike" in said
    assert "spent by these patients over all recorded runs" in said
    assert "Epsilon 2 holds even if all other sites collude." in said
    exact = ask("smoke", "count by sex", "--data", data, "--exact", "--sites-allow-exact", **state)
    assert "no noise and no formal guarantee" in exact


def test_no_count_of_one_site_is_printed() -> None:
    """Three sites with 150, 90 and 60 patients; only their sum is an answer."""
    said = ask("smoke", "count", "--exact")
    numbers = {word.strip(".,;") for word in said.split()}
    assert "300" in numbers
    assert not numbers & {"150", "90", "60"}
