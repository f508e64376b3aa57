"""Do analyses give the same answers? Train on synthetic, test on fresh patients, beside train on real (TSTR v TRTR).

Skill kept = (AUC of S on H - 1/2) / (AUC of T on H - 1/2), equal rows, the mean of boosted trees and a logistic model.
Columns known only after the target are no inputs. The band is what real halves of T reach against each other.

Two more answers come of the same fits: the skill kept inside the declared group of patients that keeps least, and what
the synthetic rows add for somebody who has the real ones too (AUC of T and S together less that of T alone).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.anchors import finite, light_of
from synthfed.evaluation.learning import Inputs, auc, logistic_scores, one_thread, tree_scores
from synthfed.evaluation.rows import Bools, Floats, Ints, Rows, stack
from synthfed.evaluation.scorecard import Light, Metric
from synthfed.evaluation.thresholds import (
    MINIMUM_SKILL_GROUP_ROWS,
    MINIMUM_TSTR_CLASS,
    MINIMUM_TSTR_ROWS,
    THRESHOLDS,
)
from synthfed.tables.schema import Schema, Survival

DRAWS = 500
ROW_CAP = 5000
_LEAST_AUC = 0.55  # where even real rows hardly predict, skill kept is a ratio of noise
_HORIZONS = (1.0, 0.6, 0.4, 0.2)  # of the endpoint's own


@dataclass(frozen=True, slots=True)
class Target:
    """What is predicted: a level column, or an event by a day.

    Attributes:
        classes: Level codes scored, each against the rest (only those frequent enough in the hold-out).
    """

    name: str
    label: str
    classes: tuple[int, ...]
    width: int
    dropped: tuple[str, ...]
    endpoint: Survival | None = None
    days: float = math.nan

    def of(self, rows: Rows) -> Ints:
        """Class per row, -1 where unknown (missing, or censored before the day)."""
        if self.endpoint is None:
            return rows.level(self.name)
        return event_by(rows, self.endpoint, self.days)


def event_by(rows: Rows, endpoint: Survival, days: float) -> Ints:
    """1: event by that day; 0: followed beyond it; -1: censored before, or missing."""
    time, event = rows.number(endpoint.time), rows.number(endpoint.event)
    return np.where((event > 0) & (time <= days), 1, np.where(time > days, 0, -1)).astype(np.int64)


def make_target(name: str, schema: Schema, holdout: Rows) -> Target | str:
    """Read a target's name; a text says why it cannot be measured."""
    if name not in schema:
        return f"{name!r} is not a column of this table"
    dropped = {name} | {c.name for c in schema.columns if c.known_at == "outcome"}
    endpoint = next((e for e in schema.survivals if e.event == name), None)
    if endpoint is not None:
        dropped |= {endpoint.time, endpoint.event}
        return _event_target(name, endpoint, tuple(sorted(dropped)), holdout)
    column = schema[name]
    if not column.has_levels:
        return f"{name!r} is a number; targets are flags, categories or a survival's event"
    codes = holdout.level(name)
    counts = np.bincount(codes[codes >= 0], minlength=len(column.levels))
    rest = counts.sum() - counts
    usable = [i for i in range(len(counts)) if min(counts[i], rest[i]) >= MINIMUM_TSTR_CLASS]
    if not usable or counts.sum() < MINIMUM_TSTR_ROWS:
        return _too_few(holdout)
    classes = (1,) if len(counts) == 2 else tuple(usable)
    return Target(name, f"skill kept: {column.label or name}", classes, len(counts), tuple(sorted(dropped)))


def _event_target(name: str, endpoint: Survival, dropped: tuple[str, ...], holdout: Rows) -> Target | str:
    """Predict the event by the day that leaves most rows of the rarer class; early censoring costs rows."""
    options = []
    for share in _HORIZONS:
        days = share * endpoint.horizon_days
        counts = np.bincount(event_by(holdout, endpoint, days) + 1, minlength=3)[1:]
        if counts.min() >= MINIMUM_TSTR_CLASS and counts.sum() >= MINIMUM_TSTR_ROWS:
            options.append((int(counts.min()), days))
    if not options:
        return _too_few(holdout)
    _, days = max(options)
    label = f"skill kept: {endpoint.label or endpoint.name}, event by day {days:.0f}"
    return Target(name, label, (1,), 2, dropped, endpoint, days)


def _too_few(holdout: Rows) -> str:
    return (
        f"needs {MINIMUM_TSTR_ROWS} labelled hold-out rows and {MINIMUM_TSTR_CLASS} per class; "
        f"the hold-out has {len(holdout)} rows"
    )


@dataclass(frozen=True, slots=True)
class GroupSkill:
    """Skill kept among the hold-out patients of one group, with its bootstrap."""

    group: str
    kept: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True)
