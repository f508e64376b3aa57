"""A variational autoencoder for coded rows: encoder and decoder train under one DP-SGD, only the decoder ships.

Stock TVAE keeps an encoder that saw rows without privacy and a decoder trained through it; here every weight that rows
touch gets the same noise. Sites take plain SGD steps, the coordinator takes an Adam step along the sum, and a running
mean of the decoder's weights is released. From a cold start and at small budgets a network trained this way is weak;
started from noisy tables (`warm_start`) its decoder is told the survival token and draws what the tree draws.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from synthfed.generators import aggregate, condition, open_training
from synthfed.generators.base import ClippedSum, Codes, Layout, Plan, ServerState, Stint, Weights, unflatten
from synthfed.generators.clipping import FlatNetwork
from synthfed.generators.dpsgd import Clipping, Losses, Noise, private_steps, summed_step
from synthfed.generators.networks import Vae, draw_rows, first_weights, load_weights, one_hot, one_thread
from synthfed.pipeline import TvaeSettings

_BETAS = (0.9, 0.999)
_DECODER = "decoder."
_CONDITION = _DECODER + condition.NAME
_WARM_RATE = 0.001  # of Adam on the aggregate: larger steps undo a warm start before they can add to it


class Tvae:
    """The `tvae` generator; see `base.Generator` for the methods' contracts."""

    kind = "tvae"
    released_prefix = _DECODER

    def __init__(self, settings: TvaeSettings, *, clipping: Clipping = "book-keeping") -> None:
        self.settings = settings
        self.clipping = clipping

    def autoencoder(self, layout: Layout, given: int | None, *, beta: float) -> Vae:
        """The network: an encoder, and the decoder that ships, told the block `given` if there is one."""
        return Vae(layout, hidden=self.settings.hidden, latent=self.settings.latent, beta=beta, given=given)

    def _network(self, layout: Layout, weights: Weights) -> Vae:
        given = condition.centre_of(weights, _DECODER, layout)
        # Warm weights were distilled with beta 1: less opens holes in the prior, where the decoder never was.
        return self.autoencoder(layout, given, beta=self.settings.beta if given is None else 1.0)

    def init(self, layout: Layout, *, seed: int, given: int | None = None) -> Weights:
        """First weights; with `given`, of a decoder that is told that block (`condition`)."""
        weights = first_weights(self.autoencoder(layout, given, beta=1.0), seed=seed)
        if given is not None:
            weights[_CONDITION] = condition.uniform(layout, given)
        return weights

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
            network = self._network(layout, weights)
            load_weights(network, weights)
            if plan.noise_multiplier == 0.0:
                return self._open_stint(network, weights, rows, plan, round_index, noise)
            done = private_steps(
                FlatNetwork(network),
                rows,
                self._losses(noise),
                plan,
                rate=self.settings.site_rate,
                round_index=round_index,
                noise=noise,
                clipping=self.clipping,
            )
        change = unflatten(done.change, {n: t for n, t in weights.items() if n != _CONDITION})
        return Stint(condition.completed(change, weights), done.events, done.local_loss)

    def clipped_sum(
        self, weights: Weights, layout: Layout, codes: Codes, plan: Plan, *, round_index: int, noise_key: bytes
    ) -> ClippedSum:
        """One step's clipped gradients over encoder and decoder, added up without noise; see `dpsgd.summed_step`."""
        from synthfed.privacy.mechanisms import NoiseStream

        noise = NoiseStream(noise_key)
        with one_thread():
            network = self._network(layout, weights)
            load_weights(network, weights)
            rows = one_hot(codes, layout).double()
            return summed_step(FlatNetwork(network.double()), rows, self._losses(noise), plan, noise=noise)

    def _losses(self, noise: Noise) -> Losses:
        """Each record's loss, with a latent draw of its own."""
        draws = open_training.torch_generator(noise)

        def losses(module: nn.Module, batch: Tensor) -> Tensor:
            latent = torch.randn(len(batch), self.settings.latent, generator=draws, dtype=batch.dtype)
            out: Tensor = module(batch, latent)
            return out

        return losses

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
        done = open_training.stint_of(network, weights, plan, round_index=round_index, loss=loss)
        return replace(done, change=condition.completed(done.change, weights))

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
        rate = min(s.server_rate, _WARM_RATE) if _CONDITION in weights else s.server_rate
        moved, state = aggregate.adam(
            weights, state, mean_change, names=weights, rate=rate, betas=_BETAS, count=round_index + 1
        )
        return moved, aggregate.average(moved, state, decay=s.server_ema, round_index=round_index)

    def release(self, weights: Weights, state: ServerState) -> Weights:
        """The running mean of the decoder; the encoder stays behind."""
        names = [name for name in weights if name.startswith(self.released_prefix)]
        return aggregate.running_mean(weights, state, names=names)

    def sample(self, released: Weights, layout: Layout, *, rows: int, seed: int) -> Codes:
        rng = np.random.default_rng([seed, 0x7AE])
        return draw_rows(released, _DECODER, layout, self.settings.latent, rows, rng)
