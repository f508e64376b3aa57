"""Two of the three risks of the Article 29 Working Party's opinion 05/2014: singling out and linkability.

Definitions after anonymeter (Giomi et al. 2023, arXiv 2211.10459), own code. Each attack runs on the training patients
T and, as control, on the hold-out H; the residual risk is what it gains on T of what the control leaves to gain.
Singling out compares *equally many distinct* rows of T and H: a query that fits one patient of 300 fits several of
1,200, and correcting for that by a model turned fresh tables red. The third risk, inference, is `attribute`.
"""

from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.distance import Gower
from synthfed.evaluation.proportions import Difference, light_of_lower_bound, residual_risk
from synthfed.evaluation.rows import Bools, Floats, Ints, Rows
from synthfed.evaluation.scorecard import Metric
from synthfed.evaluation.thresholds import MINIMUM_ATTACKED_ROWS, THRESHOLDS
from synthfed.evaluation.validity import duplicates
from synthfed.tables.schema import Column

QUERY_COLUMNS = 4
QUERIES = 1000
_CANDIDATES = 20_000
NEIGHBOURS = 5
PERMUTATIONS = 199
TARGET_CAP = 1000
_SYNTHETIC_CAP = 2000


@dataclass(frozen=True, slots=True)
class Risk:
    """An attack's success on T and on H, and the residual risk.

    Attributes:
        noise: 97.5 % of the residual risk when T and H are told apart by chance.
    """

    hits: int
    control_hits: int
    attacks: int
    control_attacks: int
    residual: Difference
    noise: float


def singling_out(train: Rows, holdout: Rows, synthetic: Rows, *, seed: int) -> Risk | None:
    """Look for a patient by four values of a synthetic row that no other synthetic row has.

    A query takes a random synthetic row and four random columns: the row's level, or "missing", or a number at least
    (above the median) or at most as large as the row's. It is kept when it fits one row of S, and succeeds on T when it
    fits exactly one row of T. Queries hit the same patients again, so that the interval is at least as wide as the
    95 % of the residual under permuted T/H labels.

    Returns:
        `None` where no query fits a single synthetic row.
    """
    rng = np.random.default_rng([seed, 7])
    some = synthetic.take(rng.permutation(len(synthetic))[:_SYNTHETIC_CAP])
    ours, theirs = _distinct(train, rng), _distinct(holdout, rng)
    size = min(len(ours), len(theirs), TARGET_CAP)
    values, numeric = _columns(some)
    medians = np.array([np.median(v[~np.isnan(v)]) if (~np.isnan(v)).any() else 0.0 for v in values.T])
    pool = np.vstack([_columns(ours.take(np.arange(size)))[0], _columns(theirs.take(np.arange(size)))[0]])
    width = min(QUERY_COLUMNS, values.shape[1])
    rows = rng.integers(0, len(some), _CANDIDATES)
    chosen = np.array([rng.permutation(values.shape[1])[:width] for _ in range(_CANDIDATES)])
    fits = []
    for row, columns in zip(rows, chosen, strict=True):
        asked = values[row, columns], numeric[columns], medians[columns]
        if _fitting(values[:, columns], *asked).sum() == 1:
            fits.append(_fitting(pool[:, columns], *asked))
        if len(fits) == QUERIES:
            break
    if not fits:
        return None
    fitting = np.array(fits, dtype=np.float32)  # (queries, 2 size)
    labels = np.zeros((2 * size, PERMUTATIONS + 1), dtype=np.float32)
    labels[:size, 0] = 1
    for place in range(PERMUTATIONS):
        labels[rng.permutation(2 * size)[:size], place + 1] = 1
    hits = (fitting @ labels == 1).sum(axis=0)
    control = (fitting @ (1 - labels) == 1).sum(axis=0)
    n = len(fitting)
    found = residual_risk(int(hits[0]), n, int(control[0]), n)
    null = np.quantile((hits[1:] - control[1:]) / np.maximum(n - control[1:], 1), [0.025, 0.975])
    widest = Difference(
        found.value, min(found.low, found.value - float(null[1])), max(found.high, found.value - float(null[0]))
    )
    return Risk(int(hits[0]), int(control[0]), n, n, widest, float(null[1]))


def _distinct(rows: Rows, rng: np.random.Generator) -> Rows:
    """Each row once, in random order: a repeated row can never be the only one that fits."""
    if not duplicates(rows) > 0:
        return rows.take(rng.permutation(len(rows)))
    table = np.hstack([np.nan_to_num(rows.numbers, nan=-1e300), rows.codes.astype(np.float64)])
    return rows.take(rng.permutation(np.unique(table, axis=0, return_index=True)[1]))


def _columns(rows: Rows) -> tuple[Floats, Bools]:
    """All columns but derived ones as numbers (level codes, NaN where missing), and which of them are numbers."""
    shape = rows.shape
    numbers = [i for i, c in enumerate(shape.numbers) if not c.derived]
    levels = [i for i, c in enumerate(shape.levels) if not c.derived]
    codes = np.where(rows.codes < 0, np.nan, rows.codes)
    values = np.hstack([rows.numbers[:, numbers], codes[:, levels]])
    return values, np.arange(values.shape[1]) < len(numbers)


