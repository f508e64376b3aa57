"""Which engine wins: said in words that follow from the numbers, and no score of patients in a release."""

import math
from dataclasses import replace
from typing import Any

import pytest

from synthfed.errors import PrivacyError
from synthfed.generators.start import Judged
from synthfed.generators.yardstick import Gap
from synthfed.report import render_html, validate_report
from synthfed.report.engines import CountRow, ScoreRow, engines_block
from tests.report.conftest import build

SCORES = (
    ScoreRow("faithful.association", "concordance", "higher", 0.5, 0.6, 0.0, 0.8, 0.75, 0.85),
    ScoreRow("survival.km_area", "area between curves", "lower", 0.02, 0.09, 0.2, 0.01, 0.005, 0.02),
    ScoreRow("faithful.shapes", "likeness", "higher", 0.96, 0.97, 0.9, 0.95, 0.94, 0.96),
    ScoreRow("genomics.cooccurrence", "odds ratios", "higher", None, None, None, None, None, None),
)
COUNTS = (
    CountRow("outcome", 800, 1.05, 0.9, 5.0, 0.01, learned=True),
    CountRow("held back", 900, 1.02, 1.021, 1.4, 0.002, learned=False),
)
JUDGED = Judged(Gap(900, 1.03, 1.02, 0.004), Gap(1600, 1.01, 1.011, 0.003))
WORSE = Judged(Gap(900, 1.02, 1.03, 0.004), Gap(1600, 1.01, 1.02, 0.003))
UNTOLD = Judged(Gap(0, math.nan, math.nan, math.nan), Gap(1600, 1.01, 1.02, 0.003))


def block(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "kept": "trained",
        "judged": JUDGED,
        "counts": COUNTS,
        "scores": SCORES,
        "real_patients": False,
    }
    return engines_block("tvae", **{**given, **changes})


def test_the_winner_of_a_score_is_nearer_to_fresh_patients_by_more_than_chance() -> None:
    """The tree is ahead on the first, the network on the second; on the third both are beyond the ceiling."""
    assert [row.better for row in SCORES] == ["tree", "network", "neither", "unknown"]
    said = block()["winner"]
    assert said == (
        "The tree is ahead on “concordance”; the network is ahead on “area between curves”; "
        "on “likeness” they differ by no more than chance."
    )


def test_many_ties_are_counted_and_not_listed() -> None:
    said = block(scores=(SCORES[0], *(replace(SCORES[2], id=f"useful.tstr.{index}") for index in range(3))))["winner"]
    assert said == "The tree is ahead on “concordance”; on the other 3 scores they differ by no more than chance."


def test_a_tie_is_called_one() -> None:
    assert block(scores=(SCORES[2],))["winner"] == "A tie: on “likeness” the two differ by no more than chance."
    assert block(scores=(SCORES[3],))["winner"] == "Nothing could be measured on both."


def test_noisy_totals_call_a_winner_beyond_two_errors_only() -> None:
    assert [row.better for row in COUNTS] == ["unknown", "neither"]
    assert replace(COUNTS[1], error=0.0004).better == "network"
    ahead = replace(COUNTS[1], tree=1.0)
    assert ahead.better == "tree"
    assert block(scores=(), counts=(ahead,))["winner"].startswith("The tree is ahead, as far as noisy totals can tell")
    assert block(scores=())["winner"].startswith("A tie, as far as noisy totals can tell")


def test_following_totals_that_were_learned_is_no_merit_of_the_tree() -> None:
    assert replace(COUNTS[0], network=0.8).better == "network"
    assert "cannot tell" in block(scores=(), counts=COUNTS[:1])["winner"]


@pytest.mark.parametrize(
    ("kept", "judged", "said"),
    [
        ("trained", JUDGED, "ships as trained"),
        ("start", WORSE, "closer to the patients is not shown (misfit 1.0200 before it and 1.0300 after"),
        ("start", UNTOLD, "(misfit 1.0100 before"),
        ("start", None, "no extra privacy"),
    ],
)
def test_what_ships_is_said_with_its_reason(kept: str, judged: Judged | None, said: str) -> None:
    found = block(kept=kept, judged=judged, scores=())
    assert said in " ".join(found["sentences"])
    assert (found["judged"] is None) == (judged is None)
    assert len(found["sentences"]) == 1 + (judged is not None)
    validate_report(build("release", engines=found))


@pytest.mark.parametrize("real_patients", [True, False])
def test_scores_of_patients_are_said_to_stay(real_patients: bool) -> None:
    assert any("stay at the site" in line for line in block(real_patients=real_patients)["sentences"]) == real_patients


@pytest.mark.parametrize("edition", ["internal", "simulated", "release"])
def test_the_page_and_the_schema_hold_both_engines(edition: str) -> None:
    report = build(edition, engines=block(scores=() if edition == "release" else SCORES))
    validate_report(report)
    page = render_html(report)
    assert "Which engine wins" in page
    assert report["engines"]["winner"] in page
    assert ("Concordance" in page) == (edition != "release")
    assert "Other pairs of columns, held back" in page


def test_a_release_with_scores_of_patients_is_refused() -> None:
    with pytest.raises(PrivacyError, match=r"engines\.faithful\.association"):
        build("release", engines=block())


def test_where_there_is_one_engine_nothing_is_compared() -> None:
    report = build()
    assert report["engines"] is None
    validate_report(report)
    assert "Which engine wins" not in render_html(report)
    without = {key: value for key, value in report.items() if key != "engines"}  # a report of an older version
    assert "Which engine wins" not in render_html(without)
