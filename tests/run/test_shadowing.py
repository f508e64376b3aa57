import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.errors import PipelineError
from synthfed.evaluation.scorecard import Scorecard
from synthfed.pipeline import Pipeline
from synthfed.run.shadowing import with_shadow_attack

SMOKE = Pipeline.load("smoke").replace(generator__kind="marginal", privacy__epsilon=3.0)


def test_a_private_generator_gives_hardly_anybody_away():
    pipeline = SMOKE.replace(evaluation__shadow_models=8)
    cohort = load_cohort(pipeline.disease, sites=3, patients=250, seed=3).select(pipeline.cohort.columns)
    card = with_shadow_attack(Scorecard(()), pipeline, cohort)
    metric = card["private.shadow"]
    assert metric.rows_used == "train"  # so that no release edition takes it
    assert metric.n is not None
    assert metric.n["fits"] == 8
    assert (metric.value or 0) < 0.15


def test_too_few_shadow_models_are_refused_with_the_next_step():
    with pytest.raises(PipelineError, match="set 0 for none, or 8 or more"):
        SMOKE.replace(evaluation__shadow_models=3)
