"""A scoring run: how many held-out patients fall into each cell of a public plan, by one secure sum.

What is counted (`evaluation.counted`) was fixed after the release, from the dictionary and the synthetic table alone,
and is in the signed manifest with the table's hash and the whole pipeline. So a site knows before it agrees which
cells it will fill and what that costs; it allows scoring as it allows training, by the pipeline's hash, and counts it
among the questions that its policy allows.

Only held-out patients are counted, and only they pay. Whoever trains has been charged for the release and loses
nothing more: no patient is in both halves, so a release costs a patient the larger of the two budgets, never their
sum (parallel composition). `holdout.require_disjoint` keeps it so over all runs of a site.

Each site adds all the noise that its own patients need before it masks: what is paid holds against everybody, the
other sites included. Without noise (`evaluation.release = "exact-sums"`) nothing is charged, because no epsilon covers
exact sums; a site's policy says whether it gives any, and gives them once per released table.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from synthfed.evaluation.counted.tables import CountPlan
from synthfed.federation.manifest import ManifestError, Randomness, RunManifest, pipeline_in
from synthfed.federation.refused import Refused
from synthfed.federation.steps import SumSettings, SumStep
from synthfed.federation.wire import BadMessage
from synthfed.federation.work import Contribution, Standing
from synthfed.pipeline import Pipeline
from synthfed.privacy.events import PrivacyEvent
from synthfed.secagg.analytics import stddevs_of_sum
from synthfed.secagg.contexts import digest, layout_digest
from synthfed.secagg.ring import Ring

if TYPE_CHECKING:  # loads pandas, which messages of keys and shares do without
    from synthfed.evaluation.rows import Rows

SCHEMA = "synthfed.scoring/1"
PURPOSE = "scoring held-out patients"
_COUNTS, _SITES = "counts", "sites"
_MOST_COUNT = 1 << 26  # of one cell at one site, noise included: sums of any number of sites stay in the ring


@dataclass(frozen=True, slots=True)
class Scoring(RunManifest):
    """One scoring run.

    Attributes:
        pipeline: Canonical JSON of the pipeline that the table was made with; it names the budget.
        counts: Canonical JSON of what is counted (`CountPlan.to_json`).
        table: SHA-256, hex, of the synthetic table as released.
        noise_seed: Of the noise where `randomness` is `seeded`.
    """

    pipeline: str
    counts: str
    table: str
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
        body["sites"] = tuple(body["sites"])
        return cls(**body)

    def parse_pipeline(self) -> Pipeline:
        """The pipeline inside.

        Raises:
            ManifestError: It is not a pipeline of this version.
        """
        return pipeline_in(self.pipeline)

    def plan(self) -> CountPlan:
        """What is counted.

        Raises:
            ManifestError: It is not a plan of this version.
        """
        try:
            return CountPlan.from_json(self.counts)
        except ValueError as error:
            raise ManifestError("the manifest's count plan cannot be read by this version of synthfed") from error

    @property
    def exact(self) -> bool:
        """Whether the sums carry no noise."""
        return self.parse_pipeline().evaluation.release == "exact-sums"

    @property
    def purpose(self) -> str:
        return f"score:{self.table}"

    @property
    def rounds(self) -> int:
        return 1

    @property
    def sums(self) -> SumSettings:
        federation = self.parse_pipeline().federation
        return SumSettings(
            shares=federation.shares,
            verify=federation.verify,
            post_quantum=federation.pq,
            max_missing=federation.max_missing,
            transport=federation.transport,
        )

    @property
    def delta(self) -> float:
        return self.parse_pipeline().privacy.delta

    @property
    def seed(self) -> int:
        return self.noise_seed

    @property
    def holdout_fraction(self) -> float:
        """Which patients are held out, and counted."""
        return self.parse_pipeline().cohort.holdout_fraction

    def subject_digest(self) -> str:
        return self.parse_pipeline().digest()

    def mu(self) -> float:
        """What the run costs a held-out patient, as Gaussian differential privacy; inf where sums are exact."""
        epsilon = self.parse_pipeline().holdout_epsilon
        if epsilon is None:
            return math.inf
        from synthfed.privacy.budget import gdp_mu

        return gdp_mu(epsilon, self.delta)

    def make_step(self, round_index: int) -> SumStep:
        plan = self.plan()
        return SumStep(
            size=plan.cells,
            ring="2^32",
            bound=None,
            layout=digest(layout_digest([(_COUNTS, (plan.cells,))]), self.counts.encode()),
            events=() if self.exact else scoring_events(self.mu()),
        )

    def noise_of_sum(self, *, counted: int) -> npt.NDArray[np.float64]:
        """Standard deviation of each cell's noise in a sum over `counted` sites, each of which rounds its own."""
        if self.exact:
            return np.zeros(self.plan().cells)
        return stddevs_of_sum(self.plan().stddevs(self.mu()), counted)

    def check(self) -> None:
        pipeline = self.parse_pipeline()
        if not self.exact and pipeline.holdout_epsilon is None:
            raise ManifestError("the manifest's pipeline asks nothing of held-out patients; there is nothing to score")
        foreign = sorted(set(self.plan().columns) - set(pipeline.cohort.columns))
        if foreign:
            raise ManifestError(f"the plan counts {foreign[:5]}, which are no columns of the manifest's pipeline")


