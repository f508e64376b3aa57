"""A Wasserstein GAN for coded rows in which privacy noise falls on the one term that needs it.

The critic is the only network that touches rows, and only in the term -D(real): that term's per-record gradients are
clipped, summed and noised. D(fake) and the gradient penalty, taken at fakes, depend on released weights alone; they are
added after the noise and cost nothing. pac is 1 (one gradient, one patient). The generator never meets a row: the
coordinator trains it against the released critic, which is post-processing. Only the generator ships.

With epsilon = inf a site trains both networks on ordinary minibatches, with the penalty on real-fake interpolates.
At small budgets a critic trained this way hardly sees more than single columns; started from noisy tables
(`warm_start`) the generator is told the survival token, as CTGAN's is its condition, and draws what the tree draws.
The token's shares are those of the noisy tables, never exact frequencies.
"""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from synthfed.errors import TrainingError
from synthfed.generators import aggregate, condition, open_training
from synthfed.generators.base import ClippedSum, Codes, Layout, Plan, ServerState, Stint, Weights, unflatten
from synthfed.generators.clipping import FlatNetwork
from synthfed.generators.dpsgd import Clipping, Noise, private_steps, summed_step
from synthfed.generators.networks import Gan, Vae, draw_rows, first_weights, load_weights, one_hot, one_thread
from synthfed.pipeline import CtganSettings

_BETAS = (0.5, 0.9)  # Adam for WGAN-GP, arXiv 1704.00028
_CRITIC_STEPS = 3  # per generator step, with noise off
_CRITIC, _GENERATOR = "critic.", "generator."
_WARM_RATE = 0.0001  # of the generator: larger steps undo a warm start before the critic has learned anything


