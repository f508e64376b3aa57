"""Scores of a release on held-out patients that may leave the sites, because their own budget paid for them.

The plan of what is counted follows from the released table; one secure sum opens noisy counts over all sites; the rest
is post-processing. A release's epsilon is the larger of what its training patients and its held-out patients paid: no
patient is in both halves. See `federation.scoring` for what an adversary learns, `evaluation.counted` for the scores.
"""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from synthfed.pipeline import Pipeline
from synthfed.run.training import LedgerHome, Trained

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.evaluation.counted.score import Counted, CountedScores
    from synthfed.evaluation.scorecard import Cost, Scorecard
    from synthfed.federation.one_process import Wiretap
    from synthfed.federation.scoring_in_process import HoldoutCounts
    from synthfed.tables.rules import RuleSet

COUNTS = "holdout_counts.json"  # in the dossier: what was counted, so that anybody can score it again
AUDIT = "audit_holdout.jsonl"  # the sites' signed logs of the scoring run
_SCHEMA = "synthfed.holdout-counts/1"


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scoring run adds to a release.

    Attributes:
        trained: The training with the scoring run in its ledger statement, traffic and words.
        counted: The noisy sum.
        cost: Of every number that follows from it.
        audit: Signed chains of the sites, JSON lines.
    """

    trained: Trained
    counted: "Counted"
    cost: "Cost"
    audit: tuple[str, ...]


def asks_holdout(pipeline: Pipeline) -> bool:
    """Whether a release of this pipeline says anything of held-out patients."""
    return pipeline.evaluation.release == "exact-sums" or pipeline.holdout_epsilon is not None


def count_holdout(
    trained: Trained,
    table: pd.DataFrame,
    cohort: "Cohort",
    *,
    work: Path,
    ledgers: LedgerHome | None = None,
    wiretap: "Wiretap | None" = None,
) -> Scored:
    """Count the cohort's held-out patients over all sites; charged to their own budget before anything leaves a site.

    Args:
        trained: As `train` returned it, with `work` and `ledgers` as they were given there. A stopped run goes on:
            nobody is charged twice.
        table: The released table.

    Raises:
        BudgetRefused, SiteRefused: A ledger or policy forbids it.
        ConfigError: `[evaluation]` names a column that the run does not have.
    """
    from synthfed.evaluation.counted.count import rows_for
    from synthfed.evaluation.counted.plan import plan
    from synthfed.evaluation.rows import Shape, read_rows
    from synthfed.federation.scoring_in_process import score_in_process
    from synthfed.tables.writing import to_csv_bytes

    pipeline = trained.pipeline
    asked = plan(read_rows(table, Shape.of(trained.schema)), trained.schema, pipeline.evaluation, cohort.rules)
    counts = score_in_process(
        asked,
        {site: rows_for(asked, rows, cohort.schema, cohort.rules) for site, rows in cohort.holdouts.items()},
        pipeline=pipeline,
        table_sha256=hashlib.sha256(to_csv_bytes(table, trained.schema)).hexdigest(),
        work=work,
        simulated=cohort.simulated,
        site_home=ledgers.folder if ledgers else None,
        wiretap=wiretap,
    )
    seeded = pipeline.privacy.seeded(simulated=cohort.simulated)
    return with_counts(trained, counts, simulated=cohort.simulated, seeded=seeded)


def with_counts(trained: Trained, counts: "HoldoutCounts", *, simulated: bool, seeded: bool) -> Scored:
    """Join a scoring run to its training: one ledger statement over both populations.

    Raises:
        LedgerBroken: A site's ledger lacks a charge of either run.
    """
    from synthfed.evaluation.counted.score import Counted
    from synthfed.evaluation.scorecard import Cost
    from synthfed.federation.scoring import PURPOSE, planned_scoring
    from synthfed.privacy.accounting import epsilon_of
    from synthfed.privacy.statement import release_ledger

    pipeline = trained.pipeline
    planned = planned_scoring(pipeline)
    ledger = release_ledger(
        trained.exports,
        pipeline,
        simulated=simulated,
        seeded=seeded,
        planned=trained.planned,
        scored=counts.ledgers if planned else None,
        scoring=planned,
        exact_sums=not planned,
    )
    spent = [float(export["epsilon_spent"]) for export in counts.ledgers.values() if "epsilon_spent" in export]
    over_runs = trained.spent_over_runs
    epsilon = epsilon_of(planned, pipeline.privacy.delta) if planned else math.inf
    return Scored(
        trained=replace(
            trained,
            ledger=ledger,
            spent_over_runs=over_runs if over_runs is None else max([over_runs, *spent]),
            bytes_up=trained.bytes_up + counts.bytes_up,
            bytes_down=trained.bytes_down + counts.bytes_down,
            words=tuple(dict.fromkeys((*trained.words, *counts.words))),
        ),
        counted=Counted(counts.plan, counts.counts.astype(float), counts.stddevs),
        cost=Cost(epsilon, pipeline.privacy.delta, PURPOSE if planned else ""),
        audit=counts.audit,
    )


def holdout_scores(scored: Scored, table: pd.DataFrame, rules: "RuleSet", *, deciding: bool) -> "CountedScores":
    """Metrics of the table from the counts: post-processing.

    Args:
        deciding: Whether they set lights, as in a release, or stand beside exact ones.
    """
    from synthfed.evaluation.counted.count import rows_for
    from synthfed.evaluation.counted.score import score

    schema = scored.trained.schema
    return score(
        scored.counted,
        rows_for(scored.counted.plan, table, schema, rules),
        schema,
        seed=scored.trained.pipeline.seed,
        cost=scored.cost,
        deciding=deciding,
    )


def with_holdout_scores(card: "Scorecard", scores: "CountedScores") -> "Scorecard":
    """A scorecard that also holds what was counted of held-out patients."""
    return replace(
        card, metrics=(*card.metrics, *scores.metrics), figures={**card.figures, "counted": dict(scores.figure)}
    )


def holdout_files(scored: Scored) -> dict[str, bytes]:
    """What the dossier holds of a scoring run, by name; exact sums stay out, only scores from them are told."""
    files = {AUDIT: "".join(line.rstrip("\n") + "\n" for line in scored.audit).encode()}
    if not math.isinf(scored.cost.epsilon):
        files[COUNTS] = (json.dumps(_counts_body(scored), sort_keys=True, separators=(",", ":")) + "\n").encode()
    return files


def _counts_body(scored: Scored) -> dict[str, Any]:
    counted = scored.counted
    return {
        "schema": _SCHEMA,
        "plan": json.loads(counted.plan.to_json()),
        "counts": [int(number) for number in counted.counts],
        "stddevs": [float(number) for number in counted.stddevs],  # whole: scores are computed again from them
        "epsilon": scored.cost.epsilon,
        "delta": scored.cost.delta,
        "population": "holdout",
    }
