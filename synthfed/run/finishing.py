"""From what a deployed run left at the coordinator to a signed dossier.

The coordinator holds no patient, so there is one edition: the release. Everything in it follows from the summed,
noised model, the sites' ledgers and their signed logs, and from noisy counts of held-out patients where a scoring run
made them. Other scores against patients are each hospital's to make, with `synthfed score` on its own table.
"""

import datetime
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from synthfed.errors import DossierError
from synthfed.run.contents import RunFacts, public_files, report_files
from synthfed.run.drawing import draw_table, score_table
from synthfed.run.scoring import holdout_files, holdout_scores, with_holdout_scores
from synthfed.run.scoring_deployed import scored_from
from synthfed.run.training import Trained

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.federation.checkpoints import Checkpoint
    from synthfed.federation.training import TrainingCourse
    from synthfed.generators.base import Weights
    from synthfed.generators.start import Finished as FinishedNetwork

COMMAND = "synthfed coordinator submit COORDINATOR pipeline.toml"


@dataclass(frozen=True, slots=True)
class Finished:
    """A dossier made at the coordinator."""

    dossier: Path
    rows: int
    epsilon: float | None
    delta: float


def finish_run(
    folder: Path, *, out: Path, signing: Path, replace: bool = False, scores: Path | None = None
) -> Finished:
    """Sample, score what needs no patient, and write the dossier.

    Args:
        folder: The run's folder at the coordinator, closed by every site.
        signing: Folder of the key that signs dossiers; made at first use.
        scores: The folder of a closed scoring run of this release (`scoring_deployed`).

    Raises:
        DossierError: A run is not closed, a file of it is missing or damaged, or `out` exists.
        LedgerBroken: A site's ledger lacks a charge of this run.
    """
    from synthfed.dossier import coordinator_key, write_dossier
    from synthfed.resources import dictionary_path

    started = time.monotonic()
    trained = trained_from(folder)
    dictionary = dictionary_path(trained.pipeline.disease)
    cohort = _without_rows(trained, dictionary)
    table = draw_table(trained, cohort.rules, rows=trained.pipeline.release.rows, seed=trained.pipeline.release.seed)
    scored = None if scores is None else scored_from(trained, table, scores)
    trained = scored.trained if scored else trained
    card = score_table(trained, table, cohort.rules, train=None, holdout=None)
    seconds = sum(float(line["seconds"]) for line in trained.history) + time.monotonic() - started
    facts = RunFacts(cohort=cohort, dictionary_file=dictionary, seconds=seconds, command=COMMAND)
    files = public_files(trained, table, facts)
    if scored is not None:
        files |= holdout_files(scored)
        card = with_holdout_scores(card, holdout_scores(scored, table, cohort.rules, deciding=True))
    files |= report_files(trained, card, facts, files, edition="release")
    dossier = write_dossier(out, files, key=coordinator_key(signing), replace=replace)
    privacy = trained.ledger["populations"]["train"]
    return Finished(dossier, len(table), privacy["epsilon"], trained.pipeline.privacy.delta)


