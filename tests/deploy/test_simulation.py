"""The bundle in Flower's simulation engine: `pytest -m deploy`. Needs the extra `simulation`, for Ray."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from synthfed.cohorts.simulated import simulated_cohort
from synthfed.errors import FederationError
from synthfed.federation.deployment.simulation import simulate
from synthfed.federation.in_process import run_in_process
from synthfed.generators.plan import run_coding
from synthfed.pipeline import Pipeline
from synthfed.run.contents import pipeline_toml

pytestmark = pytest.mark.deploy

PIPELINE = Pipeline.load("smoke")


def test_the_simulation_engine_trains_what_one_process_trains(tmp_path):
    pytest.importorskip("ray", reason="needs the extra `simulation`")
    released = simulate(PIPELINE, pipeline_toml(PIPELINE), out=tmp_path / "out", cpus=2, say=print)
    cohort = simulated_cohort(PIPELINE)
    coding = run_coding(PIPELINE, cohort.schema, sites=len(cohort.sites))
    wanted = run_in_process(
        pipeline=PIPELINE,
        transformer=coding.template,
        sites=cohort.sites,
        coding=coding,
        work=tmp_path / "work",
        simulated=True,
    ).released
    found = load_file(released)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    with pytest.raises(FederationError, match="--resume"):
        simulate(PIPELINE, pipeline_toml(PIPELINE), out=tmp_path / "out", cpus=2, say=print)
