"""What a run may say while it goes on: released values only.

The norm of the summed update, the budget spent by plan, the bytes moved. A site's own loss is computed from patients
and not paid for; it never comes here.
"""

import math
from dataclasses import dataclass

from synthfed.federation.manifest import Manifest, RunManifest
from synthfed.generators.words import doing, round_names
from synthfed.privacy.events import PrivacyEvent

_READINGS = 12  # accountant calls per run below full batch, where each takes about a second


@dataclass(frozen=True, slots=True)
class RoundDone:
    """One round has ended.

    Attributes:
        epsilon_so_far: Cost of the rounds done, by the accountant; never below it (see `Odometer`).
        bytes_moved: Payload of the run so far, both ways, all sites.
        update_norm: Euclidean norm of the released mean change; 0 where a round counted.
        missing: Sites whose change is not in the sum; empty unless the round was reduced.
        stage: What the round did: "counting tables", "training"; empty in a run of questions.
        by_relay: Direct links ("lyon to milano") whose sealed parts went through the coordinator instead.
        coming: What goes on now, until the next round is done or the run is closed.
    """

    round_index: int
    rounds: int
    epsilon_so_far: float
    bytes_moved: int
    update_norm: float
    seconds: float
    missing: tuple[str, ...] = ()
    stage: str = ""
    coming: str = ""
    by_relay: tuple[str, ...] = ()

    @property
    def counted(self) -> bool:
        """Whether the round added up counts, which have no update norm."""
        return self.stage.startswith("counting")


def stage_and_coming(manifest: RunManifest, round_index: int) -> tuple[str, str]:
    """What a round did and what goes on after it; two empty texts in a run of questions."""
    if not isinstance(manifest, Manifest):
        return "", ""
    kind = manifest.parse_pipeline().generator.kind
    return round_names(manifest.plan)[round_index], doing(manifest.plan, kind, round_index + 1)


class Odometer:
    """Epsilon after each round of a run, cheap enough to show.

    While every round is a sum over all patients under normal noise drawn at each site, the closed form of Gaussian
    differential privacy; else the accountant of record, asked at a dozen rounds: between them the next, larger reading
    stands, so what is shown is never too small.
    """

    def __init__(self, manifest: RunManifest) -> None:
        self._rounds = [manifest.round_events(index) for index in range(manifest.rounds)]
        self._delta = manifest.delta
        planned = [event for events in self._rounds for event in events]
        self._closed = all(event.sample_rate == 1.0 and event.mechanism == "gaussian" for event in planned)
        self._stride = 1 if self._closed else max(1, math.ceil(len(self._rounds) / _READINGS))

    def after(self, rounds: int) -> float:
        """Epsilon of the first `rounds` rounds, or slightly more."""
        from synthfed.privacy.accounting import epsilon_of, gaussian_epsilon

        counted = min(len(self._rounds), math.ceil(rounds / self._stride) * self._stride)
        events = _one_population([event for round_ in self._rounds[:counted] for event in round_])
        if not events:
            return 0.0
        if any(event.noise_multiplier == 0 for event in events):
            return math.inf
        if self._closed and rounds < len(self._rounds):
            mu = math.sqrt(sum(event.steps / event.noise_multiplier**2 for event in events))
            return gaussian_epsilon(mu, self._delta)
        return epsilon_of(events, self._delta)


def _one_population(events: list[PrivacyEvent]) -> list[PrivacyEvent]:
    """Events of the population that is listed first: no patient is in two, and all are asked alike."""
    return [event for event in events if event.population == events[0].population]
