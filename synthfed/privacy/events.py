"""What touched patient rows, in the words an accountant needs.

Unit of privacy: one patient, that is all rows of that patient at one site, capped at one row. Adjacency: add or
remove one patient. Everything named here is public by configuration; no field may be computed from rows.
"""

from dataclasses import dataclass
from typing import Literal

Mechanism = Literal["gaussian"]
Population = Literal["train", "holdout"]


@dataclass(frozen=True, slots=True)
class PrivacyEvent:
    """`steps` releases of a Poisson-sampled, noised sum over one population.

    Attributes:
        purpose: Where in the run, for people: "round 12".
        mechanism: `gaussian`: normal noise of standard deviation `noise_multiplier * l2_sensitivity` on a sum.
        l2_sensitivity: Most that one patient moves the sum (the clip norm).
        noise_multiplier: Standard deviation over sensitivity. Zero means no protection and costs infinity.
        sample_rate: Poisson inclusion probability of each patient; 1 means the full batch.
    """

    purpose: str
    mechanism: Mechanism
    population: Population
    l2_sensitivity: float
    noise_multiplier: float
    sample_rate: float
    steps: int


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what one patient may lose in all runs together."""

    epsilon: float
    delta: float
