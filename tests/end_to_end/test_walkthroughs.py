"""The walk-throughs run as they are printed, and end in an answer."""

import runpy
import sys
from pathlib import Path

import pytest

WALKS = Path(__file__).parents[2] / "reports" / "walkthroughs"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("disease", "picture", "words"),
    [
        ("aml", "survival-by-eln.png", "the synthetic cohort ranks the groups favorable > intermediate > adverse"),
        ("scd", "crises-by-genotype.png", "untreated HbSS against HbSC, synthetic:"),
    ],
)
def test_a_walk_ends_in_a_clinicians_answer(disease, picture, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [disease, str(tmp_path)])
    runpy.run_path(str(WALKS / f"{disease}.py"), run_name="__main__")
    assert words in capsys.readouterr().out
    assert (tmp_path / picture).stat().st_size > 10_000
