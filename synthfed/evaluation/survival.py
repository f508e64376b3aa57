"""Survival: Kaplan-Meier curves, the area between two of them, restricted means, and agreement of Cox models.

Log-rank p values are never shown as similarity: they accept shuffled columns and refuse good tables of many rows.
Standard errors computed from synthetic rows are too small, because those rows are not patients.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.rows import Bools, Floats, Rows
from synthfed.evaluation.thresholds import EVENTS_PER_COX_TERM, MINIMUM_GROUP_EVENTS, MINIMUM_GROUP_ROWS
from synthfed.tables.schema import Survival

_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Curve:
    """A Kaplan-Meier estimate: it steps down at `days` and is flat elsewhere.

    Attributes:
        days: Distinct event times, increasing.
        survival: Estimate just after each of them.
        deaths, at_risk: Events at, and patients under observation just before, each of them.
        times: All follow-up times, sorted: numbers at risk at any day follow from them.
    """

    days: Floats
    survival: Floats
    deaths: Floats
    at_risk: Floats
    times: Floats

    def at(self, day: Floats) -> Floats:
        """Estimate at any day."""
        steps = np.concatenate([[1.0], self.survival])
        return np.asarray(steps[np.searchsorted(self.days, day, side="right")])

    def greenwood(self, day: Floats) -> Floats:
        """Sum of d / (n (n - d)) up to each day: the variance of the log estimate."""
        left = self.at_risk - self.deaths
        terms = np.where(left > 0, self.deaths / np.where(left > 0, self.at_risk * left, 1.0), 0.0)
        return np.asarray(np.concatenate([[0.0], np.cumsum(terms)])[np.searchsorted(self.days, day, side="right")])

    def under_observation(self, day: Floats) -> Floats:
        """Patients still followed just before each day."""
        return np.asarray(len(self.times) - np.searchsorted(self.times, day, side="left"))


def kaplan_meier(days: Floats, event: Floats) -> Curve:
    """Estimate survival; rows with a missing time or event are left out."""
    known = ~(np.isnan(days) | np.isnan(event))
    times, died = days[known], event[known] > 0
    steps, deaths = np.unique(times[died], return_counts=True)
    order = np.sort(times)
    at_risk = (len(order) - np.searchsorted(order, steps, side="left")).astype(np.float64)
    survival: Floats = np.cumprod(1 - deaths / at_risk, dtype=np.float64)
    return Curve(steps.astype(np.float64), survival, deaths.astype(np.float64), at_risk, order)


def km_area(first: Curve, second: Curve, horizon_days: float) -> float:
    """Mean absolute difference of two curves from 0 to the horizon; NaN where one of them has no patient."""
    if not len(first.times) or not len(second.times):
        return math.nan
    knots = np.unique(np.concatenate([[0.0], first.days, second.days]))
    knots = knots[knots < horizon_days]
    widths = np.diff(np.append(knots, horizon_days))
    return float((np.abs(first.at(knots) - second.at(knots)) * widths).sum() / horizon_days)


def restricted_mean(curve: Curve, horizon_days: float) -> tuple[float, float]:
    """Mean survival time up to the horizon in days, and its standard error (Greenwood).

    Variance = sum over event times t_i of A_i^2 d_i / (n_i (n_i - d_i)), A_i the area under the curve right of t_i.
    """
    if not len(curve.times):
        return math.nan, math.nan
    inside = curve.days < horizon_days
    knots = np.concatenate([[0.0], curve.days[inside], [horizon_days]])
    pieces = np.concatenate([[1.0], curve.survival[inside]]) * np.diff(knots)
    right = np.cumsum(pieces[::-1])[::-1][1:]  # area right of each event time
    n, d = curve.at_risk[inside], curve.deaths[inside]
    terms = np.where(n > d, right**2 * d / np.where(n > d, n * (n - d), 1.0), 0.0)
    return float(pieces.sum()), float(np.sqrt(terms.sum()))


@dataclass(frozen=True, slots=True)
class Group:
    """One level of a declared column."""

    column: str
    code: int
    text: str  # "eln2022=adverse"

    def of(self, rows: Rows) -> Bools:
        return np.asarray(rows.level(self.column) == self.code)


def large_groups(columns: Sequence[str], endpoint: Survival, tables: Sequence[Rows]) -> tuple[Group, ...]:
    """Levels with enough rows and events in every one of `tables`."""
    out = []
    for name in columns:
        column = next((c for c in tables[0].shape.levels if c.name == name), None)
        for code, level in enumerate(column.levels if column else ()):
            group = Group(name, code, f"{name}={level}")
            if all(_large(group, endpoint, rows) for rows in tables):
                out.append(group)
    return tuple(out)


def _large(group: Group, endpoint: Survival, rows: Rows) -> bool:
    inside = group.of(rows) & ~np.isnan(rows.number(endpoint.time)) & ~np.isnan(rows.number(endpoint.event))
    events = np.nansum(rows.number(endpoint.event)[inside])
    return bool(inside.sum() >= MINIMUM_GROUP_ROWS and events >= MINIMUM_GROUP_EVENTS)


def curve_of(rows: Rows, endpoint: Survival, group: Group | None = None) -> Curve:
    """The curve of one endpoint, in one group or overall."""
    chosen = rows if group is None else rows.take(group.of(rows))
    return kaplan_meier(chosen.number(endpoint.time), chosen.number(endpoint.event))


def events_of(rows: Rows, endpoint: Survival) -> int:
    """Events with a known time, within the horizon."""
    days, event = rows.number(endpoint.time), rows.number(endpoint.event)
    return int(((event > 0) & (days <= endpoint.horizon_days)).sum())


@dataclass(frozen=True, slots=True)
class CoxFit:
    """Log hazard ratios and standard errors; NaN for terms that do not vary."""

    beta: Floats
    error: Floats


def cox_fit(terms: Floats, days: Floats, event: Floats, *, steps: int = 25) -> CoxFit:
    """Cox's proportional hazards by Newton's method, ties after Breslow; a model of a few terms in milliseconds.

    Args:
        terms: float64 (rows, terms), no NaN, on comparable scales.
    """
    count = terms.shape[1]
    beta, error = np.full(count, np.nan), np.full(count, np.nan)
    if not len(terms):
        return CoxFit(beta, error)
    varies = terms.std(axis=0) > 1e-9
    died = event > 0
    if not varies.any() or not died.any():
        return CoxFit(beta, error)
    order = np.argsort(-days, kind="stable")  # longest first: the risk set is a prefix
    x, t, d = terms[order][:, varies], days[order], died[order]
    last = np.searchsorted(-t, -t, side="right") - 1  # end of each tie: everyone with time >= t
    last = last[d]
    b = np.zeros(x.shape[1])
    hessian = np.eye(len(b))
    for _ in range(steps):
        weight = np.exp(np.clip(x @ b, -30, 30))
        weighted = weight[:, None] * x
        s0 = np.cumsum(weight)[last]
        mean = np.cumsum(weighted, axis=0)[last] / s0[:, None]
        second = np.cumsum((weighted[:, :, None] * x[:, None, :]).reshape(len(x), -1), axis=0)[last]
        hessian = (second / s0[:, None]).sum(axis=0).reshape(len(b), len(b)) - mean.T @ mean
        hessian += 1e-8 * np.eye(len(b)) * max(d.sum(), 1)
        change = np.linalg.solve(hessian, (x[d] - mean).sum(axis=0))
        b = b + np.clip(change, -2, 2)
        if np.abs(change).max() < 1e-8:
            break
    beta[varies] = b
    error[varies] = np.sqrt(np.clip(np.diag(np.linalg.inv(hessian)), 0, None))
    return CoxFit(beta, error)


def cox_overlap(first: CoxFit, second: CoxFit) -> float:
    """Mean over terms of the overlap of 95 % intervals (Karr et al. 2006, doi 10.1198/000313006X124640)."""
    known = np.isfinite(first.beta) & (first.error > 0)
    if not known.any():
        return math.nan
    low_1, high_1 = first.beta - _Z * first.error, first.beta + _Z * first.error
    low_2, high_2 = second.beta - _Z * second.error, second.beta + _Z * second.error
    shared = np.minimum(high_1, high_2) - np.maximum(low_1, low_2)
    good = known & np.isfinite(shared) & (shared > 0)
    overlap = np.zeros(len(shared))
    overlap[good] = 0.5 * (shared / (high_1 - low_1) + shared / (high_2 - low_2))[good]
    return float(overlap[known].mean())


class CoxTerms:
    """Which baseline columns enter the Cox model, and how: chosen and scaled on the training rows."""

    def __init__(self, train: Rows, endpoint: Survival, *, limit: int) -> None:
        """Take the first `limit` baseline numbers and two-level columns that vary and are mostly observed."""
        self.names: list[str] = []
        self._scales: list[tuple[bool, float, float]] = []
        for column in train.shape.columns:
            two_levels = column.has_levels and len(column.levels) == 2
            if column.known_at != "baseline" or column.derived or not (column.is_number or two_levels):
                continue
            if column.name in (endpoint.time, endpoint.event) or len(self.names) >= limit:
                continue
            logarithm = column.is_number and column.scale == "log"
            values = _term(train, column.name, logarithm)
            seen = values[~np.isnan(values)]
            spread = float(seen.std()) if len(seen) else 0.0
            rare = two_levels and (len(seen) == 0 or not 0.05 <= seen.mean() <= 0.95)
            if len(seen) < 0.7 * len(values) or spread <= 1e-9 or rare:
                continue
            self.names.append(column.name)
            self._scales.append((logarithm, float(seen.mean()), spread))

    def fit(self, rows: Rows, endpoint: Survival) -> CoxFit:
        """Fit on `rows`; missing terms take the training mean."""
        days, event = rows.number(endpoint.time), rows.number(endpoint.event)
        known = ~(np.isnan(days) | np.isnan(event))
        return cox_fit(self.values(rows)[known], days[known], event[known])

    def values(self, rows: Rows) -> Floats:
        """float64 (rows, terms) on the training scale, 0 where missing."""
        columns = []
        for name, (logarithm, mean, spread) in zip(self.names, self._scales, strict=True):
            columns.append(np.nan_to_num((_term(rows, name, logarithm) - mean) / spread))
        return np.column_stack(columns)


def _term(rows: Rows, name: str, logarithm: bool) -> Floats:
    values = rows.number(name)
    return np.log(np.where(values > 0, values, np.nan)) if logarithm else values


class SurvivalScore:
    """All size-matched survival scores of a candidate at once."""

    def __init__(self, endpoints: Sequence[Survival], groups: Sequence[str], train: Rows, holdout: Rows) -> None:
        self.endpoints = tuple(endpoints)
        self.groups = {e.name: large_groups(groups, e, (train, holdout)) for e in endpoints}
        self.terms: dict[str, CoxTerms] = {}
        self.group_terms: dict[tuple[str, str], CoxTerms] = {}
        for endpoint in endpoints:
            limit = min(events_of(holdout, endpoint) // EVENTS_PER_COX_TERM, 10)
            terms = CoxTerms(train, endpoint, limit=limit)
            if terms.names:
                self.terms[endpoint.name] = terms
            for group in self.groups[endpoint.name]:
                inside = train.take(group.of(train))
                limit = min(events_of(holdout.take(group.of(holdout)), endpoint) // EVENTS_PER_COX_TERM, 10)
                terms = CoxTerms(inside, endpoint, limit=limit)
                if terms.names:
                    self.group_terms[endpoint.name, group.text] = terms

    def __call__(self, reference: Rows, candidate: Rows) -> dict[str, float]:
        scores: dict[str, float] = {}
        for e in self.endpoints:
            scores[f"km:{e.name}"] = _area(reference, candidate, e, None)
            by_group = {g.text: _area(reference, candidate, e, g) for g in self.groups[e.name]}
            scores.update({f"km:{e.name}:{text}": area for text, area in by_group.items()})
            scores[f"worst:{e.name}"] = max(by_group.values(), default=math.nan)
            terms = self.terms.get(e.name)
            scores[f"cox:{e.name}"] = (
                cox_overlap(terms.fit(reference, e), terms.fit(candidate, e)) if terms else math.nan
            )
            overlaps = [
                self._group_overlap(g, e, reference, candidate)
                for g in self.groups[e.name]
                if (e.name, g.text) in self.group_terms
            ]
            scores[f"cox_worst:{e.name}"] = min(overlaps, default=math.nan)
        return scores

    def _group_overlap(self, group: Group, endpoint: Survival, reference: Rows, candidate: Rows) -> float:
        """Overlap inside one group; 0, the worst, where only the candidate has nothing to fit there."""
        terms = self.group_terms[endpoint.name, group.text]
        there, here = reference.take(group.of(reference)), candidate.take(group.of(candidate))
        return cox_overlap(terms.fit(there, endpoint), terms.fit(here, endpoint))


def _area(reference: Rows, candidate: Rows, endpoint: Survival, group: Group | None) -> float:
    """Area between the curves; 1, the worst, where only the candidate has no patient to follow."""
    there, here = curve_of(reference, endpoint, group), curve_of(candidate, endpoint, group)
    if len(there.times) and not len(here.times):
        return 1.0
    return km_area(there, here, endpoint.horizon_days)
