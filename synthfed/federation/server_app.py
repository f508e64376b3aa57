"""The ServerApp of a run: it builds a `Coordinator`, lets it run on Flower's grid, and hands over the outcome.

`build_server_app` takes both ends as functions, so the in-process run keeps the outcome in memory; `app` is the
deployed shape: it reads the coordinator's folder (`out-dir` of the run config: `relay.key`, `roster.toml`,
`steward.pub`) and writes the outcome there. Dossier and report are made afterwards, from that folder. In Flower's
simulation engine it makes that folder first, and the sites' below it.
"""

import datetime
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from synthfed.errors import FederationError, SynthfedError
from synthfed.federation.checkpoints import Checkpoints
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.inquiry import Inquiry, InquiryCourse
from synthfed.federation.local_grid import in_simulation
from synthfed.federation.manifest import (
    Manifest,
    ManifestError,
    RunManifest,
    check_signature,
    make_manifest,
    read_manifest,
)
from synthfed.federation.progress import RoundDone
from synthfed.federation.rounds import Coordinator, Outcome
from synthfed.federation.scoring import Scoring, ScoringCourse
from synthfed.federation.simulated import coordinator_folder, found_simulated
from synthfed.federation.training import TrainingCourse
from synthfed.federation.work import Course
from synthfed.generators.base import Layout
from synthfed.generators.start import blank
from synthfed.pipeline import Pipeline
from synthfed.secagg.roster import Roster

_ASK_DEADLINE_S = 600.0  # of one trip of a question run; those that train take theirs from the pipeline
FAILED = "failed.txt"  # why the run ended last; gone as soon as it goes on
PROGRESS = "progress.jsonl"  # a line per finished round in the coordinator's folder: released values only


def build_server_app(
    prepare: Callable[[Grid, Context], Coordinator],
    deliver: Callable[[Context, Outcome], None],
    note: Callable[[Context, SynthfedError], None] | None = None,
) -> ServerApp:
    """Make a server app from what prepares the run, what takes its outcome, and what notes why there is none."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            deliver(context, prepare(grid, context).run(grid))
        except SynthfedError as error:
            if note is not None:
                note(context, error)
            raise

    return app


def keep_manifest(folder: Path, manifest: RunManifest, relay: Ed25519PrivateKey) -> None:
    """Write the run's manifest and signature; their presence means that the run has begun."""
    make_private_folder(folder)
    write_durably(folder / "manifest.sig", manifest.sign(relay))
    write_durably(folder / "manifest.json", manifest.to_bytes())


def kept_manifest(folder: Path, relay_key: bytes) -> RunManifest | None:
    """The manifest of the run begun in `folder`, None before the first.

    Raises:
        ManifestError: It was altered or signed by another relay.
    """
    if not (folder / "manifest.json").exists():
        return None
    raw = (folder / "manifest.json").read_bytes()
    check_signature(raw, (folder / "manifest.sig").read_bytes(), relay_key)
    return read_manifest(raw)


def coordinator_from_run_config(grid: Grid, context: Context) -> Coordinator:
    """Prepare a deployed or simulated run, or go on with it when the run config says `resume=true`.

    Raises:
        FederationError: A file is missing, a run was begun and `resume` is not set, or Flower simulates another number
            of sites than the pipeline.
    """
    from synthfed.generators.plan import make_plan, run_coding, run_workload
    from synthfed.generators.registry import make_generator
    from synthfed.tables.dictionary import load_dictionary

    folder, simulated = _out_dir(context), in_simulation(grid)
    (folder / FAILED).unlink(missing_ok=True)

    def progress(done: RoundDone) -> None:
        keep_progress(folder, done)

    named = str(context.run_config["pipeline"])
    if simulated:
        relay, roster = found_simulated(folder, Pipeline.load(named), nodes=len(list(grid.get_node_ids())))
        folder = coordinator_folder(folder)
    else:
        relay, roster = relay_and_roster(folder)
    manifest = kept_manifest(folder, roster.relay_key)
    if manifest is None:
        pipeline = Pipeline.load(named)
        schema = load_dictionary(pipeline.disease).schema.select(pipeline.cohort.columns)
        sites = tuple(member.site for member in roster.members)
        coding = run_coding(pipeline, schema, sites=len(sites))
        transformer = coding.template
        layout = Layout(transformer.names, transformer.widths)
        generator = make_generator(pipeline.generator)
        plan = make_plan(pipeline, sites=len(sites), coding=coding)
        workload = run_workload(pipeline, transformer) if plan.measures else None
        manifest = make_manifest(
            pipeline=pipeline,
            transformer_digest=transformer.digest(),
            roster_digest=roster.digest(),
            layout=layout,
            weights=blank(generator, layout, workload, seed=pipeline.seed),
            plan=plan,
            workload=workload,
            histograms=coding.grid.coding.widths,
            sites=sites,
            simulated=simulated,
        )
        keep_manifest(folder, manifest, relay)
    else:
        if not context.run_config.get("resume", False):
            raise FederationError(f"a run has begun in {folder}; add resume=true to go on, or name another out-dir")
        if isinstance(manifest, Inquiry):
            return new_coordinator(
                manifest, relay, roster, InquiryCourse(manifest), folder, deadline_s=_ASK_DEADLINE_S, progress=progress
            )
        if isinstance(manifest, Scoring):
            deadline_s = manifest.parse_pipeline().federation.deadline_s
            return new_coordinator(
                manifest, relay, roster, ScoringCourse(manifest), folder, deadline_s=deadline_s, progress=progress
            )
        if not isinstance(manifest, Manifest):
            raise FederationError(f"the run in {folder} is of an unknown kind; name another out-dir")
        pipeline = manifest.parse_pipeline()
        generator = make_generator(pipeline.generator)
        schema = load_dictionary(pipeline.disease).schema.select(pipeline.cohort.columns)
        coding = run_coding(pipeline, schema, sites=len(manifest.sites))
    return new_coordinator(
        manifest,
        relay,
        roster,
        TrainingCourse(manifest, generator, coding),
        folder,
        deadline_s=manifest.parse_pipeline().federation.deadline_s,
        progress=progress,
    )


