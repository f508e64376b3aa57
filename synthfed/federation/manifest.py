"""The run manifest: everything public that a site agrees to before its rows are touched, signed and hashed.

Its hash names the run everywhere (secure sums, ledgers, folders), because Flower's run id is new at each start. The
relay key of the roster signs it; a site checks the signature against its pinned roster, and what the run does against
its policy. Nothing in it is computed from patients.

Three kinds of run share all of this: training (`Manifest`, here), questions (`inquiry.Inquiry`) and scoring
(`scoring.Scoring`). To carry any, a coordinator and a site need only what `RunManifest` says: the sites, and what is
added up in each round.
"""

import hashlib
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from synthfed.errors import FederationError, PipelineError
from synthfed.federation.steps import SumSettings, SumStep
from synthfed.generators.base import Layout, Measure, Plan, SharedNoise, Weights, unflatten
from synthfed.generators.counted import Counting
from synthfed.generators.marginal import Workload
from synthfed.generators.marginal.axes import Axis
from synthfed.generators.plan import round_events
from synthfed.generators.shared import tolerated, trained_tensors
from synthfed.pipeline import Pipeline
from synthfed.privacy.events import PrivacyEvent
from synthfed.secagg.contexts import digest, layout_digest

SCHEMA = "synthfed.manifest/2"
_DOMAIN = b"synthfed/manifest/v1\0"

Randomness = Literal["secure", "seeded"]


class ManifestError(FederationError):
    """A run manifest is altered, unsigned, or contradicts itself."""


