"""Parts that go from site to site give the weights that they give through the coordinator, bit for bit."""

from pathlib import Path

import numpy as np
import pytest

from synthfed.federation.in_process import Wiretap, run_in_process
from synthfed.generators.base import flatten
from tests.federation.fakes import MeanGenerator, TwoBlocks, small_pipeline, unequal_sites
from tests.federation.linked import Linked, founded_for

SITES = unequal_sites()
NAMES = tuple(SITES)


def federate(work: Path, *, shares: str = "full", tap: Wiretap | None = None, workers: int = 1, **federation):
    settings = {"shares": shares, "transport": "direct", **federation}
    pipeline = small_pipeline(**{f"federation__{key}": value for key, value in settings.items()})
    return run_in_process(
        pipeline=pipeline,
        transformer=TwoBlocks(),
        sites=SITES,
        work=work,
        simulated=True,
        generator=MeanGenerator(),
        wiretap=tap,
        workers=workers,
        progress=PROGRESS.append,
    )


PROGRESS: list = []


@pytest.fixture(autouse=True)
def progress():
    PROGRESS.clear()
    return PROGRESS


def linked(work: Path, **federation) -> Linked:
    settings = {"shares": "full", "transport": "direct", **federation}
    return founded_for(work, small_pipeline(**{f"federation__{k}": v for k, v in settings.items()}), NAMES)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> np.ndarray:
    result = run_in_process(
        pipeline=small_pipeline(),
        transformer=TwoBlocks(),
        sites=SITES,
        work=tmp_path_factory.mktemp("wanted"),
        simulated=True,
        generator=MeanGenerator(),
    )
    return flatten(result.final)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("shares", ["full", "shamir"])
def test_direct_gives_the_same_weights(tmp_path, wanted, shares, workers):
    up = linked(tmp_path, shares=shares)
    with up.listening():
        result = federate(tmp_path, shares=shares, workers=workers)
    np.testing.assert_array_equal(flatten(result.final), wanted)
    assert [done.by_relay for done in PROGRESS] == [(), (), ()]
