"""The toy cohort of `cheats`, counted: a plan from a synthetic table, and noisy sums over made-up sites."""

import math

import numpy as np
import pandas as pd

from synthfed.evaluation.counted.count import count, rows_for
from synthfed.evaluation.counted.plan import plan
from synthfed.evaluation.counted.score import Counted, CountedScores, score
from synthfed.evaluation.counted.tables import CountPlan
from synthfed.evaluation.rows import Rows, Shape, read_rows
from synthfed.evaluation.scorecard import Cost
from synthfed.privacy.budget import gdp_mu
from tests.evaluation.cheats import RULES, SCHEMA, SETTINGS

SITES = 3


def plan_for(synthetic: pd.DataFrame, settings: object = SETTINGS) -> CountPlan:
    return plan(read_rows(synthetic, Shape.of(SCHEMA)), SCHEMA, settings, RULES)  # type: ignore[arg-type]


def rows_of(asked: CountPlan, table: pd.DataFrame) -> Rows:
    return rows_for(asked, table, SCHEMA, RULES)


def scores_of(
    synthetic: pd.DataFrame, patients: pd.DataFrame, *, epsilon: float = math.inf, seed: int = 5, deciding: bool = True
) -> CountedScores:
    """Counts of all patients with the noise of three sites, scored."""
    asked = plan_for(synthetic)
    mu = math.inf if math.isinf(epsilon) else gdp_mu(epsilon, 1e-5)
    stddevs = asked.stddevs(mu) * math.sqrt(SITES)
    noise = np.rint(np.random.default_rng(seed).normal(size=asked.cells) * stddevs)
    counted = Counted(asked, count(asked, rows_of(asked, patients)) + noise, stddevs)
    cost = Cost(epsilon, 1e-5, "scoring held-out patients")
    return score(counted, rows_of(asked, synthetic), SCHEMA, seed=1, cost=cost, deciding=deciding)
