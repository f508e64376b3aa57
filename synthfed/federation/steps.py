"""One secure sum of a run, as everybody knows it before any row is touched."""

from dataclasses import dataclass
from typing import Literal

from synthfed.privacy.events import PrivacyEvent

Shares = Literal["compressed", "pairwise", "full", "shamir"]


@dataclass(frozen=True, slots=True)
class SumSettings:
    """How a run's vectors are hidden, added and checked; part of every sum's context.

    Attributes:
        shares: How a vector is hidden; see `secagg.protocol`.
        verify: How sites check a sum: by its tag, or by adding up all signed vectors themselves.
        post_quantum: Whether pair keys rest on ML-KEM-768 beside X25519.
        max_missing: Sites that a sum may be opened without.
        transport: Whether sealed parts go through the coordinator, or straight from site to site where they can.
        helpers: Where noise is shared, sites that may help the server and yet what is left must suffice; None where
            each site adds all of it.
    """

    shares: Shares = "compressed"
    verify: Literal["tag", "recompute"] = "tag"
    post_quantum: bool = False
    max_missing: int = 0
    helpers: int | None = None
    transport: Literal["relay", "direct"] = "relay"


@dataclass(frozen=True, slots=True)
class SumStep:
    """What the sites add up in one round.

    Attributes:
        size: Coordinates of the vector.
        ring: Integers modulo this are added.
        bound: Public bound on one coordinate of an encoded weight change; None where integers are added up.
        layout: SHA-256 of what the coordinates mean.
        events: What the round costs one patient of one site; charged before the vector leaves.
    """

    size: int
    ring: Literal["2^32", "2^64"]
    bound: float | None
    layout: bytes
    events: tuple[PrivacyEvent, ...]
