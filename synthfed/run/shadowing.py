"""Shadow models of a run: its generator, settings and budget, trained again and again on halves of the patients.

Each is trained on one table, with the noise of one site, which is less than a federation's sites add together: the
attacker is given rather too much. The result is computed from patients and paid for by nobody, so it is for the
simulated and the internal edition.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthfed.pipeline import Pipeline
from synthfed.run.drawing import draw_table
from synthfed.run.training import train_one_site

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.evaluation.scorecard import Scorecard

MOST_PATIENTS = 800  # of the pool: more only take longer


def with_shadow_attack(card: "Scorecard", pipeline: Pipeline, cohort: "Cohort") -> "Scorecard":
    """The scorecard with `private.shadow`, from `evaluation.shadow_models` generators.

    Args:
        cohort: Its training patients are the pool; hold-outs are not touched.
    """
    from synthfed.evaluation.learning import one_thread
    from synthfed.evaluation.shadow import shadow_attack, shadow_metric

    patients = cohort.train
    rng = np.random.default_rng([pipeline.seed, 18])
    pool = patients.iloc[rng.permutation(len(patients))[:MOST_PATIENTS]].reset_index(drop=True)
    settings = pipeline.alone(len(pool) // 2)

    def fit_and_sample(rows: pd.DataFrame, fit: int) -> pd.DataFrame:
        alone = dataclasses.replace(cohort, sites={"shadow": rows}, holdouts={"shadow": rows.iloc[:0]}, reports={})
        trained = train_one_site(settings.replace(seed=pipeline.seed + 1 + fit), alone)
        return draw_table(trained, cohort.rules, rows=len(rows), seed=fit)

    with one_thread():
        found = shadow_attack(
            pool, cohort.schema, fit_and_sample, fits=pipeline.evaluation.shadow_models, seed=pipeline.seed
        )
    return dataclasses.replace(card, metrics=(*card.metrics, shadow_metric(found)))