class RunManifest(ABC):
    """What every run says of itself; its fields are those of the frozen dataclass that it is."""

    __slots__ = ()

    schema_name: ClassVar[str]
    roster: str  # SHA-256 of the roster, hex
    sites: tuple[str, ...]  # roster ids, in roster order
    randomness: Randomness  # how noise keys are drawn; `seeded` voids the guarantee
    simulated: bool
    version: str  # synthfed's; generators and encoders may change between versions
    nonce: str  # 32 random bytes, hex: two runs never share masks or ledger entries

    @property
    @abstractmethod
    def purpose(self) -> str:
        """The purpose of every sum of the run, in `ctx0`."""

    @property
    @abstractmethod
    def rounds(self) -> int:
        """Secure sums of the run."""

    @property
    @abstractmethod
    def sums(self) -> SumSettings:
        """How its vectors are hidden, added and checked."""

    @property
    @abstractmethod
    def delta(self) -> float:
        """The delta at which its cost is stated."""

    @property
    @abstractmethod
    def seed(self) -> int:
        """Of everything that is drawn in public; of the noise only if `randomness` is `seeded`."""

    @abstractmethod
    def subject_digest(self) -> str:
        """SHA-256, hex, of what is done: the pipeline, or the questions."""

    def step(self, round_index: int) -> SumStep:
        """What is added up in a round; worked out once, because every message asks for it."""
        return _step(self, round_index)

    @abstractmethod
    def make_step(self, round_index: int) -> SumStep:
        """Work out `step`; a function of the manifest alone."""

    @abstractmethod
    def check(self) -> None:
        """Refuse a run that contradicts itself.

        Raises:
            ManifestError: Naming what does not fit.
        """

    @classmethod
    @abstractmethod
    def revive(cls, body: dict[str, Any]) -> Self:
        """The manifest with these plain JSON values as fields."""

    def to_bytes(self) -> bytes:
        """Canonical JSON: what is hashed and signed."""
        return _canonical(self)

    def hash(self) -> str:
        """SHA-256 of the canonical bytes, hex: the name of the run."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def sign(self, relay: Ed25519PrivateKey) -> bytes:
        """Sign with the relay key that the roster names; 64 bytes."""
        return relay.sign(_DOMAIN + self.to_bytes())

    def round_events(self, round_index: int) -> tuple[PrivacyEvent, ...]:
        """What one round costs one patient."""
        return self.step(round_index).events

    def events(self) -> tuple[PrivacyEvent, ...]:
        """What the whole run costs one patient, as the ledger reserves it."""
        return tuple(event for index in range(self.rounds) for event in self.step(index).events)


def read_manifest(raw: bytes) -> RunManifest:
    """Read the canonical JSON of a run of any kind, strictly.

    Raises:
        ManifestError: Other keys, other types or another spelling than `to_bytes` writes.
    """
    from synthfed.federation.inquiry import Inquiry
    from synthfed.federation.scoring import Scoring

    try:
        body: dict[str, Any] = json.loads(raw)
        kinds: dict[str, type[RunManifest]] = {kind.schema_name: kind for kind in (Manifest, Inquiry, Scoring)}
        kind = kinds.get(str(body.pop("schema", None)))
        if kind is None or set(body) != {field.name for field in fields(kind)}:  # type: ignore[arg-type]  # a dataclass
            raise ManifestError(f"a run manifest needs one of the schemas {sorted(kinds)} and exactly its fields")
        manifest = kind.revive(body)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError("the run manifest cannot be read; it was written by another version") from error
    if manifest.to_bytes() != raw:
        raise ManifestError("the run manifest is not in canonical form; it was altered after it was made")
    return manifest


@dataclass(frozen=True, slots=True)
class Manifest(RunManifest):
    """One training run.

    Attributes:
        pipeline: Canonical JSON of the pipeline (`Pipeline.canonical`).
        transformer: SHA-256 of the public encoder, hex; or of its template, where histograms move its cells. It
            follows from the dictionary alone.
        roster: SHA-256 of the roster, hex.
        histograms: Fine cells of each block whose codes follow from noisy histograms; empty where none do.
        workload: What the counting rounds are about; None where there are none.
        tensors: Name and shape of every weight, in the order on the wire.
        sites: Roster ids of the sites that take part, in roster order.
        randomness: How noise keys are drawn; `seeded` voids the guarantee.
        version: synthfed's version; generators and encoders may change between versions.
        nonce: 32 random bytes, hex: two runs never share masks or ledger entries.
    """

    pipeline: str
    transformer: str
    roster: str
    layout: Layout
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    plan: Plan
    histograms: tuple[int, ...]
    workload: Workload | None
    sites: tuple[str, ...]
    randomness: Randomness
    simulated: bool
    version: str
    nonce: str

    def __post_init__(self) -> None:
        if len(self.layout.names) != len(self.layout.widths) or any(width < 1 for width in self.layout.widths):
            raise ManifestError("the manifest's layout needs one positive width per block")
        if len(set(self.sites)) != len(self.sites) or self.plan.sites != len(self.sites):
            raise ManifestError(
                f"the manifest names {len(set(self.sites))} different sites, its plan counts {self.plan.sites}"
            )
        if self.plan.encodes != bool(self.histograms):
            raise ManifestError("a run that counts histograms says how many cells they have, and no other run does")
        if bool(self.plan.measures) != (self.workload is not None):
            raise ManifestError("a run with counting rounds names a workload, and no other run does")

    schema_name: ClassVar[str] = SCHEMA

    @classmethod
    def revive(cls, body: dict[str, Any]) -> Self:
        body["layout"] = Layout(tuple(body["layout"]["names"]), tuple(body["layout"]["widths"]))
        body["tensors"] = tuple((str(name), tuple(shape)) for name, shape in body["tensors"])
        body["plan"]["measures"] = tuple(Measure(**measure) for measure in body["plan"]["measures"])
        if body["plan"]["shared"] is not None:
            body["plan"]["shared"] = SharedNoise(**body["plan"]["shared"])
        body["plan"] = Plan(**body["plan"])
        body["histograms"] = tuple(body["histograms"])
        body["workload"] = None if body["workload"] is None else _workload(body["workload"])
        body["sites"] = tuple(body["sites"])
        return cls(**body)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Manifest":
        """Read the canonical JSON of a training run.

        Raises:
            ManifestError: See `read_manifest`; or it is a run of the other kind.
        """
        manifest = read_manifest(raw)
        if not isinstance(manifest, Manifest):
            raise ManifestError("the run manifest is not one of training")
        return manifest

    def parse_pipeline(self) -> Pipeline:
        """The pipeline inside.

        Raises:
            ManifestError: It is not a pipeline of this version.
        """
        return pipeline_in(self.pipeline)

    def check(self) -> None:
        """Check that the plan is the one that the pipeline words; a site allows pipelines, not plans.

        Less noise than the pipeline's budget needs is not caught here but by the ledger, which counts the plan itself.

        Raises:
            ManifestError: Rounds, steps, sampling, clipping or divisor differ, noise is shared otherwise, or it is off
                though the budget is finite.
        """
        pipeline, plan = self.parse_pipeline(), self.plan
        settings = pipeline.federation
        shares = settings.noise == "shared" and pipeline.privacy.enabled
        wanted = (
            ("tables", "edges") if pipeline.counts_first else (),
            pipeline.training_rounds,
            settings.local_steps,
            settings.sample_rate,
            pipeline.privacy.clip_norm,
            settings.sample_rate * pipeline.privacy.expected_patients / len(self.sites),
            pipeline.privacy.enabled,
            tolerated(settings, len(self.sites)) if shares else None,
        )
        found = (
            tuple(measure.name for measure in plan.measures[plan.encodes :]),
            plan.rounds,
            plan.local_steps,
            plan.sample_rate,
            plan.clip_norm,
            plan.expected_batch,
            all(event.noise_multiplier > 0 for event in self.events()),
            plan.shared and (plan.shared.colluders, plan.shared.lost),
        )
        if found != wanted:
            raise ManifestError(f"the manifest's plan {found} is not its pipeline's {wanted}; make the manifest again")

    @property
    def purpose(self) -> str:
        return "train"

    @property
    def rounds(self) -> int:
        return self.plan.all_rounds

    @property
    def sums(self) -> SumSettings:
        federation, shared = self.parse_pipeline().federation, self.plan.shared
        return SumSettings(
            shares=federation.shares,
            verify=federation.verify,
            post_quantum=federation.pq,
            max_missing=federation.max_missing if shared is None else shared.lost,
            helpers=None if shared is None else shared.colluders - shared.lost,
            transport=federation.transport,
        )

    @property
    def delta(self) -> float:
        return self.parse_pipeline().privacy.delta

    @property
    def seed(self) -> int:
        return self.parse_pipeline().seed

    def subject_digest(self) -> str:
        """SHA-256 of the pipeline's canonical bytes, hex; policies allow pipelines by it."""
        return hashlib.sha256(self.pipeline.encode()).hexdigest()

    def make_step(self, round_index: int) -> SumStep:
        """Counting rounds add up integers; training rounds encoded weight changes or, with shared noise, gradients."""
        events, shared = round_events(self.plan, round_index), self.plan.shared
        counting = round_index < len(self.plan.measures)
        tensors = self.tensors
        if self.plan.encodes and round_index == 0:
            tensors = tuple((f"histogram {place}", (cells,)) for place, cells in enumerate(self.histograms))
        elif counting:
            tensors = (("counts", (self.counting().cells(round_index - self.plan.encodes),)),)
        elif shared is not None:
            trained = self.trained
            tensors = tuple((f"gradient of {name}", shape) for name, shape in self.tensors if name in trained)
        return SumStep(
            size=sum(math.prod(shape) for _, shape in tensors),
            ring="2^32" if shared is None else "2^64",
            bound=None if counting or shared is not None else self.parse_pipeline().federation.delta_bound,
            layout=digest(layout_digest(tensors), bytes.fromhex(self.transformer), repr(self.layout).encode()),
            events=events,
        )

    @property
    def fitted_blocks(self) -> int:
        """Blocks whose histograms are counted: one patient adds 1 to one cell of each."""
        return len(self.histograms)

    def tables_asked(self) -> Workload:
        """What the counting rounds are about.

        Raises:
            ManifestError: There are none.
        """
        if self.workload is None:
            raise ManifestError("this run has no counting rounds")
        return self.workload

    def counting(self) -> Counting:
        """The counting rounds."""
        patients = self.parse_pipeline().privacy.expected_patients
        return Counting(self.layout, self.tables_asked(), self.plan, patients)

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the tensors that training moves by patients' gradients."""
        return trained_tensors(self.parse_pipeline().generator.kind, (name for name, _ in self.tensors))

    @property
    def size(self) -> int:
        """Coordinates of a weight vector."""
        return sum(math.prod(shape) for _, shape in self.tensors)

    def weights(self, vector: npt.NDArray[np.float32]) -> Weights:
        """Cut a vector into the run's tensors.

        Raises:
            ManifestError: The vector has another size.
        """
        if vector.shape != (self.size,):
            raise ManifestError(f"the model has {vector.size} coordinates; the run's tensors need {self.size}")
        return unflatten(vector, {name: np.empty(shape, np.float32) for name, shape in self.tensors})


