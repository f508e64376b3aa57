"""Questions to deployed sites: what the coordinator signs, what each site's policy says, and the answers read back."""

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from synthfed.cohorts.sites import load_cohort
from synthfed.errors import DossierError, FederationError, SiteRefused
from synthfed.federation import client_app, server_app
from synthfed.federation.deployment.coordinator_home import CoordinatorHome
from synthfed.federation.deployment.runs import status_of
from synthfed.federation.deployment.site_home import SiteHome
from synthfed.federation.local_grid import LocalGrid
from synthfed.federation.site import Site
from synthfed.pipeline import Pipeline
from synthfed.run.asking.deployed import Wanted, answers_in, begin_asking
from synthfed.run.asking.language import QuestionError
from synthfed.run.contents import pipeline_toml
from synthfed.run.finishing import finish_run
from synthfed.tables.writing import write_csv

PIPELINE = Pipeline.load("smoke")


@pytest.fixture
def federation(tmp_path):
    """A coordinator, three hospitals with a table each, and all their rows in one table."""
    cohort = load_cohort(
        "aml", sites=PIPELINE.cohort.simulated_sites, patients=300, columns=PIPELINE.cohort.columns, holdout_fraction=0
    )
    coordinator = CoordinatorHome.init(tmp_path / "coordinator", address="localhost:8443")
    homes = {}
    for name, rows in cohort.sites.items():
        write_csv(rows, cohort.schema, tmp_path / f"{name}.csv")
        homes[name] = SiteHome.init(
            tmp_path / name,
            site=name,
            organisation=f"Hospital of {name}",
            data=tmp_path / f"{name}.csv",
            dictionary="aml",
        )
        coordinator.add((homes[name].folder / f"{name}.join").read_text())
    invited = coordinator.sign_roster()
    for home in homes.values():
        home.pin(invited, invited.fingerprint)
        home.answer(1)
    return coordinator, homes, cohort.train


def ask(coordinator, homes, name, wanted):
    folder = coordinator.begin_run(name, PIPELINE, toml=pipeline_toml(PIPELINE))
    begin_asking(folder, wanted)
    with pytest.raises(FederationError, match="not answered by every site"):
        answers_in(folder)
    go(folder, homes)
    return folder


def go(folder, homes):
    nodes = {
        number: {"site": home.site, "site-dir": str(home.folder), "data": str(home.data), "dictionary": "aml"}
        for number, home in enumerate(homes.values(), start=1)
    }
    config = {"pipeline": str(folder / "pipeline.toml"), "out-dir": str(folder), "resume": True}
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=config)
    with LocalGrid(client_app.app, nodes, run_config=config).as_server() as grid:
        server_app.app(grid, context)


def test_answers_are_near_the_truth_cost_what_was_said_and_can_be_read_again(federation, tmp_path):
    coordinator, homes, rows = federation
    folder = ask(coordinator, homes, "ask-1", Wanted(("count by sex", "mean age_years"), 4.0, 10))
    answered = answers_in(folder)
    assert answered == answers_in(folder)
    figures = {figure.name: figure for answer in answered.answers for figure in answer.figures}
    women = figures["female"]
    assert women.low <= women.value <= women.high
    assert abs(women.value - (rows["sex"] == "female").sum()) < 30
    assert abs(figures["mean"].value - np.nanmean(rows["age_years"])) < 6
    assert answered.epsilon == 4.0
    assert 0 < answered.spent_over_runs <= 4.0 + 1e-6
    assert answered.sites == 3
    assert status_of(folder).words == "closed by every site; read it with `answers`"
    with pytest.raises(DossierError, match="trained no generator; show what it asked"):
        finish_run(folder, out=tmp_path / "dossier", signing=coordinator.folder / "keys")


def test_a_site_answers_as_often_as_its_policy_says_and_exactly_only_where_it_says_so(federation):
    coordinator, homes, rows = federation
    with pytest.raises(SiteRefused, match=r"policy\.exact_answers\).*changes exact_answers in its policy.toml"):
        ask(coordinator, homes, "ask-1", Wanted(("count by sex",), None, 10))
    for home in homes.values():
        text = (home.folder / "policy.toml").read_text()
        (home.folder / "policy.toml").write_text(text.replace("exact_answers = false", "exact_answers = true"))
    folder = ask(coordinator, homes, "ask-2", Wanted(("count by sex",), None, 10))
    answered = answers_in(folder)
    found = {figure.name: figure.value for figure in answered.answers[0].figures}
    assert found["female"] == (rows["sex"] == "female").sum()
    assert answered.epsilon is None
    with pytest.raises(SiteRefused, match="no more question runs"):
        ask(coordinator, homes, "ask-3", Wanted(("count by sex",), 1.0, 10))


def test_a_run_that_was_given_up_is_left_and_what_it_set_aside_is_free_again(federation):
    coordinator, homes, _ = federation
    lyon = homes["lyon"]

    def ledger() -> tuple[float, tuple[str, ...]]:
        with Site(lyon.folder, "lyon") as site:
            return site.ledger().committed(), site.ledger().open_runs()

    homes["barcelona"].answer(0)
    with pytest.raises(SiteRefused, match="refused enrol"):
        ask(coordinator, homes, "ask-1", Wanted(("count",), 2.0, 10))
    committed, (run,) = ledger()
    assert committed > 1.9
    with pytest.raises(FederationError, match="0 open runs"):
        lyon.leave("zz")
    assert lyon.leave(run[:12]) == run
    assert ledger() == (0.0, ())
    homes["barcelona"].answer(1)
    with pytest.raises(SiteRefused, match="left this run for good"):
        go(coordinator.run_folder("ask-1"), homes)
    assert ledger() == (0.0, ())


def test_a_question_that_does_not_fit_the_dictionary_is_refused_before_anything_is_signed(federation):
    coordinator, _, _ = federation
    folder = coordinator.begin_run("ask-1", PIPELINE, toml=pipeline_toml(PIPELINE))
    with pytest.raises(QuestionError):
        begin_asking(folder, Wanted(("mean shoe_size",), 1.0, 10))
    assert not (folder / "manifest.json").exists()
    with pytest.raises(FederationError, match="asked no questions"):
        answers_in(folder)
