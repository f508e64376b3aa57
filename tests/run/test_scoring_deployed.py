"""Deployed sites score a closed run: the same sites, the same ledgers, their held-out patients alone."""

import json

import pytest
from flwr.app import Context, RecordDict

from synthfed.cohorts.sites import load_cohort
from synthfed.dossier import verify_dossier
from synthfed.errors import ConfigError, DossierError, SiteRefused
from synthfed.federation import client_app, server_app
from synthfed.federation.deployment.coordinator_home import CoordinatorHome
from synthfed.federation.deployment.site_home import SiteHome
from synthfed.federation.local_grid import LocalGrid
from synthfed.pipeline import Pipeline
from synthfed.run.contents import pipeline_toml
from synthfed.run.finishing import finish_run
from synthfed.run.scoring_deployed import begin_scoring
from synthfed.tables.writing import write_csv

SMALL = ("patient_id", "age_years", "sex", "wbc_10e9_l", "NPM1", "FLT3_ITD", "TP53", "os_days", "os_event")
PIPELINE = Pipeline.load("smoke").with_settings(['generator={kind="marginal"}']).replace(cohort__columns=SMALL)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A coordinator with a closed training run, and its sites' homes."""
    place = tmp_path_factory.mktemp("federation")
    cohort = load_cohort("aml", sites=3, patients=420, columns=SMALL, holdout_fraction=0)
    coordinator = CoordinatorHome.init(place / "coordinator", address="localhost:8443")
    homes = []
    for name, rows in cohort.sites.items():
        write_csv(rows, cohort.schema, place / f"{name}.csv")
        home = SiteHome.init(place / name, site=name, organisation=f"Hospital of {name}", data=place / f"{name}.csv")
        coordinator.add((home.folder / f"{name}.join").read_text())
        homes.append(home)
    invited = coordinator.sign_roster()
    for home in homes:
        home.pin(invited, invited.fingerprint)
        home.allow(PIPELINE)
    run(homes, coordinator.begin_run("first", PIPELINE, toml=pipeline_toml(PIPELINE)), resume=False)
    return coordinator, homes


def run(homes, folder, *, resume):
    nodes = {
        number: {"site": home.site, "site-dir": str(home.folder), "data": str(home.data)}
        for number, home in enumerate(homes, start=1)
    }
    config = {"pipeline": str(folder / "pipeline.toml"), "out-dir": str(folder), "resume": resume}
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=config)
    with LocalGrid(client_app.app, nodes, run_config=config).as_server() as grid:
        server_app.app(grid, context)


def test_deployed_sites_score_the_release_and_their_held_out_patients_pay(trained, tmp_path):
    coordinator, homes = trained
    first, keys = coordinator.run_folder("first"), coordinator.folder / "keys"
    folder = coordinator.begin_run("scores", PIPELINE, toml=pipeline_toml(PIPELINE))
    begin_scoring(first, folder)
    with pytest.raises(DossierError, match="not closed"):
        finish_run(first, out=tmp_path / "early", signing=keys, scores=folder)
    with pytest.raises(SiteRefused, match=r"policy\.questions"):
        run(homes, folder, resume=True)
    for home in homes:
        home.answer(1)
    run(homes, folder, resume=True)

    done = finish_run(first, out=tmp_path / "dossier", signing=keys, scores=folder)
    report = json.loads((done.dossier / "report.json").read_text())
    assert verify_dossier(done.dossier).ok
    told = [metric for metric in report["metrics"] if metric["rows_used"] == "holdout"]
    assert {"counted.shapes", "counted.km_area"} <= {metric["id"] for metric in told}
    assert {metric["releasable"] for metric in told} == {"noisy"}
    populations = report["privacy"]["statement"]["populations"]
    assert {name: stated["epsilon"] for name, stated in populations.items()} == pytest.approx(
        {"train": 9.995, "holdout": 9.995}, abs=0.01
    )
    held = sum(len(json.loads((folder / "ledgers.json").read_text())[home.site]["events"]) for home in homes)
    assert held == 3
    assert 60 < report["figures"]["counted"]["patients"] < 190  # of 126 held out, 30 % of 420, with their noise

    plain = finish_run(first, out=tmp_path / "plain", signing=keys)
    assert "counted" not in (plain.dossier / "ledger.json").read_text()


def test_scores_of_another_table_are_not_joined(trained, tmp_path):
    coordinator, _ = trained
    first = coordinator.run_folder("first")
    with pytest.raises(DossierError, match="scored nothing"):
        finish_run(first, out=tmp_path / "no", signing=coordinator.folder / "keys", scores=first)


def test_a_run_with_another_pipeline_is_not_begun(trained):
    coordinator, _ = trained
    other = PIPELINE.replace(release__rows=99)
    folder = coordinator.begin_run("other", other, toml=pipeline_toml(other))
    with pytest.raises(ConfigError, match="another pipeline"):
        begin_scoring(coordinator.run_folder("first"), folder)
    assert not (folder / "manifest.json").exists()
