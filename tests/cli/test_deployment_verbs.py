"""`synthfed coordinator` and `synthfed site`: from empty folders to ready, and what an IT person reads on the way."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from synthfed.cli.app import app
from synthfed.cohorts.sites import load_cohort
from synthfed.errors import ConfigError, FederationError
from synthfed.federation.deployment.flower import free_port
from synthfed.secagg.refusals import RosterRefused
from synthfed.tables.writing import write_csv


def said(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code
    return done.stdout


@pytest.fixture
def invited(tmp_path) -> tuple[Path, str]:
    """A coordinator with three hospitals in its roster; the folder and the fingerprint it read out."""
    folder = tmp_path / "coordinator"
    said("coordinator", "init", folder, "--address", f"localhost:{free_port()}")
    cohort = load_cohort("aml", sites=["lyon", "milano", "berlin"], patients=90)
    for name, rows in cohort.sites.items():
        write_csv(rows, cohort.schema, tmp_path / f"{name}.csv")
        place = tmp_path / name
        made = ["--name", name, "--organisation", f"Hospital of {name}", "--data", tmp_path / f"{name}.csv"]
        shown = said("site", "init", place, *made, "--dictionary", "aml")
        assert "opens        no port" in shown
        read = said("coordinator", "add", folder, place / f"{name}.join")
        assert read.split("fingerprint ")[1][:39] in shown  # what the two people compare
    text = said("coordinator", "roster", folder)
    return folder, text.split("read out")[1].split()[0]


def test_a_hospital_that_wants_direct_links_sees_what_it_opens_and_the_roster_shows_where(tmp_path):
    folder = tmp_path / "coordinator"
    said("coordinator", "init", folder, "--address", f"localhost:{free_port()}")
    for name in ("lyon", "milano", "berlin"):
        made = ["--name", name, "--organisation", f"Hospital of {name}"]
        link = ["--direct", f"{name}.example.org:9443", "--listen", "0.0.0.0:9443"] if name != "berlin" else []
        shown = said("site", "init", tmp_path / name, *made, *link)
        assert (f"opens        {name}.example.org:9443 to the other hospitals" in shown) == bool(link)
        said("coordinator", "add", folder, tmp_path / name / f"{name}.join")
    text = said("coordinator", "roster", folder)
    assert "Hospital of lyon; direct links at lyon.example.org:9443" in text
    assert "Hospital of berlin\n" in text
    with pytest.raises(ConfigError, match="give both"):
        said("site", "init", tmp_path / "lyon", *made, "--listen", "0.0.0.0:9443")
    with pytest.raises(RosterRefused, match="wanted host:port"):
        said("site", "init", tmp_path / "oslo", "--name", "oslo", "--organisation", "Oslo", "--direct", "oslo")
    assert not (tmp_path / "oslo").exists()


def test_a_site_is_not_ready_until_federation_code_and_pipeline_are_approved(invited, tmp_path):
    folder, fingerprint = invited
    place = tmp_path / "lyon"
    assert "NO  code" in said("site", "check", place, code=1)
    with pytest.raises(FederationError, match="approved no code"):
        said("site", "up", place, "--as-root")
    with pytest.raises(FederationError, match="compare it with the steward"):
        said("site", "approve", place, "--invitation", folder / "invitation.toml", "--fingerprint", "1234")
    shown = said("site", "approve", place, "--invitation", folder / "invitation.toml", "--fingerprint", fingerprint)
    assert "lyon, milano, berlin" in shown or "berlin, lyon, milano" in shown
    shown = said("site", "approve", place, "--code", "--pipeline", "smoke")
    assert "no other bundle runs here" in shown
    assert "epsilon 10 per patient" in shown
    looked = said("site", "check", place, code=1)
    assert "ok  keys, roster and policy: 3 sites in the roster, 1 pipeline(s) allowed" in looked
    assert "ok  code: synthema.synthfed." in looked
    assert "ok  table: fits the dictionary 'aml'" in looked
    assert "NO  coordinator" in looked  # it is not up
    shown = said("site", "status", place)
    assert "epsilon 0 charged or reserved of 10" in shown


def test_a_coordinator_says_who_is_away_and_what_comes_next(invited):
    folder, _ = invited
    shown = said("coordinator", "status", folder)
    assert "down; hospitals connect to localhost:" in shown
    with pytest.raises(FederationError, match="is not up; start it with"):
        said("coordinator", "submit", folder, "smoke")
    assert "run          smoke: submitted; no site was asked yet" in said("coordinator", "status", folder)
    with pytest.raises(FederationError, match="is not up"):
        said("coordinator", "submit", folder, "--name", "smoke", "--resume")
    with pytest.raises(FederationError, match="is not up"):
        said("coordinator", "stop", folder)
    assert (folder / "nginx.conf").read_text().count("return 403") == 1


def test_questions_need_a_coordinator_that_is_up_and_leave_nothing_where_it_is_down(invited, tmp_path):
    folder, _ = invited
    with pytest.raises(FederationError, match="is not up; start it with"):
        said("coordinator", "ask", folder, "smoke", "mean age_years")
    assert "run " not in said("coordinator", "status", folder)
    with pytest.raises(FederationError, match="is not up"):
        said("coordinator", "score", folder, "first")
    shown = said("site", "approve", tmp_path / "lyon", "--questions", "3")
    assert "3 question runs in all, with noise only, epsilon 10 each at most and 10 with all other runs" in shown
    assert "questions = 3" in (tmp_path / "lyon" / "policy.toml").read_text()


def test_a_run_that_is_unknown_or_not_closed_is_named_with_what_there_is(invited):
    folder, _ = invited
    for words in (("finish", "first"), ("answers", "first"), ("stop", "--run", "first")):
        with pytest.raises(FederationError, match=r"there is no run 'first' .* start one with"):
            said("coordinator", words[0], folder, *words[1:])
    with pytest.raises(FederationError, match="is not up"):
        said("coordinator", "submit", folder, "smoke", "--name", "begun")
    with pytest.raises(FederationError, match=r"there is no run 'first' .* there are: begun"):
        said("coordinator", "submit", folder, "--name", "first", "--resume")
    with pytest.raises(FederationError, match=r"'begun' is not closed .*no site was asked yet.*coordinator status"):
        said("coordinator", "finish", folder, "begun")
    with pytest.raises(FederationError, match="asked no questions"):
        said("coordinator", "answers", folder, "begun")


def test_orders_that_contradict_themselves_are_refused(invited, tmp_path):
    folder, _ = invited
    for words in (
        ["site", "approve", tmp_path / "lyon"],
        ["site", "approve", tmp_path / "lyon", "--fingerprint", "1"],
        ["site", "approve", tmp_path / "lyon", "--code", "--bundle", "x.fab"],
        ["coordinator", "submit", folder],
        ["coordinator", "submit", folder, "smoke", "--resume"],
        ["coordinator", "add", folder, tmp_path / "absent.join"],
    ):
        with pytest.raises(ConfigError):
            said(*words)


@pytest.mark.parametrize(
    ("verb", "words"),
    [("coordinator", ("one inbound TCP port", "127.0.0.1")), ("site", ("none inbound", "Outbound", "approve by hash"))],
)
def test_help_says_which_port_which_direction_and_what_code_will_run(verb, words):
    shown = " ".join(said(verb, "init", "--help").split())
    assert all(word in shown for word in words)
