"""Figures: the title is the finding, what is missing is not drawn, colours follow the page."""

import re
from typing import Any

import pytest

from synthfed.report.drawing import PALETTE
from synthfed.report.figure import size
from synthfed.report.figures import draw_figures
from synthfed.report.verdict import number
from tests.report.conftest import build


@pytest.fixture(scope="module")
def figures(reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return draw_figures(reports["simulated"])


def test_all_figures_are_drawn_from_a_full_scorecard(figures: dict[str, Any]) -> None:
    assert set(figures) == {
        "made",
        "anchors",
        "marginals",
        "associations",
        "survival",
        "membership",
        "risks",
        "budget",
        "rounds",
    }


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("anchors", r"Association of column pairs comes 75 % of the way from shuffled columns to fresh patients"),
        ("marginals", r"Worst column: .+, similarity 0\.\d+ where fresh patients reach 0\.972"),
        ("associations", r"\d+ of 780 pairs of columns differ by more than 0\.2"),
        ("survival", r"Survival to 5 years differs by 2\.1 points on average, by 6\.6 in the worst group .*adverse"),
        ("membership", r"An attacker finds 16 in 1,000 training patients where guessing finds 10"),
        ("risks", r"Every attack stays below 0\.09: .+ 0\.031"),
        ("budget", r"The most spent at a site is epsilon 3 of 3 "),
        ("rounds", r"20 rounds moved 121 MB"),
    ],
)
def test_the_title_is_the_finding(figures: dict[str, Any], key: str, title: str) -> None:
    assert re.match(title, figures[key].title), figures[key].title


def test_release_draws_synthetic_rows_only(reports: dict[str, dict[str, Any]]) -> None:
    drawn = draw_figures(reports["release"])
    assert {"anchors", "membership", "risks"} & set(drawn) == set()
    for key in ("marginals", "survival"):
        assert all(PALETTE["real"] not in p.svg and "var(--real)" not in p.svg for p in drawn[key].panels)


def test_every_colour_follows_the_page(figures: dict[str, Any]) -> None:
    for figure in figures.values():
        for panel in (*figure.panels, *figure.more):
            fixed = set(re.findall(r"#[0-9a-fA-F]{6}\b", panel.svg))
            assert fixed == set(), (panel.name, fixed)


def test_tables_are_as_wide_as_their_heads(figures: dict[str, Any]) -> None:
    for figure in figures.values():
        assert {len(row) for row in figure.rows} == {len(figure.head)}


def test_scores_whose_ends_cannot_be_told_apart_are_left_out(figures: dict[str, Any]) -> None:
    assert "Largest gap in missing values" not in [row[0] for row in figures["anchors"].rows]
    assert "Left out: 2" in figures["anchors"].caption


def test_gaps_in_curves_and_matrices_do_not_stop_the_page(reports: dict[str, dict[str, Any]]) -> None:
    report = build()
    report["figures"]["survival"][0]["real"]["low"][-1] = None
    report["figures"]["associations"]["real"][0][1] = None
    report["figures"]["marginals"][0]["score"] = None
    assert "survival" in draw_figures(report)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.0123456, "0.0123"),
        (0.00123, "0.0012"),
        (0.00001, "1e-5"),
        (-0.5, "−0.5"),
        (1234.5, "1,234"),
        ("inf", "∞"),
    ],
)
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 bytes"), (121_000_000, "121 MB"), (1_450_000, "1.4 MB"), (2e9, "2.0 GB")]
)
def test_bytes_are_written_for_people(count: float, text: str) -> None:
    assert size(count) == text
