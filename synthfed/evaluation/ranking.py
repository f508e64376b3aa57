"""Does a survival model fitted on synthetic rows rank fresh patients as well as one fitted on patients?

Uno's C (Uno et al. 2011, doi 10.1002/sim.4154): among pairs of hold-out patients of whom one is known to die first,
the share that the model ranks rightly, each weighted by the inverse squared probability of being followed that long.
The score is what is lost: C of the Cox model fitted on T less C of the same model fitted on S.
"""

import math
from collections.abc import Sequence

import numpy as np

from synthfed.evaluation.anchors import Anchored, judged
from synthfed.evaluation.rows import Floats, Rows, stack
from synthfed.evaluation.scorecard import Metric
from synthfed.evaluation.survival import CoxTerms, events_of, kaplan_meier
from synthfed.evaluation.thresholds import EVENTS_PER_COX_TERM, MINIMUM_KM_EVENTS
from synthfed.tables.schema import Survival

SPLITS = 40
TERMS = 10
ROW_CAP = 2000
_HOLDOUT_CAP = 1000  # every pair of its rows is compared


def uno_c(risk: Floats, days: Floats, event: Floats, horizon_days: float) -> float:
    """Uno's C up to the horizon, ties in risk counted half; censoring from the same patients. O(patients^2).

    Returns:
        NaN where no pair of patients can be compared.
    """
    censoring = kaplan_meier(days, (event <= 0).astype(np.float64))
    steps = np.concatenate([[1.0], censoring.survival])
    followed = steps[np.searchsorted(censoring.days, days, side="left")]  # just before each day
    first = (event > 0) & (days < horizon_days) & (followed > 0)
    weights = 1 / followed[first] ** 2
    later = (days[None, :] > days[first, None]) | ((days[None, :] == days[first, None]) & (event[None, :] == 0))
    higher = (risk[first, None] > risk[None, :]) + 0.5 * (risk[first, None] == risk[None, :])
    comparable = float((weights[:, None] * later).sum())
    return float((weights[:, None] * later * higher).sum()) / comparable if comparable else math.nan


def ranking_loss(terms: CoxTerms, endpoint: Survival, train: Rows, synthetic: Rows, holdout: Rows) -> float:
    """C on the hold-out of a Cox model of T less that of S."""
    days, event = holdout.number(endpoint.time), holdout.number(endpoint.event)
    known = ~(np.isnan(days) | np.isnan(event))
    x = terms.values(holdout)[known]

    def reached(rows: Rows) -> float:
        beta = np.nan_to_num(terms.fit(rows, endpoint).beta)
        return uno_c(x @ beta, days[known], event[known], endpoint.horizon_days)

    return reached(train) - reached(synthetic)


def anchored_loss(
    endpoint: Survival, train: Rows, holdout: Rows, synthetic: Rows, *, seed: int, splits: int = SPLITS
) -> Anchored | None:
    """The loss with its anchors; perfect data are two halves of T and H pooled, tried on as many others as H has.

    Those halves are smaller than T, so that the band is rather too wide. `None` where no term can be fitted.
    """
    rng = np.random.default_rng([seed, 13])
    limit = min(events_of(holdout, endpoint) // EVENTS_PER_COX_TERM, TERMS)
    terms = CoxTerms(train, endpoint, limit=limit)
    if not terms.names or not len(holdout):
        return None
    asked_rows = min(len(holdout), _HOLDOUT_CAP)
    tried = holdout.take(rng.permutation(len(holdout))[:asked_rows])
    size = min(len(train), len(synthetic), ROW_CAP)
    real, fake = (rows.take(rng.permutation(len(rows))[:size]) for rows in (train, synthetic))
    pool = stack(train, holdout)
    perfect = []
    for _ in range(splits):
        order = rng.permutation(len(pool))
        asked, rest = order[:asked_rows], order[asked_rows:]
        half = min(len(rest) // 2, size)
        perfect.append(
            ranking_loss(terms, endpoint, pool.take(rest[:half]), pool.take(rest[half : 2 * half]), pool.take(asked))
        )
    low, ceiling, high = np.quantile(perfect, [0.025, 0.5, 0.975])  # NaN where one of them has no pair
    return Anchored(
        value=ranking_loss(terms, endpoint, real, fake, tried),
        floor=ranking_loss(terms, endpoint, real, fake.shuffled(rng), tried),
        ceiling=float(ceiling),
        low=float(low),
        high=float(high),
        rows=size,
    )


def ranking_metrics(
    endpoints: Sequence[Survival], primary: Survival | None, train: Rows, holdout: Rows, synthetic: Rows, *, seed: int
) -> list[Metric]:
    """`survival.uno_c` per endpoint that has terms; endpoints but the primary carry their name as a suffix."""
    metrics = []
    for endpoint in endpoints:
        events = events_of(holdout, endpoint)
        found = anchored_loss(endpoint, train, holdout, synthetic, seed=seed)
        if found is None:
            continue
        metrics.append(
            judged(
                "survival.uno_c" if endpoint == primary else f"survival.uno_c.{endpoint.name}",
                found,
                threshold="survival.uno_c",
                question="useful",
                role="if_measurable",
                label=f"loss of a survival model's concordance ({endpoint.label or endpoint.name})",
                direction="lower",
                too_small=""
                if events >= MINIMUM_KM_EVENTS
                else f"needs {MINIMUM_KM_EVENTS} events in the hold-out, which has {events}",
                n={"events": events, "matched": found.rows},
            )
        )
    return metrics
