"""A hospital's policy: what its site agrees to, whatever a coordinator asks.

The file is the hospital's and stays there. A missing file, key or value refuses everything; a refusal names the key
and nothing else.
"""

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from synthfed.errors import FederationError
from synthfed.federation.inquiry import Inquiry
from synthfed.federation.manifest import Manifest, RunManifest
from synthfed.federation.refused import Refused
from synthfed.federation.scoring import Scoring
from synthfed.privacy.accounting import epsilon_alone, epsilon_of
from synthfed.privacy.events import Budget

_OPTIONAL = {  # absent means no, and no narrower limit than `epsilon_total` and the pipeline's own `min_rows`
    *("allow_seeded", "max_missing", "questions", "exact_answers", "direct"),
    *("epsilon_local", "epsilon_run", "min_rows"),
}

_MEANING = {
    "pipelines": "SHA-256 of the pipelines that may run here.",
    "min_sites": "Fewest sites whose sum may be opened; never below 3.",
    "min_rows": "Fewest own patients with whom it takes part; the coordinator hears only that the table does not do.",
    "epsilon_run": "What one patient may lose in one run; inf leaves it to epsilon_total.",
    "epsilon_total": "What one patient may lose in all runs together; inf switches the limit off.",
    "delta": "Largest delta, and the one at which the ledger counts.",
    "max_rounds": "Most rounds of one run.",
    "max_steps": "Most training steps of one run.",
    "allow_seeded": "Noise from a public seed protects nobody: true for simulated patients only.",
    "max_missing": "Most sites that a sum may be opened without; 0 refuses such sums.",
    "questions": "Most runs of questions or of scoring that this site answers, ever.",
    "exact_answers": "Answers without noise, which no epsilon covers.",
    "epsilon_local": "With shared noise, most that one run may tell all other sites together; 0 refuses such runs.",
    "direct": "Whether sealed parts may go to and from the other sites without passing the coordinator.",
}


