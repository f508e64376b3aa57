"""The networks of both generators: linear layers, leaky ReLU, one softmax per block, and nothing else.

No normalisation, dropout or free parameter: per-record gradients of linear layers are known in closed form
(`clipping`), and every tensor can be averaged over sites. Shapes follow from the public `Layout` alone.
Training needs torch; drawing rows from released tensors needs numpy only (`forward`, `draw_codes`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from synthfed.errors import TrainingError
from synthfed.generators import condition
from synthfed.generators.base import Codes, Layout, Weights

SLOPE = 0.2  # of leaky ReLU below zero
LOGIT_BOUND = 30.0  # exp(30) = 1e13: sums stay inside float32 without subtracting a maximum per block
LOG_VARIANCE = (-6.0, 3.0)
_CHUNK = 4096  # rows drawn at a time: what they need stays in the processor's cache


class Mlp(nn.Module):
    """Linear layers with leaky ReLU between them; `sizes` lists every width, input first."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(wide, narrow, device="meta").to_empty(device="cpu") for wide, narrow in pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:  # (rows, sizes[0]) -> (rows, sizes[-1])
        *hidden, last = self.layers
        for layer in hidden:
            x = functional.leaky_relu(layer(x), SLOPE)
        out: Tensor = last(x)
        return out


class Blocks:
    """Cross-entropy and sampling per block on rows whose blocks lie side by side, one-hot."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.members = torch.zeros(layout.total_width, len(layout.widths))  # (one-hot width, blocks): 1 where inside
        offset = 0
        for block, width in enumerate(layout.widths):
            self.members[offset : offset + width, block] = 1.0
            offset += width

    def place(self, block: int) -> slice:
        """Where a block lies in the one-hot row."""
        start = sum(self.layout.widths[:block])
        return slice(start, start + self.layout.widths[block])

    def cross_entropy(self, logits: Tensor, onehot: Tensor, given: int | None = None) -> Tensor:
        """Sum over blocks of -log softmax at the true level, per row: (rows, width) -> (rows,).

        Args:
            given: A block that is not drawn and does not count.
        """
        bounded = logits.clamp(-LOGIT_BOUND, LOGIT_BOUND)
        if given is not None:
            counts = torch.ones(self.layout.total_width)
            counts[self.place(given)] = 0.0
            bounded = bounded * counts  # a constant stays of that block: log of its width
        totals = bounded.exp() @ self.members.to(logits.dtype)  # (rows, blocks)
        return totals.log().sum(1) - (bounded * onehot).sum(1)

    def softmax(self, logits: Tensor) -> Tensor:
        """Softmax inside every block: (rows, width) -> (rows, width)."""
        powers = logits.clamp(-LOGIT_BOUND, LOGIT_BOUND).exp()
        return powers / ((powers @ self.members) @ self.members.T)

    def tell(self, rows: Tensor, block: int, told: Tensor) -> Tensor:
        """`rows` with one block replaced by what it is told, one-hot: (rows, width)."""
        place = self.place(block)
        return torch.cat([rows[:, : place.start], told, rows[:, place.stop :]], dim=1)

    def draw(self, logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """A soft draw per block, differentiable in `logits` (Gumbel softmax, arXiv 1611.01144): (rows, width)."""
        uniform = torch.rand(logits.shape, generator=generator).clamp_(1e-10, 1 - 1e-7)
        gumbel = -torch.log(-torch.log(uniform))
        return self.softmax((logits.clamp(-LOGIT_BOUND, LOGIT_BOUND) + gumbel) / temperature)


class Vae(nn.Module):
    """Encoder and decoder in one module, since both touch rows while training; only the decoder ships.

    Attributes:
        given: The block that the decoder is told and does not draw (`condition`); None: it draws them all.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        hidden: int,
        latent: int,
        beta: float,
        decoder_layers: int = 1,
        given: int | None = None,
    ) -> None:
        super().__init__()
        width = layout.total_width
        self.encoder = Mlp((width, hidden, 2 * latent))
        self.decoder = Mlp((latent + given_width(layout, given), *(hidden,) * decoder_layers, width))
        self.latent = latent
        self.beta = beta
        self.given = given
        self.blocks = Blocks(layout)

    def forward(self, rows: Tensor, noise: Tensor) -> Tensor:
        """Loss per record: cross-entropies + beta * KL. `rows` (n, width) one-hot, `noise` (n, latent) -> (n,)."""
        mean, log_variance = self.encoder(rows).chunk(2, dim=1)
        log_variance = log_variance.clamp(*LOG_VARIANCE)
        variance = log_variance.exp()
        latent = mean + variance.sqrt() * noise
        if self.given is not None:
            latent = torch.cat([latent, rows[:, self.blocks.place(self.given)]], dim=1)
        divergence = 0.5 * (variance + mean.square() - 1.0 - log_variance).sum(1)
        cross_entropy = self.blocks.cross_entropy(self.decoder(latent), rows, self.given)
        losses: Tensor = cross_entropy + self.beta * divergence
        return losses


