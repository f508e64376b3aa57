"""A pipeline: one TOML file that says everything public about one run.

Which columns, which sites, which generator, which privacy budget, how many rounds, what is released and how it is
scored. Every number here is public by declaration, enters the signed run manifest and may be printed; nothing here
may be taken from patient rows. `Pipeline.load` accepts a path or the name of a shipped pipeline (`aml`, `scd`).
"""

import difflib
import hashlib
import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from synthfed.errors import PipelineError
from synthfed.resources import pipeline_path

_DAY = r"^(\d{4}-\d{2}-\d{2})?$"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)


class CohortSettings(_Section):
    """Which patients: the columns used, and the simulated cohort that stands in when no data are given."""

    columns: tuple[str, ...] = Field(min_length=2)
    min_rows: int = Field(50, ge=1, description="fewest training patients at a site")
    holdout_fraction: float = Field(0.2, gt=0.0, lt=0.9)
    on_violation: Literal["missing", "keep", "drop"] = Field(
        "missing", description="cells of patients that break a hard rule: made missing, kept, or the patient left out"
    )
    simulated_patients: int = Field(2000, ge=60)
    simulated_sites: tuple[str, ...] = ("lyon", "milano", "barcelona", "berlin")
    simulated_shares: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)

    @model_validator(mode="after")
    def _shares_match_sites(self) -> "CohortSettings":
        if len(self.simulated_shares) != len(self.simulated_sites):
            raise ValueError("simulated_shares needs one share per entry of simulated_sites")
        if abs(sum(self.simulated_shares) - 1.0) > 1e-6:
            raise ValueError("simulated_shares must add up to 1")
        return self


