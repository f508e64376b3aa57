"""What the deployed apps leave at a coordinator becomes a release that verifies and holds nothing measured on rows."""

import json

import pytest
from flwr.app import Context, RecordDict
from safetensors.numpy import load_file

from synthfed.cohorts.sites import load_cohort
from synthfed.dossier import verify_dossier
from synthfed.errors import DossierError, LedgerBroken
from synthfed.federation import client_app, server_app
from synthfed.federation.deployment.coordinator_home import CoordinatorHome
from synthfed.federation.deployment.runs import status_of
from synthfed.federation.deployment.site_home import SiteHome
from synthfed.federation.local_grid import LocalGrid
from synthfed.generators import warm_start
from synthfed.generators.model_file import load_model
from synthfed.pipeline import Pipeline
from synthfed.run.contents import pipeline_toml
from synthfed.run.finishing import finish_run
from synthfed.tables.writing import write_csv

PIPELINE = Pipeline.load("smoke").with_settings(['generator={kind="marginal"}'])


@pytest.fixture
def closed(tmp_path):
    """A run's folder at the coordinator after the deployed apps ran against each other."""
    return _closed_run(tmp_path, PIPELINE)


def _closed_run(tmp_path, pipeline):
    cohort = load_cohort("aml", sites=pipeline.cohort.simulated_sites, patients=300, columns=pipeline.cohort.columns)
    coordinator = CoordinatorHome.init(tmp_path / "coordinator", address="localhost:8443")
    homes = []
    for name, rows in cohort.sites.items():
        write_csv(rows, cohort.schema, tmp_path / f"{name}.csv")
        home = SiteHome.init(
            tmp_path / name, site=name, organisation=f"Hospital of {name}", data=tmp_path / f"{name}.csv"
        )
        coordinator.add((home.folder / f"{name}.join").read_text())
        homes.append(home)
    invited = coordinator.sign_roster()
    nodes = {}
    for number, home in enumerate(homes, start=1):
        home.pin(invited, invited.fingerprint)
        home.allow(pipeline)
        nodes[number] = {"site": home.site, "site-dir": str(home.folder), "data": str(home.data)}
    folder = coordinator.begin_run("first", pipeline, toml=pipeline_toml(pipeline))
    config = {"pipeline": str(folder / "pipeline.toml"), "out-dir": str(folder), "resume": False}
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=config)
    with pytest.raises(DossierError, match="not closed"):
        finish_run(folder, out=tmp_path / "early", signing=coordinator.folder / "keys")
    with LocalGrid(client_app.app, nodes, run_config=config).as_server() as grid:
        server_app.app(grid, context)
    return coordinator, folder


def test_a_closed_run_becomes_a_release_that_verifies(closed, tmp_path):
    coordinator, folder = closed
    assert status_of(folder).finished
    assert status_of(folder).rounds_done == status_of(folder).rounds == 2
    done = finish_run(folder, out=tmp_path / "dossier", signing=coordinator.folder / "keys")
    found = verify_dossier(done.dossier)
    assert found.ok
    assert done.rows == PIPELINE.release.rows
    assert 0 < done.epsilon <= PIPELINE.privacy.epsilon
    assert not (done.dossier / "internal").exists()
    report = json.loads((done.dossier / "report.json").read_text())
    assert report["edition"] == "release"
    assert "synthfed coordinator submit" in (done.dossier / "report.html").read_text()
    ledger = json.loads((done.dossier / "ledger.json").read_text())
    assert ledger["formal"] is True

    ledgers = json.loads((folder / "ledgers.json").read_text())
    less = {**ledgers, "lyon": {**ledgers["lyon"], "events": ledgers["lyon"]["events"][:-1]}}
    (folder / "ledgers.json").write_text(json.dumps(less))
    with pytest.raises(LedgerBroken, match="site 'lyon'"):
        finish_run(folder, out=tmp_path / "less", signing=coordinator.folder / "keys")
    (folder / "ledgers.json").write_text(json.dumps({site: ledgers[site] for site in ("lyon", "barcelona")}))
    with pytest.raises(DossierError, match="has ledgers of"):
        finish_run(folder, out=tmp_path / "fewer", signing=coordinator.folder / "keys")


def test_a_network_is_held_against_its_tree_by_the_sums_that_the_coordinator_kept(tmp_path, monkeypatch):
    """Its checkpoint has all that is needed; no hospital is asked and no row is near."""
    distil = warm_start.distil
    monkeypatch.setattr(warm_start, "distil", lambda *given, **named: distil(*given, **named, steps=100))
    pipeline = Pipeline.load("smoke").replace(generator__start="marginals", federation__rounds=1)
    coordinator, folder = _closed_run(tmp_path, pipeline)
    done = finish_run(folder, out=tmp_path / "dossier", signing=coordinator.folder / "keys")
    engines = json.loads((done.dossier / "report.json").read_text())["engines"]
    assert engines["scores"] == []
    assert {row["kind"] for row in engines["counts"]} == {"single", "outcome", "joined", "held back"}
    assert "Which engine wins" in (done.dossier / "report.html").read_text()
    assert verify_dossier(done.dossier).ok
    model = load_model(done.dossier / "model.synthfed")
    assert model.kept == engines["kept"]
    shipped = load_file(folder / "released.safetensors")
    assert all((model.weights[name] == tensor).all() for name, tensor in shipped.items())
