"""Training: encode at each site, then the federated rounds; what comes back holds no patient."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthfed.errors import ConfigError, EmptySite, TooFewSites
from synthfed.pipeline import Pipeline
from synthfed.run.progress import Progress, Silent

if TYPE_CHECKING:  # heavy at run time; each function imports what it uses
    from synthfed.cohorts.sites import Cohort
    from synthfed.federation.in_process import RoundDone
    from synthfed.generators.base import Weights
    from synthfed.generators.model_file import SavedModel
    from synthfed.generators.start import Finished
    from synthfed.privacy.events import PrivacyEvent
    from synthfed.tables.schema import Schema
    from synthfed.tables.transform import Transformer


@dataclass(frozen=True, slots=True)
class Trained:
    """What training leaves: enough to sample, to account and to write a dossier.

    Attributes:
        released: The tensors that ship.
        ledger: The release ledger (`ledger.json`).
        audit: The sites' audit chains, JSON lines, with the keys that signed them.
        spent_over_runs: Largest epsilon that a site's ledger holds over all its runs; `None` where none is kept.
        words: The sentences about the secure sum that a report must show.
        exports: What each site's ledger says of this run, and
        planned: all that it had to charge: what the statement was made of; scoring held-out patients adds to it.
        history: Per round what was released: round, stage, epsilon so far, bytes moved, norm of the summed update
            (None where the round counted), seconds.
        finished: Of a network that started from counts, how it compares with its start; else None.
    """

    pipeline: Pipeline
    schema: "Schema"
    transformer: "Transformer"
    released: "Weights"
    ledger: Mapping[str, Any]
    audit: tuple[str, ...] = ()
    audit_keys: Mapping[str, str] = field(default_factory=dict)
    spent_over_runs: float | None = None
    rounds: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    words: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    finished: "Finished | None" = None
    exports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    planned: tuple["PrivacyEvent", ...] = ()


@dataclass(frozen=True, slots=True)
class LedgerHome:
    """Where ledgers live that outlast a run, and what one patient may lose in all runs recorded there."""

    folder: Path
    epsilon_limit: float


def check_before_training(pipeline: Pipeline, cohort: "Cohort") -> None:
    """Refuse what cannot end well before training touches a row.

    Raises:
        TooFewSites: Fewer sites than `federation.min_sites`.
        EmptySite: A site with fewer training patients than `cohort.min_rows`.
        BudgetTooSmall: The budget buys less than one useful step.
        ConfigError: `evaluation.pairs` names a column that the run does not have.
        UnknownColumn, PipelineError: `generator.focus` cannot be counted, or not be kept together.
    """
    from synthfed.generators.plan import make_plan, run_coding, run_workload

    need = pipeline.federation.min_sites
    if len(cohort.sites) < need:
        raise TooFewSites(
            f"found {len(cohort.sites)} site(s) ({', '.join(cohort.sites)}); a secure sum needs at least {need} "
            "(federation.min_sites): give a folder with one file per site, another --site-column, or --split-sites 4"
        )
    least = pipeline.cohort.min_rows
    for site, rows in cohort.sites.items():
        if len(rows) < least:
            raise EmptySite(
                f"site {site!r} has fewer than {least} training patients (cohort.min_rows); leave the site out, "
                "merge it with another, or lower cohort.min_rows if its policy allows"
            )
    unknown = sorted({name for pair in pipeline.evaluation.pairs for name in pair} - set(cohort.schema.names))
    if unknown:
        raise ConfigError(f"evaluation.pairs names {unknown}, no columns of this run; add them to cohort.columns")
    make_plan(pipeline, sites=len(cohort.sites))
    if pipeline.counts_first:
        run_workload(pipeline, run_coding(pipeline, cohort.schema, sites=len(cohort.sites)).template)


def train(
    pipeline: Pipeline,
    cohort: "Cohort",
    *,
    work: Path,
    resume: bool = False,
    progress: Progress | None = None,
    ledgers: LedgerHome | None = None,
) -> Trained:
    """Run the federated rounds in this process; the apps are the deployed ones.

    Args:
        work: Folder for keys, ledgers, protocol state and checkpoints of this run.
        resume: Go on after the last finished round found in `work`.
        ledgers: Where the sites' ledgers outlast this run; real patients need one, simulated ones do not.

    Raises:
        TooFewSites, EmptySite, BudgetTooSmall, BudgetRefused: Before any training.
    """
    from synthfed.federation.in_process import run_in_process
    from synthfed.generators.plan import all_events, make_plan, run_coding
    from synthfed.privacy.statement import release_ledger

    say = progress or Silent()
    check_before_training(pipeline, cohort)
    coding = run_coding(pipeline, cohort.schema, sites=len(cohort.sites))
    history: list[Mapping[str, Any]] = []

    def round_done(done: "RoundDone") -> None:
        history.append(_history_line(done))
        say.round_done(done)

    result = run_in_process(
        pipeline=pipeline,
        transformer=coding.template,
        sites=cohort.sites,
        coding=coding,
        work=work,
        simulated=cohort.simulated,
        resume=resume,
        progress=round_done,
        site_home=ledgers.folder if ledgers else None,
        epsilon_limit=ledgers.epsilon_limit if ledgers else None,
    )
    seeded = pipeline.privacy.seeded(simulated=cohort.simulated)
    planned = all_events(make_plan(pipeline, sites=len(cohort.sites), coding=coding))
    return Trained(
        pipeline=pipeline,
        schema=cohort.schema,
        transformer=result.encoder or coding.template,
        released=result.released,
        ledger=release_ledger(
            result.ledgers,
            pipeline,
            simulated=cohort.simulated,
            seeded=seeded,
            planned=planned,
        ),
        audit=result.audit,
        audit_keys=result.audit_keys,
        spent_over_runs=max(float(export["epsilon_spent"]) for export in result.ledgers.values()) if ledgers else None,
        rounds=result.rounds,
        bytes_up=result.bytes_up,
        bytes_down=result.bytes_down,
        words=result.words,
        history=tuple(history),
        finished=result.finished,
        exports=result.ledgers,
        planned=tuple(planned),
    )


def _history_line(done: "RoundDone") -> dict[str, Any]:
    return {
        "round": done.round_index + 1,
        "stage": done.stage,
        "epsilon": done.epsilon_so_far,
        "bytes": done.bytes_moved,
        "update_norm": None if done.counted else done.update_norm,
        "seconds": done.seconds,
    }


def train_one_site(pipeline: Pipeline, cohort: "Cohort") -> Trained:
    """Train on one table, with the same noise and no aggregation: for a hospital alone, or for comparison.

    Raises:
        EmptySite: Fewer training patients than `cohort.min_rows`.
        BudgetTooSmall: The budget buys less than one useful step.
    """
    import os

    from synthfed.generators import central
    from synthfed.generators.base import Layout
    from synthfed.generators.counted import Counting
    from synthfed.generators.plan import make_plan, run_coding, run_workload
    from synthfed.generators.registry import make_generator
    from synthfed.privacy.mechanisms import seeded_key
    from synthfed.privacy.statement import central_ledger

    ((site, rows),) = cohort.sites.items()
    if len(rows) < pipeline.cohort.min_rows:
        raise EmptySite(
            f"the table has fewer than {pipeline.cohort.min_rows} training patients (cohort.min_rows); "
            "give more rows, or lower cohort.min_rows"
        )
    coding = run_coding(pipeline, cohort.schema, sites=1)
    plan = make_plan(pipeline, sites=1, coding=coding)
    seeded = pipeline.privacy.seeded(simulated=cohort.simulated)
    key = seeded_key(pipeline.seed, site) if seeded else os.urandom(32)
    transformer = central.fit_encoder(coding, rows, plan, noise_key=key)
    layout = Layout(transformer.names, transformer.widths)
    counting = None
    if plan.measures:
        workload = run_workload(pipeline, transformer)
        counting = Counting(layout, workload, plan, pipeline.privacy.expected_patients)
    learned = central.train(
        make_generator(pipeline.generator),
        layout,
        transformer.encode(rows),
        plan,
        seed=pipeline.seed,
        noise_key=key,
        counting=counting,
    )
    events = learned.events
    ledger = central_ledger(events, pipeline, site=site, simulated=cohort.simulated, seeded=seeded, planned=events)
    return Trained(
        pipeline=pipeline,
        schema=cohort.schema,
        transformer=transformer,
        released=learned.released,
        ledger=ledger,
        rounds=plan.all_rounds,
        finished=learned.finished,
    )


def saved_model(trained: Trained) -> "SavedModel":
    """What a model file holds of a training: the released part only."""
    from synthfed.generators.base import Layout
    from synthfed.generators.model_file import SavedModel

    return SavedModel(
        kind=trained.pipeline.generator.kind,
        layout=Layout(trained.transformer.names, trained.transformer.widths),
        weights=trained.released,
        transformer=trained.transformer.to_json(),
        schema=trained.schema.to_dict(),
        pipeline=json.loads(trained.pipeline.canonical()),
        ledger=_portable(trained.ledger),
        kept=trained.finished.kept if trained.finished else None,
    )


def _portable(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """The ledger without the names of its entries, which differ between equal runs; `ledger.json` keeps them."""
    events = [{key: value for key, value in event.items() if key != "ids"} for event in ledger["events"]]
    sites = [{key: value for key, value in site.items() if key != "chain_head"} for site in ledger["sites"]]
    return {**ledger, "events": events, "sites": sites}


def restored(saved: "SavedModel", origin: str) -> Trained:
    """A model file as it was after training, ready to sample.

    Raises:
        PipelineError: The file's settings are not ones this version knows.
    """
    from synthfed.generators.start import Finished
    from synthfed.tables.schema import Schema
    from synthfed.tables.transform import Transformer

    return Trained(
        pipeline=Pipeline.parse(dict(saved.pipeline), origin=origin),
        schema=Schema.from_dict(saved.schema),
        transformer=Transformer.from_json(saved.transformer),
        released=saved.weights,
        ledger=saved.ledger,
        finished=Finished(saved.weights, saved.kept) if saved.kept else None,
    )
