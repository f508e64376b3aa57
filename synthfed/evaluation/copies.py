"""Does the table hold patients? Verbatim rows, near copies, and closeness to training rather than fresh patients.

Each attack runs on the training rows T and, as control, on the hold-out H: only the difference is leakage, the rest is
knowledge about the disease. Who may see these numbers learns about single patients of T, so they stay at the site.
"""

import math
from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.anchors import light_of
from synthfed.evaluation.distance import Gower, nearest
from synthfed.evaluation.rows import Floats, Rows
from synthfed.evaluation.scorecard import Light, Metric
from synthfed.evaluation.thresholds import MINIMUM_COPY_ROWS, MINIMUM_NONMEMBERS, THRESHOLDS

_Z = 1.959964
_SYNTHETIC_CAP = 2000  # rows of S that distances are computed for
_TRAIN_CAP = 5000
PERMUTATIONS = 199


@dataclass(frozen=True, slots=True)
class Excess:
    """A share of S that hits T, less what hits H, with 95 % intervals of itself and of a harmless table's."""

    value: float
    low: float
    high: float
    harmless: float


def exact_copies(train: Rows, holdout: Rows, synthetic: Rows) -> Excess:
    """Share of S equal to a row of T, less the share equal to a row of H scaled to T's size; numbers as rounded."""
    keys = _keys(synthetic)
    in_train, in_holdout = set(_keys(train)), set(_keys(holdout))
    hits = float(np.mean([key in in_train for key in keys]))
    control = float(np.mean([key in in_holdout for key in keys])) if len(holdout) else 0.0
    return _excess(hits, control, len(train) / len(holdout) if len(holdout) else 0.0, len(keys))


def _keys(rows: Rows) -> list[bytes]:
    """One key per row: written digits of the numbers and the levels of all columns that are not derived."""
    decimals = [c.decimals for c in rows.shape.numbers]
    kept = [i for i, c in enumerate(rows.shape.numbers) if not c.derived]
    written = np.column_stack(
        [np.round(rows.numbers[:, i] * 10.0 ** decimals[i]) for i in kept] or [np.empty((len(rows), 0))]
    )
    levels = [i for i, c in enumerate(rows.shape.levels) if not c.derived]
    table = np.hstack([np.nan_to_num(written, nan=-1e15), rows.codes[:, levels]]).astype(np.int64)
    return [row.tobytes() for row in np.ascontiguousarray(table)]


def near_copies(gower: Gower, train: Rows, holdout: Rows, synthetic: Rows) -> Excess:
    """Share of S nearer to T than half the 1st percentile of d(H, T), less the same with T and H exchanged."""
    if not len(holdout):
        return Excess(math.nan, math.nan, math.nan, math.nan)
    across = gower.between(holdout, train)
    reach_train = 0.5 * float(np.quantile(nearest(across), 0.01))
    reach_holdout = 0.5 * float(np.quantile(across.min(axis=0), 0.01))
    hits = float((nearest(gower.between(synthetic, train)) < reach_train).mean())
    control = float((nearest(gower.between(synthetic, holdout)) < reach_holdout).mean())
    return _excess(hits, control, 1.0, len(synthetic))


def _excess(hits: float, control: float, ratio: float, n: int) -> Excess:
    value = hits - ratio * control
    noise = math.sqrt(hits * (1 - hits) / n + ratio**2 * control * (1 - control) / n)
    harmless = _Z * ratio * math.sqrt(2 * control * (1 - control) / n)
    return Excess(value, value - _Z * noise, value + _Z * noise, harmless)


@dataclass(frozen=True, slots=True)
class Closeness:
    """Share of S closer to T than to H, its permutation band and p value (one-sided)."""

    share: float
    low: float
    high: float
    p: float


