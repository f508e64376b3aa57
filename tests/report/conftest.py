"""One rendered report per edition, shared by the tests of this folder."""

from typing import Any

import pytest

from synthfed.pipeline import Pipeline
from synthfed.report import build_report, render_html
from tests.report import sample


def build(edition: str = "simulated", **changes: Any) -> dict[str, Any]:
    """A report of the sample in an edition, with single arguments replaced."""
    arguments: dict[str, Any] = {
        "pipeline": sample.pipeline(),
        "schema": sample.schema(),
        "scorecard": sample.scorecard(real=edition != "release"),
        "ledger": sample.ledger(),
        "run": sample.run_facts(simulated=edition == "simulated"),
        "edition": edition,
    }
    return build_report(**{**arguments, **changes})


def build_run(settings: Pipeline, edition: str = "internal", *, shared: bool = False, seeded: bool = False) -> Any:
    """A report of a run of this pipeline: its own charges, its own rounds."""
    stated = sample.ledger_of(settings, shared=shared, seeded=seeded)
    counting = ("tables", "edges") if settings.counts_first else ()
    facts = sample.run_facts(simulated=edition == "simulated", counting=counting)
    if not settings.training_rounds:
        facts["history"], facts["rounds"] = facts["history"][: len(counting)], len(counting)
    card = sample.scorecard(real=edition != "release", stated=stated)
    return build(edition, pipeline=settings, ledger=stated, run=facts, scorecard=card)


@pytest.fixture(scope="session")
def reports() -> dict[str, dict[str, Any]]:
    return {edition: build(edition) for edition in ("internal", "release", "simulated")}


@pytest.fixture(scope="session")
def pages(reports: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {edition: render_html(report) for edition, report in reports.items()}