def trained_from(folder: Path) -> Trained:
    """What a deployed run trained, read from its folder.

    Raises:
        DossierError: The run is not closed, or a file of it is damaged.
        LedgerBroken: A site's ledger lacks a charge of this run.
        RosterRefused, ManifestError: The folder's roster or manifest was altered.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from synthfed.federation.checkpoints import Checkpoints
    from synthfed.federation.deployment.runs import is_closed, progress_of
    from synthfed.federation.manifest import Manifest
    from synthfed.federation.server_app import kept_manifest
    from synthfed.federation.training import TrainingCourse
    from synthfed.federation.words import honest_sentences, reduced_sentences
    from synthfed.generators.plan import all_events, make_plan, run_coding
    from synthfed.generators.registry import make_generator
    from synthfed.privacy.accounting import epsilon_alone
    from synthfed.privacy.statement import release_ledger
    from synthfed.secagg.roster import Roster
    from synthfed.tables.dictionary import load_dictionary
    from synthfed.tables.transform import Transformer

    if not is_closed(folder):
        raise DossierError(f"run {folder.name!r} is not closed by every site; see `synthfed coordinator status`")
    try:
        steward, text = (folder / "steward.pub").read_bytes(), (folder / "roster.toml").read_text(encoding="utf-8")
        ledgers: dict[str, dict[str, Any]] = json.loads((folder / "ledgers.json").read_bytes())
        away = {int(index): tuple(sites) for index, sites in json.loads((folder / "missing.json").read_bytes()).items()}
        released = load_file(folder / "released.safetensors")
        begun = datetime.datetime.fromtimestamp((folder / "manifest.json").stat().st_mtime, datetime.UTC).date()
    except (OSError, ValueError, SafetensorError) as error:
        raise DossierError(f"run {folder.name!r} lacks a usable file ({error}); restore its folder") from error
    roster = Roster.from_toml(text, steward_key=steward, on=begun)
    manifest = kept_manifest(folder, roster.relay_key)
    if not isinstance(manifest, Manifest):
        raise DossierError(
            f"run {folder.name!r} trained no generator; show what it asked: synthfed coordinator answers COORDINATOR "
            f"{folder.name}"
        )
    if set(ledgers) != set(manifest.sites):
        raise DossierError(f"run {folder.name!r} has ledgers of {sorted(ledgers)}; wanted {sorted(manifest.sites)}")
    pipeline = manifest.parse_pipeline()
    schema = load_dictionary(pipeline.disease).schema.select(pipeline.cohort.columns)
    coding = run_coding(pipeline, schema, sites=len(manifest.sites))
    transformer = coding.template
    if (folder / "encoder.json").exists():
        transformer = Transformer.from_json((folder / "encoder.json").read_text(encoding="utf-8"))
    seeded = manifest.randomness == "seeded"
    point = Checkpoints(folder / manifest.hash()).latest()
    sentences = honest_sentences(
        roster,
        manifest.sums,
        epsilon=pipeline.privacy.epsilon,
        seeded=seeded,
        in_process=False,
        epsilon_alone=epsilon_alone(manifest.events(), manifest.delta),
    )
    audits = [(folder / f"audit-{site}.jsonl").read_text(encoding="utf-8") for site in manifest.sites]
    planned = all_events(make_plan(pipeline, sites=len(manifest.sites), coding=coding))
    return Trained(
        pipeline=pipeline,
        schema=schema,
        transformer=transformer,
        released=released,
        ledger=release_ledger(ledgers, pipeline, simulated=False, seeded=seeded, planned=planned),
        audit=tuple(line for text in audits for line in text.splitlines()),
        audit_keys={site: roster.member(site).public_key.hex() for site in manifest.sites},
        spent_over_runs=max(float(export["epsilon_spent"]) for export in ledgers.values()),
        rounds=manifest.rounds,
        bytes_up=point.bytes_up if point else 0,
        bytes_down=point.bytes_down if point else 0,
        words=sentences + reduced_sentences(away),
        history=tuple(_history_line(line) for line in progress_of(folder)),
        exports=ledgers,
        planned=tuple(planned),
        finished=_as_shipped(TrainingCourse(manifest, make_generator(pipeline.generator), coding), point, released),
    )


def _as_shipped(course: "TrainingCourse", point: "Checkpoint | None", released: "Weights") -> "FinishedNetwork | None":
    """How the network that shipped compares with its start: worked out again, but for the choice, which was made."""
    finished = course.finished(point.standing) if point else None
    if finished is None or finished.begun is None:
        return finished
    start = finished.begun.released
    same = all(released[name].tobytes() == tensor.tobytes() for name, tensor in start.items())
    return replace(finished, released=released, kept="start" if same else "trained")


def _history_line(line: Mapping[str, Any]) -> dict[str, Any]:
    counted = str(line["stage"]).startswith("counting")
    return {
        "round": line["round_index"] + 1,
        "stage": line["stage"],
        "epsilon": line["epsilon_so_far"],
        "bytes": line["bytes_moved"],
        "update_norm": None if counted else line["update_norm"],
        "seconds": line["seconds"],
    }


def _without_rows(trained: Trained, dictionary: Path) -> "Cohort":
    """The cohort as the coordinator knows it: names of sites, schema and rules."""
    from synthfed.cohorts.sites import Cohort
    from synthfed.tables.dictionary import load_dictionary
    from synthfed.tables.rules import RuleSet

    sites = {site: pd.DataFrame() for site in trained.audit_keys}
    known = load_dictionary(dictionary)
    return Cohort(
        schema=trained.schema,
        rules=RuleSet.load(known.folder, known.schema).restrict(trained.schema.names),
        sites=sites,
        holdouts={},
        simulated=False,
        origin=f"tables that stayed at {len(sites)} sites: {', '.join(sites)}",
        reports={},
    )
