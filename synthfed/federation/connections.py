"""Which node is which site, and trips to the sites that are connected."""

import time
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from flwr.serverapp import Grid

from synthfed.errors import DeadlineMissed, FederationError
from synthfed.federation import records, wire
from synthfed.federation.asking import Answers, Beside, Traffic, ask_some
from synthfed.federation.manifest import RunManifest
from synthfed.secagg.roster import Roster

_BESIDE_S = 10.0  # longest wait, after a trip, for sites that may be back


class Connections:
    """The enrolled sites of one run; identity is a signature under the roster's key, not a node id."""

    def __init__(
        self,
        grid: Grid,
        manifest: RunManifest,
        roster: Roster,
        relay: Ed25519PrivateKey,
        *,
        deadline_s: float,
        poll_s: float,
        traffic: Traffic,
    ) -> None:
        self._grid = grid
        self._manifest = manifest
        self._hash = manifest.hash()
        self._roster = roster
        self._relay = relay
        self._deadline_s = deadline_s
        self._poll_s = poll_s
        self.traffic = traffic
        self._nodes: dict[str, int] = {}

    def enrol(self, *, needed: int) -> None:
        """Ask every node for its name; a run begins with all sites, and may be resumed with `needed`.

        Raises:
            DeadlineMissed: Too few sites are connected.
            SiteRefused, BudgetRefused: A site said no, and too few are left.
            FederationError: A node answers as a site without its key, or two nodes as one site.
        """
        listed = self._wait_for_nodes(needed)
        everybody = needed == len(self._manifest.sites)
        nodes = self._named(listed, needed=len(listed) if everybody else needed)
        missing = [site for site in self._manifest.sites if site not in nodes]
        if len(nodes) < needed:
            raise DeadlineMissed(f"sites {', '.join(missing)} are not connected; start them, then resume")
        self._nodes = nodes

    def welcome(self) -> None:
        """After a resume without some sites: enrol the nodes that have come since."""
        if len(self._nodes) < len(self._manifest.sites):
            new = sorted(set(self._grid.get_node_ids()) - set(self._nodes.values()))
            self._nodes |= self._named(new, needed=0)

    def ask(
        self,
        action: str,
        requests: Mapping[str, object],
        kind: type[wire.M],
        *,
        needed: int,
        beside: Beside | None = None,
    ) -> Answers[wire.M]:
        """One trip; see `asking.ask_some`.

        Raises:
            DeadlineMissed: Fewer than `needed` of the sites are connected or answer.
        """
        reachable = {site: request for site, request in requests.items() if site in self._nodes}
        if len(reachable) < needed:
            away = ", ".join(site for site in requests if site not in reachable)
            raise DeadlineMissed(f"sites {away} are not connected; nothing more is released: start them, then resume")
        return ask_some(
            self._grid,
            action,
            reachable,
            kind,
            needed=needed,
            nodes=self._nodes,
            deadline_s=self._deadline_s,
            traffic=self.traffic,
            poll_s=self._poll_s,
            beside=beside,
        )

    def beside(self, action: str, sites: Iterable[str], request: object, kind: type) -> Beside | None:
        """Requests to those of `sites` that are connected."""
        listed = set(self._grid.get_node_ids()) if sites else set()
        requests = {site: request for site in sites if self._nodes.get(site) in listed}
        return Beside(action, requests, kind, self._beside_s) if requests else None

    @property
    def _beside_s(self) -> float:
        return min(_BESIDE_S, self._deadline_s / 10)

    def _wait_for_nodes(self, needed: int) -> list[int]:
        """All nodes, or at the deadline as many as are needed."""
        end = time.monotonic() + self._deadline_s
        while len(listed := sorted(self._grid.get_node_ids())) < len(self._manifest.sites):
            if time.monotonic() > end:
                if len(listed) >= needed:
                    break
                raise DeadlineMissed(
                    f"{len(listed)} of {len(self._manifest.sites)} sites are connected; start the others"
                )
            time.sleep(self._poll_s)
        return listed

    def _named(self, listed: Iterable[int], *, needed: int) -> dict[str, int]:
        request = wire.EnrolRequest(self._manifest.to_bytes(), self._manifest.sign(self._relay))
        asked = {f"node {node}": node for node in listed}
        answers = ask_some(
            self._grid,
            "query.enrol",
            dict.fromkeys(asked, request),
            wire.EnrolReply,
            needed=needed,
            nodes=asked,
            deadline_s=self._deadline_s if needed else self._beside_s,
            traffic=self.traffic,
            poll_s=self._poll_s,
        )
        nodes: dict[str, int] = {}
        for name, reply in answers.replies.items():
            member = self._roster.member(reply.site)
            statement = records.enrol_statement(self._hash, reply.site, asked[name])
            try:
                Ed25519PublicKey.from_public_bytes(member.public_key).verify(reply.signature, statement)
            except InvalidSignature as error:
                raise FederationError(f"{name} answers as site {reply.site!r} without that site's key") from error
            if reply.site in nodes:
                raise FederationError(f"two nodes answer as site {reply.site!r}; stop one of them")
            nodes[reply.site] = asked[name]
        return {site: nodes[site] for site in self._manifest.sites if site in nodes}