@lru_cache(maxsize=256)
def _step(manifest: RunManifest, round_index: int) -> SumStep:
    return manifest.make_step(round_index)


@lru_cache(maxsize=8)
def _canonical(manifest: RunManifest) -> bytes:
    body = {"schema": manifest.schema_name, **asdict(manifest)}  # type: ignore[call-overload]  # every kind is a dataclass
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _workload(body: dict[str, Any]) -> Workload:
    axes = tuple(Axis(**{name: _tuples(value) for name, value in axis.items()}) for axis in body.pop("axes"))
    return Workload(axes=axes, **{name: _tuples(value) for name, value in body.items()})


def _tuples(value: Any) -> Any:
    """JSON lists as the tuples that they were."""
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value


@lru_cache(maxsize=8)
def pipeline_in(text: str) -> Pipeline:
    """The pipeline whose canonical JSON a manifest holds.

    Raises:
        ManifestError: It is not a pipeline of this version, or another spelling of one.
    """
    try:
        raw = json.loads(text)
        if raw.get("privacy", {}).get("epsilon") == "inf":
            raw["privacy"]["epsilon"] = float("inf")
        pipeline = Pipeline.parse(raw, origin="the run manifest")
    except (ValueError, AttributeError, TypeError, PipelineError) as error:
        raise ManifestError("the manifest's pipeline cannot be read by this version of synthfed") from error
    if pipeline.canonical() != text.encode():
        raise ManifestError("the manifest's pipeline is not in canonical form")
    return pipeline


