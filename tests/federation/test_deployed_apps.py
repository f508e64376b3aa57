"""The module-level apps, as `flwr run` loads them, fed by node config and run config instead of by arguments."""

import datetime
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context, RecordDict

from synthfed.cohorts.sites import load_cohort
from synthfed.errors import FederationError, SiteRefused
from synthfed.federation import client_app, server_app
from synthfed.federation.deployment.runs import status_of
from synthfed.federation.deployment.site_home import SiteHome
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.inquiry import Inquiry, InquiryCourse
from synthfed.federation.local_grid import LocalGrid
from synthfed.federation.manifest import synthfed_version
from synthfed.federation.policy import Policy
from synthfed.federation.site import create_site, pin_roster
from synthfed.federation.steps import SumSettings
from synthfed.pipeline import Pipeline
from synthfed.privacy.events import Budget
from synthfed.privacy.ledger import Ledger
from synthfed.secagg.analytics import Plan, noisy_plan
from synthfed.secagg.questions import Bounds, Count, Frequency, Moments
from synthfed.secagg.roster import Member, sign_roster
from synthfed.tables.writing import write_csv

PIPELINE = Pipeline.load("smoke")


@pytest.fixture
def federation(tmp_path) -> tuple[LocalGrid, Context]:
    """Three hospitals with a table each, and a coordinator's folder, as an installation leaves them."""
    cohort = load_cohort("aml", sites=PIPELINE.cohort.simulated_sites, patients=300, columns=PIPELINE.cohort.columns)
    policy = Policy((PIPELINE.digest(),), 3, 10.0, 1e-5, 10, 100, questions=1)
    nodes, members = {}, []
    for index, (name, rows) in enumerate(cohort.sites.items(), start=1):
        folder = tmp_path / name
        write_csv(rows, cohort.schema, tmp_path / f"{name}.csv")
        members.append(Member(index, name, f"Hospital of {name}", create_site(folder, policy=policy)))
        nodes[index] = {
            "site": name,
            "site-dir": str(folder),
            "data": str(tmp_path / f"{name}.csv"),
            "dictionary": "aml",
        }
    out = tmp_path / "coordinator"
    make_private_folder(out)
    relay, steward = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    today = datetime.datetime.now(datetime.UTC).date()
    roster = sign_roster(
        members,
        steward=steward,
        relay_key=relay.public_key().public_bytes_raw(),
        valid_from=today,
        valid_until=today + datetime.timedelta(days=30),
    )
    write_durably(out / "relay.key", relay.private_bytes_raw())
    write_durably(out / "steward.pub", roster.steward_key)
    write_durably(out / "roster.toml", roster.to_toml().encode())
    for name in cohort.sites:
        pin_roster(tmp_path / name, roster)
    run_config = {"pipeline": "smoke", "out-dir": str(out), "resume": False}
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=run_config)
    return LocalGrid(client_app.app, nodes, run_config=run_config, serialise=True), context


def test_the_deployed_apps_train_and_leave_model_ledgers_and_audit(federation):
    grid, context = federation
    with grid.as_server():
        server_app.app(grid, context)
    out = Path(str(context.run_config["out-dir"]))
    ledgers = json.loads((out / "ledgers.json").read_text())
    assert sorted(ledgers) == sorted(PIPELINE.cohort.simulated_sites)
    assert all(0 < ledger["epsilon_spent"] <= 10 for ledger in ledgers.values())
    assert json.loads((out / "missing.json").read_text()) == {}
    assert (out / "released.safetensors").stat().st_size > 1000
    assert len((out / "audit-lyon.jsonl").read_text().splitlines()) == PIPELINE.federation.rounds + 1
    with grid.as_server(), pytest.raises(FederationError, match="resume=true"):
        server_app.app(grid, context)


