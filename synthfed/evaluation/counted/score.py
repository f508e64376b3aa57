"""From a noisy sum of counts to metrics: how far the synthetic table is from patients whom no training ever saw.

Post-processing: whoever has the sum may do it, again and in other ways, at no further cost. A metric on which perfect
data could fail under this noise is grey.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synthfed.evaluation.anchors import Anchored, judged
from synthfed.evaluation.counted import statistics
from synthfed.evaluation.counted.anchors import Anchors, draw_anchors
from synthfed.evaluation.counted.count import count
from synthfed.evaluation.counted.tables import CountPlan, CountTable
from synthfed.evaluation.rows import Floats, Rows
from synthfed.evaluation.scorecard import Cost, Metric, Role, rounded
from synthfed.evaluation.thresholds import (
    MINIMUM_ASSOCIATION_ROWS,
    MINIMUM_COLUMN_ROWS,
    MINIMUM_GROUP_EVENTS,
    MINIMUM_GROUP_ROWS,
    MINIMUM_KM_EVENTS,
    MINIMUM_SOFT_RULE_ROWS,
    STRONG_ODDS,
    WIDEST_FREQUENCY_BAND,
)
from synthfed.tables.schema import Schema, Survival

EXACT_DIGITS = 2  # after the point, of scores from exact sums
_DETECTED = 3.0  # standard deviations of the noise above which a level is taken to occur
_COMMON = 5.0  # patients that make a level common
_DEPENDS = 4.0  # standard deviations above chance


@dataclass(frozen=True, slots=True)
class Counted:
    """The noisy sum of all sites.

    Attributes:
        plan: What was counted.
        counts: float64[cells].
        stddevs: Of the noise in each cell of the sum; float64[cells], zeros where there was none.
    """

    plan: CountPlan
    counts: Floats
    stddevs: Floats


@dataclass(frozen=True, slots=True)
class CountedScores:
    """Metrics of the synthetic table against held-out patients, and data of the figure that shows them.

    Attributes:
        figure: JSON values: per column the estimated distance, per endpoint the noisy curve; nothing of one site.
    """

    metrics: tuple[Metric, ...]
    figure: Mapping[str, Any]


def score(counted: Counted, synthetic: Rows, schema: Schema, *, seed: int, cost: Cost, deciding: bool) -> CountedScores:
    """Score the table that the plan was made for.

    Args:
        synthetic: The released table, with the plan's rules checked (`count.rows_for`).
        cost: What the counts cost each patient counted; stands beside every metric.
        deciding: Whether these metrics set lights, or stand beside exact ones for information.
    """
    scorer = _Scorer(counted, synthetic, schema, seed)
    metrics = [*scorer.of_columns(), *scorer.of_pairs(), *scorer.of_survival(), *scorer.of_rules()]
    if math.isinf(cost.epsilon):
        metrics = [_coarse(metric) for metric in metrics]
    shown = [replace(metric, cost=cost) if deciding else _informing(metric, cost) for metric in metrics]
    return CountedScores(tuple(shown), scorer.figure())


def _informing(metric: Metric, cost: Cost) -> Metric:
    """Beside the exact score of the same thing a noisy one decides nothing."""
    return replace(metric, role="info", light="grey", cost=cost, reason=metric.reason or "noisy: for comparison")


def _coarse(metric: Metric) -> Metric:
    """A score from exact sums: finer ones, of one table after another, could be solved for rows."""
    values = {name: getattr(metric, name) for name in ("value", "value_low", "value_high", "anchored")}
    return replace(metric, **{name: value and round(value, EXACT_DIGITS) for name, value in values.items()})


class _Scorer:
    """The counts, the table's own counts and all anchors, from which every metric is read."""

    def __init__(self, counted: Counted, synthetic: Rows, schema: Schema, seed: int) -> None:
        self.plan, self.schema, self.stddevs, self.seed = counted.plan, schema, counted.stddevs, seed
        self.real = counted.counts[None].astype(np.float64)
        self.fake = count(self.plan, synthetic)[None].astype(np.float64)
        self.rows = len(synthetic)
        self.size = round(float(statistics.patients(self.plan, self.real, self.stddevs)[0]))
        self.n = {"holdout": self.size, "synthetic": self.rows}
        self.anchors: Anchors = draw_anchors(self.plan, counted.counts, self.stddevs, synthetic, seed=seed)
        self.apart = statistics.columns_apart(self.plan, self.real, self.fake, self.stddevs)
        perfect = (self.anchors.perfect_reference, self.anchors.perfect_candidate)
        self.perfect_apart = statistics.columns_apart(self.plan, *perfect, self.stddevs)

    def of_columns(self) -> list[Metric]:
        """Shapes, missing values, levels, divergence, frequencies."""
        if not self.apart:
            return []
        perfect, few = self._perfect(), self._few(MINIMUM_COLUMN_ROWS)
        value, fresh = _likeness(self.apart), _likeness(self.perfect_apart)
        found = [self._judge("shapes", value, fresh, "faithful.shapes", "deciding", few)]
        gap = statistics.missing_apart(self.plan, self.real, self.fake, self.stddevs)
        fresh = statistics.missing_apart(self.plan, *perfect, self.stddevs)
        found.append(self._judge("missing", gap, fresh, "faithful.missing", "if_measurable", few))
        value, fresh, seen = self._levels()
        hidden = "" if seen >= 0.5 else "the noise hides more than half of the table's levels"
        found.append(self._judge("levels", value, fresh, "faithful.levels", "if_measurable", few or hidden))
        spread = statistics.divergence(self.plan, self.real, self.fake)
        fresh = statistics.divergence(self.plan, *perfect)
        found.append(self._judge("js_bins", spread, fresh, "faithful.js_bins", "info", few))
        often = statistics.frequency_apart(self.plan, self.schema, self.real, self.fake)
        fresh = statistics.frequency_apart(self.plan, self.schema, *perfect)
        if np.isfinite(often).all():
            metric = self._judge("frequency", often, fresh, "genomics.frequency", "if_measurable", few)
            if np.quantile(fresh, 0.975) > WIDEST_FREQUENCY_BAND and metric.light != "red":
                loud = "with this noise fresh patients could differ by more than 10 points"
                metric = replace(metric, light="grey", reason=few or loud)
            found.append(metric)
        return found

    def of_pairs(self) -> list[Metric]:
        """How alike the asked pairs depend, and the signs of plain pairs of alterations."""
        asked = self.plan.block("pairs")
        if not asked:
            return []
        chance, anchors, few = self.anchors.chance, self.anchors, self._few(MINIMUM_ASSOCIATION_ROWS)
        there, here = self._residuals(self.real, real=True), self._residuals(self.fake)
        fresh_there = self._residuals(anchors.perfect_reference, real=True)
        fresh_here = self._residuals(anchors.perfect_candidate)
        shuffled = self._residuals(anchors.shuffled)
        n = {"pairs": len(asked)}
        metric = self._judge(
            "pairs",
            statistics.pair_concordance(there, here, chance),
            statistics.pair_concordance(fresh_there, fresh_here, chance),
            "faithful.association",
            "deciding",
            few,
            floor=statistics.pair_concordance(np.repeat(there, len(shuffled), axis=0), shuffled, chance),
            n=n,
            unbounded=True,
        )
        depends = (there**2).sum() > chance.reference + _DEPENDS * chance.spread
        if (here**2).sum() < 2 * chance.candidate and depends and not few:
            alone = "these columns depend on each other among the patients, and in this table they do not"
            metric = replace(metric, light="red", value=0.0, anchored=0.0, reason=alone)
        slope = self._judge(
            "pairs_slope",
            statistics.pair_slope(there, here, chance),
            statistics.pair_slope(fresh_there, fresh_here, chance),
            "counted.pairs_slope",
            "info",
            few,
            n=n,
            unbounded=True,
        )
        return [metric, *([slope] if slope.value is not None else []), *self._signs()]

    def _residuals(self, counts: Floats, *, real: bool = False) -> Floats:
        rows = statistics.patients(self.plan, counts, self.stddevs) if real else self._rows_of(counts)
        return statistics.pair_residuals(self.plan, counts, rows)

    def of_survival(self) -> list[Metric]:
        """Per endpoint the area between curves and the difference of means; the worst group of the primary one."""
        found = []
        for table, place in self.plan.block("survival"):
            endpoint = self._endpoint(table)
            edges, label = statistics.edges_of(table), endpoint.label or endpoint.name
            primary = endpoint == self.schema.primary_survival
            events = float(statistics.events_within(table, self.real[:, place])[0])
            few = self._few(MINIMUM_KM_EVENTS, events, "events in the hold-out")
            there, here = self._curves(table, place, self.real), self._curves(table, place, self.fake)
            reference, candidate = self._perfect()
            perfect = (self._curves(table, place, reference), self._curves(table, place, candidate))
            suffix = "" if primary else f".{endpoint.name}"
            n = {"events": max(round(events), 0)}
            value, fresh = (statistics.area_between(one, two, edges) for one, two in ((there, here), perfect))
            role: Role = "deciding" if primary else "if_measurable"
            found.append(self._judge(f"km_area{suffix}", value, fresh, "survival.km_area", role, few, label=label, n=n))
            days, spread = (
                statistics.mean_days(two, edges) - statistics.mean_days(one, edges)
                for one, two in ((there, here), perfect)
            )
            found.append(self._mean_days(f"rmst{suffix}", float(days[0]), float(np.std(spread)), label, n))
        return [*found, *self._worst_groups()]

    def of_rules(self) -> list[Metric]:
        """The largest difference in how often a soft rule is broken."""
        value = statistics.rules_apart(self.plan, self.real, self.fake, self.stddevs)
        if not np.isfinite(value).all():
            return []
        fresh = statistics.rules_apart(self.plan, *self._perfect(), self.stddevs)
        return [self._judge("soft_rules", value, fresh, "valid.soft_rules", "info", self._few(MINIMUM_SOFT_RULE_ROWS))]

    def figure(self) -> dict[str, Any]:
        """What is drawn: columns from the furthest, and every endpoint's noisy curve with its band."""
        low = {name: float(np.quantile(values, 0.975)) for name, values in self.perfect_apart.items()}
        columns = [
            {
                "column": name,
                "label": self.schema[name].label or name,
                "distance": _four(math.sqrt(max(float(values[0]), 0.0))),
                "noise": _four(math.sqrt(max(low[name], 0.0))),
            }
            for name, values in self.apart.items()
        ]
        curves = []
        for table, place in self.plan.block("survival"):
            endpoint = self._endpoint(table)
            there, here = self._curves(table, place, self.real)[0], self._curves(table, place, self.fake)[0]
            off = self._curves(table, place, self._perfect()[0])
            off = off - off.mean(axis=0)
            curves.append(
                {
                    "name": endpoint.name,
                    "label": endpoint.label or endpoint.name,
                    "days": rounded(list(statistics.edges_of(table)), 1),
                    "patients": rounded(list(there)),
                    "low": rounded(list(np.clip(there + np.quantile(off, 0.025, axis=0), 0, 1))),
                    "high": rounded(list(np.clip(there + np.quantile(off, 0.975, axis=0), 0, 1))),
                    "synthetic": rounded(list(here)),
                }
            )
        columns.sort(key=lambda row: -float(row["distance"] or 0.0))
        return {"columns": columns, "survival": curves, "patients": self.size}

    def _perfect(self) -> tuple[Floats, Floats]:
        return self.anchors.perfect_reference, self.anchors.perfect_candidate

    def _rows_of(self, candidate: Floats) -> Floats:
        """Rows behind each vector of synthetic counts: each table holds them all."""
        return np.asarray(candidate[:, : self.plan.tables[0].cells].sum(axis=1))

    def _curves(self, table: CountTable, place: slice, counts: Floats) -> Floats:
        return statistics.survival_curves(table, counts[:, place])

    def _endpoint(self, table: CountTable) -> Survival:
        time = table.axes[-2].name
        return next(endpoint for endpoint in self.schema.survivals if endpoint.time == time)

    def _few(self, wanted: int, found: float | None = None, what: str = "hold-out patients") -> str:
        seen = self.size if found is None else found
        return "" if seen >= wanted else f"needs {wanted} {what}, found about {max(round(seen), 0)}"

    def _judge(
        self,
        name: str,
        value: Floats,
        fresh: Floats,
        threshold: str,
        role: Role,
        too_small: str,
        *,
        floor: Floats | None = None,
        label: str = "",
        n: Mapping[str, int] | None = None,
        unbounded: bool = False,
    ) -> Metric:
        """A score with its anchors: `fresh` are those of perfect data under the same noise.

        Args:
            unbounded: A ratio, not a share. Either is not shown where noise has blown it up.
        """
        known = fresh[np.isfinite(fresh)]
        band = np.quantile(known, (0.025, 0.5, 0.975)) if len(known) > 0.9 * len(fresh) else np.full(3, np.nan)
        low, ceiling, high = map(float, band)
        bottom = math.nan
        if floor is not None:
            bottom = float(np.mean(floor)) if np.isfinite(floor).all() else math.nan
            if not ceiling - bottom > high - low:
                too_small = too_small or "with this noise fresh patients and shuffled columns cannot be told apart"
        shown = float(value[0])
        if (high - low > 1) if unbounded else not 0 <= shown <= 1:
            shown, too_small = math.nan, too_small or "hidden by the noise"
        found = Anchored(shown, bottom, ceiling, low, high, self.size)
        words, direction = _LABELS[name.split(".")[0]]
        metric = judged(
            f"counted.{name}",
            found,
            threshold=threshold,
            question="valid" if name == "soft_rules" else "faithful",
            role=role,
            label=f"{words} ({label})" if label else words,
            direction="lower" if direction == "lower" else "higher",
            rows_used="holdout",
            n={**self.n, **(n or {})},
            too_small=too_small,
        )
        if metric.light == "grey" and metric.reason.startswith("fresh patients") and self.stddevs.any():
            metric = replace(metric, reason=f"with this noise {metric.reason}")
        return metric

    def _levels(self) -> tuple[Floats, Floats, float]:
        """Share of levels that patients are seen to have and that occur; what perfect data of this size would score;
        how many of the table's own levels the noise lets one see, as a share."""
        present: list[bool] = []
        absence: list[float] = []
        occurring = seen = 0
        for table, place in self.plan.block("columns"):
            if table.axes[0].kind != "level":
                continue
            there, here = self.real[0, place][:-1], self.fake[0, place][:-1]
            common = there > _COMMON + _DETECTED * self.stddevs[place][:-1]
            present.extend(here[common] > 0)
            absence.extend((1 - np.clip(there[common] / self.size, 0, 1)) ** self.rows)
            occurring += int((here > 0).sum())
            seen += int(((here > 0) & common).sum())
        if not present:
            return np.array([np.nan]), np.array([np.nan]), 0.0
        rng = np.random.default_rng([self.seed, 9])
        perfect = (rng.random((400, len(absence))) >= np.array(absence)).mean(axis=1)
        return np.array([np.mean(present)]), perfect, seen / max(occurring, 1)

    def _signs(self) -> list[Metric]:
        """Of pairs of alterations that plainly go together or apart among patients, how many do so here."""
        same = []
        for table, place in self.plan.block("pairs"):
            if not statistics.genomic(self.schema, table):
                continue
            there, error = statistics.log_odds(self.real[:, place], float(self.stddevs[place][0]))
            here, _ = statistics.log_odds(self.fake[:, place], 0.0)
            if abs(there[0]) > STRONG_ODDS * error[0]:
                same.append(np.sign(there[0]) == np.sign(here[0]))
        if not same:
            return []
        return [
            Metric(
                "counted.strong_pairs",
                "faithful",
                "info",
                "plain pairs of alterations with the same sign",
                float(np.mean(same)),
                "higher",
                reason="information only: decides nothing",
                n={**self.n, "pairs": len(same)},
                rows_used="holdout",
            )
        ]

    def _worst_groups(self) -> list[Metric]:
        found = []
        for table, place in self.plan.block("groups"):
            edges, endpoint = statistics.edges_of(table), self._endpoint(table)
            sizes = self.real[0, place][:-1].reshape(table.shape).sum(axis=(1, 2))
            events = statistics.events_within(table, self.real[:, place])[0]
            rows = self.fake[0, place][:-1].reshape(table.shape).sum(axis=(1, 2))
            unsure = _DETECTED * float(self.stddevs[place][0]) * math.sqrt(table.cells / len(sizes))
            large = (sizes >= MINIMUM_GROUP_ROWS + unsure) & (events >= MINIMUM_GROUP_EVENTS) & (rows > 0)
            if not large.any():
                continue

            def worst(reference: Floats, candidate: Floats, large: Any = large, edges: Floats = edges) -> Floats:
                area = statistics.area_between(reference[:, large], candidate[:, large], edges)
                return np.asarray(area.max(axis=1))

            value = worst(self._curves(table, place, self.real), self._curves(table, place, self.fake))
            fresh = worst(*(self._curves(table, place, counts) for counts in self._perfect()))
            group = table.axes[0].name
            found.append(
                self._judge(
                    f"km_worst.{group}",
                    value,
                    fresh,
                    "survival.km_worst",
                    "if_measurable",
                    "",
                    label=f"{endpoint.label or endpoint.name}, by {group}",
                    n={"groups": int(large.sum())},
                )
            )
        return found

    def _mean_days(self, name: str, value: float, spread: float, label: str, n: Mapping[str, int]) -> Metric:
        return Metric(
            f"counted.{name}",
            "faithful",
            "info",
            f"difference of mean days to the horizon ({label})",
            value,
            "lower",
            ceiling=0.0,
            reason="information only: synthetic minus patients; the 90 % interval holds noise and sampling",
            n={**self.n, **n},
            rows_used="holdout",
            value_low=value - 1.644854 * spread,
            value_high=value + 1.644854 * spread,
        )


_LABELS: Mapping[str, Sequence[str]] = {
    "shapes": ("likeness of single columns to held-out patients, from noisy counts", "higher"),
    "missing": ("largest difference in a column's missing share, from noisy counts", "lower"),
    "levels": ("share of levels seen among held-out patients that occur, from noisy counts", "higher"),
    "js_bins": ("mean divergence of single columns, bits, from noisy counts", "lower"),
    "frequency": ("largest difference of an alteration's frequency, from noisy counts", "lower"),
    "pairs": ("concordance of the asked pairs of columns, from noisy counts", "higher"),
    "pairs_slope": ("share of the table's dependence that held-out patients show, from noisy counts", "higher"),
    "km_area": ("area between survival curves, from noisy counts", "lower"),
    "km_worst": ("area between survival curves, worst group, from noisy counts", "lower"),
    "soft_rules": ("largest difference in how often a soft rule is broken, from noisy counts", "lower"),
}


def _likeness(apart: Mapping[str, Floats]) -> Floats:
    """1 - root of the mean squared distance over columns; float64 (draws,)."""
    return np.asarray(1 - np.sqrt(np.maximum(np.mean(list(apart.values()), axis=0), 0.0)))


def _four(value: float) -> float | None:
    return rounded([value])[0]
