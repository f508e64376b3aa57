"""One stint of DP-SGD at one site, with Opacus' optimiser and accountant in the loop.

Each step draws a Poisson sample of the rows (or takes all of them), clips every record's gradient to `clip_norm`, adds
normal noise of standard deviation `noise_multiplier * clip_norm` to the *sum*, divides by the public expected batch and
takes a plain SGD step. Opacus' `DPOptimizerFastGradientClipping` runs the step and its accountant writes the history;
the history must equal the plan or nothing leaves. Noise and sampling come from the site's secret `NoiseStream`.
Where the sites share the noise, a site takes no step: `summed_step` gives the sum, `shared` the noise.

What an adversary learns who sees the change (and every earlier one): the noised sums, so no more than the plan's
epsilon about any one patient. The loss is computed on real rows without noise and must stay at the site. The noise is
floating point: that gap (Mironov 2012) is outside the proof.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from opacus.accountants import PRVAccountant
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from torch import Tensor, nn

from synthfed.errors import BudgetRefused, TrainingError
from synthfed.generators.base import ClippedSum, Plan
from synthfed.generators.clipping import FlatNetwork
from synthfed.generators.plan import round_events
from synthfed.privacy.events import PrivacyEvent

Clipping = Literal["book-keeping", "hooks"]
Losses = Callable[[nn.Module, Tensor], Tensor]  # (network, rows (n, width)) -> one loss per record (n,)
PublicTerm = Callable[[], Tensor]  # a gradient that touches no row, flat, already on the scale of a mean


class Noise(Protocol):
    """The part of `privacy.mechanisms.NoiseStream` that training draws from."""

    def normal(self, size: int) -> npt.NDArray[np.float64]: ...
    def uniform(self, size: int) -> npt.NDArray[np.float64]: ...
    def bernoulli(self, rate: float, n: int) -> npt.NDArray[np.bool_]: ...


@dataclass(frozen=True, slots=True)
class PrivateSteps:
    """Attributes: change: noised, flat float32; local_loss: stays at the site."""

    change: npt.NDArray[np.float32]
    events: tuple[PrivacyEvent, ...]
    local_loss: float


class _OurNoise:
    """What both of Opacus' optimisers get from us: the secret noise stream, and terms that need no noise."""

    params: list[nn.Parameter]
    noise_multiplier: float
    max_grad_norm: float

    def __init__(self, optimizer: torch.optim.Optimizer, *, noise: Noise, public: PublicTerm | None, **opacus: Any):
        super().__init__(optimizer, **opacus)  # type: ignore[call-arg]  # the next class is Opacus' optimiser
        self.noise = noise
        self.public = public

    def add_noise(self) -> None:
        """`p.grad = p.summed_grad + noise`, in place: one draw of float64 normals over all parameters, in order."""
        draw = self.noise.normal(sum(p.numel() for p in self.params))
        draw *= self.noise_multiplier * self.max_grad_norm
        for p, part in _parts(self.params, torch.from_numpy(draw)):
            p.grad = p.summed_grad  # type: ignore[attr-defined]  # Opacus hangs it on the parameter
            total = p.grad.numpy()
            # In double precision, rounded once: single-precision noise would let low bits of the sum show through.
            np.add(total, part.numpy(), out=total, casting="same_kind")

    def scale_grad(self) -> None:
        """Divide by the expected batch, then add the public terms: `add_noise` assigns `p.grad` and would lose them."""
        super().scale_grad()  # type: ignore[misc]
        if self.public is not None:
            for p, part in _parts(self.params, self.public()):
                p.grad = part if p.grad is None else p.grad + part


class _NoisySum(_OurNoise, DPOptimizerFastGradientClipping):  # type: ignore[misc]  # opacus is untyped
    """Opacus' step on a clipped sum that is already in `p.grad`."""

    def accumulate(self) -> None:
        """Take the one sum as it is; the parent would copy it for gradient accumulation, which we never do."""
        for p in self.params:
            p.summed_grad = p.grad  # type: ignore[attr-defined]  # Opacus hangs it on the parameter


class _NoisyHooks(_OurNoise, DPOptimizer):  # type: ignore[misc]  # opacus is untyped
    """The reference: Opacus' own per-record gradients and clipping."""


