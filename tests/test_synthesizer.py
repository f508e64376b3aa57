"""The Python interface: SDV's habits, with a budget."""

from pathlib import Path

import pandas as pd
import pytest

import synthfed as sf
from synthfed.cohorts.sites import Cohort
from synthfed.errors import EmptySite, ModelError, TooFewSites


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    columns = sf.Pipeline.load("smoke").cohort.columns
    return sf.load_cohort("aml", sites=3, patients=300, seed=7, columns=columns)


@pytest.fixture(scope="module")
def fitted(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> sf.Synthesizer:
    return sf.Synthesizer("smoke").fit(cohort)


def test_sample_has_the_asked_rows_and_repeats_with_its_seed(fitted: sf.Synthesizer) -> None:
    table = fitted.sample(num_rows=70, seed=5)
    assert len(table) == 70
    pd.testing.assert_frame_equal(table, fitted.sample(num_rows=70, seed=5))
    assert not table.equals(fitted.sample(num_rows=70, seed=6))


def test_saved_model_draws_the_same_rows(fitted: sf.Synthesizer, tmp_path: Path) -> None:
    fitted.save(tmp_path / "aml.synthfed")
    loaded = sf.Synthesizer.load(tmp_path / "aml.synthfed")
    pd.testing.assert_frame_equal(loaded.sample(50, seed=2), fitted.sample(50, seed=2))
    assert loaded.privacy.delta == fitted.privacy.delta
    assert loaded.pipeline == fitted.pipeline


def test_one_table_is_one_site_with_the_same_privacy(cohort: Cohort) -> None:
    alone = sf.Synthesizer("smoke", privacy__randomness="secure").fit(cohort.train)
    assert alone.privacy.epsilon == pytest.approx(10.0, rel=0.01)
    assert alone.privacy.ledger["mode"]["sites"] == 1
    assert len(alone.sample(20)) == 20


def test_secure_noise_differs_between_runs_and_seeded_noise_does_not(cohort: Cohort) -> None:
    def drawn(randomness: str) -> pd.DataFrame:
        return sf.Synthesizer("smoke", privacy__randomness=randomness).fit(cohort.train).sample(40, seed=1)

    assert not drawn("secure").equals(drawn("secure"))
    pd.testing.assert_frame_equal(drawn("seeded"), drawn("seeded"))


def test_seeded_noise_claims_no_epsilon(cohort: Cohort) -> None:
    seeded = sf.Synthesizer("smoke", privacy__randomness="seeded").fit(cohort.train)
    assert seeded.privacy.epsilon is None
    assert "no formal guarantee" in seeded.privacy.ledger["guarantee"]


def test_without_privacy_nothing_is_claimed(cohort: Cohort) -> None:
    open_fit = sf.Synthesizer("smoke", privacy__epsilon=float("inf")).fit(cohort.train)
    assert open_fit.privacy.epsilon is None


def test_two_sites_are_too_few(cohort: Cohort) -> None:
    two = sf.load_cohort("aml", sites=2, patients=200, seed=7, columns=cohort.schema.names)
    with pytest.raises(TooFewSites):
        sf.Synthesizer("smoke").fit(two)


def test_too_few_rows_are_refused(cohort: Cohort) -> None:
    with pytest.raises(EmptySite, match="min_rows"):
        sf.Synthesizer("smoke").fit(cohort.train.head(10))


def test_unfitted_synthesizer_says_what_to_do() -> None:
    with pytest.raises(ModelError, match="call fit"):
        sf.Synthesizer("smoke").sample(3)


def test_missing_model_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        sf.Synthesizer.load(tmp_path / "nowhere.synthfed")


def test_evaluation_needs_no_rows_but_uses_them_when_given(fitted: sf.Synthesizer, cohort: Cohort) -> None:
    table = fitted.sample(100, seed=1)
    alone = {metric.id for metric in fitted.evaluate(table).metrics}
    both = {metric.id for metric in fitted.evaluate(table, cohort.holdout).metrics}
    assert "valid.hard_rules" in alone
    assert not any(name.startswith("faithful") for name in alone)
    assert any(name.startswith("faithful") for name in both)


def test_cohort_with_more_columns_than_the_pipeline_is_cut_to_them() -> None:
    wide = sf.load_cohort("aml", sites=3, patients=300, seed=7)
    synth = sf.Synthesizer("smoke").fit(wide)
    assert set(synth.sample(10).columns) == set(synth.pipeline.cohort.columns)
