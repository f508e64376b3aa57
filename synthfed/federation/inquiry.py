"""A question run: statistics over all sites' tables by secure sums, exact or with noise, and nothing else.

The plan of questions is in the signed manifest, so a site knows before it agrees which cells it will fill, how far one
record can move each of them, and what that costs. Its rows only ever meet `Query.fill`. With noise, each site adds all
that its own patients need before it masks: what is paid holds against everybody, the other sites included. Both
populations pay, those who train and those held out, because all of a site's rows are asked.

Without noise nothing is charged, because no epsilon covers it; a site's policy says whether it answers so at all.
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from synthfed.federation.manifest import ManifestError, Randomness, RunManifest
from synthfed.federation.refused import Refused
from synthfed.federation.steps import SumSettings, SumStep
from synthfed.federation.wire import BadMessage
from synthfed.federation.work import Contribution, Standing
from synthfed.privacy.events import Population, PrivacyEvent
from synthfed.secagg.analytics import Plan, Query, noise_stddevs, round_mu, stddevs_of_sum
from synthfed.secagg.questions import Table
from synthfed.secagg.refusals import MalformedMessage
from synthfed.secagg.ring import Ring

SCHEMA = "synthfed.inquiry/1"
_POPULATIONS: tuple[Population, ...] = ("train", "holdout")


@dataclass(frozen=True, slots=True)
class Inquiry(RunManifest):
    """One question run.

    Attributes:
        plan: Canonical JSON of the questions (`analytics.Plan.to_json`).
        settings: How vectors are hidden, added and checked.
        epsilon: What it may cost one patient of one site; None answers exactly and is covered by no epsilon.
        stated_at: The delta of that epsilon.
        noise_seed: Of the noise where `randomness` is `seeded`.
    """

    plan: str
    settings: SumSettings
    epsilon: float | None
    stated_at: float
    noise_seed: int
    roster: str
    sites: tuple[str, ...]
    randomness: Randomness
    simulated: bool
    version: str
    nonce: str

    schema_name: ClassVar[str] = SCHEMA

    @classmethod
    def revive(cls, body: dict[str, Any]) -> Self:
        body["settings"] = SumSettings(**body["settings"])
        body["sites"] = tuple(body["sites"])
        return cls(**body)

    @property
    def exact(self) -> bool:
        """Whether answers carry no noise."""
        return self.epsilon is None

    @property
    def purpose(self) -> str:
        return self.questions().purpose

    @property
    def rounds(self) -> int:
        return len(_blank_rounds(self.questions()))

    @property
    def sums(self) -> SumSettings:
        return self.settings

    @property
    def delta(self) -> float:
        return self.stated_at

    @property
    def seed(self) -> int:
        return self.noise_seed

    def questions(self) -> Plan:
        """The plan inside.

        Raises:
            ManifestError: It is not a plan of this version.
        """
        return _parsed(self.plan)

    def subject_digest(self) -> str:
        return self.questions().digest().hex()

    def mu(self) -> float:
        """What the run costs, as Gaussian differential privacy; inf where answers are exact."""
        if self.epsilon is None:
            return math.inf
        from synthfed.privacy.budget import gdp_mu

        return gdp_mu(self.epsilon, self.delta)

    def make_step(self, round_index: int) -> SumStep:
        query = _blank_rounds(self.questions())[round_index]
        return SumStep(
            size=query.length,
            ring="2^64",
            bound=None,
            layout=query.layout_digest(),
            events=() if self.exact else self._paid(query, round_index),
        )

    def noise_of_sums(self, *, counted: int) -> tuple[npt.NDArray[np.float64], ...]:
        """Per round, the standard deviation of each cell's noise in a sum over `counted` sites; empty when exact."""
        if self.exact:
            return ()
        return tuple(
            stddevs_of_sum(noise_stddevs(query, self.mu()), counted) for query in _blank_rounds(self.questions())
        )

    def check(self) -> None:
        if not self.exact and not (self.epsilon or 0) > 0:
            raise ManifestError(f"epsilon is {self.epsilon}; a noisy question run needs a positive one")
        if not 0 < self.delta < 1:
            raise ManifestError(f"delta is {self.delta}; wanted a number in (0, 1)")
        if not self.rounds:
            raise ManifestError("the plan asks nothing")

    def _paid(self, query: Query, round_index: int) -> tuple[PrivacyEvent, ...]:
        """Cells scaled one by one to noise of deviation 1: one record then moves them by the round's mu."""
        multiplier = 1.0 / round_mu(query, self.mu())
        return tuple(
            PrivacyEvent(f"round {round_index}", "gaussian", population, 1.0, multiplier, 1.0, 1)
            for population in _POPULATIONS
        )


