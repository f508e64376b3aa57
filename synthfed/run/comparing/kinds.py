"""What can be compared: a name, and the settings that a pipeline gets under it.

Nothing else knows the kinds: who adds a line here has another column in every table.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from synthfed.errors import ConfigError
from synthfed.pipeline import Pipeline

Changes = Mapping[str, Any]  # as `Pipeline.replace` takes them

KINDS: Mapping[str, Changes] = {
    "marginal": {"generator__kind": "marginal"},
    "tvae": {"generator__kind": "tvae", "generator__start": "marginals"},
    "ctgan": {"generator__kind": "ctgan", "generator__start": "marginals"},
    # the whole budget in the noisy tables and none in DP-SGD: what the training stage adds shows against these
    "tvae-counts": {"generator__kind": "tvae", "generator__start": "marginals", "generator__training_share": 0.0},
    "ctgan-counts": {"generator__kind": "ctgan", "generator__start": "marginals", "generator__training_share": 0.0},
    "tvae-cold": {"generator__kind": "tvae", "generator__start": "cold", "generator__focus": ()},
    "ctgan-cold": {"generator__kind": "ctgan", "generator__start": "cold", "generator__focus": ()},
}
DEFAULT_KINDS = ("marginal", "tvae", "ctgan", "tvae-cold", "ctgan-cold")


@dataclass(frozen=True, slots=True)
class Planned:
    """One run of a comparison, before it is run."""

    kind: str
    epsilon: float
    seed: int
    pipeline: Pipeline

    @property
    def name(self) -> str:
        """A file name for it."""
        return f"{self.kind}-epsilon-{self.epsilon:g}-seed-{self.seed}"


def plan_cells(pipeline: Pipeline, kinds: Iterable[str], epsilons: Iterable[float], seeds: int) -> Iterator[Planned]:
    """All runs, seed after seed, so that a comparison that is stopped early has every kind.

    A seed moves first weights, seeded noise and sampling; patients and split stay those of `pipeline`.

    Raises:
        ConfigError: An unknown kind, a kind or budget named twice, or no seed.
        PipelineError: The pipeline has a setting that a kind does not know.
    """
    kinds, epsilons = tuple(kinds), tuple(epsilons)
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or not kinds:
        raise ConfigError(f"kinds to compare are {unknown or 'missing'}; known: {', '.join(KINDS)}")
    if len(set(kinds)) < len(kinds) or len(set(epsilons)) < len(epsilons):
        raise ConfigError(f"kinds {list(kinds)} at epsilons {list(epsilons)}: name each once")
    if seeds < 1 or not epsilons or not all(epsilon > 0 for epsilon in epsilons):
        raise ConfigError(f"{seeds} seeds at epsilons {list(epsilons)}; wanted at least one seed and positive budgets")
    for index in range(seeds):
        seed = pipeline.seed + index
        for epsilon in epsilons:
            for kind in kinds:
                changed = pipeline.replace(
                    **KINDS[kind], privacy__epsilon=epsilon, seed=seed, release__seed=pipeline.release.seed + index
                )
                yield Planned(kind, epsilon, seed, changed)
