"""Programs that are started, watched and ended; here with small ones instead of Flower's."""

import fcntl
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from synthfed.errors import FederationError
from synthfed.federation.deployment import superlink
from synthfed.federation.deployment.flower import children_of, end_leftovers, environment, require_free
from synthfed.federation.deployment.site_home import SiteHome
from synthfed.federation.deployment.supernode import supernode_command


def test_what_was_started_for_a_folder_is_found_and_ended_though_it_ignores_requests(tmp_path):
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    process = subprocess.Popen(
        [sys.executable, "-c", stubborn], env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert children_of(tmp_path) == [process.pid]
        end_leftovers(tmp_path, patience_s=0.0, request_s=0.2)
    assert process.returncode == -9
    assert children_of(tmp_path) == []


def test_a_port_of_another_program_is_refused_before_that_program_is_taken_for_ours():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(FederationError, match=r"cannot be opened .*; free it"):
            require_free("127.0.0.1", other.getsockname()[1], remedy="free it")


def test_nothing_is_started_or_documented_without_tls(homes):
    coordinator, sites = homes
    invitation = coordinator.sign_roster()
    lyon = sites["lyon"]
    lyon.pin(invitation, invitation.fingerprint)
    lyon = SiteHome.init(lyon.folder, site="lyon", organisation=lyon.organisation, data=lyon.folder / "aml.csv")
    for command in (
        superlink.superlink_command(coordinator),
        superlink.superlink_command(coordinator, simulation=True),
        superlink.front_command(coordinator),
        supernode_command(lyon, local_port=9094),
    ):
        assert "--insecure" not in command
        assert "--ssl-keyfile" in command or "--key" in command
    root = Path(__file__).resolve().parents[3]
    pages = [root / "README.md", *(root / "synthfed").rglob("*.md"), *(root / "datasets").rglob("*.md")]
    assert [page for page in pages if "--insecure" in page.read_text(encoding="utf-8")] == []


def test_a_coordinator_that_was_killed_counts_as_down_whatever_it_left(homes):
    coordinator, _ = homes
    assert superlink.running(coordinator) is None
    (coordinator.folder / "up.pid").write_text("1")  # a number that another process has by now
    assert superlink.running(coordinator) is None
    with (coordinator.folder / "up.pid").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert superlink.running(coordinator) == 1
        with pytest.raises(FederationError, match="is up already"), superlink.serving(coordinator):
            pass
    with pytest.raises(FederationError, match="is not up; start it"):
        superlink.require_running(coordinator)
