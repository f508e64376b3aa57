"""The coordinator's sessions of a run's sums: new, kept from the trip before, or made again from a checkpoint."""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.errors import FederationError
from synthfed.federation.checkpoints import Checkpoint
from synthfed.federation.direct import linked
from synthfed.federation.manifest import RunManifest
from synthfed.federation.sums import sum_config, sum_context
from synthfed.secagg.contexts import Context0, SumConfig
from synthfed.secagg.protocol import PartsRelaySession, RelaySession
from synthfed.secagg.roster import Roster

_MOST_PARTS_BYTES = 50_000_000  # through one relay and round; above it, parts should not travel by the relay


class RelaySessions:
    """One run's sessions, by round.

    Raises:
        FederationError: Parts of the vectors would be too large to go through a relay.
    """

    def __init__(self, manifest: RunManifest, roster: Roster, relay: Ed25519PrivateKey, *, smallest: int) -> None:
        self._manifest = manifest
        self._roster = roster
        self._relay = relay
        self._smallest = smallest
        self._kept: tuple[int, RelaySession] | None = None
        self._require_small_parts()

    def config(self, index: int) -> SumConfig:
        """The public settings of a round's sum."""
        return sum_config(self._manifest, self._roster, index)

    def new(self, index: int) -> RelaySession:
        """A round's session before any message."""
        kind = PartsRelaySession if self.config(index).deals_parts else RelaySession
        return kind(self._roster, self._context(index), self._relay, **self._sized(index))

    def with_hellos(self, index: int, hellos: Mapping[int, bytes]) -> RelaySession:
        """A round's session whose HELLOs were sent out."""
        relay = self.new(index)
        for hello in hellos.values():
            relay.add_hello(hello)
        relay.hellos()
        return relay

    def keep(self, index: int, relay: RelaySession) -> None:
        """Hand the coming round's session, with its HELLOs and SHAREs, to that round."""
        self._kept = index, relay

    def of(self, point: Checkpoint) -> RelaySession:
        """The session of a checkpoint's coming round: as it was kept, or after a restart the same once more."""
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == point.round_index:
            return kept[1]
        relay = self.with_hellos(point.round_index, point.hellos)
        for sender in sorted(point.shares):
            share = point.shares[sender]
            relay.add_share(share.share, dict(zip(share.sealed_to, share.sealed, strict=True)))
        return relay

    def copy(self, relay: RelaySession, index: int) -> RelaySession:
        """A session to try messages on."""
        return type(relay).thaw(relay.freeze(), self._roster, self._context(index), self._relay, **self._sized(index))

    def _context(self, index: int) -> Context0:
        return sum_context(self._manifest, self._roster, index, 0)

    def _sized(self, index: int) -> dict[str, Any]:
        return {
            "length": self._manifest.step(index).size,
            "config": self.config(index),
            "smallest": self._smallest,
        }

    def _require_small_parts(self) -> None:
        """Before anything is asked: what has no direct link in any case."""
        if not self.config(0).deals_parts:
            return
        steps = [self._manifest.step(index) for index in range(self._manifest.rounds)]
        most = max(step.size * (4 if step.ring == "2^32" else 8) for step in steps)
        sites = [member.index for member in self._roster.members]
        direct = self._manifest.sums.transport == "direct"
        pairs = [pair for pair in permutations(sites, 2) if not (direct and linked(self._roster, *pair))]
        self.require_small(most * len(pairs))

    def require_small(self, bytes_a_round: int) -> None:
        """Refuse parts that are too large to go through the coordinator.

        Raises:
            FederationError: They are.
        """
        if bytes_a_round > _MOST_PARTS_BYTES:
            mend = "mend the direct links, then resume; or " if self._manifest.sums.transport == "direct" else ""
            raise FederationError(
                f"shares = {self._manifest.sums.shares!r} would send {bytes_a_round / 1e6:.0f} MB of parts through "
                f"the relay in a round, at most {_MOST_PARTS_BYTES / 1e6:.0f} MB fit; {mend}use shares = 'compressed': "
                "it adds up the same integers"
            )
