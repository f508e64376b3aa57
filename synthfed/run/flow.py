"""A pipeline from cohort to dossier, readable top to bottom.

site tables --encode--> codes          stays at the site
ROUNDS    noisy counts -> shares -> exact sum -> tree of tables         charged to each site's ledger
          stint under DP-SGD -> shares -> exact sum -> new weights      the same; networks only
RELEASE   model -> sample -> decode -> rules hold -> synthetic table    post-processing
COUNTS    of held-out patients, noisy -> shares -> exact sum            charged to the held-out patients
SCORE     against real rows, inside this trusted machine only           those numbers stay here
DOSSIER   table, model, dictionary, report, ledger, audit chain, signature
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from synthfed.errors import BudgetRefused
from synthfed.generators.plan import make_plan, run_coding
from synthfed.generators.words import outline
from synthfed.pipeline import Pipeline
from synthfed.run.benefit import with_benefit
from synthfed.run.contents import RunFacts, write_release
from synthfed.run.drawing import draw_table, score_table
from synthfed.run.progress import Progress, Silent
from synthfed.run.scoring import asks_holdout, count_holdout
from synthfed.run.shadowing import with_shadow_attack
from synthfed.run.training import LedgerHome, check_before_training, train
from synthfed.run.work import close_work, open_work

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.evaluation.scorecard import Scorecard


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Attributes:
        dossier: The release folder; for real patients `internal/` inside it stays with the data holder.
        card: Scores against real rows, as this trusted machine saw them.
        epsilon: What one training patient spent in this run; `None` when there is no formal guarantee.
        epsilon_holdout: What one held-out patient spent; `None` also where they were not counted.
        epsilon_local: The same against all other sites together; equal where each site draws all its own noise.
        spent_over_runs: What the ledgers hold for these patients over all runs; `None` for simulated ones.
    """

    dossier: Path
    table: pd.DataFrame
    card: "Scorecard"
    epsilon: float | None
    epsilon_local: float | None
    delta: float
    seconds: float
    spent_over_runs: float | None
    epsilon_holdout: float | None = None


def run_pipeline(
    pipeline: Pipeline,
    cohort: "Cohort",
    *,
    out: Path,
    dictionary_file: Path,
    resume: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
    ledgers: LedgerHome | None = None,
) -> RunResult:
    """Train, release, score and write the dossier at `out`.

    Args:
        dictionary_file: The `dictionary.toml` that described the columns; a copy goes into the dossier.
        resume: Go on with the unfinished run in `<out>.work`.
        replace: Put the new dossier in the place of an old one once it is complete.
        ledgers: Where the sites' ledgers outlast this run.

    Raises:
        DossierError: `out` is taken, or there is nothing to resume.
        TooFewSites, EmptySite, BudgetTooSmall, BudgetRefused: Before any training.
    """
    say = progress or Silent()
    started = time.monotonic()
    say.stage("cohort", f"{len(cohort.sites)} sites: {cohort.origin}")
    cohort = cohort.select(pipeline.cohort.columns)
    check_before_training(pipeline, cohort)
    work = open_work(pipeline, cohort, out, resume=resume, replace=replace)

    coding = run_coding(pipeline, cohort.schema, sites=len(cohort.sites))
    say.stage("rounds", outline(pipeline, make_plan(pipeline, sites=len(cohort.sites), coding=coding)))
    try:
        trained = train(pipeline, cohort, work=work, resume=resume, progress=say, ledgers=ledgers)
    except BudgetRefused:
        if not resume:
            close_work(work)  # refused before anything was trained: there is nothing to resume
        raise

    say.stage("release", f"{pipeline.release.rows} synthetic rows")
    table = draw_table(trained, cohort.rules, rows=pipeline.release.rows, seed=pipeline.release.seed)

    scored = None
    if asks_holdout(pipeline):
        say.stage("counts", "of held-out patients, one secure sum")
        scored = count_holdout(trained, table, cohort, work=work, ledgers=ledgers)
        trained = scored.trained

    say.stage("score", "with ceilings and floors")
    card = score_table(trained, table, cohort.rules, train=cohort.train, holdout=cohort.holdout, progress=say.step)

    if pipeline.evaluation.shadow_models:
        say.stage("shadow models", f"{pipeline.evaluation.shadow_models} generators on random halves of the patients")
        card = with_shadow_attack(card, pipeline, cohort)

    if pipeline.tells_benefit:
        say.stage("benefit", "each site also trains alone")
        card = with_benefit(card, trained, table, cohort)

    say.stage("dossier", str(out))
    facts = RunFacts(cohort=cohort, dictionary_file=dictionary_file, seconds=time.monotonic() - started)
    dossier = write_release(trained, table, card, facts, out=out, replace=replace, scored=scored)
    close_work(work)
    return RunResult(
        dossier=dossier,
        table=table,
        card=card,
        epsilon=trained.ledger["populations"]["train"]["epsilon"],
        epsilon_local=trained.ledger["populations"]["train"]["epsilon_local"],
        delta=pipeline.privacy.delta,
        seconds=time.monotonic() - started,
        spent_over_runs=trained.spent_over_runs,
        epsilon_holdout=trained.ledger["populations"].get("holdout", {}).get("epsilon"),
    )