def scoring_events(mu: float) -> tuple[PrivacyEvent, ...]:
    """What scoring costs one held-out patient: cells scaled to noise of deviation 1 move by `mu`."""
    return (PrivacyEvent(PURPOSE, "gaussian", "holdout", 1.0, 1.0 / mu, 1.0, 1),)


def planned_scoring(pipeline: Pipeline) -> tuple[PrivacyEvent, ...]:
    """What scoring a release of this pipeline will charge; nothing where it makes no noisy sum."""
    from synthfed.privacy.budget import gdp_mu

    epsilon = pipeline.holdout_epsilon
    return () if epsilon is None else scoring_events(gdp_mu(epsilon, pipeline.privacy.delta))


@dataclass(frozen=True, slots=True)
class ScoringWork:
    """One site's side.

    Attributes:
        load_rows: Reads the held-out patients, as the plan counts them.
    """

    manifest: Scoring
    load_rows: "Callable[[Scoring], Rows]"

    def contribute(self, round_index: int, broadcast: bytes, *, noise_key: bytes) -> Contribution:
        """Count, and add the noise that is paid for.

        Raises:
            BadMessage: The broadcast says anything; all is in the manifest.
            Refused: `data`: the rows do not fit the plan, or the noise fits no useful sum.
        """
        from synthfed.evaluation.counted.count import count
        from synthfed.privacy.mechanisms import NoiseStream

        if broadcast:
            raise BadMessage("a scoring run is asked by its manifest alone")
        plan = self.manifest.plan()
        try:
            counts = count(plan, self.load_rows(self.manifest))
        except ValueError as error:
            raise Refused("data") from error
        if not self.manifest.exact:
            counts = counts + NoiseStream(noise_key).rounded_gaussian(plan.cells, plan.stddevs(self.manifest.mu()))
        if np.abs(counts).max() >= _MOST_COUNT:
            raise Refused("data")
        return Contribution(counts.astype(np.int32).view(np.uint32), {})


@dataclass(frozen=True, slots=True)
class ScoringCourse:
    """The coordinator's side: one sum."""

    manifest: Scoring

    def start(self) -> Standing:
        return {}

    def broadcast(self, standing: Standing, round_index: int) -> bytes:
        return b""

    def after(self, standing: Standing, round_index: int, total: Ring, *, counted: int) -> Standing:
        return {_COUNTS: total.view(np.int32).astype(np.int64), _SITES: np.asarray(counted)}

    def size_of(self, total: Ring, round_index: int) -> float:
        """Of counts, a norm is no such thing: 0."""
        return 0.0

    def released(self, standing: Standing) -> Standing:
        return standing


def summed(released: Standing) -> tuple[npt.NDArray[np.int64], int]:
    """The sum that a scoring run released, and over how many sites."""
    return released[_COUNTS].astype(np.int64), int(released[_SITES])