def keep_progress(folder: Path, done: RoundDone) -> None:
    """Append what a round brought to the folder's progress file."""
    with (folder / PROGRESS).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(done), sort_keys=True) + "\n")


def new_coordinator(
    manifest: RunManifest,
    relay: Ed25519PrivateKey,
    roster: Roster,
    course: Course,
    folder: Path,
    *,
    deadline_s: float,
    progress: Callable[[RoundDone], None] | None = None,
) -> Coordinator:
    """A coordinator whose checkpoints lie in `<folder>/<manifest hash>/`."""
    return Coordinator(
        manifest=manifest,
        relay=relay,
        roster=roster,
        course=course,
        deadline_s=deadline_s,
        checkpoints=Checkpoints(folder / manifest.hash()),
        progress=progress,
    )


def write_outcome(context: Context, outcome: Outcome) -> None:
    """Write model, ledgers, audit chains and who was missing from which round into the coordinator's folder."""
    from safetensors.numpy import save

    folder = _out_dir(context)
    # row-major: safetensors writes a column-major array's bytes as if it were row-major
    released = {name: np.asarray(tensor, order="C") for name, tensor in outcome.released.items()}
    write_durably(folder / "released.safetensors", save(released))
    if "encoder" in outcome.standing:  # where histograms made it; else it follows from the dictionary
        write_durably(folder / "encoder.json", outcome.standing["encoder"].tobytes())
    ledgers = {site: json.loads(ledger) for site, ledger in outcome.ledgers.items()}
    write_durably(folder / "ledgers.json", json.dumps(ledgers, sort_keys=True, indent=1).encode())
    missing = {str(index): list(sites) for index, sites in outcome.missing.items()}
    write_durably(folder / "missing.json", json.dumps(missing, sort_keys=True, indent=1).encode())
    for site, lines in outcome.audits.items():
        write_durably(folder / f"audit-{site}.jsonl", lines)


def note_failure(context: Context, error: SynthfedError) -> None:
    """Keep why a run ended in the coordinator's folder: Flower's own log of a ServerApp is read slowly, if at all."""
    with suppress(FederationError, OSError):  # no folder to keep it in
        write_durably(_out_dir(context) / FAILED, f"{type(error).__name__}: {error}\n".encode())


def _out_dir(context: Context) -> Path:
    named = str(context.run_config.get("out-dir", ""))
    if not named:
        raise FederationError(
            'the run config names no out-dir; add out-dir="<absolute path of the coordinator\'s folder>"'
        )
    return Path(named)


def relay_and_roster(folder: Path) -> tuple[Ed25519PrivateKey, Roster]:
    """The relay's key and the roster of a run's folder.

    Raises:
        FederationError, RosterRefused: A file is missing, altered, or does not belong to the others.
    """
    try:
        relay = Ed25519PrivateKey.from_private_bytes((folder / "relay.key").read_bytes())
        text, steward = (folder / "roster.toml").read_text(encoding="utf-8"), (folder / "steward.pub").read_bytes()
    except (OSError, ValueError) as error:
        raise FederationError(f"{folder} lacks a usable relay.key, roster.toml or steward.pub") from error
    roster = Roster.from_toml(text, steward_key=steward, on=datetime.datetime.now(datetime.UTC).date())
    if roster.relay_key != relay.public_key().public_bytes_raw():
        raise ManifestError(f"the roster in {folder} names another relay key than relay.key")
    return relay, roster


app = build_server_app(coordinator_from_run_config, write_outcome, note_failure)
