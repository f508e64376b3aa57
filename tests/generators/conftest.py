"""Small public layouts, made-up rows and a plan with real noise, for every generator's tests."""

from dataclasses import replace

import numpy as np
import pytest

from synthfed.generators.base import Codes, Layout, Plan
from synthfed.generators.ctgan import Ctgan
from synthfed.generators.dpsgd import Clipping
from synthfed.generators.tvae import Tvae
from synthfed.pipeline import CtganSettings, TvaeSettings

KEY = bytes(range(32))


def make_codes(layout: Layout, rows: int, *, seed: int = 0) -> Codes:
    """Rows whose blocks follow one hidden class, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    hidden = rng.integers(0, 2, size=rows)
    columns = [
        np.where(rng.random(rows) < 0.85, hidden * (width - 1), rng.integers(0, width, size=rows))
        for width in layout.widths
    ]
    return np.stack(columns, axis=1).astype(np.int32)


def make_generator(kind: str, *, clipping: Clipping = "book-keeping") -> Tvae | Ctgan:
    if kind == "tvae":
        return Tvae(TvaeSettings(kind="tvae", hidden=16, latent=4), clipping=clipping)
    settings = CtganSettings(kind="ctgan", hidden=16, critic_hidden=12, noise_width=4, fakes=32)
    return Ctgan(settings, clipping=clipping)


@pytest.fixture
def layout() -> Layout:
    return Layout(("age", "sex", "os", "NPM1"), (5, 2, 7, 3))


@pytest.fixture
def codes(layout: Layout) -> Codes:
    return make_codes(layout, 60)


@pytest.fixture
def plan() -> Plan:
    return Plan(
        rounds=4, local_steps=3, sample_rate=0.5, clip_norm=1.0, noise_multiplier=2.0, expected_batch=30.0, sites=1
    )


@pytest.fixture
def open_plan(plan: Plan) -> Plan:
    """Noise off: epsilon = inf."""
    return replace(plan, noise_multiplier=0.0)
