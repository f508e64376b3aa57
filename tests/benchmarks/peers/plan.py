"""What is compared: the contestants, tables and environments of `peers.toml`, and the order of the fits."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
_FIRST = (3.0, math.inf)


@dataclass(frozen=True, slots=True)
class Contestant:
    """One tool with one kind of model.

    Attributes:
        tool: The module in `adapters` that knows it; `kind` is for that module.
        seeds: How many splits it is run on.
        covers: What its epsilon holds for.
        coded: It is given codes and gives codes back.
        sites: Hospitals that the training rows are dealt to.
        passes: Of training over the rows, where that is not the tool's default.
    """

    name: str
    environment: str
    tool: str
    kind: str
    epsilons: tuple[float, ...]
    seeds: int
    rank: int
    covers: str
    licence: str
    ours: bool = False
    coded: bool = False
    sites: int = 1
    passes: int | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """Pinned packages of a virtual environment; without any it is the project's own.

    Attributes:
        without: Taken out again after the installation.
    """

    packages: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What it was made from."""
        return "\n".join([*self.packages, *(f"without {name}" for name in self.without)])


@dataclass(frozen=True, slots=True)
class Fit:
    """One run of one contestant on one split; the seed is that of the split and of the run."""

    table: str
    contestant: Contestant
    epsilon: float
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        words = f"{self.table} {self.contestant.name} {self.epsilon:g} {self.seed}"
        return "".join(letter if letter.isalnum() else "-" for letter in words)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of `peers.toml`.

    Attributes:
        tables: Name to rank and largest number of splits.
        cpu_seconds, wall_seconds: Limits of one fit.
        aims: (table, contestant, epsilon, score, what was aimed at).
    """

    delta: float
    rows: int
    cpu_seconds: int
    wall_seconds: int
    contestants: tuple[Contestant, ...]
    environments: Mapping[str, Environment] = field(default_factory=dict)
    tables: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    aims: tuple[tuple[str, str, float, str, float], ...] = ()

    def fits(self) -> list[Fit]:
        """All fits, the most telling first: by ranks of contestant and table and by split; epsilon 3 and none lead."""
        every = [
            (
                contestant.rank + rank + 2 * seed + (0.0 if epsilon in _FIRST else 0.5),
                place,
                Fit(table, contestant, epsilon, seed),
            )
            for table, (rank, most) in self.tables.items()
            for place, contestant in enumerate(self.contestants)
            for epsilon in contestant.epsilons
            for seed in range(min(contestant.seeds, most))
        ]
        return [fit for *_, fit in sorted(every, key=lambda one: one[:2])]


def read_plan(file: Path = HERE / "peers.toml") -> Comparison:
    """Read the comparison; an unknown key is an error of `Contestant`."""
    raw = tomllib.loads(file.read_text(encoding="utf-8"))
    contestants = [Contestant(**{**one, "epsilons": tuple(map(float, one["epsilons"]))}) for one in raw["contestant"]]
    scores = raw["aims"].pop("aimed")
    return Comparison(
        delta=raw["delta"],
        rows=raw["rows"],
        cpu_seconds=raw["cpu_seconds"],
        wall_seconds=raw["wall_seconds"],
        contestants=tuple(contestants),
        environments={
            name: Environment(**{key: tuple(values) for key, values in one.items()})
            for name, one in raw["environment"].items()
        },
        tables={name: (one["rank"], one.get("seeds", 99)) for name, one in raw["table"].items()},
        aims=tuple(
            (table, contestant, float(epsilon), score, aim)
            for table, aimed in raw["aims"].items()
            for contestant, by_epsilon in aimed.items()
            for epsilon, values in by_epsilon.items()
            for score, aim in zip(scores, values, strict=True)
        ),
    )