def synthfed_version() -> str:
    """The version in the package's metadata; `bundle` where a Flower bundle runs without an installation."""
    try:
        return version("synthfed")
    except PackageNotFoundError:
        return "bundle"


def make_manifest(
    *,
    pipeline: Pipeline,
    transformer_digest: str,
    roster_digest: bytes,
    layout: Layout,
    weights: Weights,
    plan: Plan,
    workload: Workload | None,
    histograms: Sequence[int] = (),
    sites: Sequence[str],
    simulated: bool,
) -> Manifest:
    """Write the manifest of a new run, with a fresh nonce."""
    seeded = pipeline.privacy.seeded(simulated=simulated)
    return Manifest(
        pipeline=pipeline.canonical().decode(),
        transformer=transformer_digest,
        roster=roster_digest.hex(),
        layout=layout,
        tensors=tuple((name, tensor.shape) for name, tensor in weights.items()),
        plan=plan,
        histograms=tuple(histograms) if plan.encodes else (),
        workload=workload if plan.measures else None,
        sites=tuple(sites),
        randomness="seeded" if seeded else "secure",
        simulated=simulated,
        version=synthfed_version(),
        nonce=os.urandom(32).hex(),
    )


def check_signature(raw: bytes, signature: bytes, relay_key: bytes) -> None:
    """Check a manifest's signature against the roster's relay key.

    Raises:
        ManifestError: The signature is not the relay's.
    """
    try:
        Ed25519PublicKey.from_public_bytes(relay_key).verify(signature, _DOMAIN + raw)
    except (InvalidSignature, ValueError) as error:
        raise ManifestError("the run manifest is not signed by the relay key of the pinned roster") from error
