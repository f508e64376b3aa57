"""The coordinator's loop: enrol, first keys, rounds of two trips, close.

Reads as the protocol does. A round is trip A (`train.round`: the model out, masked changes back) and trip B
(`query.unmask`: who answered out, key shares back); both carry the next round's keys, so no third trip is needed.
The coordinator opens the sum of all sites and nothing else. What it computes from a sum is post-processing.

A checkpoint is written before each round. Requests follow from it alone, so a loop that is started again continues
where it was, with the same bytes, and ends with the same weights.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from flwr.serverapp import Grid

from synthfed.errors import DeadlineMissed, FederationError
from synthfed.federation import wire
from synthfed.federation.asking import Traffic, ask
from synthfed.federation.checkpoints import Checkpoint, Checkpoints
from synthfed.federation.manifest import Manifest
from synthfed.federation.progress import Odometer, RoundDone
from synthfed.federation.sums import sum_context
from synthfed.generators.base import Generator, Weights, flatten
from synthfed.secagg import ring
from synthfed.secagg.protocol import RelaySession
from synthfed.secagg.roster import Roster


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the coordinator holds at the end.

    Attributes:
        ledgers: Each site's ledger export, as JSON bytes.
        audits: Each site's audit chain, JSON lines.
    """

    final: Weights
    released: Weights
    rounds: int
    ledgers: Mapping[str, bytes]
    audits: Mapping[str, bytes]
    bytes_up: int
    bytes_down: int


