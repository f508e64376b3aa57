"""What checking a dossier can say: what is wrong and where, and what was computed again."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["altered", "missing", "extra", "signature", "ledger", "audit", "report", "table", "model", "view"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a dossier."""

    kind: Kind
    name: str
    note: str

    def __str__(self) -> str:
        return f"{self.kind:9} {self.name}: {self.note}"


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What one patient's data may have changed, from nothing but the events of a ledger.

    Attributes:
        epsilon_local: The same against all other sites together; equal where each site draws all its own noise.
        events: How many charges it was computed from.
        promised: Whether the noise was secret, so that the numbers are in force.
    """

    population: str
    epsilon: float
    epsilon_local: float
    delta: float
    events: int
    promised: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify_dossier` found.

    Attributes:
        findings: Empty when everything holds.
        files: How many files the sums cover.
        signer: Ed25519 public key, hex, that signed; empty when the signature does not hold.
        recomputed: Per population of patients what the ledger's events cost, computed again; empty when it cannot be.
        checked: What was computed again from the table and the report, in sentences; empty where a broken seal or a
            file that cannot be read left nothing to compute from.
    """

    findings: tuple[Finding, ...]
    files: int
    signer: str
    recomputed: tuple[Recomputed, ...] = ()
    checked: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.findings
