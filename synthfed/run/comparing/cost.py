"""What a comparison costs real patients: every kind, budget and seed is a run of its own, and their losses add up.

Training is accounted for: each run reserves and charges the sites' ledgers as `synthfed run` does. The scores are not:
they are measured on the patients' own rows, stay with the data holder, and so does the choice made by them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synthfed.errors import BudgetRefused, BudgetTooSmall
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.run.comparing.kinds import Planned
from synthfed.run.training import LedgerHome

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort

NOT_COUNTED = (
    "The scores and a choice made by them are a look at the patients that no ledger counts: keep them inside, "
    "and where you can, choose by the simulated cohort, which costs nobody anything."
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one training patient loses in all runs of a comparison together.

    Attributes:
        epsilon: All runs composed, at `delta`; less than the sum of their epsilons. Infinite without noise.
        epsilon_local: The same against all other sites together; larger where the sites share the noise.
    """

    runs: int
    epsilon: float
    epsilon_local: float
    delta: float

    def __str__(self) -> str:
        alone = "" if self.epsilon_local == self.epsilon else f" ({self.epsilon_local:.2f} against all other sites)"
        return (
            f"{self.runs} runs of their own, which together cost each training patient epsilon {self.epsilon:.2f}"
            f"{alone} at delta {self.delta:g}"
        )


def cost_of_comparison(planned: Iterable[Planned], cohort: "Cohort") -> Cost:
    """Compose all events of all runs; a kind whose budget buys no useful step will not run and costs nothing."""
    runs = [(cell, events) for cell in planned if (events := planned_events(cell, cohort))]
    every = [event for _, events in runs for event in events]
    delta = max((cell.pipeline.privacy.delta for cell, _ in runs), default=0.0)
    epsilon, epsilon_local = both_epsilons(every, delta) if every else (0.0, 0.0)
    return Cost(len(runs), epsilon, epsilon_local, delta)


def both_epsilons(events: Iterable[PrivacyEvent], delta: float) -> tuple[float, float]:
    """Against everybody whom the noise is meant for, and against all other sites together."""
    from synthfed.privacy.accounting import epsilon_alone, epsilon_of

    events = tuple(events)
    return epsilon_of(events, delta), epsilon_alone(events, delta)


def planned_events(cell: Planned, cohort: "Cohort") -> tuple[PrivacyEvent, ...]:
    """What one run will charge at each site; nothing where its budget is too small to start."""
    from synthfed.generators.plan import all_events, make_plan, run_coding

    sites = len(cohort.sites)
    try:
        coding = run_coding(cell.pipeline, cohort.schema, sites=sites)
        return all_events(make_plan(cell.pipeline, sites=sites, coding=coding))
    except BudgetTooSmall:
        return ()


def require_room(planned: Iterable[Planned], cost: Cost, ledgers: LedgerHome, cohort: "Cohort") -> None:
    """Ask the lasting ledgers for room for all runs before the first one begins; a new ledger needs room for `cost`.

    Raises:
        BudgetRefused: All runs together would exceed the limit at a site.
    """
    from synthfed.federation.founding import require_budget, roster_names

    if not cost.runs:
        return
    if cost.epsilon > ledgers.epsilon_limit:
        raise BudgetRefused(
            f"the comparison is {cost}; the limit over all runs is {ledgers.epsilon_limit:g}: ask for fewer --kinds, "
            "--epsilon or --seeds, or have the data holder raise the limit (--epsilon-limit)"
        )
    homes: dict[str, Path] = {site: ledgers.folder / site for site in roster_names(tuple(cohort.sites)).values()}
    events = [event for cell in planned for event in planned_events(cell, cohort)]
    require_budget(homes, events, Budget(ledgers.epsilon_limit, cost.delta), name="--epsilon, --kinds or --seeds")
