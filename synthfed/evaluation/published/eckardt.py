"""The ten scores of Eckardt et al., npj Digital Medicine 2024;7:76, on a synthetic AML cohort.

Followed from the paper and the public code of its authors (github waldemar93/synthetic_data_pipeline), in our words.
Each lies in 0..1 with 1 best, but for the correlation coefficients of predictions, which may fall below 0. One
departure: predictions are made by scikit-learn's boosted trees, not by CatBoost with tuned settings. On fresh patients
most of these scores stay far below 1, and columns shuffled independently keep more than half of their sum.
"""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from synthfed.evaluation.association import one_hot
from synthfed.evaluation.learning import Inputs, one_thread, tree_scores
from synthfed.evaluation.published.dependence import mixed_correlations
from synthfed.evaluation.rows import Floats, Rows
from synthfed.evaluation.survival import curve_of
from synthfed.evaluation.utility import Target
from synthfed.tables.schema import Survival

WEIGHTS: Mapping[str, float] = {
    "basic": 1,
    "correlation": 1,
    "support": 1,
    "discriminator": 1,
    "k_means": 1,
    "prediction_1": 2,
    "prediction_2": 2,
    "survival_signed": 1,
    "survival_absolute": 1,
    "sightedness": 1,
}
LABELS: Mapping[str, str] = {
    "basic": "means, medians and standard deviations",
    "correlation": "logarithms of all correlations",
    "support": "how often each value occurs",
    "discriminator": "a random forest cannot tell them from patients",
    "k_means": "patients of every cluster occur",
    "prediction_1": "Matthews correlation when predicting the first target",
    "prediction_2": "Matthews correlation when predicting the second target",
    "survival_signed": "signed area between survival curves",
    "survival_absolute": "area between survival curves",
    "sightedness": "length of follow-up",
}

_BLANK = -9_999_999_999.0  # what missing numbers become there
_CLUSTERS = 10
_BINS = 10


def eckardt_scores(
    reference: Rows,
    candidate: Rows,
    test: Rows,
    *,
    learned_from: Rows,
    targets: Sequence[Target],
    endpoint: Survival | None,
    seed: int,
) -> dict[str, float]:
    """The scores of a candidate that can be computed, by name, in the order of `WEIGHTS`.

    Args:
        test: Rows that predictions are tried on.
        learned_from: Rows of the candidate that predictions are learned from; `test` holds none of them.
        targets: The first two are predicted.
    """
    with one_thread():
        found = {
            "basic": _moments(reference, candidate),
            "correlation": _log_correlations(reference, candidate),
            "support": _support(reference, candidate),
            "discriminator": _discriminator(reference, candidate, seed),
            "k_means": _clusters(reference, candidate, seed),
        }
        for place, target in enumerate(targets[:2], start=1):
            found[f"prediction_{place}"] = _prediction(target, learned_from, test, seed)
    if endpoint is not None:
        found |= _survival(reference, candidate, endpoint)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def weighted(scores: Mapping[str, float]) -> float:
    """Their weighted mean over the scores that could be computed."""
    total = sum(WEIGHTS[name] for name in scores)
    return sum(WEIGHTS[name] * value for name, value in scores.items()) / total if total else math.nan


def _moments(reference: Rows, candidate: Rows) -> float:
    """One minus the mean error of mean, median and deviation, each relative to the reference's mean and at most 1."""
    errors = []
    for there, here in zip(reference.numbers.T, candidate.numbers.T, strict=True):
        a, b = there[~np.isnan(there)], here[~np.isnan(here)]
        if len(a) < 2 or a.mean() == 0:
            continue
        gaps = [abs(f(a) - f(b)) / abs(a.mean()) if len(b) > 1 else 1.0 for f in (np.mean, np.median, _deviation)]
        errors += [min(1.0, gap) for gap in gaps]
    return 1 - float(np.mean(errors)) if errors else math.nan


def _deviation(values: Floats) -> float:
    return float(values.std(ddof=1))


def _log_correlations(reference: Rows, candidate: Rows) -> float:
    there, here = (_signed_logs(mixed_correlations(rows)) for rows in (reference, candidate))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.minimum(np.abs(there - np.nan_to_num(here)) / np.abs(there), 1.0)
    errors = errors[~np.isnan(errors)]  # 0 / 0, and what the reference does not know
    return 1 - float(errors.mean()) if len(errors) else math.nan


def _signed_logs(values: Floats) -> Floats:
    magnitude = np.abs(values)
    return np.where(magnitude > 0, np.sign(values) * np.log(np.where(magnitude > 0, magnitude, 1.0)), values)


