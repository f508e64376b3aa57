"""From the tree of noisy tables to a generator's first weights, and at the end back towards it: post-processing.

The tree itself is the whole of kind `marginal`. The networks learn it by distillation. What training may have blurred
is drawn to the tables again where that was seen to help (`warm_start`), and a network that fits them worse than before
its training does not ship: its start does.

Only counts that the start has not learned can judge that fairly: those of pairs that the tree does not join
(`yardstick`), which are bought anyway. On the others a start looks better than it is, since it knows their noise, and
any step away from it looks like a loss: on the tables looked at, training was seen to come closer to the patients and
further from those counts at once, by up to three standard errors. It was also seen to mend the pairs held back while it
blurred everything else, by two to ten. So a network ships as it was trained if the counts held back fit better, and the
others not worse by more than one standard error. In doubt the start ships: training adds little where it adds at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from synthfed.errors import TrainingError
from synthfed.generators.base import Codes, Generator, Layout, Plan, Weights
from synthfed.generators.marginal import MarginalModel, NoisyTables, Workload
from synthfed.generators.tree import Tree
from synthfed.generators.yardstick import FITTED, HELD_BACK, Gap, Yardstick

Kept = Literal["start", "trained"]

_BLUR = 1.0  # standard errors by which training may move away from counts whose noise the start has learned


@dataclass(frozen=True, slots=True)
class Begun:
    """What a run that counts first holds before its network is trained: the sums, and what follows from them.

    Attributes:
        rounds: The sums of its rounds of tables.
        model: The tree that was fitted to them.
        released: What would ship if the network were not trained.
    """

    rounds: tuple[NoisyTables, ...]
    model: MarginalModel
    workload: Workload
    released: Weights


@dataclass(frozen=True, slots=True)
class Finished:
    """What a network that started from a tree ships.

    Attributes:
        kept: Whether that is the network as it started or as it was trained.
        begun: None where only a model file is left of the run.
        judged: The start against the trained network; None where nothing was trained.
    """

    released: Weights
    kept: Kept
    begun: Begun | None = None
    judged: "Judged | None" = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A network as it started (`one`) and as it was trained (`other`), held against the noisy counts.

    Attributes:
        held_back: On counts that no model was fitted to; without cells where the tree joins every pair.
        learned: On those that the start was made from.
    """

    held_back: Gap
    learned: Gap

    @property
    def kept(self) -> Kept:
        """Which of the two ships."""
        if not self.held_back.cells:
            return "trained" if self.learned.other < self.learned.one else "start"
        better = self.held_back.other < self.held_back.one
        blurred = self.learned.other - self.learned.one > _BLUR * self.learned.error
        return "trained" if better and not blurred else "start"


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


def finish(generator: Generator, trained: Weights, begun: Begun, layout: Layout, plan: Plan, *, seed: int) -> Finished:
    """Choose between a network as it started and as it was trained, by the noisy counts.

    A `ctgan` that was trained is calibrated to the noisy tables once more before it is judged.

    Args:
        trained: The released tensors after the last round.

    Raises:
        TrainingError: Calibration became NaN.
    """
    if not plan.rounds:
        return Finished(trained, "start", begun)
    if generator.kind == "ctgan":
        from synthfed.generators.ctgan import Ctgan
        from synthfed.generators.warm_start import calibrate

        if not isinstance(generator, Ctgan):
            raise _cannot_start(generator)
        trained = calibrate(generator, trained, begun.model, layout, workload=begun.workload, seed=seed)
    judged = judge(generator, begun, trained, layout, seed=seed)
    return Finished(trained if judged.kept == "trained" else begun.released, judged.kept, begun, judged)


def judge(generator: Generator, begun: Begun, trained: Weights, layout: Layout, *, seed: int) -> Judged:
    """Hold the start and the trained network against the noisy counts: post-processing."""
    stick = Yardstick.of(begun.rounds, begun.model, begun.workload)
    start, after = (
        stick.expected(draws_of(generator, weights, layout), seed=seed) for weights in (begun.released, trained)
    )
    return Judged(stick.compare(start, after, HELD_BACK), stick.compare(start, after, FITTED))


def draws_of(generator: Generator, released: Weights, layout: Layout) -> Callable[[int, int], Codes]:
    """Rows of released tensors by (rows, seed); made ready once where that is most of the work."""
    if isinstance(generator, Tree):
        return MarginalModel.from_weights(released, layout).sampler().draw
    return partial(_draw, generator, released, layout)


def _draw(generator: Generator, released: Weights, layout: Layout, rows: int, seed: int) -> Codes:
    return generator.sample(released, layout, rows=rows, seed=seed)


def _cannot_start(generator: Generator) -> TrainingError:
    return TrainingError(f"a {generator.kind} does not start from noisy tables; set generator.start = 'cold'")
