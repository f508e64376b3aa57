"""A variational autoencoder for coded rows: encoder and decoder train under one DP-SGD, only the decoder ships.

Stock TVAE keeps an encoder that saw rows without privacy and a decoder trained through it; here every weight that rows
touch gets the same noise. Sites take plain SGD steps, the coordinator takes an Adam step along the sum, and a running
mean of the decoder's weights is released. At small budgets a network trained this way is weak: see the benchmark.
"""

import numpy as np
import torch
from torch import Tensor, nn

from synthfed.generators import aggregate, open_training
from synthfed.generators.base import Codes, Layout, Plan, ServerState, Stint, Weights, unflatten
from synthfed.generators.clipping import FlatNetwork
from synthfed.generators.dpsgd import Clipping, Noise, private_steps
from synthfed.generators.networks import Vae, draw_codes, first_weights, forward, load_weights, one_hot, one_thread
from synthfed.pipeline import TvaeSettings

_BETAS = (0.9, 0.999)


class Tvae:
    """The `tvae` generator; see `base.Generator` for the methods' contracts."""

    kind = "tvae"
    released_prefix = "decoder."

    def __init__(self, settings: TvaeSettings, *, clipping: Clipping = "book-keeping") -> None:
        self.settings = settings
        self.clipping = clipping

    def _network(self, layout: Layout) -> Vae:
        s = self.settings
        return Vae(layout, hidden=s.hidden, latent=s.latent, beta=s.beta)

    def init(self, layout: Layout, *, seed: int) -> Weights:
        return first_weights(self._network(layout), seed=seed)

    def stint(
        self, weights: Weights, layout: Layout, codes: Codes, plan: Plan, *, round_index: int, noise_key: bytes
    ) -> Stint:
        """One site's round. An adversary who sees `change` learns at most what `events` cost; see `dpsgd`.

        Raises:
            TrainingError: Codes or weights do not fit the layout, or training became NaN.
            BudgetRefused: Opacus' accountant disagrees with the plan.
        """
        from synthfed.privacy.mechanisms import NoiseStream

        noise = NoiseStream(noise_key)
        with one_thread():
            rows = one_hot(codes, layout)
            network = self._network(layout)
            load_weights(network, weights)
            if plan.noise_multiplier == 0.0:
                return self._open_stint(network, weights, rows, plan, round_index, noise)
            draws = open_training.torch_generator(noise)

            def losses(module: nn.Module, batch: Tensor) -> Tensor:
                out: Tensor = module(batch, torch.randn(len(batch), self.settings.latent, generator=draws))
                return out

            done = private_steps(
                FlatNetwork(network),
                rows,
                losses,
                plan,
                rate=self.settings.site_rate,
                round_index=round_index,
                noise=noise,
                clipping=self.clipping,
            )
        return Stint(unflatten(done.change, weights), done.events, done.local_loss)

    def _open_stint(
        self, network: Vae, weights: Weights, rows: Tensor, plan: Plan, round_index: int, noise: Noise
    ) -> Stint:
        draws = open_training.torch_generator(noise)
        optimizer = torch.optim.Adam(network.parameters(), betas=_BETAS)

        def step(batch: Tensor) -> float:
            loss = network(batch, torch.randn(len(batch), self.settings.latent, generator=draws)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        loss = open_training.train(
            {optimizer: self.settings.open_rate},
            step,
            rows,
            plan,
            batch=self.settings.open_batch,
            round_index=round_index,
            noise=noise,
        )
        return open_training.stint_of(network, weights, plan, round_index=round_index, loss=loss)

    def start(self, weights: Weights) -> ServerState:
        return aggregate.start(weights)

    def apply(
        self,
        weights: Weights,
        state: ServerState,
        mean_change: Weights,
        layout: Layout,
        plan: Plan,
        *,
        round_index: int,
        seed: int,
    ) -> tuple[Weights, ServerState]:
        """Adam along the aggregate, then the running mean; with noise off the mean change itself."""
        s = self.settings
        if plan.noise_multiplier == 0.0:
            moved = aggregate.add(weights, mean_change)
            return moved, aggregate.average(moved, state, decay=0.0, round_index=round_index)
        moved, state = aggregate.adam(
            weights, state, mean_change, names=weights, rate=s.server_rate, betas=_BETAS, count=round_index + 1
        )
        return moved, aggregate.average(moved, state, decay=s.server_ema, round_index=round_index)

    def release(self, weights: Weights, state: ServerState) -> Weights:
        """The running mean of the decoder; the encoder stays behind."""
        names = [name for name in weights if name.startswith(self.released_prefix)]
        return aggregate.running_mean(weights, state, names=names)

    def sample(self, released: Weights, layout: Layout, *, rows: int, seed: int) -> Codes:
        rng = np.random.default_rng([seed, 0x7AE])
        latent = rng.standard_normal((rows, self.settings.latent)).astype(np.float32)
        return draw_codes(forward(released, "decoder", latent), layout, rng)
