"""Simulated patients to write and read back: every column that the simulators draw, derived ones included."""

from functools import cache

import pandas as pd

from synthfed.cohorts.sites import load_cohort
from synthfed.tables.dictionary import Dictionary, load_dictionary


@cache
def dictionary(disease: str) -> Dictionary:
    return load_dictionary(disease)


def patients(disease: str, count: int = 200, seed: int = 7) -> pd.DataFrame:
    """A typed table with ids."""
    cohort = load_cohort(disease, sites=["lyon"], patients=count, seed=seed, holdout_fraction=0.0)
    return cohort.train
