"""Does a survival model fitted on synthetic rows serve fresh patients as well as one fitted on patients?

The same Cox model is fitted on T and on S and tried on the hold-out. Two scores say what is lost by S:

- ranking, Uno's C (Uno et al. 2011, doi 10.1002/sim.4154): among pairs of hold-out patients of whom one is known to
  die first, the share that the model ranks rightly, each weighted by the inverse squared probability of being
  followed that long;
- prediction, the Brier score of the predicted survival curve, integrated to the horizon (`brier`).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from synthfed.evaluation.anchors import Anchored, judged
from synthfed.evaluation.brier import GRID, baseline_hazard, integrated_brier
from synthfed.evaluation.rows import Bools, Floats, Rows, stack
from synthfed.evaluation.scorecard import Metric, Role
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


def losses(terms: CoxTerms, endpoint: Survival, train: Rows, synthetic: Rows, holdout: Rows) -> dict[str, float]:
    """What a Cox model of S loses on the hold-out against one of T: `uno_c` and `ibs`, 0 when nothing."""
    days, event = _followed(holdout, endpoint)
    x = terms.values(holdout)[_known(holdout, endpoint)]
    grid = np.linspace(0, endpoint.horizon_days, GRID + 1)[1:]

    def reached(rows: Rows) -> tuple[float, float]:
        beta = np.nan_to_num(terms.fit(rows, endpoint).beta)
        risk = x @ beta
        base = baseline_hazard(terms.values(rows)[_known(rows, endpoint)] @ beta, *_followed(rows, endpoint), grid)
        predicted = np.exp(-base * np.exp(np.clip(risk, -30, 30))[:, None])
        return uno_c(risk, days, event, endpoint.horizon_days), integrated_brier(predicted, grid, days, event)

    (c_real, brier_real), (c_fake, brier_fake) = reached(train), reached(synthetic)
    return {"uno_c": c_real - c_fake, "ibs": brier_fake - brier_real}


def _known(rows: Rows, endpoint: Survival) -> Bools:
    return np.asarray(~(np.isnan(rows.number(endpoint.time)) | np.isnan(rows.number(endpoint.event))))


def _followed(rows: Rows, endpoint: Survival) -> tuple[Floats, Floats]:
    known = _known(rows, endpoint)
    return rows.number(endpoint.time)[known], rows.number(endpoint.event)[known]


def anchored_losses(
    endpoint: Survival, train: Rows, holdout: Rows, synthetic: Rows, *, seed: int, splits: int = SPLITS
) -> Mapping[str, Anchored]:
    """The losses with their anchors; perfect data are two halves of T and H pooled, tried on as many others as H has.

    Those halves are smaller than T, so that the band is rather too wide. Empty where no term can be fitted.
    """
    rng = np.random.default_rng([seed, 13])
    limit = min(events_of(holdout, endpoint) // EVENTS_PER_COX_TERM, TERMS)
    terms = CoxTerms(train, endpoint, limit=limit)
    if not terms.names or not len(holdout):
        return {}
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
            losses(terms, endpoint, pool.take(rest[:half]), pool.take(rest[half : 2 * half]), pool.take(asked))
        )
    value = losses(terms, endpoint, real, fake, tried)
    floor = losses(terms, endpoint, real, fake.shuffled(rng), tried)
    bands = {name: np.quantile([p[name] for p in perfect], [0.025, 0.5, 0.975]) for name in value}  # NaN if one is
    return {
        name: Anchored(value[name], floor[name], float(middle), float(low), float(high), size)
        for name, (low, middle, high) in bands.items()
    }


_SCORES: tuple[tuple[str, Role, str], ...] = (
    ("uno_c", "if_measurable", "loss of a survival model's concordance"),
    ("ibs", "info", "loss of a survival model's prediction, integrated Brier score"),
)


def prognosis_metrics(
    endpoints: Sequence[Survival], primary: Survival | None, train: Rows, holdout: Rows, synthetic: Rows, *, seed: int
) -> list[Metric]:
    """`survival.uno_c` and `survival.ibs` per endpoint that has terms; all but the primary's carry their name."""
    metrics = []
    for endpoint in endpoints:
        events = events_of(holdout, endpoint)
        found = anchored_losses(endpoint, train, holdout, synthetic, seed=seed)
        for score, role, label in _SCORES if found else ():
            metrics.append(
                judged(
                    f"survival.{score}" if endpoint == primary else f"survival.{score}.{endpoint.name}",
                    found[score],
                    threshold=f"survival.{score}",
                    question="useful",
                    role=role,
                    label=f"{label} ({endpoint.label or endpoint.name})",
                    direction="lower",
                    too_small=""
                    if events >= MINIMUM_KM_EVENTS
                    else f"needs {MINIMUM_KM_EVENTS} events in the hold-out, which has {events}",
                    n={"events": events, "matched": found[score].rows},
                )
            )
    return metrics
