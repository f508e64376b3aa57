"""Training without privacy (epsilon = inf): ordinary minibatches, Adam, no clipping, no noise.

For comparisons and for simulated patients only. The learning rate falls linearly to a twentieth over the second half of
the run; where a stint stands in the run follows from its round, so sites agree without talking.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from synthfed.errors import TrainingError
from synthfed.generators.base import Plan, Stint, Weights, flatten
from synthfed.generators.dpsgd import Noise
from synthfed.generators.plan import round_events


def torch_generator(noise: Noise) -> torch.Generator:
    """A torch generator seeded from the stream: for reparametrisation and latent draws, never for DP noise."""
    generator = torch.Generator()
    generator.manual_seed(int(noise.uniform(1)[0] * 2**53))
    return generator


def stint_of(network: nn.Module, weights: Weights, plan: Plan, *, round_index: int, loss: float) -> Stint:
    """What a finished open stint hands over: the change of every tensor.

    Raises:
        TrainingError: A weight is NaN or infinite.
    """
    change = {name: p.detach().numpy() - weights[name] for name, p in network.named_parameters()}
    if not np.isfinite(flatten(change)).all():
        raise TrainingError(f"round {round_index}: weights became NaN or infinite; lower generator.open_rate")
    return Stint(change, round_events(plan, round_index), loss)


def rate_factor(plan: Plan, round_index: int, step: int) -> float:
    """1 in the first half of the run, then linearly down to 0.05."""
    done = (round_index * plan.local_steps + step) / plan.total_steps
    return 1.0 if done < 0.5 else max(0.05, 2.0 * (1.0 - done))


def minibatches(rows: Tensor, batch: int, steps: int, noise: Noise) -> Iterator[Tensor]:
    """`steps` batches from shuffled epochs; the last short batch of an epoch is used."""
    rng = np.random.default_rng(int(noise.uniform(1)[0] * 2**53))
    order: list[Tensor] = []
    for _ in range(steps):
        if not order:
            order = list(torch.split(torch.from_numpy(rng.permutation(len(rows))), batch))[::-1]
        yield rows[order.pop()]


def train(
    optimizers: dict[torch.optim.Optimizer, float],
    step: Callable[[Tensor], float],
    rows: Tensor,
    plan: Plan,
    *,
    batch: int,
    round_index: int,
    noise: Noise,
) -> float:
    """Call `step` on `plan.local_steps` minibatches with the scheduled rates; returns the mean loss.

    Args:
        optimizers: Each optimiser with its full learning rate.
    """
    losses = []
    for index, chosen in enumerate(minibatches(rows, min(batch, len(rows)), plan.local_steps, noise)):
        for optimizer, full in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = full * rate_factor(plan, round_index, index)
        losses.append(step(chosen))
    return float(np.mean(losses))
