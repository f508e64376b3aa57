"""What a release draws of held-out patients, and what it says beside it."""

from dataclasses import replace
from typing import Any

from synthfed.report import render_html, validate_report
from synthfed.report.figures import draw_figures
from synthfed.report.held_out import far_columns, held_out_figure
from tests.report import sample
from tests.report.conftest import build
from tests.report.test_build import paid

COUNTED = {
    "patients": 410,
    "columns": [
        {"column": "age_years", "label": "Age", "distance": 0.2, "noise": 0.05},
        {"column": "hb_g_dl", "label": "Haemoglobin", "distance": 0.06, "noise": 0.06},
        {"column": "sex", "label": "Sex", "distance": 0.01, "noise": 0.004},
    ],
    "survival": [
        {
            "name": "os",
            "label": "Overall survival",
            "days": [0.0, 400.0, 1826.0],
            "patients": [1.0, 0.6, 0.3],
            "low": [1.0, 0.5, 0.2],
            "high": [1.0, 0.7, 0.4],
            "synthetic": [1.0, 0.58, 0.33],
        }
    ],
}


def released() -> dict[str, Any]:
    card = paid(sample.scorecard(real=False))
    card = replace(card, figures={**card.figures, "counted": COUNTED})
    return build("release", scorecard=card, ledger=sample.scored_ledger())


def test_a_release_draws_held_out_patients_and_says_what_they_paid() -> None:
    report = released()
    validate_report(report)
    figure = draw_figures(report)["held-out"]
    assert figure.title == "Against about 410 held-out patients: single columns are 97 % alike"
    assert "counted them with noise: epsilon 3 at delta 1e-5" in figure.caption
    assert figure.rows[0] == ("Age", "0.2", "0.05")
    page = render_html(report)
    assert "what held-out patients&#39; privacy budget paid for" in page
    assert "epsilon, per held-out patient" in page
    assert "paid by held-out patients" in page


def test_columns_beyond_the_noise_are_named_as_badly_represented() -> None:
    assert far_columns(COUNTED) == ["Age: 0.2 from held-out patients, where noise alone would show 0.05"]
    assert far_columns(None) == []
    assert "Age: 0.2 from held-out patients" in render_html(released())


def test_without_counts_nothing_is_drawn() -> None:
    report = build("release", scorecard=sample.scorecard(real=False))
    assert held_out_figure(report) is None
    assert "no number computed from patients&#39; rows" in render_html(report)
