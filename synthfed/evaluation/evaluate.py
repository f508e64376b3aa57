"""Score one synthetic table: every metric of every question, stage by stage.

Without real rows (`train` and `holdout` are `None`) only what follows from the synthetic table, its rules and the
privacy statement is scored. With them the numbers are computed from patients: they belong into the internal edition.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthfed.errors import DataError, SynthfedError
from synthfed.evaluation.anchors import Anchored, Score, anchor, finite, judged, light_of
from synthfed.evaluation.attribute import attribute_metric
from synthfed.evaluation.cells import divergence_score
from synthfed.evaluation.copies import copy_metrics
from synthfed.evaluation.coverage import coverage_metrics
from synthfed.evaluation.detection import detection_metrics
from synthfed.evaluation.fidelity import FidelityScore, levels_kept
from synthfed.evaluation.figures import figures
from synthfed.evaluation.genomics import GenomicScore, genomic_metrics
from synthfed.evaluation.guarantee import guarantee_metric
from synthfed.evaluation.identification import identification_metrics
from synthfed.evaluation.learning import one_thread
from synthfed.evaluation.membership import infer_membership, membership_metrics
from synthfed.evaluation.prognosis import prognosis_metrics
from synthfed.evaluation.published.metrics import published_metrics
from synthfed.evaluation.quality_report import quality_metric
from synthfed.evaluation.rows import Rows, Shape, coerced, read_rows
from synthfed.evaluation.scorecard import Metric, Scorecard
from synthfed.evaluation.survival import SurvivalScore, curve_of, events_of, restricted_mean
from synthfed.evaluation.thresholds import (
    MINIMUM_ASSOCIATION_ROWS,
    MINIMUM_COLUMN_ROWS,
    MINIMUM_KM_EVENTS,
    MINIMUM_SOFT_RULE_ROWS,
    THRESHOLDS,
)
from synthfed.evaluation.unique_values import unique_value_metric
from synthfed.evaluation.utility import utility_metrics
from synthfed.evaluation.validity import duplicates, hard_rules_metric, structure_metric
from synthfed.pipeline import EvaluationSettings
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Schema, Survival

Progress = Callable[[str], None]

MOST_ROWS = 10_000  # of each table in scores of likeness and use: a hundred splits of more take hours and say no more


def evaluate(
    synthetic: pd.DataFrame,
    *,
    schema: Schema,
    rules: RuleSet,
    train: pd.DataFrame | None,
    holdout: pd.DataFrame | None,
    settings: EvaluationSettings,
    seed: int,
    privacy: Mapping[str, Any],
    progress: Progress | None = None,
    likeness_only: bool = False,
) -> Scorecard:
    """Score `synthetic`; the same tables and seed give the same scorecard, whatever the order of their rows.

    Rules, repeated rows and attacks see every row; of a table of more than `MOST_ROWS`, scores of likeness and use see
    so many, drawn at random.

    Args:
        train: The rows the generator saw; `None` for the edition that leaves the sites.
        holdout: Disjoint rows it never saw; a few are enough to run, many are needed to measure.
        privacy: The ledger's statement.
        progress: Called with the name of each stage as it starts.
        likeness_only: Leave out attacks and what SDMetrics, detection and ranking add: quick, to compare two tables.

    Raises:
        DataError: The synthetic table has no rows. Anything else that is wrong with it is a score, not an error.
    """
    with one_thread():  # sums in one order: the same bits on any machine
        return _evaluate(
            synthetic,
            schema,
            rules,
            train,
            holdout,
            settings,
            seed,
            privacy,
            progress or (lambda stage: None),
            likeness_only=likeness_only,
        )


def _evaluate(
    synthetic: pd.DataFrame,
    schema: Schema,
    rules: RuleSet,
    train: pd.DataFrame | None,
    holdout: pd.DataFrame | None,
    settings: EvaluationSettings,
    seed: int,
    privacy: Mapping[str, Any],
    say: Progress,
    *,
    likeness_only: bool,
) -> Scorecard:
    if synthetic.empty:
        raise DataError("the synthetic table has no rows, so there is nothing to score; draw at least one")
    say("rules")
    metrics = [structure_metric(synthetic, schema)]
    fake, hard = _read(synthetic, schema, rules)
    metrics.append(hard_rules_metric(hard, len(synthetic)))
    real = fresh = None
    scores: dict[str, Anchored] = {}
    membership = None
    if train is not None:
        real, _ = _read(train, schema, rules)
        fresh, _ = _read(holdout if holdout is not None else train.iloc[:0], schema, rules)
        sizes = {"train": len(real), "holdout": len(fresh), "synthetic": len(fake)}
        soft = fake.broken.shape[1] > 0 and real.broken.shape == (len(real), fake.broken.shape[1])
        known, unseen, drawn = (_some(rows, seed) for rows in (real, fresh, fake))
        say("columns and pairs")
        scores.update(_anchored(FidelityScore(known), known, unseen, drawn, seed))
        metrics += [*_validity(scores, real, fake, sizes, soft=soft), *_fidelity(scores, real, fake, sizes, seed)]
        divergence = _anchored(divergence_score, known, unseen, drawn, seed)
        metrics.append(_divergence(divergence.get("js_bins")))
        say("genomics")
        genomic = GenomicScore(known, candidate_rows=min(len(unseen), len(drawn)))
        if len(genomic.names) > 1:
            metrics += genomic_metrics(genomic, _anchored(genomic, known, unseen, drawn, seed), holdout=len(unseen))
        say("coverage")
        metrics += coverage_metrics(known, unseen, drawn, seed=seed)
        if not likeness_only:
            say("detection")
            metrics += detection_metrics(known, unseen, drawn, seed=seed)
            say("sdmetrics")
            quality = quality_metric(known, unseen, drawn, seed=seed)
            metrics += [quality] if quality is not None else []
            say("published scores")
            metrics += published_metrics(known, unseen, drawn, schema=schema, targets=settings.targets, seed=seed)
        say("survival")
        follow = SurvivalScore(schema.survivals, settings.groups, known, unseen)
        if schema.survivals:
            scores.update(_anchored(follow, known, unseen, drawn, seed))
        for endpoint in schema.survivals:
            suffix = "" if endpoint == schema.primary_survival else f".{endpoint.name}"
            metrics += _survival(endpoint, suffix, scores, known, unseen, drawn)
        if not likeness_only:
            metrics += prognosis_metrics(schema.survivals, schema.primary_survival, known, unseen, drawn, seed=seed)
        say("prediction")
        metrics += utility_metrics(settings.targets, schema, known, unseen, drawn, seed=seed, groups=settings.groups)
    if real is not None and fresh is not None and not likeness_only:
        say("copies")
        metrics += copy_metrics(real, fresh, fake, seed=seed)
        say("membership")
        membership = infer_membership(real, fresh, fake, seed=seed)
        metrics += membership_metrics(membership, sizes)
        say("other attacks")
        metrics.append(unique_value_metric(real, fresh, fake))
        quasi = settings.quasi_identifiers
        metrics.append(attribute_metric(real, fresh, fake, quasi_identifiers=quasi, seed=seed))
        metrics += identification_metrics(real, fresh, fake, seed=seed)
    metrics.append(guarantee_metric(privacy))
    say("figures")
    pictures = figures(
        schema=schema,
        groups=settings.groups,
        synthetic=fake,
        train=real,
        holdout=fresh,
        scores=scores,
        metrics=metrics,
        membership=membership,
    )
    counts = {
        "synthetic": len(fake),
        "train": len(real) if real is not None else None,
        "holdout": len(fresh) if fresh is not None and holdout is not None else None,
    }
    return Scorecard(tuple(metrics), pictures, seed, counts)


def _read(table: pd.DataFrame, schema: Schema, rules: RuleSet) -> tuple[Rows, pd.DataFrame | None]:
    """Arrays with the soft rules broken, and the hard rules broken; no rules where they cannot be applied."""
    shape = Shape.of(schema)
    try:
        broken = rules.check(coerced(table, schema))
    except SynthfedError:  # a table outside its dictionary: valid.structure counts that
        return read_rows(table, shape), None
    soft = [rule.id for rule in rules.rules if not rule.hard]
    return read_rows(table, shape, broken[soft]), broken[[rule.id for rule in rules.rules if rule.hard]]


def _some(rows: Rows, seed: int) -> Rows:
    """At most `MOST_ROWS` of them, drawn at random."""
    if len(rows) <= MOST_ROWS:
        return rows
    return rows.take(np.random.default_rng([seed, 21]).permutation(len(rows))[:MOST_ROWS])


def _anchored(score: Score, real: Rows, fresh: Rows, fake: Rows, seed: int) -> dict[str, Anchored]:
    """Anchored scores; without hold-out rows the bare scores, which no light can be set from."""
    found = anchor(score, train=real, holdout=fresh, synthetic=fake, seed=seed)
    if found or not len(real) or not len(fake):
        return found
    return {name: Anchored(value, rows=len(fake)) for name, value in score(real, fake).items()}


def _validity(
    scores: Mapping[str, Anchored], real: Rows, fake: Rows, sizes: Mapping[str, int], *, soft: bool
) -> list[Metric]:
    repeated, known = duplicates(fake), duplicates(real)
    rule = THRESHOLDS["valid.duplicates"]
    few = _few(sizes["holdout"], MINIMUM_SOFT_RULE_ROWS)
    metrics = []
    if soft:
        metrics.append(
            judged(
                "valid.soft_rules",
                scores.get("soft_rules"),
                threshold="valid.soft_rules",
                question="valid",
                role="info",
                label="largest difference in how often a soft rule is broken",
                direction="lower",
                too_small=few,
            )
        )
    gap = repeated - known
    metrics.append(
        Metric(
            id="valid.duplicates",
            question="valid",
            role="if_measurable",
            label="repeated rows, above the patients' own",
            value=finite(gap),
            direction="lower",
            ceiling=0.0,
            green=rule.green,
            amber=rule.amber,
            threshold_origin=rule.origin,
            light=light_of(gap, green=rule.green, amber=rule.amber, low=0.0, high=0.0, direction="lower"),
            n=sizes,
            rows_used="train",
        )
    )
    return metrics


def _fidelity(
    scores: Mapping[str, Anchored], real: Rows, fake: Rows, sizes: Mapping[str, int], seed: int
) -> list[Metric]:
    found = scores.get("association")
    few = _few(min(sizes["holdout"], sizes["synthetic"]), MINIMUM_COLUMN_ROWS)
    too_few = _few(min(sizes["holdout"], sizes["synthetic"]), MINIMUM_ASSOCIATION_ROWS)
    if found is not None and not found.ceiling - found.floor > found.high - found.low:
        too_few = too_few or "shuffled columns score as high as fresh patients: there is no dependence to keep"
    metrics = [
        judged(
            "faithful.association",
            found,
            threshold="faithful.association",
            question="faithful",
            role="deciding",
            label="concordance of all pair associations",
            direction="higher",
            too_small=too_few,
        ),
        judged(
            "faithful.shapes",
            scores.get("shapes"),
            threshold="faithful.shapes",
            question="faithful",
            role="deciding",
            label="likeness of single columns",
            direction="higher",
            too_small=few,
        ),
        judged(
            "faithful.missing",
            scores.get("missing"),
            threshold="faithful.missing",
            question="faithful",
            role="deciding",
            label="largest difference in a column's missing share",
            direction="lower",
            too_small=few,
        ),
    ]
    levels = levels_kept(real, fake, seed=seed)
    if levels is not None:
        metrics.append(
            judged(
                "faithful.levels",
                Anchored(levels.share, math.nan, levels.median, levels.low, levels.high, len(fake)),
                threshold="faithful.levels",
                question="faithful",
                role="deciding",
                label="share of common levels that occur",
                direction="higher",
                n={"levels": levels.counted, "synthetic": len(fake)},
            )
        )
    for name, label in (
        ("pairs", "mean distance between two-way tables"),
        ("missing_pattern", "difference of what is missing together"),
    ):
        if name in scores and not math.isnan(scores[name].value):
            metrics.append(
                judged(
                    f"faithful.{name}",
                    scores[name],
                    threshold=f"faithful.{name}",
                    question="faithful",
                    role="info",
                    label=label,
                    direction="lower",
                )
            )
    return metrics


def _divergence(found: Anchored | None) -> Metric:
    return judged(
        "faithful.js_bins",
        found,
        threshold="faithful.js_bins",
        question="faithful",
        role="info",
        label="mean divergence of single columns in the dictionary's cells, bits",
        direction="lower",
    )


def _survival(
    endpoint: Survival, suffix: str, scores: Mapping[str, Anchored], real: Rows, fresh: Rows, fake: Rows
) -> list[Metric]:
    """`survival.km_area`, `km_worst`, `cox`, `rmst`; endpoints but the primary carry their name as a suffix."""
    events = events_of(fresh, endpoint)
    few = "" if events >= MINIMUM_KM_EVENTS else f"needs {MINIMUM_KM_EVENTS} events in the hold-out, which has {events}"
    name = endpoint.label or endpoint.name
    n = {"events": events, "matched": min(len(fresh), len(fake))}
    metrics = [
        judged(
            f"survival.km_area{suffix}",
            scores.get(f"km:{endpoint.name}"),
            threshold="survival.km_area",
            question="faithful",
            role="deciding",
            label=f"area between survival curves ({name})",
            direction="lower",
            too_small=few,
            n=n,
        )
    ]
    for key, metric, label, better in (
        ("worst", "km_worst", f"area between survival curves, worst group ({name})", "lower"),
        ("cox", "cox", f"overlap of Cox intervals ({name})", "higher"),
        ("cox_worst", "cox_worst", f"overlap of Cox intervals, worst group ({name})", "higher"),
    ):
        found = scores.get(f"{key}:{endpoint.name}")
        if found is not None and not math.isnan(found.value):
            metrics.append(
                judged(
                    f"survival.{metric}{suffix}",
                    found,
                    threshold=f"survival.{metric}",
                    question="faithful" if key == "worst" else "useful",
                    role="if_measurable",
                    label=label,
                    direction="lower" if better == "lower" else "higher",
                    too_small=few,
                    n=n,
                )
            )
    metrics.append(_rmst(endpoint, f"survival.rmst{suffix}", name, real, fake))
    return metrics


def _rmst(endpoint: Survival, metric_id: str, name: str, real: Rows, fake: Rows) -> Metric:
    here, here_error = restricted_mean(curve_of(fake, endpoint), endpoint.horizon_days)
    there, there_error = restricted_mean(curve_of(real, endpoint), endpoint.horizon_days)
    noise = math.hypot(here_error, there_error)
    difference = here - there
    return Metric(
        id=metric_id,
        question="faithful",
        role="info",
        label=f"difference of mean days to the horizon ({name})",
        value=finite(difference),
        direction="lower",
        ceiling=0.0,
        reason="information only: synthetic minus patients, Greenwood 90 % interval",
        rows_used="train",
        value_low=finite(difference - 1.644854 * noise),
        value_high=finite(difference + 1.644854 * noise),
    )


def _few(found: int, wanted: int) -> str:
    return "" if found >= wanted else f"needs {wanted} hold-out rows, found {found}"