class PolicyError(FederationError):
    """A site's policy file is missing or wrong, so the site refuses everything."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of one site.

    Attributes:
        pipelines: SHA-256 (hex) of the pipelines that may run here (`Pipeline.digest`).
        min_sites: Fewest sites whose sum may be opened.
        min_rows: Fewest of the site's own rows that a vector may be computed from. The refusal that the coordinator
            sees is the one for a table that does not fit, so that it does not tell a number of patients apart.
        epsilon_run: What one patient may lose in one run, at `delta`.
        epsilon_total: What one patient may lose in all runs together; `inf` switches the limit off.
        delta: Largest delta, and the one at which the ledger counts.
        max_rounds, max_steps: Largest plan.
        max_missing: Most sites that a sum may be opened without. 0 refuses reduced sums: compared with other rounds,
            they tell more about the site that is missing.
        epsilon_local: With noise shared by the sites, what one patient may lose in one run to all other sites together;
            0 refuses shared noise, `inf` leaves it to `epsilon_total`.
        questions: Most runs of questions or of scoring that this site answers, ever; 0 answers none. Sums over sets
            that differ in one patient tell of that patient.
        exact_answers: Whether it answers without noise, which no epsilon covers.
        direct: Whether it takes part in runs whose sealed parts go straight from site to site, and listens for them if
            it has an address in the roster.
        allow_seeded: Whether noise may follow from a public seed. It protects nobody: simulated cohorts only.
    """

    pipelines: tuple[str, ...]
    min_sites: int
    epsilon_total: float
    delta: float
    max_rounds: int
    max_steps: int
    allow_seeded: bool = False
    max_missing: int = 0
    questions: int = 0
    exact_answers: bool = False
    epsilon_local: float = 0.0
    epsilon_run: float = math.inf
    min_rows: int = 0
    direct: bool = False

    @property
    def budget(self) -> Budget:
        """The ledger's limit."""
        return Budget(epsilon=self.epsilon_total, delta=self.delta)

    def check(self, manifest: RunManifest, *, answered: int = 0) -> None:
        """Refuse a run that breaks the policy.

        Args:
            answered: Question and scoring runs that this site has enrolled in before.

        Raises:
            Refused: Naming the first key that is broken.
        """
        broken = {
            "policy.min_sites": len(manifest.sites) < max(self.min_sites, 3),
            "policy.max_rounds": manifest.rounds > self.max_rounds,
            "policy.max_missing": manifest.sums.max_missing > self.max_missing,
            "policy.delta": manifest.delta > self.delta,
            "policy.allow_seeded": manifest.randomness == "seeded" and not self.allow_seeded,
            "policy.epsilon_run": self._is_too_dear(manifest),
            "policy.direct": manifest.sums.transport == "direct" and not self.direct,
        }
        if isinstance(manifest, Manifest):
            broken |= {
                "policy.pipelines": manifest.subject_digest() not in self.pipelines,
                "policy.max_steps": manifest.plan.total_steps > self.max_steps,
                "policy.epsilon_local": manifest.plan.shared is not None
                and epsilon_alone(manifest.events(), self.delta) > self.epsilon_local,
            }
        elif isinstance(manifest, Inquiry):
            broken |= {
                "policy.questions": answered >= self.questions,
                "policy.exact_answers": manifest.exact and not self.exact_answers,
            }
        elif isinstance(manifest, Scoring):
            broken |= {
                "policy.pipelines": manifest.subject_digest() not in self.pipelines,
                "policy.questions": answered >= self.questions,
                "policy.exact_answers": manifest.exact and not self.exact_answers,
            }
        else:
            raise Refused("manifest")
        for code, is_broken in broken.items():
            if is_broken:
                raise Refused(code)

    def _is_too_dear(self, manifest: RunManifest) -> bool:
        """Whether one run costs more than `epsilon_run`; where that is no narrower than the total, the ledger asks."""
        if self.epsilon_run >= self.epsilon_total or not (events := manifest.events()):
            return False
        return epsilon_of(events, self.delta) > self.epsilon_run

    def to_toml(self) -> str:
        """The policy as the file that `load` reads, with a line on each limit for the people who set it."""
        hashes = ", ".join(f'"{digest}"' for digest in self.pipelines)
        values = {
            "pipelines": f"[{hashes}]",
            "min_sites": str(self.min_sites),
            "min_rows": str(self.min_rows),
            "epsilon_run": _toml_float(self.epsilon_run),
            "epsilon_total": _toml_float(self.epsilon_total),
            "delta": _toml_float(self.delta),
            "max_rounds": str(self.max_rounds),
            "max_steps": str(self.max_steps),
            "allow_seeded": str(self.allow_seeded).lower(),
            "max_missing": str(self.max_missing),
            "questions": str(self.questions),
            "exact_answers": str(self.exact_answers).lower(),
            "epsilon_local": _toml_float(self.epsilon_local),
            "direct": str(self.direct).lower(),
        }
        said = [f"# {_MEANING[key]}\n{key} = {value}\n" for key, value in values.items()]
        return "# What this site agrees to, whatever a coordinator asks. It is the hospital's own.\n\n" + "\n".join(
            said
        )

    @classmethod
    def load(cls, path: Path) -> "Policy":
        """Read a policy file.

        Raises:
            PolicyError: It is missing, has unknown or missing keys, or a value of another type.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PolicyError(f"policy file {path} cannot be read; without it the site refuses everything") from error
        wanted = {field.name for field in fields(cls)}
        if not wanted - _OPTIONAL <= set(raw) <= wanted:
            raise PolicyError(f"policy file {path} has keys {sorted(raw)}; it needs exactly {sorted(wanted)}")
        kinds: dict[str, tuple[type, ...]] = {
            "pipelines": (list,),
            "min_sites": (int,),
            "epsilon_total": (int, float),
            "delta": (int, float),
            "max_rounds": (int,),
            "max_steps": (int,),
            "allow_seeded": (bool,),
            "max_missing": (int,),
            "questions": (int,),
            "exact_answers": (bool,),
            "epsilon_local": (int, float),
            "epsilon_run": (int, float),
            "min_rows": (int,),
            "direct": (bool,),
        }
        for key, value in raw.items():
            if type(value) not in kinds[key]:
                raise PolicyError(f"policy file {path}: {key} has another type than {kinds[key][-1].__name__}")
        if not raw["epsilon_total"] > 0 or not 0 < raw["delta"] < 1:
            raise PolicyError(f"policy file {path}: epsilon_total must be positive and delta lie in (0, 1)")
        for key in ("epsilon_local", "epsilon_run", "min_rows"):
            if not raw.get(key, 0) >= 0:
                raise PolicyError(f"policy file {path}: {key} must be at least 0")
        raw["pipelines"] = tuple(str(digest) for digest in raw["pipelines"])
        return cls(**raw)


def _toml_float(value: float) -> str:
    return "inf" if math.isinf(value) else repr(float(value))