def closeness(gower: Gower, train: Rows, holdout: Rows, synthetic: Rows, *, seed: int) -> Closeness:
    """Compare with as many rows of T as H has; ties count half; p from permuting which rows are T.

    A binomial interval would be wrong, because many rows of S share one neighbour.
    """
    rng = np.random.default_rng([seed, 3])
    size = min(len(train), len(holdout))
    pool_train = train.take(rng.permutation(len(train))[:size])
    pool_holdout = holdout.take(rng.permutation(len(holdout))[:size])
    distances = np.hstack([gower.between(synthetic, pool_train), gower.between(synthetic, pool_holdout)])
    tied = (distances <= distances.min(axis=1, keepdims=True)).astype(np.float32)
    labels = np.zeros((2 * size, PERMUTATIONS + 1), dtype=np.float32)
    labels[:size, 0] = 1
    for place in range(PERMUTATIONS):
        labels[rng.permutation(2 * size)[:size], place + 1] = 1
    near_train, near_holdout = tied @ labels > 0, tied @ (1 - labels) > 0
    shares = (near_train + (1.0 - near_holdout)).mean(axis=0) / 2
    null: Floats = shares[1:]
    p = (1 + int((null >= shares[0]).sum())) / (PERMUTATIONS + 1)
    low, high = np.quantile(null, [0.025, 0.975])
    return Closeness(float(shares[0]), float(low), float(high), p)


def copy_metrics(train: Rows, holdout: Rows, synthetic: Rows, *, seed: int) -> tuple[Metric, ...]:
    """`private.exact`, `private.near_copy` and `private.dcr`."""
    rng = np.random.default_rng([seed, 4])
    sizes = {"train": len(train), "holdout": len(holdout), "synthetic": len(synthetic)}
    exact = exact_copies(train, holdout, synthetic)
    some = synthetic.take(rng.permutation(len(synthetic))[:_SYNTHETIC_CAP])
    known = train.take(rng.permutation(len(train))[:_TRAIN_CAP])
    gower = Gower.spread_of(holdout, synthetic) if len(holdout) else Gower.spread_of(synthetic)
    near = near_copies(gower, known, holdout, some)
    return (
        _excess_metric("private.exact", "rows copied verbatim", exact, sizes),
        _excess_metric("private.near_copy", "rows that nearly copy a patient", near, sizes),
        _dcr_metric(gower, known, holdout, some, sizes, seed),
    )


def _excess_metric(metric_id: str, label: str, found: Excess, sizes: dict[str, int]) -> Metric:
    rule = THRESHOLDS[metric_id]
    light: Light = "grey"
    reason = ""
    value: float | None = found.value
    if sizes["holdout"] >= MINIMUM_COPY_ROWS:
        light = light_of(
            found.value, green=rule.green, amber=rule.amber, low=0.0, high=found.harmless, direction="lower"
        )
        if light == "grey":
            reason = "fresh patients coincide with training rows as often at this size"
    else:
        reason = f"the control needs {MINIMUM_COPY_ROWS} hold-out rows"
        if math.isnan(found.value):
            value = None
        elif metric_id == "private.exact" and found.low > rule.amber:
            light, reason = "red", "verbatim rows; no control needed for so many"
    return Metric(
        id=metric_id,
        question="private",
        role="deciding",
        label=label,
        value=value,
        direction="lower",
        ceiling=0.0,
        low=0.0,
        high=found.harmless if value is not None else None,
        green=rule.green,
        amber=rule.amber,
        threshold_origin=rule.origin,
        light=light,
        reason=reason,
        n=sizes,
        rows_used="train",
        value_low=found.low if value is not None else None,
        value_high=found.high if value is not None else None,
    )


def _dcr_metric(gower: Gower, train: Rows, holdout: Rows, some: Rows, sizes: dict[str, int], seed: int) -> Metric:
    label = "share of rows closer to training than to fresh patients"
    rule = THRESHOLDS["private.dcr"]
    if len(holdout) < MINIMUM_NONMEMBERS:
        reason = f"needs {MINIMUM_NONMEMBERS} hold-out rows"
        return Metric(
            "private.dcr", "private", "if_measurable", label, None, "lower", reason=reason, n=sizes, rows_used="train"
        )
    found = closeness(gower, train, holdout, some, seed=seed)
    return Metric(
        id="private.dcr",
        question="private",
        role="if_measurable",
        label=label,
        value=found.share,
        direction="lower",
        ceiling=0.5,
        low=found.low,
        high=found.high,
        threshold_origin=rule.origin,
        light="amber" if found.p < rule.green else "green",
        reason=f"permutation p = {found.p:.3g}",
        n=sizes,
        rows_used="train",
    )