class Gan(nn.Module):
    """Generator and critic side by side; the critic alone touches rows under privacy, the generator alone ships.

    Attributes:
        shares: Shares of the levels of the block `given`, (levels,): how fakes are told one; None without.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        noise_width: int,
        hidden: int,
        critic_hidden: int,
        given: int | None = None,
        shares: Tensor | None = None,
    ) -> None:
        super().__init__()
        width = layout.total_width
        self.generator = Mlp((noise_width + given_width(layout, given), hidden, hidden, width))
        self.critic = Mlp((width, critic_hidden, critic_hidden, 1))
        self.noise_width = noise_width
        self.given = given
        self.shares = shares
        self.blocks = Blocks(layout)

    def fakes(self, rows: int, temperature: float, draws: torch.Generator) -> Tensor:
        """Soft rows drawn by the generator, nearly one-hot at a low temperature: (rows, width)."""
        latent = torch.randn(rows, self.noise_width, generator=draws)
        if self.given is None or self.shares is None:
            return self.blocks.draw(self.generator(latent), temperature, draws)
        levels = torch.multinomial(self.shares, rows, replacement=True, generator=draws)
        told = functional.one_hot(levels, len(self.shares)).float()
        soft = self.blocks.draw(self.generator(torch.cat([latent, told], dim=1)), temperature, draws)
        return self.blocks.tell(soft, self.given, told)


def given_width(layout: Layout, given: int | None) -> int:
    """How many inputs a network gets beside its latent noise."""
    return 0 if given is None else layout.widths[given]


def first_weights(module: nn.Module, *, seed: int) -> Weights:
    """Uniform in +-1/sqrt(inputs) as torch does, from numpy so that bytes do not depend on torch's generator.

    Biases start at zero, so the first decoder is nearly uniform over every block's levels: public, from no row.
    """
    rng = np.random.default_rng([seed, 0x5EED])
    weights: Weights = {}
    for name, parameter in module.named_parameters():
        shape = tuple(parameter.shape)
        if len(shape) == 2:
            bound = 1.0 / np.sqrt(shape[1])
            weights[name] = rng.uniform(-bound, bound, size=shape).astype(np.float32)
        else:
            weights[name] = np.zeros(shape, dtype=np.float32)
    return weights


def load_weights(module: nn.Module, weights: Weights, *, prefix: str = "") -> None:
    """Copy named arrays into `module`.

    Raises:
        TrainingError: A tensor is missing, has another shape, or holds a NaN or infinity.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            tensor = weights.get(prefix + name)
            if tensor is None or tensor.shape != tuple(parameter.shape):
                found = "nothing" if tensor is None else f"shape {tensor.shape}"
                raise TrainingError(
                    f"weights {prefix + name!r}: found {found}, the network needs {tuple(parameter.shape)}; "
                    "were pipeline and layout changed since these weights were made?"
                )
            if not np.isfinite(tensor).all():
                raise TrainingError(f"weights {prefix + name!r} hold a NaN or infinity; lower the step sizes")
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(tensor, dtype=np.float32)))


def one_hot(codes: Codes, layout: Layout) -> Tensor:
    """Rows of codes -> float32 (rows, total width).

    Raises:
        TrainingError: The codes do not fit the layout; the message holds no row.
    """
    if codes.ndim != 2 or codes.shape[1] != len(layout.widths):
        raise TrainingError(f"codes have shape {codes.shape}; the layout has {len(layout.widths)} blocks per row")
    outside = (codes < 0) | (codes >= np.asarray(layout.widths))
    if outside.any():
        names = [layout.names[block] for block in np.flatnonzero(outside.any(axis=0))]
        raise TrainingError(f"codes outside their block's width in {names}; encode with the run's own transformer")
    starts = np.cumsum((0, *layout.widths[:-1]))
    rows = torch.zeros(len(codes), layout.total_width)
    rows[torch.arange(len(codes))[:, None], torch.from_numpy(codes.astype(np.int64) + starts)] = 1.0
    return rows


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, so that the same seed gives the same bytes; restores the setting after."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forward(weights: Weights, prefix: str, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`Mlp.forward` in numpy, from tensors named `{prefix}layers.{i}.weight` and `.bias`."""
    depth = sum(name.startswith(f"{prefix}layers.") and name.endswith(".weight") for name in weights)
    for index in range(depth):
        x = x @ weights[f"{prefix}layers.{index}.weight"].T + weights[f"{prefix}layers.{index}.bias"]
        if index < depth - 1:
            x = np.where(x > 0, x, np.float32(SLOPE) * x)
    return x


def draw_rows(
    weights: Weights, prefix: str, layout: Layout, latent_width: int, rows: int, rng: np.random.Generator
) -> Codes:
    """Rows of a released network: latent noise, what it is told (`condition`), then every other block at once."""
    given = condition.centre_of(weights, prefix, layout)
    codes = np.empty((rows, len(layout.widths)), dtype=np.int32)
    for start in range(0, rows, _CHUNK):
        part = codes[start : start + _CHUNK]
        inputs = rng.standard_normal((len(part), latent_width), dtype=np.float32)
        if given is None:
            part[:] = draw_codes(forward(weights, prefix, inputs), layout, rng)
            continue
        shares = condition.shares_of(weights, prefix, layout, given)
        told = rng.choice(len(shares), size=len(part), p=shares)
        inputs = np.concatenate([inputs, np.eye(len(shares), dtype=np.float32)[told]], axis=1)
        part[:] = draw_codes(forward(weights, prefix, inputs), layout, rng)
        part[:, given] = told
    return codes


def draw_codes(logits: npt.NDArray[np.float32], layout: Layout, rng: np.random.Generator) -> Codes:
    """One categorical draw per row and block: (rows, width) -> codes (rows, blocks).

    A level is drawn where a uniform share of the block's total falls among its cumulated powers.
    """
    # (width, rows) in memory too: a level's powers lie side by side, and every step below runs along them.
    powers = np.ascontiguousarray(np.clip(logits, -LOGIT_BOUND, LOGIT_BOUND).T)
    np.exp(powers, out=powers)
    places = rng.random((len(layout.widths), len(logits)), dtype=np.float32)
    codes = np.zeros((len(logits), len(layout.widths)), dtype=np.int32)
    offset = 0
    for block, width in enumerate(layout.widths):
        upto = np.cumsum(powers[offset : offset + width], axis=0)
        codes[:, block] = (places[block] * upto[-1] >= upto[:-1]).sum(axis=0)
        offset += width
    return codes
