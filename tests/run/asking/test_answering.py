"""Questions go through the deployed federation: charged first, summed securely, said with the honest words."""

import math
import sqlite3
from dataclasses import replace

import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.errors import BudgetRefused, ConfigError, TooFewSites
from synthfed.pipeline import Pipeline
from synthfed.run.asking.answering import BOTH, CLIPPED, DRAWN, INTERVALS, MANY, WITHHELD, ask_cohort
from synthfed.run.training import LedgerHome

PIPELINE = Pipeline.load("smoke")
SIMULATED = load_cohort("aml", sites=3, patients=450, seed=5, columns=PIPELINE.cohort.columns)
PATIENTS = replace(SIMULATED, simulated=False, origin="three tables")  # as if they were real


def figures(answered):
    return [{figure.name: figure.value for figure in answer.figures} for answer in answered.answers]


def test_exact_answers_are_those_of_all_rows():
    found = ask_cohort(PIPELINE, SIMULATED, ["count", "median age_years"], exact=True)
    ages = [*SIMULATED.train["age_years"], *SIMULATED.holdout["age_years"]]
    count, median = figures(found)
    assert count["patients"] == 450 == len(ages)
    assert median["median"] == pytest.approx(sorted(ages)[225], abs=1)
    assert (found.noise_for, found.epsilon, found.spent_over_runs, found.sites) == (None, None, None, 3)
    assert found.bytes_up > 0
    assert any("no epsilon covers them" in words for words in found.words)
    assert not {BOTH, INTERVALS} & set(found.words)
    assert {CLIPPED, WITHHELD.format(smallest=10)} <= set(found.words)


def test_seeded_noise_on_simulated_patients_is_repeatable_and_claims_nothing():
    one, again = (ask_cohort(PIPELINE, SIMULATED, ["count by sex"], epsilon=2.0) for _ in range(2))
    assert figures(one) == figures(again)
    assert (one.noise_for, one.epsilon) == (2.0, None)
    assert any("anybody can subtract it" in words for words in one.words)


def test_patients_pay_in_both_populations_before_anything_leaves(tmp_path):
    home = LedgerHome(tmp_path / "sites", 1.5)
    one = ask_cohort(PIPELINE, PATIENTS, ["count by sex", "mean age_years"], epsilon=1.0, ledgers=home)
    assert one.rounds == 1
    assert one.epsilon == 1.0
    assert 0.98 < one.spent_over_runs <= 1.0
    assert "Epsilon 1 holds even if all other sites collude." in one.words
    assert {BOTH, INTERVALS} <= set(one.words)
    more = next(float(words.split()[-3]) for words in one.words if words.startswith(DRAWN[:20]))
    assert 0 < more < PIPELINE.privacy.delta / 1000
    assert not any(words.startswith(MANY[-20:]) for words in one.words)
    files = sorted((tmp_path / "sites").glob("*/ledger.sqlite"))
    assert len(files) == 3
    for file in files:
        with sqlite3.connect(file) as ledger:
            charges = [body for (body,) in ledger.execute("select body from entry where kind = 'charge'")]
        assert len(charges) == 2
        assert sum('"population":"train"' in body.replace(" ", "") for body in charges) == 1
        assert sum('"population":"holdout"' in body.replace(" ", "") for body in charges) == 1
    two = ask_cohort(PIPELINE, PATIENTS, ["count"], epsilon=0.5, ledgers=home)
    assert 1.0 < two.spent_over_runs < 1.5
    with pytest.raises(BudgetRefused, match="--epsilon"):
        ask_cohort(PIPELINE, PATIENTS, ["count"], epsilon=1.0, ledgers=home)


def test_noise_of_patients_is_fresh(tmp_path):
    home = LedgerHome(tmp_path / "sites", math.inf)
    one, again = (figures(ask_cohort(PIPELINE, PATIENTS, ["mean age_years"], ledgers=home)) for _ in range(2))
    assert one != again


def test_without_a_question_every_column_is_described():
    found = ask_cohort(PIPELINE, SIMULATED, [], epsilon=5.0)
    about = {name for answer in found.answers for name in answer.asking.columns}
    assert about == set(SIMULATED.schema.names) - {"patient_id"}
    assert found.rounds == 1


def test_what_cannot_be_asked_is_refused_before_any_row_is_touched():
    with pytest.raises(ConfigError, match="median"):
        ask_cohort(PIPELINE, SIMULATED, ["medan age_years"])
    with pytest.raises(ConfigError, match="positive"):
        ask_cohort(PIPELINE, SIMULATED, ["count"], epsilon=math.inf)
    two = replace(SIMULATED, sites=dict(list(SIMULATED.sites.items())[:2]))
    with pytest.raises(TooFewSites):
        ask_cohort(PIPELINE, two, ["count"])
