"""One private step: the noise falls on the sum, the public terms escape it, the history is the plan."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from synthfed.errors import BudgetRefused, TrainingError
from synthfed.generators import dpsgd
from synthfed.generators.base import Codes, Layout, Plan
from synthfed.generators.clipping import FlatNetwork
from synthfed.generators.dpsgd import Clipping, poisson, private_steps
from synthfed.generators.networks import Mlp, first_weights, load_weights, one_hot
from synthfed.generators.plan import round_events
from tests.generators.conftest import KEY

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # torch, when Opacus' hooks run


class ScriptedNoise:
    """Noise that a test can read: a seeded generator, or all ones, and coins that all fall one way."""

    def __init__(self, *, seed: int = 0, ones: bool = False, coin: bool | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.ones = ones
        self.coin = coin
        self.draws: list[int] = []

    def normal(self, size: int) -> npt.NDArray[np.float64]:
        self.draws.append(size)
        return np.ones(size) if self.ones else self.rng.standard_normal(size)

    def uniform(self, size: int) -> npt.NDArray[np.float64]:
        return self.rng.random(size)

    def bernoulli(self, rate: float, n: int) -> npt.NDArray[np.bool_]:
        return self.rng.random(n) < rate if self.coin is None else np.full(n, self.coin)


def _network(layout: Layout) -> FlatNetwork:
    network = Mlp((layout.total_width, 6, 1))
    load_weights(network, first_weights(network, seed=3))
    return FlatNetwork(network)


def _losses(module: nn.Module, batch: Tensor) -> Tensor:
    scores: Tensor = module(batch)
    return -scores.squeeze(1)


def _step(layout: Layout, codes: Codes, plan: Plan, noise: ScriptedNoise, **more: Any) -> npt.NDArray[np.float32]:
    done = private_steps(
        _network(layout), one_hot(codes, layout), _losses, plan, rate=1.0, round_index=0, noise=noise, **more
    )
    return done.change


@pytest.fixture
def one_step(plan: Plan) -> Plan:
    return replace(plan, local_steps=1, sample_rate=1.0)


def test_noise_on_the_sum_is_sigma_times_clip_norm(layout: Layout, codes: Codes, one_step: Plan) -> None:
    """With noise of ones, the step differs from the noiseless one by exactly sigma * C / expected batch."""
    plan = replace(one_step, clip_norm=0.5, noise_multiplier=3.0, expected_batch=20.0)
    quiet = _step(layout, codes, replace(plan, noise_multiplier=0.0), ScriptedNoise(ones=True))
    loud = _step(layout, codes, plan, ScriptedNoise(ones=True))
    np.testing.assert_allclose(quiet - loud, 3.0 * 0.5 / 20.0, atol=1e-6)


def test_noise_has_the_planned_standard_deviation(layout: Layout, codes: Codes, one_step: Plan) -> None:
    """From the secret stream itself, on the sum: sigma * C within sampling error."""
    from synthfed.privacy.mechanisms import NoiseStream

    plan = replace(one_step, clip_norm=0.5, noise_multiplier=3.0, expected_batch=20.0)
    quiet = _step(layout, codes, replace(plan, noise_multiplier=0.0), ScriptedNoise())
    noise = np.concatenate(
        [(_step(layout, codes, plan, NoiseStream(bytes([i]) * 32)) - quiet) * 20.0 for i in range(60)]  # type: ignore[arg-type]
    )
    assert noise.std() == pytest.approx(1.5, rel=4 / np.sqrt(2 * noise.size))
    assert abs(noise.mean()) < 4 * 1.5 / np.sqrt(noise.size)


def test_one_draw_of_noise_covers_every_parameter(layout: Layout, codes: Codes, one_step: Plan) -> None:
    noise = ScriptedNoise()
    change = _step(layout, codes, replace(one_step, local_steps=2), noise)
    assert noise.draws == [change.size, change.size]


def test_public_terms_get_no_noise_and_survive_the_overwrite(layout: Layout, codes: Codes, one_step: Plan) -> None:
    """Opacus assigns `p.grad` when it adds noise; a public gradient placed there earlier would be lost."""
    size = _network(layout).flat.numel()

    def hundred() -> Tensor:
        return torch.full((size,), 100.0)

    bare = _step(layout, codes, one_step, ScriptedNoise(seed=1))
    with_term = _step(layout, codes, one_step, ScriptedNoise(seed=1), public=hundred)
    np.testing.assert_allclose(bare - with_term, 100.0, rtol=1e-5)


@pytest.mark.parametrize("public", [None, lambda: torch.linspace(-1, 1, 115)], ids=["bare", "public term"])
def test_book_keeping_equals_opacus_hooks(
    layout: Layout, codes: Codes, plan: Plan, public: Callable[[], Tensor] | None
) -> None:
    """Twenty Poisson steps under the same noise, through two implementations."""
    assert _network(layout).flat.numel() == 115
    plan = replace(plan, local_steps=20, noise_multiplier=0.5)
    both: list[npt.NDArray[np.float32]] = []
    clippings: tuple[Clipping, ...] = ("book-keeping", "hooks")
    for clipping in clippings:
        done = private_steps(
            _network(layout),
            one_hot(codes, layout),
            _losses,
            plan,
            rate=0.1,
            round_index=0,
            noise=ScriptedNoise(seed=2),
            public=public,
            clipping=clipping,
        )
        assert done.events == round_events(plan, 0)
        both.append(done.change)
    assert np.abs(both[0]).max() > 0.01
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)


def test_an_empty_poisson_batch_is_noise_only_and_still_charged(layout: Layout, codes: Codes, one_step: Plan) -> None:
    plan = replace(one_step, sample_rate=0.01)
    noise = ScriptedNoise(ones=True, coin=False)
    done = private_steps(_network(layout), one_hot(codes, layout), _losses, plan, rate=1.0, round_index=5, noise=noise)
    expected = plan.noise_multiplier * plan.clip_norm / plan.expected_batch
    np.testing.assert_allclose(done.change, -expected, atol=1e-6)
    assert done.events == round_events(plan, 5)


def test_the_divisor_is_public_and_not_the_batch(layout: Layout, codes: Codes, one_step: Plan) -> None:
    """Half the rows give a different sum but never a different divisor."""
    quiet = replace(one_step, noise_multiplier=0.0)
    whole = _step(layout, codes, quiet, ScriptedNoise())
    parts = [_step(layout, half, quiet, ScriptedNoise()) for half in (codes[:25], codes[25:])]
    np.testing.assert_allclose(whole, parts[0] + parts[1], atol=1e-6)


def test_poisson_sampling_follows_the_coins() -> None:
    rows = torch.arange(10.0)[:, None]
    assert len(poisson(rows, 1.0, ScriptedNoise(coin=False))) == 10
    assert len(poisson(rows, 0.5, ScriptedNoise(coin=False))) == 0
    assert torch.equal(poisson(rows, 0.5, ScriptedNoise(coin=True)), rows)


def test_a_history_that_is_not_the_plan_leaves_nothing(
    layout: Layout, codes: Codes, one_step: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(dpsgd.PRVAccountant):  # type: ignore[misc]  # opacus is untyped
        def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
            super().step(noise_multiplier=noise_multiplier / 2, sample_rate=sample_rate)

    monkeypatch.setattr(dpsgd, "PRVAccountant", Forgetful)
    with pytest.raises(BudgetRefused, match="nothing leaves"):
        _step(layout, codes, one_step, ScriptedNoise())


def test_an_exploding_step_is_a_training_error(layout: Layout, codes: Codes, one_step: Plan) -> None:
    with pytest.raises(TrainingError, match="site_rate"):
        private_steps(
            _network(layout),
            one_hot(codes, layout),
            _losses,
            replace(one_step, expected_batch=1e-30),
            rate=1e30,
            round_index=0,
            noise=ScriptedNoise(seed=int(KEY[1])),
        )