def _parts(parameters: list[nn.Parameter], flat: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
    offset = 0
    for p in parameters:
        yield p, flat[offset : offset + p.numel()].view_as(p)
        offset += p.numel()


def private_steps(
    network: FlatNetwork,
    rows: Tensor,
    losses: Losses,
    plan: Plan,
    *,
    rate: float,
    round_index: int,
    noise: Noise,
    public: PublicTerm | None = None,
    clipping: Clipping = "book-keeping",
) -> PrivateSteps:
    """Take `plan.local_steps` private steps on `network`, in place.

    Args:
        rows: All of the site's rows, (n, width).
        losses: Each record's loss from its own row alone; it must not mix rows.
        rate: SGD step size.
        public: Gradient of terms that touch no row; gets no noise and costs nothing.
        clipping: `hooks` runs Opacus' GradSampleModule instead, many times slower: the reference in tests.

    Raises:
        TrainingError: A gradient or weight is not finite.
        BudgetRefused: The accountant's history is not the plan's round.
    """
    before = network.vector()
    sgd_on: list[nn.Parameter] = [network.flat]
    module: nn.Module = network.module
    if clipping == "hooks":
        for parameter in module.parameters():
            parameter.requires_grad_(True)
        module = GradSampleModule(module, loss_reduction="sum")
        sgd_on = list(module.parameters())
    kind = _NoisySum if clipping == "book-keeping" else _NoisyHooks
    optimizer = kind(
        torch.optim.SGD(sgd_on, lr=rate),
        noise=noise,
        public=public,
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.clip_norm,
        expected_batch_size=plan.expected_batch,
    )
    accountant = PRVAccountant()
    optimizer.attach_step_hook(accountant.get_optimizer_hook_fn(sample_rate=plan.sample_rate))

    total_loss, seen = 0.0, 0
    for _ in range(plan.local_steps):
        batch = poisson(rows, plan.sample_rate, noise)
        network.begin()
        if clipping == "book-keeping":
            per_record = losses(module, batch)
            network.flat.grad = network.clipped_sum(per_record, plan.clip_norm)
        else:
            optimizer.zero_grad()
            per_record = losses(module, batch)
            per_record.sum().backward()  # type: ignore[no-untyped-call]
        total_loss += float(per_record.detach().sum())
        seen += len(batch)
        optimizer.step()

    if clipping == "hooks":
        module.remove_hooks()  # type: ignore[operator]  # GradSampleModule is untyped
    after = network.vector()
    if not bool(torch.isfinite(after).all()):
        raise TrainingError(f"round {round_index}: weights became NaN or infinite; lower generator.site_rate")
    return PrivateSteps(
        change=(after - before).numpy(),
        events=_events(accountant.history, plan, round_index),
        local_loss=total_loss / max(seen, 1),
    )


def summed_step(network: FlatNetwork, rows: Tensor, losses: Losses, plan: Plan, *, noise: Noise) -> ClippedSum:
    """The clipped gradients of one step added up, without noise: not private before `shared.with_share`.

    Everything in double precision, so that a patient's own gradient does not depend, but for the last of 53 bits, on
    who else is in the batch, and what adding up loses stays far below one step of the whole numbers that are masked.

    Args:
        network: Of double precision, as `rows`.

    Raises:
        TrainingError: A gradient is not finite, or the network is of single precision.
    """
    if network.flat.dtype != torch.float64 or rows.dtype != torch.float64:
        raise TrainingError("shared noise wants gradients in double precision; call .double() on network and rows")
    batch = poisson(rows, plan.sample_rate, noise)
    network.begin()
    per_record = losses(network.module, batch)
    gradient = network.clipped_sum(per_record, plan.clip_norm).numpy()
    return ClippedSum(gradient, float(per_record.detach().sum()) / max(len(batch), 1))


def poisson(rows: Tensor, sample_rate: float, noise: Noise) -> Tensor:
    """Every row by its own coin; all rows at rate 1. The size of the sample is secret, and may be 0."""
    if sample_rate >= 1.0:
        return rows
    return rows[torch.from_numpy(np.flatnonzero(noise.bernoulli(sample_rate, len(rows))))]


def _events(history: list[tuple[float, float, int]], plan: Plan, round_index: int) -> tuple[PrivacyEvent, ...]:
    """The plan's events of this round, if the accountant saw exactly them."""
    planned = round_events(plan, round_index)
    if history != [(event.noise_multiplier, event.sample_rate, event.steps) for event in planned]:
        raise BudgetRefused(
            f"round {round_index}: the accountant saw (noise multiplier, sample rate, steps) {history}, the plan says "
            f"{[(e.noise_multiplier, e.sample_rate, e.steps) for e in planned]}; nothing leaves this site"
        )
    return planned
