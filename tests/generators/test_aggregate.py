"""The coordinator's arithmetic: Adam as published, a running mean without its zero start."""

import numpy as np
import pytest
import torch

from synthfed.errors import TrainingError
from synthfed.generators import aggregate
from synthfed.generators.base import Weights

BETAS = (0.9, 0.999)


def _weights(seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(5).astype(np.float32) for name in ("decoder.a", "encoder.b")}


def test_adam_on_the_aggregate_is_adam_on_the_negative_change() -> None:
    weights = _weights()
    tensor = torch.nn.Parameter(torch.from_numpy(weights["decoder.a"].copy()))
    reference = torch.optim.Adam([tensor], lr=0.03, betas=BETAS, eps=1e-12)
    state = aggregate.start(weights)
    for count in range(1, 6):
        change = _weights(seed=count)
        tensor.grad = -torch.from_numpy(change["decoder.a"])
        reference.step()
        weights, state = aggregate.adam(
            weights, state, change, names=["decoder.a"], rate=0.03, betas=BETAS, count=count
        )
    np.testing.assert_allclose(weights["decoder.a"], tensor.detach().numpy(), atol=1e-6)


def test_tensors_that_are_not_named_stay() -> None:
    weights = _weights()
    moved, _ = aggregate.adam(
        weights, aggregate.start(weights), _weights(1), names=["decoder.a"], rate=0.1, betas=BETAS, count=1
    )
    assert np.array_equal(moved["encoder.b"], weights["encoder.b"])
    assert not np.array_equal(moved["decoder.a"], weights["decoder.a"])


def test_the_same_aggregate_gives_the_same_bytes() -> None:
    weights = _weights()
    runs = [
        aggregate.adam(weights, aggregate.start(weights), _weights(1), names=weights, rate=0.1, betas=BETAS, count=1)
        for _ in range(2)
    ]
    assert all(runs[0][0][name].tobytes() == runs[1][0][name].tobytes() for name in weights)


def test_the_running_mean_of_equal_weights_is_those_weights() -> None:
    weights = _weights()
    state = aggregate.start(weights)
    for index in range(3):
        state = aggregate.average(weights, state, decay=0.98, round_index=index)
    mean = aggregate.running_mean(weights, state, names=weights)
    for name in weights:
        np.testing.assert_allclose(mean[name], weights[name], rtol=1e-6)
    assert state.step == 3


def test_without_decay_the_newest_weights_are_released() -> None:
    state = aggregate.start(_weights())
    for index in range(3):
        state = aggregate.average(_weights(index), state, decay=0.0, round_index=index)
    mean = aggregate.running_mean(_weights(2), state, names=["decoder.a"])
    assert np.array_equal(mean["decoder.a"], _weights(2)["decoder.a"])


def test_a_weight_that_is_not_finite_stops_the_round() -> None:
    weights = _weights()
    weights["decoder.a"][2] = np.inf
    with pytest.raises(TrainingError, match=r"round 4.*decoder\.a"):
        aggregate.average(weights, aggregate.start(_weights()), decay=0.9, round_index=4)
