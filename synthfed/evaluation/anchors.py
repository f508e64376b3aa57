"""Size matching, ceiling, floor, band and light: the only place that decides what a score is worth.

A score `f(reference, candidate)` depends on the number of rows, so the synthetic table S is scored on random subsets
as large as the hold-out H, and so are its anchors. Ceiling: the training rows T and H, pooled and split at random into
a candidate of that size and the rest. Band: 95 % of those splits, the noise of perfect data. Floor: S with every
column permuted on its own. A metric on which perfect data could fail at this size is grey, which is a result.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from synthfed.evaluation.rows import Rows, stack
from synthfed.evaluation.scorecard import Direction, Light, Metric, Question, Role
from synthfed.evaluation.thresholds import THRESHOLDS

Scores = Mapping[str, float]  # NaN where a score is undefined
Score = Callable[[Rows, Rows], Scores]

SUBSETS = 5  # of S, averaged
SPLITS = 100  # of T and H, for ceiling and band


@dataclass(frozen=True, slots=True)
class Anchored:
    """One score of S with its anchors, all at `rows` candidate rows; NaN where undefined."""

    value: float
    floor: float = math.nan
    ceiling: float = math.nan
    low: float = math.nan
    high: float = math.nan
    rows: int = 0


def anchor(
    score: Score, *, train: Rows, holdout: Rows, synthetic: Rows, seed: int, splits: int = SPLITS
) -> dict[str, Anchored]:
    """Score S against T, and perfect and shuffled data in its place, at equal numbers of rows.

    Args:
        score: Any set of scores at once, by name; every call must give the same names.

    Returns:
        One `Anchored` per name. Empty when T, H or S has no row.
    """
    size = min(len(holdout), len(synthetic))
    if not size or not len(train):
        return {}
    rng = np.random.default_rng([seed, 1])
    # One subset is enough when it is the whole table.
    subsets = [synthetic.take(rng.permutation(len(synthetic))[:size]) for _ in range(SUBSETS)]
    if size == len(synthetic):
        subsets = subsets[:1]
    values = [score(train, subset) for subset in subsets]
    floors = [score(train, subset.shuffled(rng)) for subset in subsets]
    pool = stack(train, holdout)
    perfect = []
    for _ in range(splits):
        order = rng.permutation(len(pool))
        perfect.append(score(pool.take(order[size:]), pool.take(order[:size])))
    return {
        name: Anchored(
            value=_mean([s[name] for s in values]),
            floor=_mean([s[name] for s in floors]),
            ceiling=_quantile([s[name] for s in perfect], 0.5),
            low=_quantile([s[name] for s in perfect], 0.025),
            high=_quantile([s[name] for s in perfect], 0.975),
            rows=size,
        )
        for name in values[0]
    }


def _mean(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return float(np.mean(finite)) if finite else math.nan


def _quantile(values: list[float], q: float) -> float:
    """NaN when more than a tenth of the splits are undefined: then perfect data cannot be scored either."""
    finite = [v for v in values if math.isfinite(v)]
    return float(np.quantile(finite, q)) if len(finite) >= 0.9 * len(values) and finite else math.nan


def light_of(value: float, *, green: float, amber: float, low: float, high: float, direction: Direction) -> Light:
    """Grey if perfect data could fail at this size; green inside the threshold or the band; then amber; else red."""
    if any(math.isnan(number) for number in (value, low, high)):
        return "grey"
    if direction == "lower":
        return light_of(-value, green=-green, amber=-amber, low=-high, high=-low, direction="higher")
    slack = 1e-9  # a score of exactly the threshold must not depend on the last bit
    if low < amber - slack:
        return "grey"
    if value >= min(green, low) - slack:
        return "green"
    return "amber" if value >= amber - slack else "red"


def judged(
    metric_id: str,
    found: Anchored | None,
    *,
    threshold: str,
    question: Question,
    role: Role,
    label: str,
    direction: Direction,
    rows_used: Literal["none", "holdout", "train"] = "train",
    n: Mapping[str, int] | None = None,
    too_small: str = "",
) -> Metric:
    """Make a metric of a score and its anchors: thresholds on the score's own scale, light, reason.

    Args:
        found: `None` where nothing could be computed.
        too_small: Why the hold-out is too small; a non-empty text makes the metric grey whatever its value.
    """
    rule = THRESHOLDS.get(threshold)
    if found is None or math.isnan(found.value):
        reason = too_small or "not measured: no hold-out rows to compare with"
        return Metric(metric_id, question, role, label, None, direction, reason=reason, n=n, rows_used=rows_used)
    green = amber = None
    light: Light = "grey"
    reason = too_small
    separable = abs(found.ceiling - found.floor) > 1.5 * (found.high - found.low)  # three half-widths of the band
    if rule is not None:
        green, amber = rule.green, rule.amber
        if rule.kind == "anchored":
            green = found.floor + rule.green * (found.ceiling - found.floor)
            amber = found.floor + rule.amber * (found.ceiling - found.floor)
        elif rule.kind == "gap":
            green, amber = found.ceiling - rule.green, found.ceiling - rule.amber
        elif rule.kind == "band":
            green, amber = rule.green * found.high, rule.amber * found.high
        elif rule.kind == "ratio":
            green, amber = rule.green * found.ceiling, rule.amber * found.ceiling
        if not too_small:
            light = light_of(found.value, green=green, amber=amber, low=found.low, high=found.high, direction=direction)
            if math.isnan(found.ceiling):
                reason = "no hold-out rows to compare with"
            elif light == "grey":
                reason = f"fresh patients could fail this at {found.rows} rows"
    if role == "info":
        light = "grey"
        reason = reason or "information only: decides nothing"
    anchored = (found.value - found.floor) / (found.ceiling - found.floor) if separable else None
    beyond = rows_used == "train" and _beyond_band(found, direction)
    if anchored is not None and role != "info" and not reason and beyond:
        reason = "closer to the training rows than fresh patients are"
    return Metric(
        id=metric_id,
        question=question,
        role=role,
        label=label,
        value=found.value,
        direction=direction,
        ceiling=finite(found.ceiling),
        floor=finite(found.floor),
        low=finite(found.low),
        high=finite(found.high),
        green=finite(green),
        amber=finite(amber),
        threshold_origin=rule.origin if rule else "",
        light=light,
        reason=reason,
        n=n if n is not None else {"matched": found.rows},
        rows_used=rows_used,
        anchored=finite(anchored),
    )


def finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _beyond_band(found: Anchored, direction: Direction) -> bool:
    return found.value > found.high if direction == "higher" else found.value < found.low
