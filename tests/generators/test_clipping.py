"""The clipped sum is exact and one record moves it by at most the clip norm."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn

from synthfed.errors import TrainingError
from synthfed.generators.base import Layout
from synthfed.generators.clipping import FlatNetwork, linear_layers
from synthfed.generators.networks import Mlp, Vae, first_weights, load_weights, one_hot
from tests.generators.conftest import make_codes

CLIP = 0.7
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # torch, when Opacus' hooks run
LAYOUT = Layout(("a", "b", "c"), (3, 5, 2))


def _vae(seed: int = 1) -> Vae:
    network = Vae(LAYOUT, hidden=8, latent=3, beta=0.3)
    load_weights(network, first_weights(network, seed=seed))
    return network


def _inputs(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    latent = np.random.default_rng(seed).standard_normal((rows, 3)).astype(np.float32)
    return one_hot(make_codes(LAYOUT, rows, seed=seed), LAYOUT), torch.from_numpy(latent)


def _sum(rows: Tensor, noise: Tensor, clip_norm: float = CLIP) -> Tensor:
    flat = FlatNetwork(_vae())
    flat.begin()
    return flat.clipped_sum(flat.module(rows, noise), clip_norm)


def _naive(rows: Tensor, noise: Tensor, clip_norm: float = CLIP) -> Tensor:
    """One backward pass per record: slow and obviously right."""
    network = _vae()
    parameters = list(network.parameters())
    total = torch.zeros(sum(p.numel() for p in parameters))
    for index in range(len(rows)):
        loss = network(rows[index : index + 1], noise[index : index + 1]).sum()
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters)])
        total += gradient * min(1.0, clip_norm / (float(gradient.norm()) + 1e-6))
    return total


def _hooks(rows: Tensor, noise: Tensor, clip_norm: float = CLIP) -> Tensor:
    """Opacus' per-record gradients."""
    network = GradSampleModule(_vae(), loss_reduction="sum")
    network(rows, noise).sum().backward()
    samples = torch.cat([p.grad_sample.reshape(len(rows), -1) for p in network.parameters()], dim=1)
    factors = (clip_norm / (samples.norm(dim=1) + 1e-6)).clamp(max=1.0)
    return factors @ samples


@pytest.mark.parametrize("clip_norm", [0.01, 0.7, 1e6])
def test_book_keeping_equals_hooks_equals_one_record_at_a_time(clip_norm: float) -> None:
    rows, noise = _inputs(12)
    expected = _naive(rows, noise, clip_norm)
    scale = max(1.0, float(expected.norm()))
    torch.testing.assert_close(_sum(rows, noise, clip_norm), expected, atol=1e-6 * scale, rtol=0)
    torch.testing.assert_close(_hooks(rows, noise, clip_norm), expected, atol=1e-6 * scale, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    left_out=st.integers(0, 8),
    seed=st.integers(0, 10_000),
    clip_norm=st.floats(1e-3, 1e3),
)
def test_one_record_moves_the_sum_by_at_most_the_clip_norm(
    rows: int, left_out: int, seed: int, clip_norm: float
) -> None:
    """The sensitivity that the noise is scaled to, for adding or removing any one record."""
    table, noise = _inputs(rows, seed)
    keep = torch.arange(rows) != left_out % rows
    with_all = _sum(table, noise, clip_norm)
    without_one = _sum(table[keep], noise[keep], clip_norm)
    rounding = 1e-5 * max(1.0, float(with_all.norm()))
    assert float((with_all - without_one).norm()) <= clip_norm + rounding


def test_small_gradients_are_not_clipped() -> None:
    rows, noise = _inputs(6)
    network = _vae()
    network(rows, noise).sum().backward()
    plain = torch.cat([part.grad.ravel() for layer in linear_layers(network) for part in (layer.weight, layer.bias)])
    torch.testing.assert_close(_sum(rows, noise, 1e6), plain)


def test_an_empty_batch_sums_to_zero() -> None:
    rows, noise = _inputs(0)
    assert not _sum(rows, noise).any()


class _Strange(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.part = part


@pytest.mark.parametrize(
    "part", [nn.BatchNorm1d(4), nn.LayerNorm(4), nn.Dropout(), nn.Conv1d(1, 1, 1), nn.Embedding(3, 4), nn.GRU(4, 4)]
)
def test_other_layers_are_refused_by_name(part: nn.Module) -> None:
    with pytest.raises(TrainingError, match=rf"'part' is a {type(part).__name__}"):
        linear_layers(_Strange(part))


def test_free_parameters_are_refused() -> None:
    module = _Strange(nn.ModuleList())
    module.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(TrainingError, match="free parameters"):
        linear_layers(module)


def test_linear_without_bias_is_refused() -> None:
    with pytest.raises(TrainingError, match="without bias"):
        linear_layers(nn.Sequential(nn.Linear(2, 2, bias=False)))


def test_a_layer_used_twice_is_refused() -> None:
    flat = FlatNetwork(nn.Sequential(nn.Linear(4, 4)))
    flat.begin()
    x = torch.ones(2, 4)
    losses = flat.module(flat.module(x)).sum(1)
    with pytest.raises(TrainingError, match="exactly once"):
        flat.clipped_sum(losses, 1.0)


def test_a_layer_left_out_is_refused() -> None:
    network = Mlp((4, 3, 1))
    flat = FlatNetwork(network)
    flat.begin()
    with pytest.raises(TrainingError, match="exactly once"):
        flat.clipped_sum(network.layers[0](torch.ones(2, 4)).sum(1), 1.0)


def test_a_gradient_that_is_not_finite_stops_training() -> None:
    flat = FlatNetwork(_vae())
    flat.flat.data[0] = float("nan")
    rows, noise = _inputs(3)
    flat.begin()
    with pytest.raises(TrainingError, match="NaN"):
        flat.clipped_sum(flat.module(rows, noise), 1.0)
