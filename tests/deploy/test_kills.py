"""Processes of a running federation killed with -9 at chosen points: `pytest -m deploy`. One at a time, minutes each.

Whatever is killed, the weights are those of an undisturbed run, and each site is charged once per round.
"""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from synthfed.errors import FederationError
from synthfed.federation.deployment import runs
from synthfed.federation.deployment.flower import children_of
from synthfed.federation.deployment.rehearsal import Rehearsal
from tests.deploy.test_processes import assert_same_as_in_process, begun, rehearsal, wait_for_round

__all__ = ["rehearsal"]  # the fixture

pytestmark = pytest.mark.deploy


def process_of(flwr_home: Path, program: bytes) -> int | None:
    """A process of a folder, by the program in its command line."""
    for number in children_of(flwr_home):
        if program in Path(f"/proc/{number}/cmdline").read_bytes():
            return number
    return None


def kill_when(point: Callable[[], bool], flwr_home: Path, program: bytes) -> None:
    end = time.monotonic() + 400
    while not point() or (number := process_of(flwr_home, program)) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(number, signal.SIGKILL)


def charges(site: Path) -> int:
    """Charges in a site's ledger, read beside whoever works on it."""
    if not (site / "ledger.sqlite").exists():
        return 0
    with sqlite3.connect(f"file:{site / 'ledger.sqlite'}?mode=ro", uri=True, timeout=30) as base:
        return int(base.execute("select count(*) from entry where kind = 'charge'").fetchone()[0])


def assert_charged_once_per_round(up: Rehearsal, folder: Path) -> None:
    ledgers = json.loads((folder / "ledgers.json").read_text())
    assert {len(entry["events"]) for entry in ledgers.values()} == {2}
    assert {charges(home.folder) for home in up.sites.values()} == {2}


def test_clientapps_killed_around_the_charge_are_asked_again_and_charge_nothing_more(rehearsal, tmp_path):
    """Milano dies with a result that is parked and not charged, lyon with one that is charged and not sent."""
    milano, lyon = (rehearsal.sites[name] for name in ("milano", "lyon"))
    folder = begun(rehearsal, "killed")
    kill_when(lambda: any(milano.folder.glob("runs/*/parked/00000.*")), milano.flwr_home, b"flwr-clientapp")
    kill_when(lambda: charges(lyon.folder) == 2, lyon.flwr_home, b"flwr-clientapp")
    assert charges(lyon.folder) == 2
    try:
        runs.wait(rehearsal.coordinator, folder, say=print)
    except FederationError:  # a site that dies again while it is asked again is lost for this trip
        runs.submit(rehearsal.coordinator, folder, resume=True, say=print)
        runs.wait(rehearsal.coordinator, folder, say=print)
    assert_same_as_in_process(rehearsal, folder, tmp_path / "work")
    assert_charged_once_per_round(rehearsal, folder)


def test_a_killed_superlink_comes_back_on_its_database_and_the_run_goes_on(rehearsal, tmp_path):
    home = rehearsal.coordinator
    folder = begun(rehearsal, "killed")
    wait_for_round(folder, 1)
    kill_when(lambda: True, home.flwr_home, b"flower-superlink")
    with pytest.raises(FederationError):
        runs.wait(home, folder, say=print)
    assert rehearsal.processes["coordinator"].wait(60) != 0  # so that systemd starts it again
    with pytest.raises(FederationError, match="is not up"):
        runs.submit(home, folder, resume=True, say=print)
    rehearsal.start_coordinator()
    rehearsal.wait_for_sites()
    runs.submit(home, folder, resume=True, say=print)
    runs.wait(home, folder, say=print)
    assert_same_as_in_process(rehearsal, folder, tmp_path / "work")
    assert_charged_once_per_round(rehearsal, folder)


def test_an_up_that_was_killed_is_started_again_over_what_it_left_running(rehearsal):
    homes = {"coordinator": rehearsal.coordinator.flwr_home, "lyon": rehearsal.sites["lyon"].flwr_home}
    programs = {"coordinator": b"flower-superlink", "lyon": b"flower-supernode"}
    before = {name: process_of(homes[name], programs[name]) for name in homes}
    for name in homes:
        rehearsal.processes[name].kill()
        rehearsal.processes[name].wait()
        assert process_of(homes[name], programs[name]) == before[name]  # an orphan, with its port
    rehearsal.start_coordinator()
    rehearsal.start_site("lyon")
    rehearsal.wait_for_sites()
    for name in homes:
        assert process_of(homes[name], programs[name]) not in (None, before[name])