class Coordinator:
    """One run, seen from the relay."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        relay: Ed25519PrivateKey,
        roster: Roster,
        generator: Generator,
        checkpoints: Checkpoints,
        progress: Callable[[RoundDone], None] | None = None,
        poll_s: float = 0.25,
    ) -> None:
        self.manifest = manifest
        self.pipeline = manifest.parse_pipeline()
        self.roster = roster
        self.generator = generator
        self.checkpoints = checkpoints
        self._relay = relay
        self._hash = manifest.hash()
        self._progress = progress
        self._odometer = Odometer(manifest.plan, self.pipeline.privacy.delta)
        self._poll_s = poll_s
        self._traffic = Traffic()
        self._nodes: dict[str, int] = {}

    def run(self, grid: Grid) -> Outcome:
        """Go from enrolment, or from the newest checkpoint, to the closed run.

        Raises:
            SiteRefused, BudgetRefused: A site said no; nothing of it was used.
            SiteBroken, DeadlineMissed: A site failed; resume when it is back.
            SecAggError: A message was forged, replayed or altered.
        """
        self._nodes = self._enrol(grid)
        point = self.checkpoints.latest() or self._begin(grid)
        self._traffic.down += point.bytes_down
        self._traffic.up += point.bytes_up
        while point.round_index < self.manifest.plan.rounds:
            point = self._round(grid, point)
        return self._close(grid, point)

    def _enrol(self, grid: Grid) -> dict[str, int]:
        """Ask every node for its name; identity is the signature under the roster's key."""
        raw = self.manifest.to_bytes()
        request = wire.EnrolRequest(raw, self.manifest.sign(self._relay))
        listed = self._wait_for_nodes(grid)
        asked = {f"node {node}": node for node in listed}
        replies = ask(
            grid,
            "query.enrol",
            dict.fromkeys(asked, request),
            wire.EnrolReply,
            nodes=asked,
            deadline_s=self.pipeline.federation.deadline_s,
            traffic=self._traffic,
            poll_s=self._poll_s,
        )
        nodes: dict[str, int] = {}
        for name, reply in replies.items():
            member = self.roster.member(reply.site)
            statement = wire.enrol_statement(self._hash, reply.site, asked[name])
            try:
                Ed25519PublicKey.from_public_bytes(member.public_key).verify(reply.signature, statement)
            except InvalidSignature as error:
                raise FederationError(f"{name} answers as site {reply.site!r} without that site's key") from error
            if reply.site in nodes:
                raise FederationError(f"two nodes answer as site {reply.site!r}; stop one of them")
            nodes[reply.site] = asked[name]
        missing = sorted(set(self.manifest.sites) - set(nodes))
        if missing:
            raise DeadlineMissed(f"sites {', '.join(missing)} are not connected; start them, then resume")
        return {site: nodes[site] for site in self.manifest.sites}

    def _wait_for_nodes(self, grid: Grid) -> list[int]:
        end = time.monotonic() + self.pipeline.federation.deadline_s
        while len(listed := sorted(grid.get_node_ids())) < len(self.manifest.sites):
            if time.monotonic() > end:
                raise DeadlineMissed(
                    f"{len(listed)} of {len(self.manifest.sites)} sites are connected; start the others"
                )
            time.sleep(self._poll_s)
        return listed

    def _begin(self, grid: Grid) -> Checkpoint:
        """First weights and the first round's keys."""
        weights = self.generator.init(self.manifest.layout, seed=self.pipeline.seed)
        relay = self._session(0)
        hellos = self._ask(grid, "query.hello", lambda _: wire.HelloRequest(self._hash, 0, 0), wire.HelloReply)
        by_index = {self._index(site): reply.hello for site, reply in hellos.items()}
        for hello in by_index.values():
            relay.add_hello(hello)
        everyone = tuple(relay.hellos())
        shares = self._ask(
            grid, "query.share", lambda _: wire.ShareRequest(self._hash, 0, 0, everyone), wire.ShareReply
        )
        point = Checkpoint(
            round_index=0,
            weights=weights,
            state=self.generator.start(weights),
            result=b"",
            hellos=by_index,
            shares={self._index(site): reply for site, reply in shares.items()},
            bytes_up=self._traffic.up,
            bytes_down=self._traffic.down,
        )
        self.checkpoints.save(point)
        self._traffic = Traffic()
        return point

    def _round(self, grid: Grid, point: Checkpoint) -> Checkpoint:
        began = time.monotonic()
        index, plan = point.round_index, self.manifest.plan
        last = index + 1 == plan.rounds
        model = flatten(point.weights).astype("<f4").tobytes()
        relay = self._session(index)
        for hello in point.hellos.values():
            relay.add_hello(hello)
        relay.hellos()
        for sender in sorted(point.shares):
            share = point.shares[sender]
            relay.add_share(share.share, dict(zip(share.sealed_to, share.sealed, strict=True)))

        deliveries = relay.deliveries(hashlib.sha256(model).digest())

        def trip_a(site: str) -> wire.RoundRequest:
            mine = deliveries[self._index(site)]
            return wire.RoundRequest(self._hash, index, 0, model, point.result, mine.shares, mine.sealed)

        answers = self._ask(grid, "train.round", trip_a, wire.RoundReply)
        for answer in answers.values():
            relay.add_masked(answer.masked)
        coming = {} if last else {self._index(site): reply.hello for site, reply in answers.items()}

        heads = relay.heads()
        hellos = tuple(coming[i] for i in sorted(coming))
        released = self._ask(
            grid,
            "query.unmask",
            lambda _: wire.UnmaskRequest(self._hash, index, 0, heads, hellos),
            wire.UnmaskReply,
        )
        for reply in released.values():
            relay.add_unmask(reply.unmask)
        result, total = relay.result()

        mean = ring.decode_sum(total, bound=self.pipeline.federation.delta_bound, total_weight=1.0)
        weights, state = self.generator.apply(
            point.weights,
            point.state,
            self.manifest.weights(mean.astype(np.float32)),
            self.manifest.layout,
            plan,
            round_index=index,
            seed=self.pipeline.seed,
        )
        shares = {
            self._index(site): wire.ShareReply(reply.share, reply.sealed_to, reply.sealed)
            for site, reply in released.items()
        }
        # Saved before anybody hears of it: a restart repeats the coming round's requests byte for byte.
        after = Checkpoint(
            round_index=index + 1,
            weights=weights,
            state=state,
            result=result,
            hellos=coming,
            shares={} if last else shares,
            bytes_up=self._traffic.up,
            bytes_down=self._traffic.down,
        )
        self.checkpoints.save(after)
        if self._progress is not None:
            self._progress(
                RoundDone(
                    round_index=index,
                    rounds=plan.rounds,
                    epsilon_so_far=self._odometer.after(index + 1),
                    bytes_moved=self._traffic.total,
                    update_norm=float(np.linalg.norm(mean)),
                    seconds=time.monotonic() - began,
                )
            )
        return after

    def _close(self, grid: Grid, point: Checkpoint) -> Outcome:
        last = self.manifest.plan.rounds - 1
        closed = self._ask(
            grid, "query.close", lambda _: wire.CloseRequest(self._hash, last, 0, point.result), wire.CloseReply
        )
        closes = tuple(closed[site].close for site in self.manifest.sites)
        settled = self._ask(grid, "query.settle", lambda _: wire.SettleRequest(self._hash, closes), wire.SettleReply)
        return Outcome(
            final=point.weights,
            released=self.generator.release(point.weights, point.state),
            rounds=point.round_index,
            ledgers={site: reply.ledger for site, reply in closed.items()},
            audits={site: reply.audit for site, reply in settled.items()},
            bytes_up=self._traffic.up,
            bytes_down=self._traffic.down,
        )

    def _ask(self, grid: Grid, action: str, request: Callable[[str], object], kind: type[wire.M]) -> dict[str, wire.M]:
        return ask(
            grid,
            action,
            {site: request(site) for site in self.manifest.sites},
            kind,
            nodes=self._nodes,
            deadline_s=self.pipeline.federation.deadline_s,
            traffic=self._traffic,
            poll_s=self._poll_s,
        )

    def _session(self, index: int) -> RelaySession:
        return RelaySession(
            self.roster, sum_context(self.manifest, self.roster, index, 0), self._relay, length=self.manifest.size
        )

    def _index(self, site: str) -> int:
        return self.roster.member(site).index
