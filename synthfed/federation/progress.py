"""What a run may say while it goes on: released values only.

The norm of the summed update, the budget spent by plan, the bytes moved. A site's own loss is computed from patients
and not paid for; it never comes here.
"""

import math
from dataclasses import dataclass

from synthfed.generators.base import Plan

_READINGS = 12  # accountant calls per run below full batch, where each takes about a second


@dataclass(frozen=True, slots=True)
class RoundDone:
    """One round has ended.

    Attributes:
        epsilon_so_far: Cost of the rounds done, by the accountant; never below it (see `Odometer`).
        bytes_moved: Payload of the run so far, both ways, all sites.
        update_norm: Euclidean norm of the released mean change.
        missing: Sites whose change is not in the sum; empty unless the round was reduced.
    """

    round_index: int
    rounds: int
    epsilon_so_far: float
    bytes_moved: int
    update_norm: float
    seconds: float
    missing: tuple[str, ...] = ()


class Odometer:
    """Epsilon after each round of a plan, cheap enough to show.

    At full batch the closed form of Gaussian differential privacy; else the accountant of record, asked at a dozen
    rounds: between them the next, larger reading stands, so what is shown is never too small.
    """

    def __init__(self, plan: Plan, delta: float) -> None:
        self._plan = plan
        self._delta = delta
        self._stride = 1 if plan.sample_rate == 1.0 else max(1, math.ceil(plan.rounds / _READINGS))

    def after(self, rounds: int) -> float:
        """Epsilon of the first `rounds` rounds, or slightly more."""
        from synthfed.privacy.accounting import epsilon_of, gaussian_epsilon

        plan = self._plan
        if plan.noise_multiplier == 0:
            return math.inf
        counted = min(plan.rounds, math.ceil(rounds / self._stride) * self._stride)
        steps = counted * plan.local_steps
        if plan.sample_rate == 1.0 and rounds < plan.rounds:
            return gaussian_epsilon(math.sqrt(steps) / plan.noise_multiplier, self._delta)
        from dataclasses import replace

        from synthfed.generators.plan import round_events

        (event,) = round_events(plan, 0)
        return epsilon_of([replace(event, steps=steps)], self._delta)
