"""The hospitals that a pipeline simulates when no table is given."""

from synthfed.cohorts.sites import Cohort, load_cohort
from synthfed.pipeline import Pipeline


def simulated_cohort(pipeline: Pipeline, *, holdout_fraction: float | None = None) -> Cohort:
    """The cohort that `[cohort]` declares; the same pipeline, the same patients, wherever they are drawn.

    Args:
        holdout_fraction: In place of the pipeline's, for rows that a site will split itself.

    Raises:
        ConfigError: The disease has no simulator.
        EmptySite: A site that would get no training patient.
    """
    settings = pipeline.cohort
    return load_cohort(
        pipeline.disease,
        sites=settings.simulated_sites,
        patients=settings.simulated_patients,
        shares=settings.simulated_shares,
        seed=pipeline.seed,
        columns=settings.columns,
        holdout_fraction=settings.holdout_fraction if holdout_fraction is None else holdout_fraction,
    )