class Skill:
    """Skill kept with its bootstrap over the hold-out, and the two AUCs behind it.

    Attributes:
        worst: The group that keeps least; `None` where no declared group is large enough to tell.
        gained, gained_low, gained_high: AUC of T and S together less that of T, and its 95 % interval.
    """

    kept: float
    low: float
    high: float
    floor: float
    band_low: float
    band_high: float
    auc_synthetic: float
    auc_real: float
    auc_real_low: float
    rows: int
    worst: GroupSkill | None
    gained: float
    gained_low: float
    gained_high: float


def skill_kept(
    target: Target, train: Rows, holdout: Rows, synthetic: Rows, *, seed: int, groups: Sequence[str] = ()
) -> Skill:
    """Fit both learners on S, T, both, shuffled S and two halves of T; score all on the same bootstrap draws of H.

    Args:
        groups: Columns with levels; each level is a group.
    """
    rng = np.random.default_rng([seed, 6])
    real, fake = _labelled(train, target), _labelled(synthetic, target)
    test = _labelled(holdout, target)
    size = min(len(real), len(fake), ROW_CAP)
    real = real.take(rng.permutation(len(real))[:size])
    fake = fake.take(rng.permutation(len(fake))[:size])
    draws = rng.multinomial(len(test), np.full(len(test), 1 / len(test)), size=DRAWS).astype(np.float64)
    weights = np.vstack([np.ones(len(test)), draws])
    inputs = Inputs.without(train, target.dropped)

    def learned(rows: Rows) -> list[Floats]:
        return _learned(target, inputs, rows, test, seed)

    def areas(scores: list[Floats], weights: Floats = weights) -> Floats:
        return _areas(target, scores, test, weights)

    with one_thread():
        of_real, of_fake = learned(real), learned(fake)
        on_real, on_fake = areas(of_real), areas(of_fake)
        on_shuffled = areas(learned(fake.shuffled(rng)))
        half = size // 2
        first, second = (areas(learned(real.take(part))) for part in (np.arange(half), np.arange(half, size)))
        gained = areas(learned(stack(real, fake))) - on_real
    kept = _ratio(on_fake, on_real)
    perfect = np.concatenate([_ratio(first, second)[1:], _ratio(second, first)[1:]])
    low, high = _interval(kept[1:])
    band_low, band_high = _interval(perfect)
    gained_low, gained_high = _interval(gained[1:])
    by_group = []
    for name, inside in _large_groups(groups, target, test):
        within = areas(of_real, weights * inside)
        if _interval(within[1:])[0] > _LEAST_AUC:  # where real rows predict nothing, nothing is to be kept
            kept_within = _ratio(areas(of_fake, weights * inside), within)
            by_group.append(GroupSkill(name, float(kept_within[0]), *_interval(kept_within[1:]), int(inside.sum())))
    return Skill(
        kept=float(kept[0]),
        low=low,
        high=high,
        floor=float(_ratio(on_shuffled, on_real)[0]),
        band_low=band_low,
        band_high=band_high,
        auc_synthetic=float(on_fake[0]),
        auc_real=float(on_real[0]),
        auc_real_low=_interval(on_real[1:])[0],
        rows=size,
        worst=min(by_group, key=lambda group: group.kept, default=None),
        gained=float(gained[0]),
        gained_low=gained_low,
        gained_high=gained_high,
    )


def _large_groups(columns: Sequence[str], target: Target, test: Rows) -> list[tuple[str, Bools]]:
    """Levels with enough hold-out rows, and enough of every scored class and of the rest; the target's own is none."""
    out = []
    known = target.of(test)
    for name in columns:
        column = next((c for c in test.shape.levels if c.name == name and name != target.name), None)
        for code, level in enumerate(column.levels if column else ()):
            inside = test.level(name) == code
            ones = [int((known[inside] == c).sum()) for c in target.classes]
            rest = [int(inside.sum()) - count for count in ones]
            if inside.sum() >= MINIMUM_SKILL_GROUP_ROWS and min(*ones, *rest) >= MINIMUM_TSTR_CLASS:
                out.append((f"{name}={level}", np.asarray(inside)))
    return out


def _labelled(rows: Rows, target: Target) -> Rows:
    return rows.take(target.of(rows) >= 0)


def _learned(target: Target, inputs: Inputs, rows: Rows, test: Rows, seed: int) -> list[Floats]:
    """Class probabilities (test rows, classes) of both learners; constant where the rows hold a single class."""
    known = target.of(rows)
    if len(np.unique(known)) < 2:
        return [np.zeros((len(test), target.width))]
    return [
        tree_scores(inputs, rows, known, target.width, test, seed=seed),
        logistic_scores(inputs, rows, known, target.width, test),
    ]


