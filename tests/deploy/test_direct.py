"""Real SuperNodes whose sites hand their parts to each other: `pytest -m deploy`. One at a time, minutes each.

The weights are those that one process trains in mode `compressed`, without any part: mode and way change nothing.
"""

import json
from pathlib import Path

import pytest

from synthfed.federation.deployment import runs
from synthfed.federation.deployment.flower import children_of
from synthfed.federation.deployment.rehearsal import Rehearsal, rehearsing
from synthfed.run.contents import pipeline_toml
from tests.deploy.test_processes import PIPELINE, assert_same_as_in_process, wait_for_round

pytestmark = pytest.mark.deploy

LINKED = PIPELINE.replace(federation__shares="full", federation__transport="direct")


@pytest.fixture
def linked(tmp_path):
    with rehearsing(tmp_path / "federation", LINKED, allow_seeded=True, keep=True, say=print) as up:
        yield up
    homes = [up.coordinator.flwr_home, *(home.flwr_home for home in up.sites.values())]
    assert [children_of(home) for home in homes] == [[]] * 4


def begun(up: Rehearsal) -> Path:
    folder = up.coordinator.begin_run("direct", LINKED, toml=pipeline_toml(LINKED))
    runs.submit(up.coordinator, folder, resume=False, say=print)
    return folder


def by_relay(folder: Path) -> list[list[str]]:
    return [list(line["by_relay"]) for line in runs.progress_of(folder)]


def failed_links(folder: Path) -> set[tuple[str, str, str]]:
    """Who could not reach whom, and why, by the sites' audit chains."""
    found = set()
    for path in folder.glob("audit-*.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            if line["kind"] == "relayed":
                site = path.stem.removeprefix("audit-")
                found |= {(site, link["to"], link["why"]) for link in line["body"]["links"]}
    return found


def test_parts_go_from_hospital_to_hospital_and_the_weights_are_those_of_one_process(linked, tmp_path):
    folder = begun(linked)
    runs.wait(linked.coordinator, folder, say=print)
    assert by_relay(folder) == [[], []]
    assert failed_links(folder) == set()
    assert_same_as_in_process(linked, folder, tmp_path / "work")


def test_a_peer_that_stops_listening_in_mid_run_gets_its_parts_through_the_coordinator(linked, tmp_path):
    """What listens at milano is killed; its SuperNode goes on."""
    folder = begun(linked)
    wait_for_round(folder, 1)
    linked.processes["milano"].kill()
    linked.processes["milano"].wait()
    runs.wait(linked.coordinator, folder, say=print)
    assert by_relay(folder) == [[], ["barcelona to milano", "lyon to milano"]]
    assert failed_links(folder) == {("lyon", "milano", "unreachable"), ("barcelona", "milano", "unreachable")}
    assert_same_as_in_process(linked, folder, tmp_path / "work")
