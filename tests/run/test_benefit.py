"""Each site trains alone beside the federation; what it gains is shown to it and never released."""

import dataclasses
import json

import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.errors import PrivacyError
from synthfed.evaluation.scorecard import Scorecard
from synthfed.pipeline import Pipeline
from synthfed.report import validate_report
from synthfed.report.figures import draw_figures
from synthfed.run.benefit import with_benefit
from synthfed.run.drawing import draw_table
from synthfed.run.training import train
from tests.report import sample
from tests.report.conftest import build

SMALL = ("patient_id", "age_years", "sex", "wbc_10e9_l", "NPM1", "FLT3_ITD", "TP53", "os_days", "os_event")
PIPELINE = Pipeline.load("smoke").with_settings(['generator={kind="marginal"}']).replace(cohort__columns=SMALL)


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Scorecard:
    cohort = load_cohort("aml", sites=3, patients=500, columns=SMALL, holdout_fraction=0.3, shares=(0.5, 0.4, 0.1))
    trained = train(PIPELINE, cohort, work=tmp_path_factory.mktemp("work"))
    return with_benefit(Scorecard(()), trained, draw_table(trained, cohort.rules, rows=300, seed=1), cohort)


def test_every_site_is_told_and_a_small_one_that_it_cannot_be(card: Scorecard) -> None:
    rows = card.figures["benefit"]
    assert {row["site"] for row in rows} == {"site_1", "site_2", "site_3"}
    small = [row for row in rows if row["site"] == "site_3"]
    assert {row["word"] for row in small} == {"not measurable"}
    assert all(row["gain"] is not None for row in rows if row["site"] == "site_1")


def test_it_is_drawn_and_a_release_refuses_it(card: Scorecard) -> None:
    figures = {**sample.scorecard().figures, "benefit": card.figures["benefit"]}
    report = build(scorecard=dataclasses.replace(sample.scorecard(), figures=figures))
    validate_report(json.loads(json.dumps(report)))
    figure = draw_figures(report)["benefit"]
    assert figure.title.startswith("In ")
    assert len(figure.rows) == len(card.figures["benefit"])
    clean = sample.scorecard(real=False)
    with pytest.raises(PrivacyError, match=r"figures\.benefit"):
        build("release", scorecard=dataclasses.replace(clean, figures={**clean.figures, "benefit": figures["benefit"]}))


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, True), ({"evaluation__benefit": "off"}, False), ({"generator__kind": "tvae"}, False)],
)
def test_by_default_only_engines_that_count_are_run_again(settings: dict, told: bool) -> None:
    assert PIPELINE.replace(**settings).tells_benefit is told
    assert PIPELINE.replace(generator__kind="tvae", evaluation__benefit="on").tells_benefit
