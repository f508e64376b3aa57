"""The `marginal` generator: the tree of noisy tables itself ships, and nothing is trained."""

import numpy as np

from synthfed.errors import TrainingError
from synthfed.generators.base import ClippedSum, Codes, Layout, Plan, ServerState, Stint, Weights
from synthfed.generators.marginal import MarginalModel


class Tree:
    """The `marginal` generator; see `base.Generator` for the methods' contracts."""

    kind = "marginal"

    def init(self, layout: Layout, *, seed: int) -> Weights:
        """No weights travel: all that is learned are counts."""
        return {}

    def stint(
        self, weights: Weights, layout: Layout, codes: Codes, plan: Plan, *, round_index: int, noise_key: bytes
    ) -> Stint:
        """Never: see `counted`.

        Raises:
            TrainingError: Always.
        """
        raise TrainingError("the marginal generator trains in no round; its plan has counting rounds only")

    def clipped_sum(
        self, weights: Weights, layout: Layout, codes: Codes, plan: Plan, *, round_index: int, noise_key: bytes
    ) -> ClippedSum:
        """Never; see `stint`."""
        raise TrainingError("the marginal generator trains in no round; its plan has counting rounds only")

    def start(self, weights: Weights) -> ServerState:
        return ServerState({}, 0)

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
        """Never; see `stint`."""
        raise TrainingError("the marginal generator trains in no round; its plan has counting rounds only")

    def release(self, weights: Weights, state: ServerState) -> Weights:
        return weights

    def sample(self, released: Weights, layout: Layout, *, rows: int, seed: int) -> Codes:
        return MarginalModel.from_weights(released, layout).sample(rows, seed).astype(np.int32, copy=False)
