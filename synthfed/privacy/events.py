"""What touched patient rows, in the words an accountant needs.

Unit of privacy: one patient, that is all rows of that patient at one site, capped at one row. Adjacency: add or
remove one patient. Everything named here is public by configuration; no field may be computed from rows.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

Mechanism = Literal["gaussian", "skellam"]
Population = Literal["train", "holdout"]


@dataclass(frozen=True, slots=True)
class PrivacyEvent:
    """`steps` releases of a Poisson-sampled, noised sum over one population.

    Attributes:
        purpose: Where in the run, for people: "round 12".
        mechanism: `gaussian`: normal noise of standard deviation `noise_multiplier * l2_sensitivity` on a sum, all of
            it drawn at the patient's own site. `skellam`: whole-numbered noise of that standard deviation on a
            whole-numbered sum over several sites, drawn in shares and hidden in a secure sum that opens the total
            only; see `sites` and `colluders`.
        l2_sensitivity: Most that one patient moves the sum (the clip norm; for counts scaled to their noise, 1). For
            `skellam` in whole numbers, with what rounding adds: `skellam.rounded_sensitivity`.
        noise_multiplier: Standard deviation over sensitivity. Zero means no protection and costs infinity.
        sample_rate: Poisson inclusion probability of each patient; 1 means the full batch.
        l1_sensitivity: The same in the sum of absolute changes; `skellam` only, else 0.
        sites: `skellam` only, else 1: how many sites draw a share.
        colluders: `skellam` only, else 0: of how many sites the noise is not counted. Each site draws noise of variance
            `(noise_multiplier * l2_sensitivity)**2 / (sites - colluders)`, so that `noise_multiplier` holds where that
            many shares are known to whoever attacks, or are missing.
        numbers: `skellam` only, else 0: how many numbers a step releases. Lets noise of large variance be accounted as
            the normal noise that it is near to, at any sample rate; 0 leaves the bound by Renyi divergences.
    """

    purpose: str
    mechanism: Mechanism
    population: Population
    l2_sensitivity: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    l1_sensitivity: float = 0.0
    sites: int = 1
    colluders: int = 0
    numbers: int = 0

    @property
    def share_variance(self) -> float:
        """Variance of the noise that one site adds to each number."""
        return (self.noise_multiplier * self.l2_sensitivity) ** 2 / (self.sites - self.colluders)

    def alone(self) -> "PrivacyEvent":
        """What is left when all other sites collude, or the secure sum fails: the own site's noise."""
        if self.mechanism == "gaussian":
            return self
        share = self.noise_multiplier / math.sqrt(self.sites - self.colluders)
        return replace(self, noise_multiplier=share, sites=1, colluders=0)


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what one patient may lose in all runs together."""

    epsilon: float
    delta: float
