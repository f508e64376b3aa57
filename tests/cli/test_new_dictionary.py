"""A disease of one's own: one dictionary, one pipeline, no code."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.test_bad_input import synthfed


def trial(patients: int = 300) -> pd.DataFrame:
    """An invented breast cancer trial at three centres: nodes and receptors drive survival."""
    rng = np.random.default_rng(5)
    age = np.clip(rng.normal(56, 11, patients), 25, 88).round().astype(int)
    nodes, receptor = rng.poisson(2, patients), rng.random(patients) < 0.7
    death = np.ceil(rng.exponential(1400 * np.where(receptor, 1.4, 0.8) * np.exp(-0.1 * nodes))).astype(int)
    end = rng.integers(300, 2500, patients)
    return pd.DataFrame(
        {
            "Patient ID": [f"INVENTED-{i}" for i in range(patients)],
            "Centre": rng.choice(["north", "south", "east"], patients),
            "Age": age,
            "Arm": rng.choice(["A", "B"], patients),
            "Tumour size (mm)": rng.lognormal(3, 0.5, patients).round().astype(int),
            "Nodes positive": nodes,
            "Grade": rng.choice(["G1", "G2", "G3"], patients),
            "ER": np.where(receptor, "positive", "negative"),
            "Hb (g/L)": rng.normal(128, 12, patients).round().astype(int),
            "Score": rng.normal(20, 4, patients).round(1),
            "OS days": np.minimum(death, end),
            "OS event": (death <= end).astype(int),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trial().to_csv(tmp_path / "trial.csv", sep=";", index=False)
    return tmp_path


def settle(file: Path, **answers: str) -> None:
    """Take the # away below each # CONFIRM and write the answers in, as a person does."""
    text = re.sub(r"(?m)^(# CONFIRM [^\n]*\n)# ", r"\1", file.read_text(encoding="utf-8"))
    for asked, answer in answers.items():
        assert asked in text
        text = text.replace(asked, answer)
    file.write_text(text, encoding="utf-8")


def test_a_disease_of_ones_own_runs_with_a_dictionary_and_a_pipeline(folder: Path) -> None:
    done = synthfed("new-dictionary", "trial.csv", "--out", "breast/dictionary.toml", "--disease", "breast", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "2 columns are open" in done.stdout
    words = ("check", "breast/pipeline.toml", "--data", "trial.csv", "--site-column", "Centre")
    refused = synthfed(*words, cwd=folder)
    assert refused.returncode == 2
    assert "'arm'" in refused.stderr
    settle(
        folder / "breast" / "dictionary.toml",
        **{'levels = ["...", "..."]': 'levels = ["A", "B"]', "[lowest possible, highest possible]": "[0, 60]"},
    )
    refused = synthfed(*words, cwd=folder)
    assert "'Hb (g/L)' is not in the 'breast' dictionary" in refused.stderr
    done = synthfed("check", "breast/pipeline.toml", "--data", "trial.csv", "--suggest-mapping", cwd=folder)
    assert done.returncode == 0, done.stderr
    settle(folder / "trial.mapping.toml", **{'codes = { CODE = "0" or "1" }': "codes = { 0 = 0, 1 = 1 }"})
    done = synthfed(*words, cwd=folder)
    assert "hb_g_dl: converted from g/L to g/dL" in done.stdout, done.stderr
    assert "ready" in done.stdout
    done = synthfed("run", *words[1:], "--out", "dossier", "--set", "release.rows=120", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    released = pd.read_csv(folder / "dossier" / "synthetic.csv")
    assert len(released) == 120
    assert set(released["grade"].dropna()) <= {1, 2, 3}
    assert released["hb_g_dl"].median() < 20
    assert synthfed("verify", "dossier", cwd=folder).returncode == 0


def test_a_draft_overwrites_nothing_and_names_what_cannot_be_read(folder: Path) -> None:
    (folder / "rules.toml").write_text("# mine\n", encoding="utf-8")
    done = synthfed("new-dictionary", "trial.csv", "--out", "dictionary.toml", cwd=folder)
    assert done.returncode == 2
    assert "rules.toml would be overwritten" in done.stderr
    assert (folder / "rules.toml").read_text(encoding="utf-8") == "# mine\n"
    assert "not a file" in synthfed("new-dictionary", "absent.csv", "--out", "x", cwd=folder).stderr


def test_words_are_shown_on_the_screen_only_when_asked_and_frequent(folder: Path) -> None:
    done = synthfed("new-dictionary", "trial.csv", "--out", "x", "--show-words", cwd=folder)
    assert "Arm: " in done.stdout
    assert "INVENTED" not in done.stdout