def test_a_broken_table_is_refused_by_its_own_site_only_by_code(federation, tmp_path):
    grid, context = federation
    table = tmp_path / "milano.csv"
    text = table.read_text().splitlines()
    table.write_text("\n".join([text[0], *(line.replace("de_novo", "secret-level") for line in text[1:])]))
    with grid.as_server(), pytest.raises(SiteRefused, match="'milano' refused round") as caught:
        server_app.app(grid, context)
    assert "secret-level" not in str(caught.value)
    out = Path(str(context.run_config["out-dir"]))
    assert (out / "failed.txt").read_text().startswith("SiteRefused: site 'milano' refused round")
    assert "rounds done; it stopped (SiteRefused: site 'milano'" in status_of(out).words


def test_a_site_with_fewer_rows_than_its_policy_demands_sends_nothing_and_only_its_log_says_why(federation, tmp_path):
    grid, context = federation
    limits = Policy((PIPELINE.digest(),), 3, 10.0, 1e-5, 10, 100, min_rows=80)
    (tmp_path / "milano" / "policy.toml").write_text(limits.to_toml())
    with grid.as_server(), pytest.raises(SiteRefused, match=r"'milano' refused round.*\(data\)") as caught:
        server_app.app(grid, context)
    assert "min_rows" not in str(caught.value)
    log = (tmp_path / "milano" / "site.log").read_text()
    assert "(policy.min_rows)" in log
    assert "next: submit a run within it, or the hospital changes min_rows in its policy.toml" in log
    with Ledger.open(tmp_path / "milano" / "ledger.sqlite", site="milano", limit=limits.budget) as ledger:
        assert ledger.spent() == 0.0


def test_deployed_sites_answer_questions_over_all_their_rows_as_often_as_their_policy_says(federation, tmp_path):
    grid, context = federation
    out = Path(str(context.run_config["out-dir"]))
    relay, roster = server_app.relay_and_roster(out)
    rows = sum(len(path.read_text().splitlines()) - 1 for path in tmp_path.glob("*.csv"))
    age = Bounds("age_years", 18, 100)
    plan = noisy_plan(Plan((Count(), Moments(age), Frequency("sex", ("male", "female"))), records=1000))

    def ask(number: int) -> InquiryCourse:
        manifest = Inquiry(
            plan=plan.to_json(),
            settings=SumSettings(),
            epsilon=5.0,
            stated_at=1e-5,
            noise_seed=0,
            roster=roster.digest().hex(),
            sites=tuple(member.site for member in roster.members),
            randomness="secure",
            simulated=False,
            version=synthfed_version(),
            nonce=f"{number:064x}",
        )
        course = InquiryCourse(manifest)
        coordinator = server_app.new_coordinator(manifest, relay, roster, course, out, deadline_s=30.0)
        answered = course.query(coordinator.run(grid).standing).answers()
        assert abs(answered[0].count - rows) < 25  # noise of three sites, a few standard deviations
        assert abs(answered[1].mean - 60) < 15
        return course

    with grid.as_server():
        ask(1)
    with grid.as_server(), pytest.raises(SiteRefused, match="no more question runs"):
        ask(2)


def test_a_run_that_a_hospital_left_cannot_go_on_with_it_and_says_so(federation, tmp_path):
    grid, context = federation
    table, home = tmp_path / "milano.csv", SiteHome(tmp_path / "lyon", "lyon", "Hospital of lyon", None, None)
    text = table.read_text()
    table.write_text("patient_id\n1\n")
    with grid.as_server(), pytest.raises(SiteRefused, match="'milano' refused round"):
        server_app.app(grid, context)
    table.write_text(text)
    with pytest.raises(FederationError, match=r"0 open runs .* see: synthfed site status"):
        home.leave("none")
    with Ledger.open(home.folder / "ledger.sqlite", site="lyon", limit=Budget(10.0, 1e-5)) as ledger:
        (run,) = ledger.open_runs()
        assert ledger.committed() > ledger.spent()
    assert home.leave(run[:8]) == run
    context.run_config["resume"] = True
    with grid.as_server(), pytest.raises(SiteRefused, match=r"refused enrol: .*left this run.*begin a new run"):
        server_app.app(grid, context)
    with Ledger.open(home.folder / "ledger.sqlite", site="lyon", limit=Budget(10.0, 1e-5)) as ledger:
        assert ledger.committed() == ledger.spent() > 0  # round 0 was charged before milano failed, and stays charged