def _support(reference: Rows, candidate: Rows) -> float:
    """Mean over columns of how full the candidate's levels or deciles are against the reference's, each at most 1."""
    scale = len(reference) / max(len(candidate), 1)
    shares = []
    for place, column in enumerate(reference.shape.levels):
        width = len(column.levels) + 1
        a, b = (
            np.bincount(rows.codes[:, place] + 1, minlength=width).astype(np.float64) for rows in (reference, candidate)
        )
        shares.append(_filled(a, b * scale))
    for there, here in zip(reference.numbers.T, candidate.numbers.T, strict=True):
        seen = there[~np.isnan(there)]
        edges = np.unique(np.quantile(seen, np.linspace(0, 1, _BINS + 1))) if len(seen) else np.empty(0)
        if len(edges) > 1:
            a, b = (np.histogram(x[~np.isnan(x)], edges)[0].astype(np.float64) for x in (there, here))
            shares.append(_filled(a, b * scale))
    return float(np.mean(shares)) if shares else math.nan


def _filled(wanted: Floats, found: Floats) -> float:
    occurs = wanted > 0
    return float(np.minimum(found[occurs] / wanted[occurs], 1.0).mean()) if occurs.any() else 1.0


def _discriminator(reference: Rows, candidate: Rows, seed: int) -> float:
    """1 when a random forest tells them at chance on a fifth held back, 0 when always."""
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng([seed, 15])
    size = min(len(reference), len(candidate))
    sides = [rows.take(rng.permutation(len(rows))[:size]) for rows in (reference, candidate)]
    held = max(1, size // 5)
    inputs = Inputs(
        tuple(range(len(reference.shape.numbers))), tuple(range(len(reference.shape.levels)))
    )  # derived ones included, as there
    seen = np.vstack([inputs.for_trees(side)[held:] for side in sides])
    asked = np.vstack([inputs.for_trees(side)[:held] for side in sides])
    forest = RandomForestClassifier(random_state=seed, n_jobs=1)
    forest.fit(np.nan_to_num(seen, nan=_BLANK), np.repeat([0, 1], size - held))
    right = float((forest.predict(np.nan_to_num(asked, nan=_BLANK)) == np.repeat([0, 1], held)).mean())
    return 1 - 2 * (max(right, 0.5) - 0.5)


def _clusters(reference: Rows, candidate: Rows, seed: int) -> float:
    """How full the reference's ten clusters are in the candidate, each at most 1."""
    from sklearn.cluster import KMeans

    if len(reference) < _CLUSTERS:
        return math.nan
    there, here = _scaled(reference, reference), _scaled(candidate, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about fewer different rows than clusters: an empty cluster counts for nothing
        model = KMeans(n_clusters=_CLUSTERS, n_init=10, random_state=seed).fit(there)
    a, b = (np.bincount(model.predict(x), minlength=_CLUSTERS).astype(np.float64) for x in (there, here))
    return _filled(a, b * len(reference) / max(len(candidate), 1))


def _scaled(rows: Rows, reference: Rows) -> Floats:
    """Numbers on the reference's scale and one-hot levels.

    A number with missing values is scaled by median and quartiles after those became a value far outside, the others
    by mean and standard deviation: so missingness rules the clusters, there as here.
    """
    columns = []
    for there, here in zip(reference.numbers.T, rows.numbers.T, strict=True):
        whole, filled = np.nan_to_num(there, nan=_BLANK), np.nan_to_num(here, nan=_BLANK)
        if np.isnan(there).any():
            low, middle, high = np.quantile(whole, [0.25, 0.5, 0.75])
            centre, spread = float(middle), float(high - low)
        else:
            centre, spread = float(whole.mean()), float(whole.std())
        columns.append((filled - centre) / (spread if spread > 0 else 1.0))
    levels, _ = one_hot(rows.codes, [len(c.levels) for c in rows.shape.levels], missing=True)
    return np.column_stack([*columns, levels])


def _prediction(target: Target, candidate: Rows, test: Rows, seed: int) -> float:
    """Matthews correlation on `test` of a model fitted to `candidate`; 0 where the candidate knows one class only."""
    from sklearn.metrics import matthews_corrcoef

    seen, asked = (rows.take(target.of(rows) >= 0) for rows in (candidate, test))
    known, wanted = target.of(seen), target.of(asked)
    if len(np.unique(wanted)) < 2:
        return math.nan
    if len(np.unique(known)) < 2:
        return 0.0
    inputs = Inputs.without(seen, target.dropped)
    scores = tree_scores(inputs, seen, known, target.width, asked, seed=seed)
    return float(matthews_corrcoef(wanted, scores.argmax(axis=1)))


def _survival(reference: Rows, candidate: Rows, endpoint: Survival) -> dict[str, float]:
    """Differences of the two curves up to the longer follow-up, as shares of it."""
    there, here = (curve_of(rows, endpoint) for rows in (reference, candidate))
    if not len(there.times) or not len(here.times):
        return {}
    longest = float(max(there.times[-1], here.times[-1]))
    knots = np.unique(np.concatenate([[0.0], there.days, here.days]))
    knots = knots[knots < longest]
    gaps = (here.at(knots) - there.at(knots)) * np.diff(np.append(knots, longest)) / longest
    return {
        "survival_signed": 1 - abs(float(gaps.sum())),
        "survival_absolute": 1 - float(np.abs(gaps).sum()),
        "sightedness": 1 - abs(float(there.times[-1] - here.times[-1])) / longest,
    }
