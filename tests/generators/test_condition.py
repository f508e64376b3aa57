"""A network may be told one block: which one is read from one tensor, and anything else is refused."""

import numpy as np
import pytest

from synthfed.errors import TrainingError
from synthfed.generators import condition
from synthfed.generators.base import Layout

LAYOUT = Layout(("sex", "os", "age"), (2, 4, 3))


def test_no_tensor_means_that_every_block_is_drawn() -> None:
    assert condition.centre_of({}, "decoder.", LAYOUT) is None


def test_block_and_shares_are_read_back() -> None:
    weights = {"decoder.condition": condition.of_shares(LAYOUT, 1, (0.1, 0.2, 0.3, 0.4))}
    assert condition.centre_of(weights, "decoder.", LAYOUT) == 1
    np.testing.assert_allclose(condition.shares_of(weights, "decoder.", LAYOUT, 1), (0.1, 0.2, 0.3, 0.4), atol=1e-7)


def test_a_network_that_knows_nothing_draws_its_condition_evenly() -> None:
    weights = {"decoder.condition": condition.uniform(LAYOUT, 2)}
    np.testing.assert_allclose(condition.shares_of(weights, "decoder.", LAYOUT, 2), np.full(3, 1 / 3))


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros(9, np.float32),
        np.full(9, 1 / 9, np.float32),
        np.array([1.5, -0.5, 0, 0, 0, 0, 0, 0, 0], np.float32),
        np.array([np.nan, 1, 0, 0, 0, 0, 0, 0, 0], np.float32),
        np.array([3, 2, 0, 0, 0, 0, 0, 0, 0], np.float32),
        np.array([0.5, 0.5], np.float32),
    ],
    ids=["no block", "every block", "negative", "nan", "counts", "shape"],
)
def test_what_is_no_share_of_one_block_is_refused(tensor: np.ndarray) -> None:
    with pytest.raises(TrainingError, match=r"generator\.condition"):
        condition.centre_of({"generator.condition": tensor}, "generator.", LAYOUT)


def test_a_change_leaves_what_was_not_trained() -> None:
    weights = {"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)}
    whole = condition.completed({"b": np.full(3, 2.0, np.float32)}, weights)
    assert list(whole) == ["a", "b"]
    assert not whole["a"].any()
    assert (whole["b"] == 2).all()
