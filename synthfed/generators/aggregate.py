"""What the coordinator does with the mean of the sites' changes: Adam on the aggregate, and a running mean of weights.

Elementwise float64 numpy, so two machines that repeat it get the same bytes. Adam on the aggregate is FedAdam
(arXiv 2003.00295): with noised changes it is far better than Adam inside each site, whose moments would chase that
site's own noise. Everything here is post-processing of noised sums and costs no privacy.
"""

from collections.abc import Iterable

import numpy as np

from synthfed.errors import TrainingError
from synthfed.generators.base import ServerState, Weights

_TINY = 1e-12  # changes are small numbers (1e-4): Adam's usual 1e-8 would still be harmless, this one is never seen


def start(weights: Weights) -> ServerState:
    """Zero moments and an empty running mean for every tensor."""
    zeros = {f"{part}.{name}": np.zeros(value.shape) for part in ("m", "v", "mean") for name, value in weights.items()}
    return ServerState(tensors={**zeros, "share": np.zeros(1)}, step=0)


def adam(
    weights: Weights,
    state: ServerState,
    change: Weights,
    *,
    names: Iterable[str],
    rate: float,
    betas: tuple[float, float],
    count: int,
) -> tuple[Weights, ServerState]:
    """One Adam step along `change`, for the tensors in `names`; the others are left alone.

    Args:
        change: A direction to move in (a mean change, or a negative gradient).
        count: Which step this is for these tensors, from 1 (Adam's bias correction).
    """
    beta1, beta2 = betas
    tensors = dict(state.tensors)
    moved = dict(weights)
    for name in names:
        delta = change[name].astype(np.float64)
        tensors[f"m.{name}"] = beta1 * state.tensors[f"m.{name}"] + (1 - beta1) * delta
        tensors[f"v.{name}"] = beta2 * state.tensors[f"v.{name}"] + (1 - beta2) * delta * delta
        mean = tensors[f"m.{name}"] / (1 - beta1**count)
        spread = np.sqrt(tensors[f"v.{name}"] / (1 - beta2**count))
        moved[name] = (weights[name] + rate * mean / (spread + _TINY)).astype(np.float32)
    return moved, ServerState(tensors=tensors, step=state.step)


def add(weights: Weights, change: Weights) -> Weights:
    """Plain averaging: the sites' mean change as it is (no noise to smooth away)."""
    return {name: (value.astype(np.float64) + change[name]).astype(np.float32) for name, value in weights.items()}


def average(weights: Weights, state: ServerState, *, decay: float, round_index: int) -> ServerState:
    """Close a round: take the new weights into the running mean.

    Raises:
        TrainingError: A weight is NaN or infinite.
    """
    tensors = dict(state.tensors)
    tensors["share"] = decay * state.tensors["share"] + (1 - decay)
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise TrainingError(f"round {round_index}: weights {name!r} became NaN or infinite; lower the server rates")
        tensors[f"mean.{name}"] = decay * state.tensors[f"mean.{name}"] + (1 - decay) * value.astype(np.float64)
    return ServerState(tensors=tensors, step=state.step + 1)


def running_mean(weights: Weights, state: ServerState, *, names: Iterable[str]) -> Weights:
    """The mean of the rounds' weights, newest heaviest, free of its zero start; before round 0, the weights."""
    if state.step == 0:
        return {name: weights[name].copy() for name in names}
    return {name: (state.tensors[f"mean.{name}"] / state.tensors["share"]).astype(np.float32) for name in names}
