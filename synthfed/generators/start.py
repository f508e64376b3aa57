"""From the tree of noisy tables to a generator's first weights, and at the end back towards it: post-processing.

The tree itself is the whole of kind `marginal`. The networks learn it by distillation. What training may have blurred
is drawn to the tables again where that was seen to help; see `warm_start`.
"""

from synthfed.errors import TrainingError
from synthfed.generators.base import Generator, Layout, Plan, Weights
from synthfed.generators.marginal import MarginalModel, Workload


def blank(generator: Generator, layout: Layout, workload: Workload | None, *, seed: int) -> Weights:
    """Weights of the names and shapes that travel in training: from the seed and public knowledge alone.

    Args:
        workload: What the run counts first; None for a cold start.
    """
    if workload is None or generator.kind == "marginal":
        return generator.init(layout, seed=seed)
    from synthfed.generators.ctgan import Ctgan
    from synthfed.generators.tvae import Tvae
    from synthfed.generators.warm_start import told_block

    if not isinstance(generator, Tvae | Ctgan):
        raise _cannot_start(generator)
    return generator.init(layout, seed=seed, given=told_block(workload))


def begin(generator: Generator, model: MarginalModel, layout: Layout, workload: Workload, *, seed: int) -> Weights:
    """Weights that know what the tree knows, of the names and shapes of `blank`; for kind `marginal` the tree itself.

    Raises:
        TrainingError: This kind does not start from tables, or distillation became NaN.
    """
    if generator.kind == "marginal":
        return model.to_weights()
    from synthfed.generators.ctgan import Ctgan
    from synthfed.generators.tvae import Tvae
    from synthfed.generators.warm_start import distil

    if not isinstance(generator, Tvae | Ctgan):
        raise _cannot_start(generator)
    return distil(generator, model, layout, workload=workload, seed=seed)


def finish(
    generator: Generator,
    released: Weights,
    model: MarginalModel,
    layout: Layout,
    workload: Workload,
    plan: Plan,
    *,
    seed: int,
) -> Weights:
    """Released tensors; those of a `ctgan` that was trained are calibrated to the noisy tables once more.

    Raises:
        TrainingError: Calibration became NaN.
    """
    if generator.kind != "ctgan" or not plan.rounds:
        return released
    from synthfed.generators.ctgan import Ctgan
    from synthfed.generators.warm_start import calibrate

    if not isinstance(generator, Ctgan):
        raise _cannot_start(generator)
    return calibrate(generator, released, model, layout, workload=workload, seed=seed)


def _cannot_start(generator: Generator) -> TrainingError:
    return TrainingError(f"a {generator.kind} does not start from noisy tables; set generator.start = 'cold'")
