"""How a table was made: the engine by its name, every round for what it did, and nothing claimed that was not done."""

import json
import math
import re
from typing import Any

import pytest
from markupsafe import escape

from synthfed.pipeline import Pipeline
from synthfed.report import render_html, report_bytes, validate_report
from synthfed.report.diagram import flow
from synthfed.report.making import secure_sums, secure_sums_in_words
from synthfed.report.running import made_figure
from tests.report import sample
from tests.report.conftest import build, build_run

COLD = sample.pipeline()
HYBRID = sample.pipeline(generator__start="marginals", generator__training_share=0.3)
DISTILLED = sample.pipeline(generator__start="marginals", generator__training_share=0.0)
TREE = sample.pipeline(generator__kind="marginal")
OPEN = sample.pipeline(privacy__epsilon=math.inf)
OPEN_TREE = sample.pipeline(generator__kind="marginal", privacy__epsilon=math.inf)


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        (COLD, "DP-SGD only"),
        (HYBRID, "hybrid"),
        (DISTILLED, "hybrid"),
        (TREE, "tree of noisy tables"),
        (OPEN, "network trained without privacy"),
        (OPEN_TREE, "tree of exact tables"),
    ],
)
def test_each_engine_is_called_by_its_name_and_follows_the_schema(settings: Pipeline, engine: str) -> None:
    report = json.loads(report_bytes(build_run(settings)))
    assert report["made"]["engine"] == engine
    validate_report(report)
    figure = made_figure(report)
    assert figure is not None
    assert figure.title.lower().startswith(engine.lower())


def test_a_hybrid_says_what_each_part_took_of_the_budget() -> None:
    made = build_run(HYBRID)["made"]
    assert made["counts"]["rounds"] == ["tables", "edges"]
    assert made["counts"]["share"] == pytest.approx(0.7, abs=0.01)
    assert made["network"] == {"kind": "tvae", "rounds": 20, "share": pytest.approx(0.3, abs=0.01)}
    assert any("distilling" in line for line in made["sentences"])
    assert any("20 rounds of 3 steps" in line for line in made["sentences"])


def test_only_a_ctgan_is_drawn_back_to_the_totals_after_training() -> None:
    """As `generators.start.finish` does."""
    ctgan = sample.pipeline(generator__kind="ctgan", generator__start="marginals")
    assert any("calibrating" in line for line in build_run(ctgan)["made"]["sentences"])
    assert not any("calibrating" in line for line in build_run(HYBRID)["made"]["sentences"])


def test_a_tree_was_never_trained() -> None:
    report = build_run(TREE)
    assert report["made"]["network"] is None
    assert report["made"]["counts"]["share"] == pytest.approx(1.0)
    assert report["made"]["sentences"][-1] == "The table was drawn from the tree. No network was trained."
    assert "training" not in {event["purpose"] for event in report["privacy"]["events"]}
    assert "DP-SGD" not in " ".join(report["made"]["sentences"])


def test_columns_that_are_kept_together_are_named() -> None:
    kept = sample.pipeline(generator__kind="marginal", generator__focus=(("sex", "NPM1"), ("NPM1", "TP53", "sex")))
    said = [line for line in build_run(kept)["made"]["sentences"] if "together" in line and "as declared" in line]
    assert [line.partition(" were")[0] for line in said] == ["sex x NPM1", "NPM1 x TP53 x sex"]


def test_a_network_without_dp_sgd_claims_none() -> None:
    made = build_run(DISTILLED)["made"]
    assert made["network"]["rounds"] == 0
    assert made["network"]["share"] == 0.0
    assert not any("DP-SGD" in line or "calibrating" in line for line in made["sentences"])
    assert made["note"] == ""


def test_what_is_known_against_an_engine_is_said_on_the_page() -> None:
    assert "far behind noisy counts" in build_run(COLD)["made"]["note"]
    report = build_run(HYBRID)
    page = render_html(report)
    assert "at best a little better than without it" in report["made"]["note"]
    for said in (report["made"]["note"], *report["made"]["sentences"], "How this table was made"):
        assert escape(said) in page


