"""Scoring by hospitals that run on their own: planned and signed at the coordinator after a run was closed.

A scoring run is a folder at the coordinator like one that trains, with the same pipeline and the same sites. What is
counted follows from the table that the closed run draws, and is signed before the first site hears of it, so a run that
was stopped goes on and counts the same. No row is here, and no site's own counts.

    folder = home.begin_run("first-scores", pipeline, toml=...)
    begin_scoring(home.run_folder("first"), folder)      then submitted with `resume`, as a question run is
    finish_run(home.run_folder("first"), out=..., signing=..., scores=folder)
"""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from synthfed.errors import ConfigError, DossierError, FederationError
from synthfed.run.drawing import draw_table
from synthfed.run.scoring import Scored, asks_holdout, with_counts
from synthfed.run.training import Trained

if TYPE_CHECKING:
    from synthfed.federation.scoring import Scoring
    from synthfed.federation.scoring_in_process import HoldoutCounts
    from synthfed.tables.rules import RuleSet


def begin_scoring(training: Path, folder: Path) -> None:
    """Plan what is counted and sign the run's manifest; no site is asked yet.

    Args:
        training: Folder of a training run that every site closed.
        folder: A new run's folder as `CoordinatorHome.begin_run` makes it, with the same pipeline.

    Raises:
        ConfigError: The pipeline asks nothing of held-out patients, or `folder` holds another one.
        DossierError: The training run is not closed, or a file of it is damaged.
        FederationError: The roster changed since.
    """
    from synthfed.evaluation.counted.plan import plan
    from synthfed.evaluation.rows import Shape, read_rows
    from synthfed.federation.manifest import synthfed_version
    from synthfed.federation.scoring import Scoring
    from synthfed.federation.server_app import keep_manifest, relay_and_roster
    from synthfed.pipeline import Pipeline
    from synthfed.run.finishing import trained_from

    trained = trained_from(training)
    pipeline = trained.pipeline
    if not asks_holdout(pipeline):
        raise ConfigError(
            "this pipeline asks nothing of held-out patients (evaluation.release, evaluation.epsilon_holdout)"
        )
    if Pipeline.load(str(folder / "pipeline.toml")).digest() != pipeline.digest():
        raise ConfigError(f"run {folder.name!r} has another pipeline than run {training.name!r}; give it the same")
    relay, roster = relay_and_roster(folder)
    sites = tuple(member.site for member in roster.members)
    if sites != tuple(trained.audit_keys):
        raise FederationError(
            f"run {training.name!r} was trained by {', '.join(trained.audit_keys)}; the roster now names "
            f"{', '.join(sites)}: the same sites must score it"
        )
    rules = rules_of(trained)
    table = released_table(trained, rules)
    asked = plan(read_rows(table, Shape.of(trained.schema)), trained.schema, pipeline.evaluation, rules)
    manifest = Scoring(
        pipeline=pipeline.canonical().decode(),
        counts=asked.to_json(),
        table=_sha256(table, trained),
        noise_seed=0,
        roster=roster.digest().hex(),
        sites=sites,
        randomness="secure",
        simulated=False,
        version=synthfed_version(),
        nonce=os.urandom(32).hex(),
    )
    manifest.check()
    keep_manifest(folder, manifest, relay)


def scored_from(trained: Trained, table: pd.DataFrame, folder: Path) -> Scored:
    """What a closed scoring run adds to the release of `table`.

    Raises:
        DossierError: It is not closed, is damaged, or scored another table.
        LedgerBroken: A site's ledger lacks the charge.
    """
    from synthfed.federation.scoring import Scoring
    from synthfed.federation.server_app import kept_manifest, relay_and_roster

    _, roster = relay_and_roster(folder)
    manifest = kept_manifest(folder, roster.relay_key)
    if not isinstance(manifest, Scoring):
        raise DossierError(f"run {folder.name!r} scored nothing; name a run of `synthfed coordinator score`")
    if manifest.table != _sha256(table, trained) or manifest.subject_digest() != trained.pipeline.digest():
        raise DossierError(f"run {folder.name!r} scored another table; score this one, or finish without scores")
    return with_counts(trained, _counts_in(folder, manifest), simulated=False, seeded=False)


def rules_of(trained: Trained) -> "RuleSet":
    """The rules of the pipeline's dictionary that speak of its columns."""
    from synthfed.resources import dictionary_path
    from synthfed.tables.dictionary import load_dictionary
    from synthfed.tables.rules import RuleSet

    known = load_dictionary(dictionary_path(trained.pipeline.disease))
    return RuleSet.load(known.folder, known.schema).restrict(trained.schema.names)


def released_table(trained: Trained, rules: "RuleSet") -> pd.DataFrame:
    """The table that the pipeline releases; the same every time."""
    release = trained.pipeline.release
    return draw_table(trained, rules, rows=release.rows, seed=release.seed)


def _counts_in(folder: Path, manifest: "Scoring") -> "HoldoutCounts":
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from synthfed.federation.checkpoints import Checkpoints
    from synthfed.federation.deployment.runs import is_closed
    from synthfed.federation.scoring import summed
    from synthfed.federation.scoring_in_process import HoldoutCounts
    from synthfed.federation.words import reduced_sentences

    if not is_closed(folder):
        raise DossierError(f"run {folder.name!r} is not closed by every site; see `synthfed coordinator status`")
    try:
        counts, counted = summed(load_file(folder / "released.safetensors"))
        ledgers: dict[str, dict[str, Any]] = json.loads((folder / "ledgers.json").read_bytes())
        away = {int(index): tuple(sites) for index, sites in json.loads((folder / "missing.json").read_bytes()).items()}
        audits = [(folder / f"audit-{site}.jsonl").read_text(encoding="utf-8") for site in manifest.sites]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DossierError(f"run {folder.name!r} lacks a usable file ({error}); restore its folder") from error
    point = Checkpoints(folder / manifest.hash()).latest()
    return HoldoutCounts(
        plan=manifest.plan(),
        counts=counts,
        stddevs=manifest.noise_of_sum(counted=counted),
        ledgers=ledgers,
        audit=tuple(line for text in audits for line in text.splitlines()),
        bytes_up=point.bytes_up if point else 0,
        bytes_down=point.bytes_down if point else 0,
        words=reduced_sentences(away),
    )


def _sha256(table: pd.DataFrame, trained: Trained) -> str:
    from synthfed.tables.writing import to_csv_bytes

    return hashlib.sha256(to_csv_bytes(table, trained.schema)).hexdigest()