def public_gradient(critic: FlatNetwork, fakes: Tensor, *, clip_norm: float, penalty: float) -> Tensor:
    """What the critic learns from fakes alone, flat: no row is touched, so it gets no noise and costs nothing.

    The gradient of mean D(fake), clipped per fake as real records are so that both terms weigh the same, plus the
    gradient of penalty * mean relu(|dD/dx| - 1)^2 at the fakes. `critic`'s parameters must require gradients.
    """
    points = fakes.detach().requires_grad_()
    critic.begin()
    scores = critic.module(points)
    pull, slopes = critic.clipped_sum_and_slopes(scores, points, clip_norm)
    steepness = penalty * torch.relu(slopes.norm(dim=1) - 1.0).square().mean()
    parameters = list(critic.module.parameters())
    gradients = torch.autograd.grad(steepness, parameters, allow_unused=True)
    flat = [(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in zip(parameters, gradients, strict=True)]
    return pull / len(fakes) + torch.cat(flat)


class Ctgan:
    """The `ctgan` generator; see `base.Generator` for the methods' contracts."""

    kind = "ctgan"
    released_prefix = _GENERATOR

    def __init__(self, settings: CtganSettings, *, clipping: Clipping = "book-keeping") -> None:
        self.settings = settings
        self.clipping = clipping

    def autoencoder(self, layout: Layout, given: int | None, *, beta: float) -> Vae:
        """A decoder shaped as the generator, with an encoder to distil it by; the encoder never ships."""
        s = self.settings
        return Vae(layout, hidden=s.hidden, latent=s.noise_width, beta=beta, decoder_layers=2, given=given)

    def _gan(self, layout: Layout, given: int | None, shares: Tensor | None = None) -> Gan:
        s = self.settings
        return Gan(
            layout,
            noise_width=s.noise_width,
            hidden=s.hidden,
            critic_hidden=s.critic_hidden,
            given=given,
            shares=shares,
        )

    def _network(self, layout: Layout, weights: Weights) -> Gan:
        given = condition.centre_of(weights, _GENERATOR, layout)
        if given is None:
            return self._gan(layout, None)
        return self._gan(layout, given, torch.from_numpy(condition.shares_of(weights, _GENERATOR, layout, given)))

    def init(self, layout: Layout, *, seed: int, given: int | None = None) -> Weights:
        """First weights; with `given`, of a generator that is told that block (`condition`)."""
        weights = first_weights(self._gan(layout, given), seed=seed)
        if given is not None:
            weights[_GENERATOR + condition.NAME] = condition.uniform(layout, given)
        return weights

    def stint(
        self, weights: Weights, layout: Layout, codes: Codes, plan: Plan, *, round_index: int, noise_key: bytes
    ) -> Stint:
        """One site's round: the critic's steps; the generator's change is zero unless noise is off.

        An adversary who sees `change` learns at most what `events` cost; see `dpsgd`.

        Raises:
            TrainingError: Codes or weights do not fit the layout, or training became NaN.
            BudgetRefused: Opacus' accountant disagrees with the plan.
        """
        from synthfed.privacy.mechanisms import NoiseStream

        noise = NoiseStream(noise_key)
        with one_thread():
            rows = one_hot(codes, layout)
            gan = self._network(layout, weights)
            load_weights(gan, weights)
            if plan.noise_multiplier == 0.0:
                return self._open_stint(gan, weights, rows, plan, round_index, noise)
            return self._private_stint(gan, weights, rows, plan, round_index, noise)

    def _private_stint(
        self, gan: Gan, weights: Weights, rows: Tensor, plan: Plan, round_index: int, noise: Noise
    ) -> Stint:
        s = self.settings
        draws = open_training.torch_generator(noise)
        critic = FlatNetwork(gan.critic)
        shadow = FlatNetwork(copy.deepcopy(gan.critic))  # public terms run here, away from Opacus' hooks
        shadow.module.requires_grad_(True)

        def public_terms() -> Tensor:
            shadow.flat.data.copy_(critic.flat.data)
            with torch.no_grad():
                fakes = gan.fakes(s.fakes, s.temperature, draws)
            return public_gradient(shadow, fakes, clip_norm=plan.clip_norm, penalty=s.penalty)

        done = private_steps(
            critic,
            rows,
            _real_term,
            plan,
            rate=s.site_rate,
            round_index=round_index,
            noise=noise,
            public=public_terms,
            clipping=self.clipping,
        )
        change = unflatten(done.change, {n: t for n, t in weights.items() if n.startswith(_CRITIC)})
        return Stint(condition.completed(change, weights), done.events, done.local_loss)

    def clipped_sum(
        self, weights: Weights, layout: Layout, codes: Codes, plan: Plan, *, round_index: int, noise_key: bytes
    ) -> ClippedSum:
        """One step's clipped gradients of the critic's real term, added up without noise; see `dpsgd.summed_step`."""
        from synthfed.privacy.mechanisms import NoiseStream

        with one_thread():
            gan = self._network(layout, weights)
            load_weights(gan, weights)
            critic, rows = FlatNetwork(gan.critic.double()), one_hot(codes, layout).double()
            return summed_step(critic, rows, _real_term, plan, noise=NoiseStream(noise_key))

    def _with_public_terms(
        self, change: Weights, weights: Weights, layout: Layout, plan: Plan, draws: torch.Generator
    ) -> Weights:
        """What the critic learns from fakes alone, beside the noisy sum of what it learned from rows."""
        s = self.settings
        with one_thread():
            gan = self._network(layout, weights)
            load_weights(gan, weights)
            critic = FlatNetwork(gan.critic)
            critic.module.requires_grad_(True)
            with torch.no_grad():
                fakes = gan.fakes(s.fakes, s.temperature, draws)
            flat = public_gradient(critic, fakes, clip_norm=plan.clip_norm, penalty=s.penalty).numpy()
        uphill = unflatten(flat, {name: t for name, t in weights.items() if name.startswith(_CRITIC)})
        return {name: tensor - uphill[name] if name in uphill else tensor for name, tensor in change.items()}

    def _open_stint(
        self, gan: Gan, weights: Weights, rows: Tensor, plan: Plan, round_index: int, noise: Noise
    ) -> Stint:
        s = self.settings
        draws = open_training.torch_generator(noise)
        critic_adam = torch.optim.Adam(gan.critic.parameters(), betas=_BETAS)
        generator_adam = torch.optim.Adam(gan.generator.parameters(), betas=_BETAS)

        critic_steps = 0

        def step(batch: Tensor) -> float:
            with torch.no_grad():
                fakes = gan.fakes(len(batch), s.temperature, draws)
            between = torch.rand(len(batch), 1, generator=draws)
            points = (between * batch + (1 - between) * fakes).requires_grad_()
            (slope,) = torch.autograd.grad(gan.critic(points).sum(), points, create_graph=True)
            penalty = s.penalty * (slope.norm(dim=1) - 1.0).square().mean()
            loss = gan.critic(fakes).mean() - gan.critic(batch).mean() + penalty
            critic_adam.zero_grad()
            loss.backward()
            critic_adam.step()
            nonlocal critic_steps
            critic_steps += 1
            if critic_steps % _CRITIC_STEPS:
                return float(loss.detach())
            generator_loss = -gan.critic(gan.fakes(len(batch), s.temperature, draws)).mean()
            generator_adam.zero_grad()
            generator_loss.backward()
            generator_adam.step()
            return float(loss.detach())

        loss = open_training.train(
            {critic_adam: s.open_rate, generator_adam: s.open_rate},
            step,
            rows,
            plan,
            batch=s.open_batch,
            round_index=round_index,
            noise=noise,
        )
        done = open_training.stint_of(gan, weights, plan, round_index=round_index, loss=loss)
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
        """Adam on the critic along the aggregate, then generator steps against it, then the running mean.

        The generator's steps are matrix products: run `apply` in one place and send its result, do not repeat it.
        """
        s = self.settings
        if plan.noise_multiplier == 0.0:
            moved = aggregate.add(weights, mean_change)
            return moved, aggregate.average(moved, state, decay=0.0, round_index=round_index)
        draws = torch.Generator()
        draws.manual_seed((seed * 1_000_003 + round_index) % 2**63)
        if plan.shared is not None:
            mean_change = self._with_public_terms(mean_change, weights, layout, plan, draws)
        critic_names = [name for name in weights if name.startswith(_CRITIC)]
        moved, state = aggregate.adam(
            weights, state, mean_change, names=critic_names, rate=s.critic_rate, betas=_BETAS, count=round_index + 1
        )
        with one_thread():
            gan = self._network(layout, weights)
            load_weights(gan, moved)
            gan.critic.requires_grad_(False)
            rate = min(s.generator_rate, _WARM_RATE) if gan.given is not None else s.generator_rate
            for index in range(s.generator_steps):
                load_weights(gan.generator, moved, prefix=_GENERATOR)
                gan.generator.zero_grad()
                gan.critic(gan.fakes(s.fakes, s.temperature, draws)).mean().backward()
                uphill = {_GENERATOR + n: _gradient(p) for n, p in gan.generator.named_parameters()}
                moved, state = aggregate.adam(
                    moved,
                    state,
                    uphill,
                    names=uphill,
                    rate=rate,
                    betas=_BETAS,
                    count=round_index * s.generator_steps + index + 1,
                )
        return moved, aggregate.average(moved, state, decay=s.server_ema, round_index=round_index)

    def release(self, weights: Weights, state: ServerState) -> Weights:
        """The running mean of the generator; the critic stays behind."""
        names = [name for name in weights if name.startswith(self.released_prefix)]
        return aggregate.running_mean(weights, state, names=names)

    def sample(self, released: Weights, layout: Layout, *, rows: int, seed: int) -> Codes:
        rng = np.random.default_rng([seed, 0x6A2])
        return draw_rows(released, _GENERATOR, layout, self.settings.noise_width, rows, rng)


def _real_term(critic: nn.Module, batch: Tensor) -> Tensor:
    scores: Tensor = critic(batch)
    return -scores.squeeze(1)


def _gradient(parameter: nn.Parameter) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    if parameter.grad is None:
        raise TrainingError("a generator tensor got no gradient; this is a fault of the network")
    return parameter.grad.numpy()
