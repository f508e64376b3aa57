"""Parts that go from site to site give the weights that they give through the coordinator, bit for bit."""

from pathlib import Path

import numpy as np
import pytest

from synthfed.errors import PipelineError, SiteRefused
from synthfed.federation.in_process import FederationResult, RoundDone
from synthfed.generators.base import flatten
from synthfed.pipeline import Pipeline
from tests.federation.fakes import small_pipeline, unequal_sites
from tests.federation.linked import Linked, founded_for, run_over

SITES = unequal_sites()
NAMES = tuple(SITES)


def pipeline_of(**federation: object) -> Pipeline:
    settings = {"shares": "full", "transport": "direct", **federation}
    return small_pipeline(**{f"federation__{key}": value for key, value in settings.items()})


def federate(work: Path, *, workers: int = 1, **federation: object) -> FederationResult:
    return run_over(work, pipeline_of(**federation), SITES, workers=workers, progress=PROGRESS)


PROGRESS: list[RoundDone] = []


@pytest.fixture(autouse=True)
def progress():
    PROGRESS.clear()


def linked(work: Path, *, unlinked: tuple[str, ...] = (), **federation: object) -> Linked:
    return founded_for(work, pipeline_of(**federation), NAMES, unlinked=unlinked)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> np.ndarray:
    return flatten(run_over(tmp_path_factory.mktemp("wanted"), small_pipeline(), SITES).final)


@pytest.mark.parametrize(
    ("workers", "federation"),
    [
        (1, {"shares": "full"}),
        (4, {"shares": "full"}),
        (4, {"shares": "shamir"}),
        (1, {"shares": "shamir", "pq": True}),
        (1, {"shares": "full", "verify": "recompute"}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_direct_gives_the_same_weights(tmp_path, wanted, workers, federation):
    up = linked(tmp_path, **federation)
    with up.listening():
        result = federate(tmp_path, workers=workers, **federation)
    np.testing.assert_array_equal(flatten(result.final), wanted)
    assert [done.by_relay for done in PROGRESS] == [(), (), ()]


def test_a_site_without_an_address_gives_and_gets_its_parts_through_the_coordinator(tmp_path, wanted):
    up = linked(tmp_path, unlinked=("oslo",))
    with up.listening():
        result = federate(tmp_path)
    np.testing.assert_array_equal(flatten(result.final), wanted)
    assert [done.by_relay for done in PROGRESS] == [(), (), ()]  # there was no link that could fail


def test_direct_links_take_the_parts_off_the_coordinator(tmp_path):
    """Three quarters of what four sites send in mode full are parts for each other."""
    up = linked(tmp_path / "direct")
    with up.listening():
        by_links = federate(tmp_path / "direct")
    relayed = federate(tmp_path / "relayed", transport="relay")
    part = 4 + 12 + 16 + 4 * (7 + 4) + 20
    assert relayed.bytes_up - by_links.bytes_up == 3 * 4 * 3 * (part + 8 + 8)  # each with its length and receiver
    letters = 4 * (len("direct") - len("relay"))  # in the manifest that each site gets
    assert relayed.bytes_down - by_links.bytes_down == 3 * 4 * 3 * (part + 8) - letters


def test_a_policy_that_says_nothing_of_direct_links_refuses_them_by_name(tmp_path):
    up = linked(tmp_path)
    policy = up.folder("milano") / "policy.toml"
    lines = [line for line in policy.read_text().splitlines() if not line.startswith("direct")]
    policy.write_text("\n".join(lines))
    with up.listening(), pytest.raises(SiteRefused, match=r"refused enrol: .*\(policy.direct\).* changes direct"):
        federate(tmp_path)
    assert not list((up.folder("milano") / "runs").glob("*/manifest.json"))


def test_modes_without_parts_have_nothing_to_send_directly():
    with pytest.raises(PipelineError, match="shares = 'compressed' makes none"):
        small_pipeline(federation__transport="direct")