@dataclass(frozen=True, slots=True)
class InquiryWork:
    """One site's side: its whole table, as `analytics` reads one."""

    manifest: Inquiry
    table: Table

    def contribute(self, round_index: int, broadcast: bytes, *, noise_key: bytes) -> Contribution:
        """Fill the round's cells and add the noise that they are paid for with.

        Raises:
            BadMessage: The broadcast is not what is known before this round.
            Refused: `data`: the table lacks a column of the plan, or has more rows than its cap.
        """
        from synthfed.privacy.mechanisms import NoiseStream

        query = _query(self.manifest, round_index, broadcast)
        try:
            vector = query.fill(self.table)
        except (KeyError, ValueError) as error:
            raise Refused("data") from error
        if not self.manifest.exact:
            stddevs = noise_stddevs(query, self.manifest.mu())
            noise = NoiseStream(noise_key).rounded_gaussian(query.length, stddevs)
            vector = np.add(vector, noise.view(np.uint64), dtype=np.uint64)
        return Contribution(vector, {})


@dataclass(frozen=True, slots=True)
class InquiryCourse:
    """The coordinator's side: what was asked and summed so far."""

    manifest: Inquiry

    def start(self) -> Standing:
        return {}

    def broadcast(self, standing: Standing, round_index: int) -> bytes:
        """The sums so far, as canonical JSON: what the next round's cells rest on."""
        return json.dumps([total.view(np.int64).tolist() for total in standing.values()]).encode()

    def after(self, standing: Standing, round_index: int, total: Ring, *, counted: int) -> Standing:
        return {**standing, f"round/{round_index}": total}

    def size_of(self, total: Ring, round_index: int) -> float:
        return float(np.linalg.norm(total.view(np.int64).astype(np.float64)))

    def released(self, standing: Standing) -> Standing:
        return standing

    def query(self, standing: Standing) -> Query:
        """The query with all sums known."""
        return _advanced(self.manifest.questions(), list(standing.values()))


def _query(manifest: Inquiry, round_index: int, broadcast: bytes) -> Query:
    try:
        totals = [np.array(total, dtype=np.int64).view(np.uint64) for total in json.loads(broadcast)]
        query = _advanced(manifest.questions(), totals)
    except (ValueError, TypeError, OverflowError, MalformedMessage) as error:
        raise BadMessage("the sums of earlier rounds cannot be read") from error
    if query.round_index != round_index or query.length != manifest.step(round_index).size:
        raise BadMessage(f"the sums of {query.round_index} rounds came with round {round_index}")
    return query


def _advanced(plan: Plan, totals: list[npt.NDArray[Any]]) -> Query:
    query = Query(plan)
    for total in totals:
        query = query.advance(total)
    return query


@lru_cache(maxsize=8)
def _parsed(text: str) -> Plan:
    try:
        return Plan.from_json(text)
    except MalformedMessage as error:
        raise ManifestError("the manifest's questions cannot be read by this version of synthfed") from error


@lru_cache(maxsize=8)
def _blank_rounds(plan: Plan) -> tuple[Query, ...]:
    """The query before each round, had every sum been zero: lengths and reaches do not depend on the sums."""
    rounds = []
    query = Query(plan)
    while not query.done:
        rounds.append(query)
        query = query.advance(np.zeros(query.length, dtype=np.uint64))
    return tuple(rounds)
