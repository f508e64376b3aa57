"""The apps as Flower's simulation engine starts them: sites known by a partition number, and no folder anywhere yet."""

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from safetensors.numpy import load_file

from synthfed.cohorts.simulated import simulated_cohort
from synthfed.errors import FederationError
from synthfed.federation import client_app, server_app
from synthfed.federation.in_process import run_in_process
from synthfed.federation.local_grid import LocalGrid
from synthfed.federation.refused import Refused
from synthfed.federation.simulated import found_simulated, is_simulated_site, simulated_place
from synthfed.generators.plan import run_coding
from synthfed.pipeline import Pipeline

PIPELINE = Pipeline.load("smoke").with_settings(['generator={kind="marginal"}'])


@pytest.fixture
def simulation(tmp_path, monkeypatch) -> tuple[LocalGrid, Context]:
    from synthfed.run.contents import pipeline_toml

    monkeypatch.setattr(server_app, "in_simulation", lambda _: True)
    (tmp_path / "pipeline.toml").write_text(pipeline_toml(PIPELINE))
    run_config = {"pipeline": str(tmp_path / "pipeline.toml"), "out-dir": str(tmp_path / "out"), "resume": False}
    nodes = {700 + number: {"partition-id": number, "num-partitions": 3} for number in range(3)}
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=run_config)
    return LocalGrid(client_app.app, nodes, run_config=run_config, serialise=True), context


def test_partitions_train_bit_for_bit_what_the_run_in_one_process_trains(simulation, tmp_path):
    grid, context = simulation
    with grid.as_server():
        server_app.app(grid, context)
    cohort = simulated_cohort(PIPELINE)
    coding = run_coding(PIPELINE, cohort.schema, sites=3)
    wanted = run_in_process(
        pipeline=PIPELINE,
        transformer=coding.template,
        sites=cohort.sites,
        coding=coding,
        work=tmp_path / "work",
        simulated=True,
    ).released
    found = load_file(tmp_path / "out" / "released.safetensors")
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_another_number_of_partitions_than_sites_is_refused_with_the_option_that_mends_it(tmp_path):
    with pytest.raises(FederationError, match="--federation-config 'num-supernodes=3'"):
        found_simulated(tmp_path / "out", PIPELINE, nodes=2)
    assert not (tmp_path / "out").exists()


def test_a_hospital_is_never_taken_for_a_partition(tmp_path):
    """The run config belongs to whoever submits: it must not choose the folder of a site that named its own."""
    found_simulated(tmp_path, PIPELINE, nodes=3)

    def context(**node_config: str | int) -> Context:
        node = {name.replace("_", "-"): value for name, value in node_config.items()}
        return Context(1, 1, node, RecordDict(), {"out-dir": str(tmp_path)})

    assert is_simulated_site(context(partition_id=1))
    assert simulated_place(context(partition_id=1)) == ("milano", tmp_path / "sites" / "milano")
    assert not is_simulated_site(context(partition_id=1, site="lyon"))
    assert not is_simulated_site(context(site="lyon"))
    for nothing in (context(), context(partition_id=1, site="lyon")):
        with pytest.raises(Refused, match="site"), client_app.open_site(nothing):
            pass
    with pytest.raises(Refused, match="site"):
        simulated_place(context(partition_id=3))
