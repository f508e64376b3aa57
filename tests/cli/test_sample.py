"""`sample` with a condition: what it writes, what it says, how it refuses."""

from pathlib import Path

import pandas as pd
import pytest

from tests.cli.command import synthfed
from tests.run.models import untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sample")
    untrained("tvae").save(place / "model.synthfed")
    return place


def test_a_condition_and_a_balance_are_met(folder: Path) -> None:
    words = ("sample", "model.synthfed", "--rows", "30", "--where", "eln2022 == 'adverse'", "--balance", "sex")
    done = synthfed(*words, "--out", "old.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "old.csv: 30 synthetic patients, seed 1, chosen from 10,000 drawn" in done.stdout
    table = pd.read_csv(folder / "old.csv")
    assert (table["eln2022"] == "adverse").all()
    assert table["sex"].value_counts().to_dict() == {"male": 15, "female": 15}
    again = synthfed(*words, "--out", "again.csv", cwd=folder)
    assert again.returncode == 0
    assert (folder / "again.csv").read_bytes() == (folder / "old.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--where", "age >= 60"), "did you mean age_years"),
        (("--where", "sex == mal"), "levels: male, female"),
        (("--balance", "age_years"), "not a column with levels"),
    ],
)
def test_a_wrong_wish_names_what_is_right(folder: Path, words: tuple[str, ...], says: str) -> None:
    done = synthfed("sample", "model.synthfed", "--rows", "5", "--out", "wrong.csv", *words, cwd=folder)
    assert done.returncode == 2
    assert says in done.stderr
    assert not (folder / "wrong.csv").exists()


def test_a_plain_draw_says_nothing_of_choosing(folder: Path) -> None:
    done = synthfed("sample", "model.synthfed", "--rows", "5", "--out", "plain.parquet", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("5 synthetic patients, seed 1")
