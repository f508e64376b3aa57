"""What every generator is: a plan that is public, a stint at a site, a step at the coordinator, a sampler.

A generator never sees a table. It sees `Codes`, one integer per block of the encoder, so that the shape of
everything it sends follows from the public `Layout`. Patients are touched in `stint` alone, and what a stint
returns has already been noised; its `events` say what the ledger must be charged before it leaves the site.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from synthfed.privacy.events import PrivacyEvent

Codes = npt.NDArray[np.int32]  # (rows, blocks), each entry in [0, width of its block)
Weights = dict[str, npt.NDArray[np.float32]]  # named tensors; insertion order is the order on the wire


@dataclass(frozen=True, slots=True)
class Layout:
    """The public shape of encoded rows: one categorical code per block.

    Attributes:
        names: Block names, one per modelled column or survival token.
        widths: Number of levels per block, missing included.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]

    @property
    def total_width(self) -> int:
        """Width of the one-hot row."""
        return sum(self.widths)


@dataclass(frozen=True, slots=True)
class Measure:
    """One noisy vector of counts over all sites, summed before any training; see `counted`.

    Attributes:
        name: What is counted: `histograms` where the encoder needs them, then `tables`, then `edges`.
        noise_multiplier: Standard deviation of the noise over what one patient moves the vector, cell by cell on the
            scale of the cell's noise; 0 is no noise.
    """

    name: str
    noise_multiplier: float

    @property
    def mu(self) -> float:
        """What it costs one patient, as Gaussian differential privacy (arXiv 1905.02383)."""
        return 1.0 / self.noise_multiplier if self.noise_multiplier else math.inf


@dataclass(frozen=True, slots=True)
class SharedNoise:
    """How a run splits its noise over the sites; see `shared`.

    Attributes:
        colluders: Of how many sites the noise is not counted: those that tell what they drew, draw nothing or are lost.
        lost: Of these, how many a sum may be opened without.
        scale_bits: Clipped gradient sums are multiplied by 2**scale_bits and rounded.
        count_stddev: Standard deviation, in whole numbers, of the noise that counts are scaled to.
    """

    colluders: int
    lost: int
    scale_bits: int
    count_stddev: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All that will touch rows, fixed before contact with any row; hashed into the run manifest.

    A run is `len(measures)` rounds of counting, then `rounds` rounds of training; both are numbered through.

    Attributes:
        rounds: Training rounds; 0 where the counts alone make the generator.
        noise_multiplier: Standard deviation of the noise over `clip_norm`; 0 switches DP off.
        expected_batch: Public divisor of a site's clipped gradient sum: sample_rate * expected patients per site.
            The same at every site, so the unweighted mean of the sites' changes is the pooled mean.
        shared: How the noise is split over the sites; None where every site adds all that its own patients need.
    """

    rounds: int
    local_steps: int
    sample_rate: float
    clip_norm: float
    noise_multiplier: float
    expected_batch: float
    sites: int
    measures: tuple[Measure, ...] = ()
    shared: SharedNoise | None = None

    @property
    def shares(self) -> int:
        """How many sites' noise together is what the plan says; the sum holds that of all."""
        return 1 if self.shared is None else self.sites - self.shared.colluders

    @property
    def encodes(self) -> bool:
        """Whether the first round counts the histograms from which the encoder is made."""
        return bool(self.measures) and self.measures[0].name == "histograms"

    @property
    def all_rounds(self) -> int:
        """Secure sums of the run: counting and training."""
        return len(self.measures) + self.rounds

    @property
    def total_steps(self) -> int:
        return self.rounds * self.local_steps


@dataclass(frozen=True, slots=True)
class Stint:
    """What one site learned in one round.

    Attributes:
        change: Noised weight change, same names and shapes as the weights it started from.
        events: What it cost; equal to the plan's share of one round, or the ledger refuses.
        local_loss: Mean loss on real rows. Stays at the site: it is computed from patients and not paid for.
    """

    change: Weights
    events: tuple[PrivacyEvent, ...]
    local_loss: float


@dataclass(frozen=True, slots=True)
class ClippedSum:
    """One step's clipped gradients at one site, without noise: it stays there until `shared` has made it safe to mask.

    Attributes:
        gradient: float64, flat over `shared.trained_tensors`; one patient moves it by the plan's clip norm at most.
        local_loss: Mean loss on real rows; stays at the site.
    """

    gradient: npt.NDArray[np.float64]
    local_loss: float


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the coordinator keeps between rounds: optimiser moments and the running mean of the weights."""

    tensors: Mapping[str, npt.NDArray[np.float64]]
    step: int


class Generator(Protocol):
    """One kind of generator (`tvae`, `ctgan`, `marginal`). Stateless: every method is a function of its arguments."""

    kind: str

    def init(self, layout: Layout, *, seed: int) -> Weights:
        """First weights: from the seed and the public layout only."""
        ...

    def stint(
        self, weights: Weights, layout: Layout, codes: Codes, plan: Plan, *, round_index: int, noise_key: bytes
    ) -> Stint:
        """Train `plan.local_steps` private steps on one site's rows.

        `round_index` counts all rounds of the run, those of counting included. `noise_key` (32 bytes) drives batch
        sampling and the DP noise: secret, fresh, never sent.
        """
        ...

    def clipped_sum(
        self, weights: Weights, layout: Layout, codes: Codes, plan: Plan, *, round_index: int, noise_key: bytes
    ) -> ClippedSum:
        """One private step where noise is shared: no noise yet, so the sum may leave masked and with its share only."""
        ...

    def start(self, weights: Weights) -> ServerState:
        """The coordinator's state before round 0."""
        ...

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
        """Post-processing at the coordinator: an optimiser step on the aggregate, and any step that needs no rows.

        `round_index` counts training rounds only. Where noise is shared, `mean_change` is downhill along the mean
        gradient of what touches rows, and terms that touch none are added here.
        """
        ...

    def release(self, weights: Weights, state: ServerState) -> Weights:
        """The tensors that ship: what sampling needs and nothing else (no encoder, critic or optimiser)."""
        ...

    def sample(self, released: Weights, layout: Layout, *, rows: int, seed: int) -> Codes:
        """Draw rows; the same seed gives the same codes."""
        ...


def flatten(weights: Weights) -> npt.NDArray[np.float32]:
    """One vector in insertion order: what travels."""
    return np.concatenate([np.ravel(tensor) for tensor in weights.values()]).astype(np.float32, copy=False)


def unflatten(vector: npt.NDArray[np.floating], like: Weights) -> Weights:
    """Undo `flatten` for tensors named and shaped `like`.

    Raises:
        ValueError: The vector's length differs from the tensors' total size.
    """
    total = sum(tensor.size for tensor in like.values())
    if vector.shape != (total,):
        raise ValueError(f"vector has shape {vector.shape}, the tensors need ({total},)")
    out: Weights = {}
    offset = 0
    for name, tensor in like.items():
        out[name] = vector[offset : offset + tensor.size].reshape(tensor.shape).astype(np.float32)
        offset += tensor.size
    return out
