"""Whether each hospital gains from the federation: it also trains alone, and both tables meet its held-out patients.

The same generator, epsilon and settings on the hospital's own training patients alone; where the sites share their
noise, alone there is nobody to share it with. The hospital's own table is never released and the numbers stay in the
simulated and the internal edition, so nothing is charged.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthfed.errors import BudgetTooSmall
from synthfed.evaluation.scorecard import rounded
from synthfed.run.drawing import draw_table
from synthfed.run.training import Trained, train_one_site

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.evaluation.benefit import Gain
    from synthfed.evaluation.scorecard import Scorecard

MOST_ROWS = 2000  # of either table: more only take longer


def with_benefit(card: "Scorecard", trained: Trained, table: pd.DataFrame, cohort: "Cohort") -> "Scorecard":
    """The scorecard with `figures["benefit"]`: per site and measure what the federated table gains over its own.

    Args:
        trained: What the sites trained together.
        table: The released table.
    """
    rows = [row for site in cohort.sites for row in _of_site(site, trained, table, cohort)]
    return dataclasses.replace(card, figures={**card.figures, "benefit": rows})


def _of_site(site: str, trained: Trained, table: pd.DataFrame, cohort: "Cohort") -> list[dict[str, Any]]:
    from synthfed.evaluation.benefit import gains
    from synthfed.evaluation.rows import Shape, read_rows

    pipeline = trained.pipeline
    own = dataclasses.replace(
        cohort, sites={site: cohort.sites[site]}, holdouts={site: cohort.holdouts[site]}, reports={}
    )
    settings = pipeline.alone(len(own.train))
    try:
        alone = draw_table(train_one_site(settings, own), cohort.rules, rows=min(len(table), MOST_ROWS), seed=1)
    except BudgetTooSmall:
        nothing = {"federated": None, "alone": None, "gain": None, "low": None, "high": None, "rows": 0}
        reason = "alone, the budget buys this site no training at all"
        return [{"site": site, "measure": "all", "label": "all measures", "word": "gains", "reason": reason, **nothing}]
    shape = Shape.of(trained.schema)
    order = np.random.default_rng([pipeline.seed, 11]).permutation(len(table))[:MOST_ROWS]
    found = gains(
        read_rows(table.iloc[order], shape),
        read_rows(alone, shape),
        train=read_rows(own.train, shape),
        holdout=read_rows(own.holdout, shape),
        schema=trained.schema,
        targets=pipeline.evaluation.targets,
        seed=pipeline.seed,
    )
    return [_row(site, gain) for gain in found]


def _row(site: str, gain: "Gain") -> dict[str, Any]:
    numbers = dict(
        zip(
            ("federated", "alone", "gain", "low", "high"),
            rounded([gain.federated, gain.alone, gain.gain, gain.low, gain.high]),
            strict=True,
        )
    )
    said = {"site": site, "measure": gain.measure, "label": gain.label, "word": gain.word, "reason": gain.reason}
    return {**said, **numbers, "rows": gain.rows}
