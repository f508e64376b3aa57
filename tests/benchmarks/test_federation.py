"""Federated training with secure sums beside plain FedAvg: the same curves, what a round takes, what travels.

Run with `make bench-federation`; `federation_page.py` writes the page and its pictures. Plain FedAvg is Flower as its
own examples have it: one message per site and round, weights down, the change up in clear, float64 mean. It trains the
same stints on the same rows with the same noise, and keeps no ledger, no protocol state and no checkpoint: whatever
synthfed does besides training counts as cost of the secure run. Both go through `LocalGrid` with messages written to
bytes. The two take turns round by round, in one process, so that a busy machine slows both alike.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from synthfed.cohorts.sites import load_cohort
from synthfed.federation.in_process import RoundDone, Wiretap, run_in_process
from synthfed.federation.local_grid import LocalGrid
from synthfed.generators.base import Codes, Generator, Layout, Plan, ServerState, Weights, flatten, unflatten
from synthfed.generators.plan import make_plan, run_coding
from synthfed.generators.registry import make_generator
from synthfed.pipeline import Pipeline
from synthfed.privacy.mechanisms import seeded_key
from tests.benchmarks import federation_page

pytestmark = pytest.mark.benchmarks

SITES = (3, 6, 10)
PATIENTS = 400  # per site
COLD = ['generator={kind="tvae", start="cold"}', "cohort.min_rows=20"]
GATE = 1.05
LONG = 300  # local steps that take a site a second or two
PACES = ((3, 10), (30, 6), (LONG, 4))  # local steps, and rounds of them


@dataclass
class Learning:
    """The generator of a run, with what the coordinator held after each round."""

    inner: Generator
    held: list[tuple[Weights, ServerState]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def apply(self, *given: Any, **named: Any) -> tuple[Weights, ServerState]:
        self.held.append(self.inner.apply(*given, **named))
        return self.held[-1]


@dataclass(frozen=True)
class Setting:
    """Simulated hospitals, coded once, and a plan."""

    pipeline: Pipeline
    sites: dict[str, Codes]
    layout: Layout
    transformer: Any
    coding: Any
    plan: Plan


def setting(sites: int, *, rounds: int, **changes: Any) -> Setting:
    names = tuple(f"site-{number}" for number in range(sites))
    wanted = [f"federation.{key}={json.dumps(value)}" for key, value in changes.items()]
    pipeline = Pipeline.load("aml").with_settings([*COLD, f"federation.rounds={rounds}", *wanted])
    columns = pipeline.cohort.columns
    cohort = load_cohort("aml", sites=names, patients=PATIENTS * sites, seed=7, columns=columns, holdout_fraction=0)
    coding = run_coding(pipeline, cohort.schema, sites=sites)
    made = coding.template
    return Setting(
        pipeline,
        {name: made.encode(rows) for name, rows in cohort.sites.items()},
        Layout(tuple(made.names), tuple(made.widths)),
        made,
        coding,
        make_plan(pipeline, sites=sites, coding=coding),
    )


class PlainFedAvg:
    """The same training with sums in clear: one trip per round, nothing written to disk."""

    def __init__(self, given: Setting) -> None:
        self.given, self.generator = given, make_generator(given.pipeline.generator)
        self.weights = self.generator.init(given.layout, seed=given.pipeline.seed)
        self.state = self.generator.start(self.weights)
        self.losses: list[float] = []
        self.held: list[tuple[Weights, ServerState]] = []
        names = list(given.sites)
        app = ClientApp()

        @app.train("plain")
        def train(message: Message, context: Context) -> Message:
            name = names[context.node_id]
            index = int(message.content["config"]["round"])
            vector = message.content["model"]["weights"].numpy()
            stint = self.generator.stint(
                unflatten(vector, self.weights),
                given.layout,
                given.sites[name],
                given.plan,
                round_index=index,
                noise_key=seeded_key(given.pipeline.seed, name, index),
            )
            self.losses.append(stint.local_loss)
            record = ArrayRecord({"change": Array(flatten(stint.change))})
            return Message(RecordDict({"change": record}), reply_to=message)

        self.grid = LocalGrid(app, {number: {} for number in range(len(names))}, serialise=True)

    def round(self, index: int) -> None:
        model = ArrayRecord({"weights": Array(flatten(self.weights))})
        config = ConfigRecord({"round": index})
        asked = [
            Message(RecordDict({"model": model, "config": config}), node, "train.plain")
            for node in self.grid.get_node_ids()
        ]
        replies = self.grid.send_and_receive(asked)
        mean = np.mean([reply.content["change"]["change"].numpy() for reply in replies], axis=0, dtype=np.float64)
        self.weights, self.state = self.generator.apply(
            self.weights,
            self.state,
            unflatten(mean.astype(np.float32), self.weights),
            self.given.layout,
            self.given.plan,
            round_index=index,
            seed=self.given.pipeline.seed,
        )
        self.held.append((self.weights, self.state))


@dataclass
class SideBySide:
    """One secure and one plain run, in turns.

    Attributes:
        cpu, wall: Seconds per round, by kind.
        moved: Payload bytes of each secure round, both ways, all sites.
        losses: Mean loss over the sites per round, by kind.
        held: What the coordinator held after each round, by kind.
    """

    given: Setting
    cpu: dict[str, list[float]] = field(default_factory=lambda: {"secure": [], "plain": []})
    wall: dict[str, list[float]] = field(default_factory=lambda: {"secure": [], "plain": []})
    moved: list[int] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    held: dict[str, list[tuple[Weights, ServerState]]] = field(default_factory=dict)


def side_by_side(given: Setting, work: Path) -> SideBySide:
    """A secure run whose progress hook plays the same round of the plain one."""
    found = SideBySide(given)
    learning, plain = Learning(make_generator(given.pipeline.generator)), PlainFedAvg(given)
    before, clock = 0, [0.0]

    def hook(done: RoundDone) -> None:
        nonlocal before
        found.cpu["secure"].append(time.process_time() - clock[0])
        found.wall["secure"].append(done.seconds)
        found.moved.append(done.bytes_moved - before)
        before = done.bytes_moved
        cpu, wall = time.process_time(), time.monotonic()
        plain.round(done.round_index)
        found.cpu["plain"].append(time.process_time() - cpu)
        found.wall["plain"].append(time.monotonic() - wall)
        clock[0] = time.process_time()

    secure_run(given, work, learning=learning, progress=hook)
    logs = [path.read_text().splitlines() for path in work.glob("sites/*/runs/*/training.jsonl")]
    secure = np.mean([[json.loads(line)["local_loss"] for line in lines] for lines in logs], axis=0)
    found.losses = {
        "secure": secure.tolist(),
        "plain": np.reshape(plain.losses, (-1, len(given.sites))).mean(axis=1).tolist(),
    }
    found.held = {"secure": learning.held, "plain": plain.held}
    return found


def secure_run(given: Setting, work: Path, *, learning: Any = None, progress: Any = None) -> None:
    run_in_process(
        pipeline=given.pipeline,
        transformer=given.transformer,
        sites=given.sites,
        coding=given.coding,
        work=work,
        simulated=True,
        progress=progress,
        generator=learning,
        wiretap=Wiretap(serialise=True, poll_s=0.001),
    )


def accuracy(given: Setting, held: list[tuple[Weights, ServerState]]) -> list[float]:
    """Per round, 1 - mean total variation between one-way shares of 2000 sampled rows and of all training rows."""
    generator = make_generator(given.pipeline.generator)
    real = np.concatenate(list(given.sites.values()))

    def one(weights: Weights, state: ServerState) -> float:
        drawn = generator.sample(generator.release(weights, state), given.layout, rows=2000, seed=1)
        apart = [
            0.5
            * np.abs(
                np.bincount(drawn[:, block], minlength=width) / len(drawn)
                - np.bincount(real[:, block], minlength=width) / len(real)
            ).sum()
            for block, width in enumerate(given.layout.widths)
        ]
        return 1.0 - float(np.mean(apart))

    return [one(*each) for each in held]


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {}
    yield found
    federation_page.write(found)


def test_the_curves_of_secure_and_plain_training_are_the_same(measured, tmp_path):
    given = setting(3, rounds=30)
    found = side_by_side(given, tmp_path)
    kinds = ("secure", "plain")
    measured["curves"] = {
        "loss": found.losses,
        "accuracy": {kind: accuracy(given, found.held[kind]) for kind in kinds},
        "apart": [
            float(np.abs(flatten(found.held["secure"][index][0]) - flatten(found.held["plain"][index][0])).max())
            for index in range(30)
        ],
        "weights": int(flatten(found.held["plain"][0][0]).size),
    }
    for curve in ("loss", "accuracy"):
        secure, plain = (np.asarray(measured["curves"][curve][kind]) for kind in kinds)
        print(f"{curve}: first {plain[0]:.4f}, last {plain[-1]:.4f}, apart {np.abs(secure - plain).max():.2e}")
        assert np.abs(secure - plain).max() < 5e-3
    assert found.losses["plain"][-1] < found.losses["plain"][0]


@pytest.mark.parametrize(("local_steps", "rounds"), PACES)
def test_a_secure_round_costs_at_most_a_twentieth_more_where_sites_train_for_a_second(
    measured, tmp_path, local_steps, rounds
):
    """The short rounds of the shipped pipelines are measured too; what is added is the same number of milliseconds."""
    for sites in SITES:
        found = side_by_side(setting(sites, rounds=rounds, local_steps=local_steps), tmp_path / str(sites))
        secure, plain = (found.cpu[kind][1:] for kind in ("secure", "plain"))  # the first round warms up
        row = {
            "local_steps": local_steps,
            "sites": sites,
            "rounds": rounds,
            "secure_cpu_s": median(secure),
            "plain_cpu_s": median(plain),
            "cpu_ratio": sum(secure) / sum(plain),
            "wall_secure_s": min(found.wall["secure"][1:]),
            "wall_plain_s": min(found.wall["plain"][1:]),
        }
        print(", ".join(f"{key} {value:.4g}" for key, value in row.items()))
        measured.setdefault("time", []).append(row)
        if local_steps == LONG:
            assert row["cpu_ratio"] <= GATE


def test_traffic_grows_with_the_number_of_sites_and_not_with_its_square(measured, tmp_path):
    rows: dict[int, dict[str, float]] = {}
    for sites in (3, 4, 6, 8, 10):
        rows[sites] = {}
        for shares in ("compressed", "full"):
            given = setting(sites, rounds=3, local_steps=1, shares=shares)
            moved: list[int] = []
            secure_run(
                given, tmp_path / f"{sites}{shares}", progress=lambda done, kept=moved: kept.append(done.bytes_moved)
            )
            rows[sites][shares] = moved[2] - moved[1]
        plain = 8 * flatten(make_generator(given.pipeline.generator).init(given.layout, seed=7)).size
        rows[sites]["plain"] = plain * sites
        print(f"{sites} sites, bytes per round: " + ", ".join(f"{key} {value:,}" for key, value in rows[sites].items()))
    measured["traffic"] = rows
    per_site = [row["compressed"] / sites for sites, row in rows.items()]
    assert max(per_site) < 1.1 * min(per_site)
    assert rows[10]["full"] > 8 * rows[3]["full"]


def test_what_a_round_takes_on_real_supernodes(measured, tmp_path):
    """Three sites as processes with TLS: each message starts a process, which is what a round then takes."""
    from synthfed.federation.deployment import runs
    from synthfed.federation.deployment.rehearsal import rehearsing
    from synthfed.run.contents import pipeline_toml

    pipeline = Pipeline.load("smoke")
    with rehearsing(tmp_path / "federation", pipeline, say=print) as up:
        folder = up.coordinator.begin_run("measured", pipeline, toml=pipeline_toml(pipeline))
        runs.submit(up.coordinator, folder, resume=False, say=print)
        runs.wait(up.coordinator, folder, say=print)
        seconds = [float(line["seconds"]) for line in runs.progress_of(folder)]
    measured["deployed"] = {"sites": 3, "rounds": len(seconds), "best_s": min(seconds), "median_s": median(seconds)}
    print(measured["deployed"])
