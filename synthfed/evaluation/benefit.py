"""What one hospital gains from the federation: the federated table against the one it would have made alone.

Both tables are judged on the hospital's own held-out patients, by three measures where higher is better, and the
difference gets a paired bootstrap over those patients: the noise that both share falls out. Nothing here may leave the
hospital; nothing is charged, because neither its own table nor these numbers do.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.association import association_concordance, associations
from synthfed.evaluation.learning import Inputs, auc, logistic_scores, one_thread, tree_scores
from synthfed.evaluation.prognosis import uno_c
from synthfed.evaluation.rows import Floats, Ints, Rows
from synthfed.evaluation.survival import CoxTerms, events_of
from synthfed.evaluation.thresholds import EVENTS_PER_COX_TERM, MINIMUM_GAIN_EVENTS, MINIMUM_GAIN_ROWS
from synthfed.tables.schema import Schema, Survival

DRAWS = 200
_ASSOCIATION_DRAWS = 60  # each computes all pairs anew
_TERMS = 10


@dataclass(frozen=True, slots=True)
class Gain:
    """One measure at one hospital; numbers are NaN where too few patients were held out, and `reason` says so.

    Attributes:
        federated, alone: The measure for the federated table, and for the hospital's own.
        low, high: 95 % interval of `federated - alone` over the held-out patients.
        rows: Held-out patients it rests on.
    """

    measure: str
    label: str
    federated: float
    alone: float
    low: float
    high: float
    rows: int
    reason: str = ""

    @property
    def gain(self) -> float:
        return self.federated - self.alone

    @property
    def word(self) -> str:
        """In one word what the interval says."""
        if math.isnan(self.low) or math.isnan(self.high):
            return "not measurable"
        return "gains" if self.low > 0 else "loses" if self.high < 0 else "no difference shown"


def gains(
    federated: Rows, alone: Rows, *, train: Rows, holdout: Rows, schema: Schema, targets: Sequence[str], seed: int
) -> tuple[Gain, ...]:
    """Every measure at one hospital.

    Args:
        federated, alone: Synthetic rows; as many of the one as of the other are used.
        train, holdout: The hospital's own patients.
        targets: Columns to predict; a survival's event is measured by Uno's C instead.
    """
    size = min(len(federated), len(alone))
    pair = (federated.take(np.arange(size)), alone.take(np.arange(size)))
    with one_thread():
        found = [_association(*pair, holdout, seed)]
        events = {endpoint.event for endpoint in schema.survivals}
        found += [_skill(name, schema, *pair, holdout, seed) for name in targets if _predictable(name, schema, events)]
        if schema.primary_survival is not None:
            found.append(_ranking(schema.primary_survival, *pair, train, holdout, seed))
    return tuple(found)


def _predictable(name: str, schema: Schema, events: set[str]) -> bool:
    return name in schema and schema[name].has_levels and name not in events


def _association(federated: Rows, alone: Rows, holdout: Rows, seed: int) -> Gain:
    label = "concordance of all pair associations"
    if len(holdout) < MINIMUM_GAIN_ROWS:
        return _too_few("association", label, len(holdout), f"needs {MINIMUM_GAIN_ROWS} held-out patients")
    tables = [associations(rows) for rows in (federated, alone)]

    def measure(patients: Rows) -> tuple[float, float]:
        known = associations(patients)
        first, second = (association_concordance(known, table, candidate_rows=len(federated)) for table in tables)
        return first, second

    return _bootstrapped("association", label, measure, holdout, seed, _ASSOCIATION_DRAWS)


def _skill(name: str, schema: Schema, federated: Rows, alone: Rows, holdout: Rows, seed: int) -> Gain:
    """Mean AUC over both learners and the classes that are frequent enough, on the hold-out."""
    label = f"AUC of models that predict {schema[name].label or name}"
    dropped = {name} | {column.name for column in schema.columns if column.known_at == "outcome"}
    test = holdout.take(holdout.level(name) >= 0)
    wanted = test.level(name)
    counts = np.bincount(wanted, minlength=len(schema[name].levels)) if len(test) else np.zeros(2, dtype=np.int64)
    classes = np.flatnonzero((counts >= MINIMUM_GAIN_EVENTS) & (len(test) - counts >= MINIMUM_GAIN_EVENTS))
    classes = classes[1:] if len(classes) == len(counts) == 2 else classes  # of a flag, one class says all
    if len(test) < MINIMUM_GAIN_ROWS or not len(classes):
        wants = f"needs {MINIMUM_GAIN_ROWS} labelled held-out patients, {MINIMUM_GAIN_EVENTS} of a level and not of it"
        return _too_few(f"skill.{name}", label, len(test), wants)
    inputs = Inputs.without(holdout, sorted(dropped))
    learned = [_probabilities(rows, name, inputs, test, len(counts), seed) for rows in (federated, alone)]
    rng = np.random.default_rng([seed, 12])
    draws = rng.multinomial(len(test), np.full(len(test), 1 / len(test)), size=DRAWS).astype(np.float64)
    weights = np.vstack([np.ones(len(test)), draws])
    first, second = (_areas(scores, wanted, classes, weights) for scores in learned)
    return _with_interval(f"skill.{name}", label, first, second, len(test))


def _probabilities(rows: Rows, name: str, inputs: Inputs, test: Rows, classes: int, seed: int) -> list[Floats]:
    known = rows.take(rows.level(name) >= 0)
    target: Ints = known.level(name)
    if len(np.unique(target)) < 2:
        return [np.zeros((len(test), classes))]
    return [
        tree_scores(inputs, known, target, classes, test, seed=seed),
        logistic_scores(inputs, known, target, classes, test),
    ]


def _areas(scores: list[Floats], wanted: Ints, classes: Ints, weights: Floats) -> Floats:
    found = [auc(one[:, c], (wanted == c).astype(np.float64), weights) for one in scores for c in classes]
    return np.asarray(np.mean(found, axis=0))


def _ranking(endpoint: Survival, federated: Rows, alone: Rows, train: Rows, holdout: Rows, seed: int) -> Gain:
    """Uno's C on the hold-out of Cox models fitted on either table."""
    label = f"Uno's C of Cox models of {endpoint.label or endpoint.name}"
    followed = ~(np.isnan(holdout.number(endpoint.time)) | np.isnan(holdout.number(endpoint.event)))
    patients, events = holdout.take(followed), events_of(holdout, endpoint)
    terms = CoxTerms(train, endpoint, limit=min(max(events // EVENTS_PER_COX_TERM, 1), _TERMS))
    if len(patients) < MINIMUM_GAIN_ROWS or events < MINIMUM_GAIN_EVENTS or not terms.names:
        wants = f"needs {MINIMUM_GAIN_ROWS} held-out patients with {MINIMUM_GAIN_EVENTS} events"
        return _too_few("uno_c", label, len(patients), wants)
    betas = [np.nan_to_num(terms.fit(rows, endpoint).beta) for rows in (federated, alone)]

    def measure(chosen: Rows) -> tuple[float, float]:
        days, event, x = chosen.number(endpoint.time), chosen.number(endpoint.event), terms.values(chosen)
        first, second = (uno_c(x @ beta, days, event, endpoint.horizon_days) for beta in betas)
        return first, second

    return _bootstrapped("uno_c", label, measure, patients, seed, DRAWS)


def _bootstrapped(
    name: str, label: str, measure: Callable[[Rows], tuple[float, float]], patients: Rows, seed: int, draws: int
) -> Gain:
    rng = np.random.default_rng([seed, 13])
    found = [measure(patients)]
    found += [measure(patients.take(rng.integers(len(patients), size=len(patients)))) for _ in range(draws)]
    first, second = np.array(found).T
    return _with_interval(name, label, first, second, len(patients))


def _with_interval(name: str, label: str, first: Floats, second: Floats, rows: int) -> Gain:
    """The measures are the first entries; the others are the bootstrap's, paired.

    The bootstrap says how far the difference scatters; where it lies is taken from the patients themselves, because a
    resampled hold-out has fewer different patients, which moves a concordance of all pairs.
    """
    gap = first - second
    drawn = gap[1:][np.isfinite(gap[1:])]
    low = high = math.nan
    if len(drawn) > 0.9 * (len(gap) - 1):
        low, high = gap[0] + np.quantile(drawn - drawn.mean(), (0.025, 0.975))
    return Gain(name, label, float(first[0]), float(second[0]), float(low), float(high), rows)


def _too_few(name: str, label: str, found: int, wants: str) -> Gain:
    return Gain(name, label, math.nan, math.nan, math.nan, math.nan, found, f"{wants}, found {found}")