def _areas(target: Target, learned: list[Floats], test: Rows, weights: Floats) -> Floats:
    """Mean AUC over classes and learners, per draw; one half for constant scores."""
    wanted = target.of(test)
    found = [auc(s[:, c], (wanted == c).astype(np.float64), weights) for s in learned for c in target.classes]
    return np.asarray(np.mean(found, axis=0))


def _ratio(above: Floats, below: Floats) -> Floats:
    gain = below - 0.5
    return np.asarray(np.where(gain > 0.01, (above - 0.5) / np.where(gain > 0.01, gain, 1.0), np.nan))


def _interval(values: Floats) -> tuple[float, float]:
    seen = values[~np.isnan(values)]
    if len(seen) < 0.9 * len(values):
        return math.nan, math.nan
    low, high = np.quantile(seen, [0.025, 0.975])
    return float(low), float(high)


def utility_metrics(
    targets: Sequence[str],
    schema: Schema,
    train: Rows,
    holdout: Rows,
    synthetic: Rows,
    *,
    seed: int,
    groups: Sequence[str] = (),
) -> list[Metric]:
    """One `useful.tstr.TARGET` per target; `useful.worst_group.TARGET` and `useful.augment.TARGET` inform beside it."""
    metrics = []
    for name in targets:
        metrics += _of_target(name, schema, train, holdout, synthetic, groups, seed)
    return metrics


def _of_target(
    name: str, schema: Schema, train: Rows, holdout: Rows, synthetic: Rows, groups: Sequence[str], seed: int
) -> list[Metric]:
    metric_id = f"useful.tstr.{name}"
    rule = THRESHOLDS["useful.tstr"]
    target = make_target(name, schema, holdout)
    if isinstance(target, str):
        label = f"skill kept: {name}"
        return [Metric(metric_id, "useful", "deciding", label, None, "higher", reason=target, rows_used="train")]
    if min(len(_labelled(train, target)), len(_labelled(synthetic, target))) < MINIMUM_TSTR_ROWS:
        reason = f"needs {MINIMUM_TSTR_ROWS} labelled training and synthetic rows"
        return [Metric(metric_id, "useful", "deciding", target.label, None, "higher", reason=reason, rows_used="train")]
    found = skill_kept(target, train, holdout, synthetic, seed=seed, groups=groups)
    light: Light = "grey"
    reason = f"AUC {found.auc_synthetic:.3f} trained on synthetic rows, {found.auc_real:.3f} on as many patients"
    if math.isnan(found.kept) or found.auc_real_low <= _LEAST_AUC:
        reason = (
            f"real rows themselves hardly predict it (AUC {found.auc_real:.3f}, lower bound {found.auc_real_low:.3f})"
        )
    else:
        light = light_of(
            found.kept,
            green=rule.green,
            amber=rule.amber,
            low=found.band_low,
            high=found.band_high,
            direction="higher",
        )
        if light == "grey":
            reason = f"two halves of the patients differ as much; {reason}"
    kept = Metric(
        id=metric_id,
        question="useful",
        role="deciding",
        label=target.label,
        value=finite(found.kept),
        direction="higher",
        ceiling=1.0,
        floor=finite(found.floor),
        low=finite(found.band_low),
        high=finite(found.band_high),
        green=rule.green,
        amber=rule.amber,
        threshold_origin=rule.origin,
        light=light,
        reason=reason,
        n={"matched": found.rows, "holdout": len(_labelled(holdout, target))},
        rows_used="train",
        value_low=finite(found.low),
        value_high=finite(found.high),
    )
    return [kept, *_beside(name, target, found)]


def _beside(name: str, target: Target, found: Skill) -> list[Metric]:
    """What else the fits say; information, with intervals and without thresholds."""
    metrics = []
    if found.worst is not None:
        metrics.append(
            Metric(
                id=f"useful.worst_group.{name}",
                question="useful",
                role="info",
                label=f"{target.label}, in the group that keeps least",
                value=finite(found.worst.kept),
                direction="higher",
                ceiling=1.0,
                reason=f"{found.worst.group}, of all declared groups with {MINIMUM_SKILL_GROUP_ROWS} hold-out rows",
                n={"holdout": found.worst.rows},
                rows_used="train",
                value_low=finite(found.worst.low),
                value_high=finite(found.worst.high),
            )
        )
    metrics.append(
        Metric(
            id=f"useful.augment.{name}",
            question="useful",
            role="info",
            label=f"AUC gained by adding synthetic to real rows: {target.label.removeprefix('skill kept: ')}",
            value=finite(found.gained),
            direction="higher",
            reason="0: nothing gained for who has the patients too",
            n={"matched": found.rows},
            rows_used="train",
            value_low=finite(found.gained_low),
            value_high=finite(found.gained_high),
        )
    )
    return metrics
