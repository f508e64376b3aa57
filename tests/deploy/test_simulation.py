"""The bundle in Flower's two engines: `pytest -m deploy`. The simulation needs the extra `simulation`, for Ray."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from synthfed.cohorts.simulated import simulated_cohort
from synthfed.errors import FederationError
from synthfed.federation.deployment import runs
from synthfed.federation.deployment.rehearsal import rehearsing
from synthfed.federation.deployment.simulation import simulate
from synthfed.federation.durable import write_durably
from synthfed.federation.in_process import run_in_process
from synthfed.generators.base import Weights
from synthfed.generators.plan import run_coding
from synthfed.pipeline import Pipeline
from synthfed.run.contents import pipeline_toml

pytestmark = pytest.mark.deploy

# Seeded noise; and no ids, so that a table that was written and read again is split by its rows' numbers, as drawn.
SMOKE = Pipeline.load("smoke")
PIPELINE = SMOKE.replace(
    cohort__columns=tuple(name for name in SMOKE.cohort.columns if name != "patient_id"), privacy__randomness="seeded"
)
SPLIT_KEY = hashlib.sha256(f"synthfed simulated split {PIPELINE.seed}".encode()).digest()  # of simulated cohorts


def in_process(work: Path) -> Weights:
    cohort = simulated_cohort(PIPELINE)
    coding = run_coding(PIPELINE, cohort.schema, sites=len(cohort.sites))
    return run_in_process(
        pipeline=PIPELINE,
        transformer=coding.template,
        sites=cohort.sites,
        coding=coding,
        work=work,
        simulated=True,
    ).released


def deployed(folder: Path) -> Weights:
    with rehearsing(folder, PIPELINE, allow_seeded=True, keep=True, say=print) as up:
        for home in up.sites.values():
            write_durably(home.folder / "identity" / "split.key", SPLIT_KEY)
        place = up.coordinator.begin_run("same", PIPELINE, toml=pipeline_toml(PIPELINE))
        runs.submit(up.coordinator, place, resume=False, say=print)
        runs.wait(up.coordinator, place, say=print)
    return load_file(place / "released.safetensors")


def simulated(out: Path) -> Weights:
    return load_file(simulate(PIPELINE, pipeline_toml(PIPELINE), out=out, cpus=2, say=print))


def test_one_process_the_simulation_engine_and_supernodes_train_the_same_weights_bit_for_bit(tmp_path):
    pytest.importorskip("ray", reason="needs the extra `simulation`")
    wanted = in_process(tmp_path / "work")
    for found in (deployed(tmp_path / "federation"), simulated(tmp_path / "out")):
        assert found.keys() == wanted.keys()
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    with pytest.raises(FederationError, match="--resume"):
        simulated(tmp_path / "out")