def _fitting(values: Floats, wanted: Floats, numeric: Bools, medians: Floats) -> Bools:
    """Rows of `values` (rows, columns) that fit a query on all of its columns."""
    fits = np.ones(len(values), dtype=bool)
    for place, value in enumerate(wanted):
        column = values[:, place]
        if np.isnan(value):
            fits &= np.isnan(column)
        elif not numeric[place]:
            fits &= column == value
        elif value > medians[place]:
            fits &= column >= value
        else:
            fits &= column <= value
    return fits


def linkability(train: Rows, holdout: Rows, synthetic: Rows, *, seed: int) -> Risk | None:
    """Join a patient's record in two places through the synthetic table.

    The dictionary's columns are split into two halves along its groups, as if two registers held them. The attack
    succeeds on a patient when one of the five synthetic rows nearest by the first half is among the five nearest by
    the second. Patients are separate draws, so that the interval is Newcombe's.

    Returns:
        `None` where the table has fewer than two columns.
    """
    rng = np.random.default_rng([seed, 8])
    first, second = two_registers(train.shape.columns)
    if not first or not second:
        return None
    some = synthetic.take(rng.permutation(len(synthetic))[:_SYNTHETIC_CAP])
    ours = train.take(rng.permutation(len(train))[:TARGET_CAP])
    theirs = holdout.take(rng.permutation(len(holdout))[:TARGET_CAP])
    gower = Gower.spread_of(holdout, synthetic)
    hits, control = (int(_linked(gower, targets, some, first, second).sum()) for targets in (ours, theirs))
    found = residual_risk(hits, len(ours), control, len(theirs))
    return Risk(hits, control, len(ours), len(theirs), found, found.value - found.low)


def two_registers(columns: tuple[Column, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Split columns that are not derived into two halves, between two groups of the dictionary where it has several."""
    used = [c for c in columns if not c.derived]
    groups = list(dict.fromkeys(c.group for c in used))
    in_order = [c for group in groups for c in used if c.group == group]
    borders = [i for i in range(1, len(in_order)) if in_order[i].group != in_order[i - 1].group]
    cut = min(borders or [len(in_order) // 2], key=lambda i: abs(i - len(in_order) / 2))
    return frozenset(c.name for c in in_order[:cut]), frozenset(c.name for c in in_order[cut:])


def _linked(gower: Gower, targets: Rows, synthetic: Rows, first: frozenset[str], second: frozenset[str]) -> Bools:
    shape = targets.shape
    near = [_nearest_rows(gower.only(shape, names).between(targets, synthetic)) for names in (first, second)]
    return np.asarray((near[0][:, :, None] == near[1][:, None, :]).any(axis=(1, 2)))


def _nearest_rows(distances: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Ints:
    kept = min(NEIGHBOURS, distances.shape[1])
    return np.argpartition(distances, kept - 1, axis=1)[:, :kept].astype(np.int64)


def identification_metrics(train: Rows, holdout: Rows, synthetic: Rows, *, seed: int) -> tuple[Metric, ...]:
    """`private.singling_out` and `private.linkability`."""
    labels = {
        "private.singling_out": "patients singled out by four values, above the same on outsiders",
        "private.linkability": "records of a patient joined through the table, above the same on outsiders",
    }
    if len(holdout) < MINIMUM_ATTACKED_ROWS:
        reason = f"the control needs {MINIMUM_ATTACKED_ROWS} hold-out rows"
        return tuple(_unmeasured(metric_id, label, reason) for metric_id, label in labels.items())
    found = (
        singling_out(train, holdout, synthetic, seed=seed),
        linkability(train, holdout, synthetic, seed=seed),
    )
    missing = ("no query fits a single synthetic row", "the table has no two columns to join")
    return tuple(
        _unmeasured(metric_id, label, why) if risk is None else _metric(metric_id, label, risk, len(synthetic))
        for (metric_id, label), risk, why in zip(labels.items(), found, missing, strict=True)
    )


def _unmeasured(metric_id: str, label: str, reason: str) -> Metric:
    return Metric(metric_id, "private", "if_measurable", label, None, "lower", reason=reason, rows_used="train")


def _metric(metric_id: str, label: str, risk: Risk, synthetic: int) -> Metric:
    rule = THRESHOLDS[metric_id]
    residual = risk.residual
    light = light_of_lower_bound(residual, green=rule.green, amber=rule.amber)
    reason = (
        f"succeeds on {risk.hits} of {risk.attacks} tries at training patients, "
        f"on {risk.control_hits} of {risk.control_attacks} at outsiders"
    )
    if light == "grey":
        reason = f"the interval is too wide to refuse a risk of {rule.amber:g}; {reason}"
    return Metric(
        id=metric_id,
        question="private",
        role="if_measurable",
        label=label,
        value=residual.value,
        direction="lower",
        ceiling=0.0,
        low=-risk.noise,
        high=risk.noise,
        green=rule.green,
        amber=rule.amber,
        threshold_origin=rule.origin,
        light=light,
        reason=reason,
        n={"attacks": risk.attacks, "control": risk.control_attacks, "synthetic": synthetic},
        rows_used="train",
        value_low=residual.low,
        value_high=residual.high,
    )