class _GeneratorSettings(_Section):
    """What every kind is told."""

    focus: tuple[tuple[str, ...], ...] = Field(
        (),
        max_length=8,
        description="columns whose joint table must be right, two to four in each set: counted as one noisy table over "
        "all sites, and held together by the tree",
    )

    @field_validator("focus")
    @classmethod
    def _sets_of_columns(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for names in value:
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{twice} twice in {list(names)}; name a column once")
            if not 2 <= len(names) <= 4:
                raise ValueError(f"{len(names)} columns in {list(names)}; name two to four")
        return value


class MarginalSettings(_GeneratorSettings):
    """A tree of small noisy tables around the survival endpoint: counts only, no network."""

    kind: Literal["marginal"]


class _NetworkSettings(_GeneratorSettings):
    """What both networks share: where they start from, and how much of the budget trains them."""

    start: Literal["marginals", "cold"] = Field(
        "marginals", description="distil the tree of noisy tables into the network first, or train it from nothing"
    )
    training_share: float = Field(
        0.1, ge=0.0, lt=1.0, description="of the budget (of mu squared), for DP-SGD after a start from marginals"
    )

    @model_validator(mode="after")
    def _focus_is_counted(self) -> "_NetworkSettings":
        if self.focus and self.start == "cold":
            raise ValueError(
                "focus is counted before any training and a cold start counts nothing; leave focus out, or "
                "set start = 'marginals'"
            )
        return self


class TvaeSettings(_NetworkSettings):
    """A variational autoencoder: encoder and decoder under one DP-SGD, only the decoder ships."""

    kind: Literal["tvae"]
    hidden: int = Field(96, ge=8, le=1024)
    latent: int = Field(12, ge=2, le=256)
    beta: float = Field(0.5, gt=0)
    site_rate: float = Field(0.05, gt=0, description="SGD step size inside the site")
    server_rate: float = Field(0.03, gt=0, description="Adam step size on the aggregate")
    server_ema: float = Field(0.98, ge=0, lt=1)
    open_rate: float = Field(0.003, gt=0, description="Adam step size when epsilon is inf")
    open_batch: int = Field(100, ge=1, description="minibatch when epsilon is inf")


class CtganSettings(_NetworkSettings):
    """A WGAN whose critic sees real rows under DP-SGD; the generator is trained after the sums."""

    kind: Literal["ctgan"]
    noise_width: int = Field(16, ge=2, le=512)
    hidden: int = Field(96, ge=8, le=1024)
    critic_hidden: int = Field(64, ge=8, le=1024)
    temperature: float = Field(0.4, gt=0)
    fakes: int = Field(256, ge=16)
    penalty: float = Field(10.0, ge=0)
    site_rate: float = Field(0.05, gt=0)
    critic_rate: float = Field(0.005, gt=0)
    generator_rate: float = Field(0.001, gt=0)
    generator_steps: int = Field(1, ge=1, description="generator steps at the coordinator per round")
    server_ema: float = Field(0.98, ge=0, lt=1)
    open_rate: float = Field(0.002, gt=0, description="Adam step size of both networks when epsilon is inf")
    open_batch: int = Field(50, ge=2, description="minibatch when epsilon is inf")


GeneratorSettings = Annotated[TvaeSettings | CtganSettings | MarginalSettings, Field(discriminator="kind")]


class PrivacySettings(_Section):
    """The budget of one patient and how the noise is drawn."""

    epsilon: float = Field(gt=0, description="budget of the whole run at each site; inf switches DP off, and says so")
    delta: float = Field(1e-5, gt=0, lt=0.01)
    clip_norm: float = Field(1.0, gt=0)
    expected_patients: int = Field(ge=1, description="public, rounded guess of all training patients")
    max_noise_multiplier: float = Field(200.0, gt=0, description="above this a step is noise only: refuse")
    randomness: Literal["auto", "secure", "seeded"] = Field(
        "auto", description="auto: secure for patients, seeded for simulated cohorts; seeded voids the guarantee"
    )

    @property
    def enabled(self) -> bool:
        return math.isfinite(self.epsilon)

    def seeded(self, *, simulated: bool) -> bool:
        """Whether the noise follows from the public seed, which voids the guarantee and makes runs repeatable."""
        return self.randomness == "seeded" or (self.randomness == "auto" and simulated)


class FederationSettings(_Section):
    """Rounds, and how the sites' contributions are added."""

    rounds: int = Field(100, ge=1, le=100_000)
    local_steps: int = Field(3, ge=1, le=10_000)
    sample_rate: float = Field(1.0, gt=0, le=1, description="1 = full batch, else Poisson sampling")
    noise: Literal["local", "shared"] = Field(
        "local",
        description="local: each site adds all its patients need; shared: a part, and only sums are opened",
    )
    colluders: Annotated[int, Field(ge=0, le=48)] | Literal["auto"] = Field(
        "auto",
        description="with shared noise: sites that may tell their part, draw none or be lost; auto: as many as the "
        "secure sum withstands beside the lost ones",
    )
    shares: Literal["compressed", "pairwise", "full", "shamir"] = Field(
        "compressed", description="how vectors are hidden: masks with shared keys, pair masks alone, or literal parts"
    )
    transport: Literal["relay", "direct"] = Field(
        "relay",
        description="how sealed parts go from site to site: through the coordinator, or by links of their own where "
        "they can and through the coordinator where not",
    )
    verify: Literal["tag", "recompute"] = Field(
        "tag", description="how sites check a sum: by its tag, or by adding up all signed vectors themselves"
    )
    pq: bool = Field(False, description="pair keys rest on ML-KEM-768 beside X25519")
    min_sites: int = Field(3, ge=3, le=50)
    max_missing: int = Field(
        0,
        ge=0,
        le=16,
        description="sites that a round may go on without, never more than floor((N-1)/3); 0 waits for all",
    )
    delta_bound: float = Field(1.0, gt=0, description="public bound on one coordinate of a site's weight change")
    deadline_s: float = Field(600.0, gt=0)

    @model_validator(mode="after")
    def _modes_fit_together(self) -> "FederationSettings":
        if self.shares in ("pairwise", "full") and self.max_missing:
            raise ValueError(f"shares = {self.shares!r} needs every site in every round; set max_missing = 0")
        if self.transport == "direct" and self.shares not in ("full", "shamir"):
            raise ValueError(
                f"transport = 'direct' carries the parts of a vector, and shares = {self.shares!r} makes none; leave "
                "transport = 'relay', or set shares = 'full' or 'shamir'"
            )
        if self.noise == "local" and self.colluders != "auto":
            raise ValueError("colluders is about shared noise; set noise = 'shared', or leave colluders out")
        if self.noise == "shared" and self.shares == "shamir":
            raise ValueError("noise = 'shared' adds up numbers modulo 2**64; shares = 'shamir' has no room for them")
        if self.colluders != "auto" and self.max_missing > self.colluders:
            raise ValueError(
                f"max_missing = {self.max_missing} sites may be lost and colluders = {self.colluders}: a sum without "
                "them would lack noise; raise colluders or lower max_missing"
            )
        if self.verify == "recompute" and (self.pq or self.shares == "shamir"):
            raise ValueError("verify = 'recompute' goes with neither pq nor shares = 'shamir'; use verify = 'tag'")
        return self


class ReleaseSettings(_Section):
    """The synthetic table."""

    rows: int = Field(2000, ge=1)
    seed: int = 1


class EvaluationSettings(_Section):
    """What is predicted, which groups are compared, and what may be told of held-out patients."""

    targets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    quasi_identifiers: tuple[str, ...] = ()
    release: Literal["synthetic-only", "noisy", "exact-sums"] = Field(
        "noisy",
        description="what a release says of held-out patients: nothing, scores from noisy counts over all sites that "
        "their own budget pays for, or scores from exact sums, which no epsilon covers and every site must allow",
    )
    epsilon_holdout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["training"] = Field(
        "training", description="budget of a held-out patient for these scores; training: as much as privacy.epsilon"
    )
    pairs: tuple[tuple[str, str], ...] = Field(
        (), max_length=20, description="pairs of columns that are counted; none: chosen from the synthetic table"
    )
    benefit: Literal["auto", "on", "off"] = Field(
        "auto",
        description="whether each site also trains alone, to say what it gained; never in a release. auto: where "
        "nothing but counts is learned, which takes seconds",
    )
    shadow_models: int = Field(
        0,
        ge=0,
        le=1000,
        description="generators trained on random halves of the patients to attack the table with; 0: none, else 8 "
        "or more, 64 for a steady answer; each takes as long as training on one table",
    )

    @field_validator("shadow_models")
    @classmethod
    def _enough_shadow_models(cls, value: int) -> int:
        if 0 < value < 8:
            raise ValueError("too few to learn from; set 0 for none, or 8 or more")
        return value


class CatalogueSettings(_Section):
    """What only the data holder can say of a release; all optional, printed in the cards and catalogue records."""

    title: str = Field("", description="of the release; empty: the pipeline's")
    description: str = ""
    publisher: str = Field("", description="name of the organisation that publishes")
    contact: str = Field("", description="an e-mail address or a page")
    page: str = Field("", description="where the release is found, and where access is asked for")
    identifier: str = Field("", description="a DOI or another lasting name; empty: the table's hash")
    license: str = Field("", description="address of the licence, or its name")
    access: Literal["RESTRICTED", "NON_PUBLIC", "PUBLIC"] = "RESTRICTED"
    spatial: tuple[str, ...] = Field((), description="countries, by ISO 3166 alpha-3 or address")
    start: str = Field("", pattern=_DAY, description="of the time in which the patients were seen, YYYY-MM-DD")
    end: str = Field("", pattern=_DAY)
    population: str = Field("", description="who is covered")
    categories: tuple[str, ...] = Field((), description="of EHDS article 51, by address of the healthcategories list")
    themes: tuple[str, ...] = Field((), description="of the health-theme vocabulary, by address")
    keywords: tuple[str, ...] = ()
    purpose: str = ""
    legal_basis: str = Field("", description="of the processing; empty: not stated")
    personal_data: tuple[str, ...] = Field((), description="addresses of dpv-pd concepts; empty: not stated")
    individuals: int | None = Field(None, ge=1, description="unique patients behind the release; a count of rows")
    access_body: str = Field("", description="name of the health data access body")
    access_body_contact: str = Field("", description="an e-mail address or a page")


class Pipeline(_Section):
    """One disease's run, from cohort to dossier."""

    title: str
    disease: str
    seed: int = 7
    cohort: CohortSettings
    generator: GeneratorSettings
    privacy: PrivacySettings
    federation: FederationSettings = FederationSettings()
    release: ReleaseSettings = ReleaseSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    catalogue: CatalogueSettings | None = None

    @model_validator(mode="after")
    def _shared_noise_takes_single_steps(self) -> "Pipeline":
        settings = self.federation
        if settings.noise == "shared" and self.privacy.enabled and self.training_rounds and settings.local_steps != 1:
            raise ValueError(
                f"federation.noise = 'shared' opens the sum of one step at a time, federation.local_steps is "
                f"{settings.local_steps}: set federation.local_steps = 1 and, for as many steps, federation.rounds = "
                f"{settings.rounds * settings.local_steps}; or federation.noise = 'local'"
            )
        return self

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Pipeline":
        """Read a pipeline by shipped name or by path.

        Raises:
            PipelineError: The file is missing, is not TOML, or a key is unknown or out of range.
        """
        path = pipeline_path(name_or_path)
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PipelineError(f"pipeline {path} is not valid TOML: {error}") from error
        return cls.parse(raw, origin=str(path))

    @classmethod
    def parse(cls, raw: dict[str, Any], *, origin: str) -> "Pipeline":
        """Check plain values; `origin` names them in errors."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise PipelineError(_explain(error, origin)) from error

    def replace(self, **changes: Any) -> "Pipeline":
        """Copy with `section__key=value` changes, checked again.

        Example: `pipeline.replace(privacy__epsilon=2.0, federation__rounds=30)`.
        """
        raw = self.model_dump(mode="python", exclude_none=True)
        kind = changes.get("generator__kind", self.generator.kind)
        if kind != self.generator.kind:  # the other kind has other settings; start from its defaults
            kept = _GeneratorSettings if kind == "marginal" else _NetworkSettings
            shared = set(kept.model_fields) & set(raw["generator"])
            raw["generator"] = {key: raw["generator"][key] for key in shared}
        for dotted, value in changes.items():
            _assign(raw, dotted.replace("__", ".").split("."), value, dotted)
        return type(self).parse(raw, origin=f"pipeline {self.title!r} with {sorted(changes)}")

    def alone(self, patients: int | None = None) -> "Pipeline":
        """Copy for one site by itself, which draws all noise; of `patients`, where given, in place of all sites'."""
        here = {"federation__noise": "local", "federation__colluders": "auto"}
        if patients is None:
            return self.replace(**here)
        return self.replace(privacy__expected_patients=max(patients, 1), cohort__min_rows=1, **here)

    def with_settings(self, assignments: list[str]) -> "Pipeline":
        """Copy with `section.key=value` texts from the command line; values are read as TOML, else as text."""
        changes: dict[str, Any] = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise PipelineError(f"--set {assignment!r} has no '='; write --set privacy.epsilon=2")
            changes[key.strip().replace(".", "__")] = _toml_value(text.strip())
        return self.replace(**changes)

    def canonical(self) -> bytes:
        """The same bytes for the same settings, whatever the order or comments of the file."""
        raw = self.model_dump(mode="json", exclude_none=True)
        if not self.privacy.enabled:
            raw["privacy"]["epsilon"] = "inf"  # JSON has no infinity
        return json.dumps(raw, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def digest(self) -> str:
        """SHA-256 of `canonical()`, hex. Sites allow pipelines by this value."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @property
    def counts_first(self) -> bool:
        """Whether noisy tables are counted before, or instead of, any training.

        Without privacy a network needs no head start: it trains on the rows themselves.
        """
        generator = self.generator
        if isinstance(generator, MarginalSettings):
            return True
        return generator.start == "marginals" and self.privacy.enabled

    @property
    def training_rounds(self) -> int:
        """Rounds of DP-SGD; none where counts are all that is learned."""
        generator = self.generator
        if isinstance(generator, MarginalSettings) or (self.counts_first and generator.training_share == 0):
            return 0
        return self.federation.rounds

    @property
    def holdout_epsilon(self) -> float | None:
        """What scoring may cost one held-out patient; None where nothing noisy is asked of them.

        Without privacy in training nothing is asked either, unless a budget of its own is named.
        """
        chosen = self.evaluation.epsilon_holdout
        if self.evaluation.release != "noisy":
            return None
        epsilon = self.privacy.epsilon if chosen == "training" else float(chosen)
        return epsilon if math.isfinite(epsilon) else None

    @property
    def tells_benefit(self) -> bool:
        """Whether each site also trains alone."""
        chosen = self.evaluation.benefit
        return chosen == "on" or (chosen == "auto" and not self.training_rounds)

    @property
    def total_steps(self) -> int:
        """Private steps of the whole run at each site."""
        return self.training_rounds * self.federation.local_steps


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(raw: dict[str, Any], keys: list[str], value: Any, dotted: str) -> None:
    place = raw
    for key in keys[:-1]:
        if not isinstance(place.get(key), dict):
            raise PipelineError(f"{dotted.replace('__', '.')!r} names no section {key!r}; sections: {sorted(raw)}")
        place = place[key]
    place[keys[-1]] = value


def _explain(error: ValidationError, origin: str) -> str:
    lines = [f"{origin}:"]
    for issue in error.errors():
        where = ".".join(str(part) for part in issue["loc"]) or "(top level)"
        found = issue.get("input")
        shown = "" if isinstance(found, dict) else f", found {found!r}"
        hint = _unknown_key(issue["loc"]) if issue["type"] == "extra_forbidden" else issue["msg"]
        lines.append(f"  {where}: {hint}{shown}")
    return "\n".join(lines)


def _unknown_key(place: tuple[str | int, ...]) -> str:
    """What to do about a key that no section has; `place` is the way to it from the top of the file."""
    known = list(Pipeline.model_fields)
    if len(place) > 1:
        annotation = Pipeline.model_fields[str(place[0])].annotation
        models = [one for one in (annotation, *get_args(annotation)) if hasattr(one, "model_fields")]
        known = [name for model in models for name in model.model_fields]
    near = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key; remove it or check its spelling"
