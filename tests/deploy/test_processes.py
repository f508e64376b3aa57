"""A coordinator and three hospitals as real processes with TLS: `pytest -m deploy`. One at a time, minutes each."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from synthfed.cohorts.sites import read_cohort
from synthfed.dossier import verify_dossier
from synthfed.errors import FederationError
from synthfed.federation.deployment import runs
from synthfed.federation.deployment.flower import children_of
from synthfed.federation.deployment.rehearsal import Rehearsal, rehearsing
from synthfed.federation.in_process import run_in_process
from synthfed.federation.site import split_key
from synthfed.generators.plan import run_coding
from synthfed.pipeline import Pipeline
from synthfed.run.contents import pipeline_toml
from synthfed.run.finishing import finish_run

pytestmark = pytest.mark.deploy

PIPELINE = Pipeline.load("smoke").with_settings(['generator={kind="marginal"}', "privacy.randomness=seeded"])


@pytest.fixture
def rehearsal(tmp_path):
    with rehearsing(tmp_path / "federation", PIPELINE, allow_seeded=True, keep=True, say=print) as up:
        yield up
    homes = [up.coordinator.flwr_home, *(home.flwr_home for home in up.sites.values())]
    assert [children_of(home) for home in homes] == [[]] * 4


def in_process(rehearsal: Rehearsal, work: Path) -> dict[str, np.ndarray]:
    """The same tables, less the same held-out patients, through the in-process run."""
    cohorts = {
        name: read_cohort(
            {name: home.data},
            dictionary=PIPELINE.disease,
            columns=PIPELINE.cohort.columns,
            holdout_fraction=PIPELINE.cohort.holdout_fraction,
            split_key=split_key(home.folder),
        )
        for name, home in rehearsal.sites.items()
    }
    coding = run_coding(PIPELINE, cohorts["lyon"].schema, sites=len(cohorts))
    result = run_in_process(
        pipeline=PIPELINE,
        transformer=coding.template,
        sites={name: cohort.sites[name] for name, cohort in cohorts.items()},
        coding=coding,
        work=work,
        simulated=False,
    )
    return dict(result.released)


def begun(rehearsal: Rehearsal, name: str) -> Path:
    folder = rehearsal.coordinator.begin_run(name, PIPELINE, toml=pipeline_toml(PIPELINE))
    runs.submit(rehearsal.coordinator, folder, resume=False, say=print)
    return folder


def wait_for_round(folder: Path, rounds: int) -> None:
    end = time.monotonic() + 600
    while runs.status_of(folder).rounds_done < rounds:
        assert time.monotonic() < end
        time.sleep(0.5)


def assert_same_as_in_process(rehearsal: Rehearsal, folder: Path, work: Path) -> None:
    found, wanted = load_file(folder / "released.safetensors"), in_process(rehearsal, work)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def serverapp_of(rehearsal: Rehearsal) -> int:
    """The process of the ServerApp, by its command line."""
    for number in children_of(rehearsal.coordinator.flwr_home):
        if b"flwr-serverapp" in Path(f"/proc/{number}/cmdline").read_bytes():
            return number
    raise AssertionError("no ServerApp runs")


def test_three_hospitals_train_what_one_process_trains_and_the_dossier_verifies(rehearsal, tmp_path):
    home = rehearsal.coordinator
    folder = begun(rehearsal, "whole")
    runs.wait(home, folder, say=print)
    assert_same_as_in_process(rehearsal, folder, tmp_path / "work")
    done = finish_run(folder, out=tmp_path / "dossier", signing=home.folder / "keys")
    assert verify_dossier(done.dossier).ok
    assert "Simulated hospital" not in (done.dossier / "report.json").read_text()
    spent = {site: entry["epsilon_spent"] for site, entry in json.loads((folder / "ledgers.json").read_text()).items()}
    assert all(0 < epsilon <= PIPELINE.privacy.epsilon for epsilon in spent.values())


def test_a_killed_serverapp_is_resumed_from_the_last_round_and_charged_once(rehearsal, tmp_path):
    home = rehearsal.coordinator
    folder = begun(rehearsal, "killed")
    wait_for_round(folder, 1)
    os.kill(serverapp_of(rehearsal), signal.SIGKILL)
    with pytest.raises(FederationError, match="--resume"):
        runs.wait(home, folder, say=print)
    runs.submit(home, folder, resume=True, say=print)
    runs.wait(home, folder, say=print)
    assert_same_as_in_process(rehearsal, folder, tmp_path / "work")
    ledgers = json.loads((folder / "ledgers.json").read_text())
    assert {len(entry["events"]) for entry in ledgers.values()} == {2}


def test_a_killed_supernode_comes_back_and_its_site_is_charged_once(rehearsal, tmp_path):
    folder = begun(rehearsal, "run")
    wait_for_round(folder, 1)
    home = rehearsal.sites["milano"]
    (node,) = (
        number
        for number in children_of(home.flwr_home)
        if b"flower-supernode" in Path(f"/proc/{number}/cmdline").read_bytes()
    )
    os.kill(node, signal.SIGKILL)
    with contextlib.suppress(FederationError):  # where the site is away too long, the run waits to be resumed
        runs.wait(rehearsal.coordinator, folder, say=print)
    if not runs.is_closed(folder):
        rehearsal.wait_for_sites()
        runs.submit(rehearsal.coordinator, folder, resume=True, say=print)
        runs.wait(rehearsal.coordinator, folder, say=print)
    assert_same_as_in_process(rehearsal, folder, tmp_path / "work")
    ledgers = json.loads((folder / "ledgers.json").read_text())
    assert {len(entry["events"]) for entry in ledgers.values()} == {2}


def test_only_the_fleet_api_passes_the_front(rehearsal):
    """`flwr list` reaches the SuperLink on loopback, and is refused by the door that hospitals use."""
    home = rehearsal.coordinator
    outside = rehearsal.folder / "outside"
    outside.mkdir()
    (outside / "config.toml").write_text(
        f'[superlink.synthfed]\naddress = "{home.address}"\nroot-certificates = "{home.tls("ca.crt")}"\n'
    )
    environment = dict(os.environ, FLWR_HOME=str(outside), FLWR_TELEMETRY_ENABLED="0")
    command = [str(Path(sys.executable).parent / "flwr"), "list", "synthfed", "--format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode or not json.loads(done.stdout)["success"]
    assert "403" in done.stdout + done.stderr or "Fleet" in done.stdout + done.stderr
