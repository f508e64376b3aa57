"""Does the table repeat numbers that belong to one patient only?

A generator that resamples real values passes every attack on whole rows: no row of it is a patient's. Here a number
that occurs once among all patients is looked for in the synthetic table: once with the training patients' own, once,
as the control, with those of the hold-out. Both kinds are equally rare, so only the difference is leakage.
"""

from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.proportions import Difference, light_of_lower_bound, newcombe
from synthfed.evaluation.rows import Floats, Ints, Rows
from synthfed.evaluation.scorecard import Metric, Role
from synthfed.evaluation.thresholds import MINIMUM_UNIQUE_VALUES, THRESHOLDS


@dataclass(frozen=True, slots=True)
class UniqueValues:
    """How many values that one patient alone has are in the synthetic table, of how many."""

    found: int
    of: int
    control_found: int
    control_of: int

    @property
    def excess(self) -> Difference:
        return newcombe(self.found, self.of, self.control_found, self.control_of)


def unique_values(train: Rows, holdout: Rows, synthetic: Rows) -> UniqueValues:
    """Count numbers, as written, that occur once in T and H together, by whose they are and whether S has them."""
    counts = np.zeros(4, dtype=np.int64)
    for place, column in enumerate(train.shape.numbers):
        if column.derived:
            continue
        ours, theirs, drawn = (
            _written(rows.numbers[:, place], column.decimals) for rows in (train, holdout, synthetic)
        )
        values, often = np.unique(np.concatenate([ours, theirs]), return_counts=True)
        once = values[often == 1]
        for half, rows in enumerate((ours, theirs)):
            mine = np.intersect1d(once, rows)
            counts[2 * half] += np.isin(mine, drawn).sum()
            counts[2 * half + 1] += len(mine)
    return UniqueValues(*(int(n) for n in counts))


def _written(values: Floats, decimals: int) -> Ints:
    """Observed values in units of the last digit that the dictionary keeps."""
    return np.round(values[~np.isnan(values)] * 10.0**decimals).astype(np.int64)


def unique_value_metric(train: Rows, holdout: Rows, synthetic: Rows) -> Metric:
    """`private.unique_value`: the light follows the lower bound; grey where a leak above the limit could hide."""
    rule = THRESHOLDS["private.unique_value"]
    counted = unique_values(train, holdout, synthetic)
    n = {"values": counted.of, "control": counted.control_of, "synthetic": len(synthetic)}
    label = "numbers of one patient alone that reappear, above chance"
    if min(counted.of, counted.control_of) < MINIMUM_UNIQUE_VALUES:
        reason = (
            f"needs {MINIMUM_UNIQUE_VALUES} numbers that one patient alone has in the training rows and as many in "
            f"the hold-out, found {counted.of} and {counted.control_of}"
        )
        # A table of levels and round numbers has no number to give away; a small hold-out only fails to show it.
        role: Role = "if_measurable" if counted.of < MINIMUM_UNIQUE_VALUES else "deciding"
        return Metric(
            "private.unique_value", "private", role, label, None, "lower", reason=reason, n=n, rows_used="train"
        )
    excess = counted.excess
    share, control = counted.found / counted.of, counted.control_found / counted.control_of
    light = light_of_lower_bound(excess, green=rule.green, amber=rule.amber)
    reason = (
        f"{100 * share:.1f} % of training patients' own numbers are in the table, {100 * control:.1f} % of outsiders'"
    )
    if light == "grey":
        reason = f"the interval is too wide to refuse a leak of {rule.amber:g}; {reason}"
    return Metric(
        id="private.unique_value",
        question="private",
        role="deciding",
        label=label,
        value=excess.value,
        direction="lower",
        ceiling=0.0,
        low=excess.low - excess.value,
        high=excess.value - excess.low,
        green=rule.green,
        amber=rule.amber,
        threshold_origin=rule.origin,
        light=light,
        reason=reason,
        n=n,
        rows_used="train",
        value_low=excess.low,
        value_high=excess.high,
    )
