"""What makes a table and what a run does round by round, in the words that every display uses.

All of it follows from the pipeline and the public plan, so it may be said before, during and after a run.
"""

from synthfed.generators.base import Plan
from synthfed.pipeline import MarginalSettings, Pipeline

TREE = "tree of noisy tables"
HYBRID = "hybrid"
DP_SGD_ONLY = "DP-SGD only"
OPEN_TREE = "tree of exact tables"
OPEN_NETWORK = "network trained without privacy"

TABLES = "counting tables"
TRAINING = "training"


def engine(pipeline: Pipeline) -> str:
    """Which of the engines learns: counts alone, counts and then a network, or a network alone."""
    counts_only = isinstance(pipeline.generator, MarginalSettings)
    if not pipeline.privacy.enabled:
        return OPEN_TREE if counts_only else OPEN_NETWORK
    if counts_only:
        return TREE
    return HYBRID if pipeline.counts_first else DP_SGD_ONLY


def round_names(plan: Plan) -> tuple[str, ...]:
    """What each round of a run does, in the order of the rounds: "counting tables", ..., "training"."""
    return tuple(f"counting {measure.name}" for measure in plan.measures) + (TRAINING,) * plan.rounds


def calibrates(kind: str) -> bool:
    """Whether a network that was trained after a start from counts is drawn back to them; see `start.finish`."""
    return kind == "ctgan"


def doing(plan: Plan, kind: str, round_index: int) -> str:
    """What goes on from the end of the round before until this round is done, or after the last one.

    Fitting the tree and distilling it follow the last sum of counts, calibrating the last round of training; they take
    long enough to be named. Empty where nothing of note follows.
    """
    names = round_names(plan)
    if round_index >= len(names):
        return "calibrating" if plan.measures and plan.rounds and calibrates(kind) else ""
    if round_index + 1 == len(plan.measures):
        return f"{names[round_index]}, {'fitting the tree' if kind == 'marginal' else 'distilling'}"
    return names[round_index]


def together(pipeline: Pipeline) -> tuple[str, ...]:
    """The columns that are counted and kept together, one text per focus; none where nothing is counted."""
    return tuple(" x ".join(names) for names in pipeline.generator.focus) if pipeline.counts_first else ()


def outline(pipeline: Pipeline, plan: Plan) -> str:
    """A run in one line, before it begins."""
    kind, kept = pipeline.generator.kind, together(pipeline)
    parts = [doing(plan, kind, index) for index in range(len(plan.measures))]
    parts = [f"{part} with {' and '.join(kept)}" if part == TABLES and kept else part for part in parts]
    if plan.rounds:
        under = "under DP-SGD" if pipeline.privacy.enabled else "without privacy"
        parts.append(f"{plan.rounds} rounds of {kind} {under}")
        parts += [last] if (last := doing(plan, kind, plan.all_rounds)) else []
    return ", ".join(parts)
