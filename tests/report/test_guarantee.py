"""What a page promises: every charge under its own name, both epsilons where there are two."""

import math
import re
from typing import Any

import pytest

from synthfed.privacy.accounting import gaussian_epsilon
from synthfed.report import render_html, validate_report
from synthfed.report.figure import Figure
from synthfed.report.guarantee import budget_lines, guarantee, joined_events
from synthfed.report.running import budget_figure, rounds_figure
from tests.report import sample
from tests.report.conftest import build_run

HYBRID = sample.pipeline(generator__start="marginals", generator__training_share=0.3)
TREE = sample.pipeline(generator__kind="marginal")


def budget_of(report: dict[str, Any]) -> Figure:
    figure = budget_figure(report["privacy"], report["pipeline"]["settings"]["privacy"])
    assert figure is not None
    return figure


def charge(purpose: str, noise: float = 2.0, rate: float = 1.0, steps: int = 1) -> dict[str, Any]:
    return {
        "purpose": purpose,
        "mechanism": "gaussian",
        "population": "train",
        "noise_multiplier": noise,
        "sample_rate": rate,
        "l2_sensitivity": 1.0,
        "steps": steps,
    }


def test_counting_is_not_called_training() -> None:
    """Not even where count and round have the same noise."""
    charges = [
        charge("round 0, counting tables"),
        charge("round 1, counting edges"),
        charge("round 2"),
        charge("round 3"),
    ]
    lines = [(line["purpose"], line["events"]) for line in joined_events(charges)]
    assert lines == [("counting tables", 1), ("counting edges", 1), ("training rounds", 2)]


def test_a_purpose_that_is_no_round_is_told_as_it_stands() -> None:
    assert [line["purpose"] for line in joined_events([charge("noisy scores")])] == ["noisy scores"]


def test_shares_of_the_budget_add_up_and_follow_the_plan() -> None:
    lines = budget_lines(sample.ledger_of(HYBRID))
    assert sum(line["share"] for line in lines) == pytest.approx(1.0)
    assert lines[-1]["purpose"] == "training rounds"
    assert lines[-1]["share"] == pytest.approx(HYBRID.generator.training_share, abs=0.005)  # type: ignore[union-attr]


def test_sampled_rounds_get_what_the_counts_leave() -> None:
    """By the epsilon of all charges together, here what a mu of 1 costs."""
    stated = {
        "events": [charge("round 0, counting tables", noise=1.25), charge("round 1", noise=1.1, rate=0.02, steps=300)],
        "populations": {"train": {"epsilon_of_events": gaussian_epsilon(1.0, 1e-5), "delta": 1e-5}},
    }
    assert [line["share"] for line in budget_lines(stated)] == pytest.approx([0.64, 0.36], abs=0.01)


def test_without_noise_there_is_no_budget_to_share() -> None:
    stated = sample.ledger_of(sample.pipeline(generator__kind="marginal", privacy__epsilon=math.inf))
    assert {line["share"] for line in budget_lines(stated)} == {None}


def test_populations_have_budgets_of_their_own() -> None:
    stated = {
        "events": [charge("round 0"), {**charge("noisy scores"), "population": "holdout"}],
        "populations": {name: {"epsilon_of_events": 1.0, "delta": 1e-5} for name in ("train", "holdout")},
    }
    assert [line["share"] for line in budget_lines(stated)] == [1.0, 1.0]


def test_with_shared_noise_no_epsilon_stands_without_the_other() -> None:
    report = build_run(HYBRID, shared=True)
    validate_report(report)
    privacy = report["privacy"]
    assert privacy["epsilon_local"] > privacy["epsilon"]
    local = f"{privacy['epsilon_local']:.3g}"
    page = re.sub(r"<svg.*?</svg>", "", render_html(report), flags=re.DOTALL)
    assert f"epsilon_local = {local}" in privacy["sentence"]
    assert f"epsilon_local = {local}" in report["lights"]["guaranteed"]["because"]
    assert f"epsilon_local = {local}" in next(m for m in report["metrics"] if m["id"] == "guaranteed.epsilon")["reason"]
    assert f"epsilon_local = {local}" in budget_of(report).caption
    assert f"<dt>epsilon_local</dt><dd>{local}" in page


def test_shared_noise_is_not_said_to_cover_all_that_left_a_hospital() -> None:
    sentence = build_run(HYBRID, shared=True)["privacy"]["sentence"]
    assert sentence.startswith("All that the secure sums opened is differentially private")
    assert "any one of the 4 sites" in sentence
    assert "if a secure sum fails" in sentence


@pytest.mark.parametrize(("colluders", "said"), [(0, "not against a site"), (2, "up to 2 of the 4 sites")])
def test_the_number_of_colluders_is_said(colluders: int, said: str) -> None:
    stated = {**sample.ledger_of(HYBRID, shared=True)}
    stated["mode"] = {**stated["mode"], "colluders": colluders}
    assert said in guarantee(stated, simulated=False)["sentence"]


def test_with_local_noise_there_is_one_epsilon() -> None:
    report = build_run(HYBRID)
    assert report["privacy"]["epsilon_local"] == report["privacy"]["epsilon"]
    assert "epsilon_local" not in report["privacy"]["sentence"] + report["lights"]["guaranteed"]["because"]


def test_counts_have_no_update_norm() -> None:
    figure = rounds_figure(build_run(HYBRID)["run"])
    assert figure is not None
    norm = next(panel for panel in figure.panels if panel.name == "rounds-update_norm")
    assert "<desc" in norm.svg
    assert " from 0 " not in norm.svg
    assert [(row[1], row[3]) for row in figure.rows[:2]] == [("counting tables", "–"), ("counting edges", "–")]
    assert figure.rows[2][1] == "training"
    assert figure.rows[2][3] != "–"
    assert "The first 2 rounds counted" in figure.caption
    assert figure.title.startswith("22 rounds")


def test_rounds_that_only_counted_are_no_curve() -> None:
    assert rounds_figure(build_run(TREE)["run"]) is None


def test_the_budget_figure_says_where_it_went() -> None:
    hybrid, tree, cold = (budget_of(build_run(one)) for one in (HYBRID, TREE, sample.pipeline()))
    assert "70 % of it went into counts, 30 % into training" in hybrid.title
    assert tree.title.endswith("All of it went into counts")
    assert len(cold.panels) == 1
    assert [row[0] for row in hybrid.rows] == ["counting tables", "counting edges", "training rounds (×20)"]
    assert [row[-1] for row in tree.rows] == ["70.0 %", "30.0 %"]


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 50.0, 2000.0])
def test_the_ceiling_on_certainty_is_a_share_at_any_epsilon(epsilon: float) -> None:
    stated = {**sample.ledger_of(TREE)}
    stated["populations"] = {"train": {**stated["populations"]["train"], "epsilon_of_events": epsilon}}
    assert re.search(r"at most [\d.]+ % sure", guarantee(stated, simulated=False)["plain"])