@pytest.mark.parametrize("settings", [OPEN, OPEN_TREE])
def test_without_noise_nothing_is_called_noisy_or_private(settings: Pipeline) -> None:
    made = build_run(settings)["made"]
    assert made["noise"] == "none"
    assert not any(re.search(r"DP-SGD|noisy|adds noise", line) for line in made["sentences"])
    for part in ("counts", "network"):
        assert made[part] is None or made[part]["share"] is None


def test_the_histograms_of_an_encoder_are_a_counting_round_of_their_own() -> None:
    stated = json.loads(json.dumps(sample.ledger_of(TREE)))
    first = {**stated["events"][0], "purpose": "round 0, counting histograms"}
    stated["events"][0]["purpose"], stated["events"][1]["purpose"] = (
        "round 1, counting tables",
        "round 2, counting edges",
    )
    stated["events"].insert(0, first)
    made = build("internal", pipeline=TREE, ledger=stated)["made"]
    assert made["counts"]["rounds"] == ["histograms", "tables", "edges"]
    assert made["sentences"][0].startswith("In 3 rounds the sites counted: first how the values of a column spread")


@pytest.mark.parametrize("sites", [1, 4, 7, 50])
def test_the_flow_finds_room_for_any_number_of_sites(sites: int) -> None:
    made = build_run(HYBRID)["made"]
    names = [f"university hospital {index}" for index in range(sites)]
    svg = flow(made, names, 2000, "flow").svg
    assert f"{sites} site" in svg
    assert (f"{sites - 3} more" if sites > 4 else "univer") in svg
    assert max(float(x) for x in re.findall(r'viewBox="0 0 ([\d.]+)', svg)) == 360


def test_the_way_back_is_drawn_only_where_weights_go_back() -> None:
    def drawn(settings: Pipeline) -> str:
        figure = made_figure(build_run(settings))
        assert figure is not None
        return figure.panels[0].svg

    assert "new weights" in drawn(HYBRID)
    assert "new weights" not in drawn(TREE)
    assert "new weights" not in drawn(DISTILLED)


def test_a_report_of_an_older_version_is_still_drawn() -> None:
    report = build_run(COLD)
    del report["made"], report["run"]["secure_sums"]
    for key in ("epsilon_local", "noise", "colluders"):
        del report["privacy"][key]
    for event in report["privacy"]["events"]:
        del event["share"]
    validate_report(report)
    page = render_html(report)
    assert "How this table was made" not in page
    assert "What left the hospitals" in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "3 of 4 sites are needed to open a round's total"),
        ({"federation__shares": "shamir"}, "3 of 4 sites are needed to open a single site's vector, too"),
        ({"federation__shares": "full"}, "full: each vector is cut into one part per site"),
        ({"federation__shares": "pairwise"}, "every round needs all sites"),
        ({"federation__max_missing": 3}, "a round may go on without 1 of 4"),
        ({"federation__verify": "recompute"}, "recompute: every site adds up all signed vectors itself"),
        ({"federation__pq": True}, "ML-KEM-768"),
        ({"federation__pq": False}, "not post-quantum"),
    ],
)
def test_the_settings_of_the_secure_sums_are_said_in_words(changes: dict[str, Any], said: str) -> None:
    settings = sample.pipeline(**changes)
    report = build_run(settings)
    validate_report(report)
    assert said in " ".join(words for _, words in secure_sums_in_words(report["run"]["secure_sums"]))


def test_the_page_says_how_the_sums_were_kept_secret(pages: dict[str, str]) -> None:
    for name, words in secure_sums_in_words(secure_sums(sample.pipeline(), 4)):
        assert f"<dt>{name}</dt><dd>{escape(words)}</dd>" in pages["release"]


@pytest.mark.parametrize("shares", ["pairwise", "full"])
def test_no_threshold_is_claimed_where_no_key_is_shared_out(shares: str) -> None:
    sums = secure_sums(sample.pipeline(federation__shares=shares), 5)
    assert sums is not None
    assert sums["threshold"] is None
    assert "threshold" not in dict(secure_sums_in_words(sums))


def test_a_site_alone_had_no_secure_sum() -> None:
    assert secure_sums(COLD, 1) is None
    assert secure_sums_in_words(None) == []
