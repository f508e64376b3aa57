"""What a run computes: at a site, the vector of a round; at the coordinator, what follows from its sum.

Rounds, stages and checkpoints carry any run of this shape. `training` and `inquiry` fill it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from synthfed.secagg.ring import Ring

# Named arrays, in order: all that the coordinator knows between two rounds. Sums and what follows from them.
Standing = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Contribution:
    """A site's vector of one round, noised already: it may leave once it is paid for and masked.

    Attributes:
        vector: In the ring of the round's step, and as long as it says.
        notes: For the site's own training log; computed from rows and never sent.
    """

    vector: Ring
    notes: Mapping[str, float]


class SiteWork(Protocol):
    """The part of a run that touches rows."""

    def contribute(self, round_index: int, broadcast: bytes, *, noise_key: bytes) -> Contribution:
        """The site's vector.

        Args:
            broadcast: What the coordinator sent, the same bytes to all; its hash is in the sum's context.
            noise_key: 32 secret bytes, fresh for this round.

        Raises:
            BadMessage, Refused: The broadcast asks for something else than the manifest's round.
            DataError, TrainingError, BudgetRefused: Nothing leaves.
        """
        ...


class Course(Protocol):
    """The part of a run that follows from sums; a function of its arguments."""

    def start(self) -> Standing:
        """Before round 0; from the manifest alone."""
        ...

    def broadcast(self, standing: Standing, round_index: int) -> bytes:
        """What all sites are sent in a round."""
        ...

    def after(self, standing: Standing, round_index: int, total: Ring, *, counted: int) -> Standing:
        """What is known after a round.

        Args:
            total: The sum over `counted` sites.
        """
        ...

    def size_of(self, total: Ring, round_index: int) -> float:
        """One number on what was released, to show while the run goes on."""
        ...

    def released(self, standing: Standing) -> Standing:
        """What ships at the end."""
        ...
