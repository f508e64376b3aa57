"""The coordinator's loop: enrol, first keys, rounds of two trips, close.

Reads as the protocol does. A round is trip A (`train.round`: the model out, masked changes back) and trip B
(`query.unmask`: who answered out, key shares back); both carry the next round's keys, so no third trip is needed.
The coordinator opens one sum per round and nothing else. What it computes from a sum is post-processing.

By default a round waits for all sites; one that fails ends the run until it is resumed. Where `federation.max_missing`
allows it, a round goes on without a site that is lost:

| lost | then |
|---|---|
| in trip A | trip B' (`query.survivors`): the others sign the smaller set; trip B opens their sum |
| in trip B' or B | its vector counts; the others' key shares open the sum; it has no keys for the next round |
| and comes back | `query.hello` beside the next trip A, `query.share` beside B: it is in the round after that |

What a sum means is the `Course`'s affair: it is told how many sites are in it. Weights are uniform and public, so that
count is the total weight and no auxiliary coordinate travels. An answer that comes after its trip is over is dropped;
the vector in it stays unreadable.

A checkpoint is written before each round, and every choice of sites before they hear of it. Requests follow from these
alone, so a loop that is started again continues where it was, with the same bytes, and ends with the same weights.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from flwr.serverapp import Grid

from synthfed.errors import DeadlineMissed, FederationError, LedgerBroken, SecAggError
from synthfed.federation import wire
from synthfed.federation.asking import Answers, Beside, Traffic, ask_some
from synthfed.federation.checkpoints import Checkpoint, Checkpoints, Decided
from synthfed.federation.manifest import RunManifest
from synthfed.federation.progress import Odometer, RoundDone
from synthfed.federation.sums import smallest_set, sum_config, sum_context
from synthfed.federation.work import Course, Standing
from synthfed.secagg.protocol import RelaySession
from synthfed.secagg.roster import Roster


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the coordinator holds at the end.

    Attributes:
        standing: What follows from all sums.
        released: Of that, what ships.
        ledgers: Each site's ledger export, as JSON bytes.
        audits: Each site's audit chain, JSON lines.
        missing: Sites that are not in the sum of a round, by round; only reduced rounds are listed.
    """

    standing: Standing
    released: Standing
    rounds: int
    ledgers: Mapping[str, bytes]
    audits: Mapping[str, bytes]
    bytes_up: int
    bytes_down: int
    missing: Mapping[int, tuple[str, ...]]


_BESIDE_S = 10.0  # longest wait, after a trip, for sites that may be back


class Coordinator:
    """One run, seen from the relay."""

    def __init__(
        self,
        *,
        manifest: RunManifest,
        relay: Ed25519PrivateKey,
        roster: Roster,
        course: Course,
        deadline_s: float,
        checkpoints: Checkpoints,
        progress: Callable[[RoundDone], None] | None = None,
        poll_s: float = 0.25,
    ) -> None:
        self.manifest = manifest
        self.roster = roster
        self.course = course
        self.deadline_s = deadline_s
        self.checkpoints = checkpoints
        self._relay = relay
        self._hash = manifest.hash()
        self._progress = progress
        self._odometer = Odometer(manifest)
        self._poll_s = poll_s
        self._traffic = Traffic()
        self._nodes: dict[str, int] = {}
        self._smallest = smallest_set(manifest, roster)
        self._may_miss = self._smallest < len(manifest.sites)

    def run(self, grid: Grid) -> Outcome:
        """Go from enrolment, or from the newest checkpoint, to the closed run.

        Raises:
            SiteRefused, BudgetRefused: A site said no, and too few are left; nothing of it was used.
            SiteBroken, DeadlineMissed: A site failed, and too few are left; resume when it is back.
            LedgerBroken: A site's ledger lacks a charge for a round in which its change was added.
            SecAggError: A message was forged, replayed or altered.
        """
        point = self.checkpoints.latest()
        begun = point is not None or self.checkpoints.decided(0) is not None
        self._nodes = self._enrol(grid, needed=self._smallest if begun else len(self.manifest.sites))
        point = point or self._begin(grid)
        self._traffic.down += point.bytes_down
        self._traffic.up += point.bytes_up
        while point.round_index < self.manifest.rounds:
            self._welcome(grid)
            point = self._round(grid, point)
        self._welcome(grid)
        return self._close(grid, point)

    def _enrol(self, grid: Grid, *, needed: int) -> dict[str, int]:
        """Ask every node for its name; a run begins with all sites, and may be resumed with `needed`."""
        listed = self._wait_for_nodes(grid, needed)
        nodes = self._named(grid, listed, needed=len(listed) if needed == len(self.manifest.sites) else needed)
        missing = [site for site in self.manifest.sites if site not in nodes]
        if len(nodes) < needed:
            raise DeadlineMissed(f"sites {', '.join(missing)} are not connected; start them, then resume")
        return nodes

    def _named(self, grid: Grid, listed: Iterable[int], *, needed: int) -> dict[str, int]:
        """Enrol nodes; identity is the signature under the roster's key."""
        request = wire.EnrolRequest(self.manifest.to_bytes(), self.manifest.sign(self._relay))
        asked = {f"node {node}": node for node in listed}
        answers = ask_some(
            grid,
            "query.enrol",
            dict.fromkeys(asked, request),
            wire.EnrolReply,
            needed=needed,
            nodes=asked,
            deadline_s=self.deadline_s if needed else self._beside_s,
            traffic=self._traffic,
            poll_s=self._poll_s,
        )
        nodes: dict[str, int] = {}
        for name, reply in answers.replies.items():
            member = self.roster.member(reply.site)
            statement = wire.enrol_statement(self._hash, reply.site, asked[name])
            try:
                Ed25519PublicKey.from_public_bytes(member.public_key).verify(reply.signature, statement)
            except InvalidSignature as error:
                raise FederationError(f"{name} answers as site {reply.site!r} without that site's key") from error
            if reply.site in nodes:
                raise FederationError(f"two nodes answer as site {reply.site!r}; stop one of them")
            nodes[reply.site] = asked[name]
        return {site: nodes[site] for site in self.manifest.sites if site in nodes}

    def _wait_for_nodes(self, grid: Grid, needed: int) -> list[int]:
        """All nodes, or at the deadline as many as are needed."""
        end = time.monotonic() + self.deadline_s
        while len(listed := sorted(grid.get_node_ids())) < len(self.manifest.sites):
            if time.monotonic() > end:
                if len(listed) >= needed:
                    break
                raise DeadlineMissed(
                    f"{len(listed)} of {len(self.manifest.sites)} sites are connected; start the others"
                )
            time.sleep(self._poll_s)
        return listed

    def _welcome(self, grid: Grid) -> None:
        """After a resume without some sites: enrol the nodes that have come since."""
        if len(self._nodes) < len(self.manifest.sites):
            new = sorted(set(grid.get_node_ids()) - set(self._nodes.values()))
            self._nodes |= self._named(grid, new, needed=0)

    def _begin(self, grid: Grid) -> Checkpoint:
        """What is known before any sum, and the first round's keys."""
        relay = self._session(0)
        decided = self.checkpoints.decided(0)
        if decided is None:
            asked = dict.fromkeys(self.manifest.sites, wire.HelloRequest(self._hash, 0, 0))
            shown = self._ask(grid, "query.hello", asked, wire.HelloReply, needed=self._smallest)
            decided = Decided(0, {self._index(site): reply.hello for site, reply in shown.replies.items()})
            self._decide(decided)
        for hello in decided.hellos.values():
            relay.add_hello(hello)
        request = wire.ShareRequest(self._hash, 0, 0, tuple(relay.hellos()))
        dealt = self._ask(
            grid,
            "query.share",
            dict.fromkeys(self._names(decided.hellos), request),
            wire.ShareReply,
            needed=self._smallest,
        )
        point = Checkpoint(
            round_index=0,
            standing=self.course.start(),
            result=b"",
            hellos=decided.hellos,
            shares={self._index(site): reply for site, reply in dealt.replies.items()},
            bytes_up=self._traffic.up,
            bytes_down=self._traffic.down,
        )
        self.checkpoints.save(point)
        self._traffic = Traffic()
        return point

    def _round(self, grid: Grid, point: Checkpoint) -> Checkpoint:
        began = time.monotonic()
        index = point.round_index
        relay = self._session(index)
        for hello in point.hellos.values():
            relay.add_hello(hello)
        relay.hellos()
        for sender in sorted(point.shares):
            share = point.shares[sender]
            relay.add_share(share.share, dict(zip(share.sealed_to, share.sealed, strict=True)))

        decided = self._train(grid, point, relay)
        if relay.reduced and not decided.survivors:
            decided = self._sign(grid, relay, decided)
        for raw in decided.survivors.values():
            relay.add_survivors(raw)
        shares = self._unmask(grid, index, relay, decided)
        result, total = relay.result()

        counted = self._names(decided.counted)
        standing = self.course.after(point.standing, index, total, counted=len(counted))
        missing = tuple(site for site in self.manifest.sites if site not in counted)
        # Saved before anybody hears of it: a restart repeats the coming round's requests byte for byte.
        after = Checkpoint(
            round_index=index + 1,
            standing=standing,
            result=result,
            hellos=decided.hellos,
            shares=shares,
            bytes_up=self._traffic.up,
            bytes_down=self._traffic.down,
            missing={**point.missing, index: missing} if missing else point.missing,
        )
        self.checkpoints.save(after)
        if self._progress is not None:
            self._progress(
                RoundDone(
                    round_index=index,
                    rounds=self.manifest.rounds,
                    epsilon_so_far=self._odometer.after(index + 1),
                    bytes_moved=self._traffic.total,
                    update_norm=self.course.size_of(total, index),
                    seconds=time.monotonic() - began,
                    missing=missing,
                )
            )
        return after

    def _train(self, grid: Grid, point: Checkpoint, relay: RelaySession) -> Decided:
        """Trip A: masked changes, and everybody's HELLO of the coming round; then settle whose changes count."""
        index = point.round_index
        last = index + 1 == self.manifest.rounds
        model = self.course.broadcast(point.standing, index)
        deliveries = relay.deliveries(hashlib.sha256(model).digest())
        decided = self.checkpoints.decided(index + 1)
        asked = self._names(point.shares if decided is None else decided.counted)
        requests = {}
        for site in asked:
            mine = deliveries[self._index(site)]
            requests[site] = wire.RoundRequest(self._hash, index, 0, model, point.result, mine.shares, mine.sealed)
        away = () if last or decided else [site for site in self.manifest.sites if site not in asked]
        answers = self._ask(
            grid,
            "train.round",
            requests,
            wire.RoundReply,
            needed=self._smallest if decided is None else len(asked),  # vectors that count must all be there
            beside=self._beside(
                grid, "query.hello", away, wire.HelloRequest(self._hash, index + 1, 0), wire.HelloReply
            ),
        )
        for answer in answers.replies.values():
            relay.add_masked(answer.masked)
        if decided is None:
            shown = {} if last else {self._index(site): reply.hello for site, reply in answers.replies.items()}
            shown |= self._good_hellos(index + 1, answers.beside)
            counted = tuple(sorted(self._index(site) for site in answers.replies))
            decided = Decided(index + 1, dict(sorted(shown.items())), counted)
            self._decide(decided)
        relay.heads()  # the set is fixed
        return decided

    def _sign(self, grid: Grid, relay: RelaySession, decided: Decided) -> Decided:
        """Trip B', after a drop: every site that is left gives its word on the same smaller set."""
        request = wire.SurvivorsRequest(self._hash, decided.coming - 1, 0, relay.heads())
        signed = self._ask(
            grid,
            "query.survivors",
            dict.fromkeys(self._names(decided.counted), request),
            wire.SurvivorsReply,
            needed=self._smallest,
        )
        words = {self._index(site): reply.survivors for site, reply in signed.replies.items()}
        decided = replace(decided, survivors=words)
        self._decide(decided)
        return decided

    def _unmask(self, grid: Grid, index: int, relay: RelaySession, decided: Decided) -> dict[int, wire.ShareReply]:
        """Trip B: key shares that open the sum; the SHAREs of the coming round come back."""
        hellos = tuple(decided.hellos[i] for i in sorted(decided.hellos))
        if decided.survivors:
            request = wire.UnmaskRequest(self._hash, index, 0, b"", relay.survivors(), hellos)
        else:
            request = wire.UnmaskRequest(self._hash, index, 0, relay.heads(), (), hellos)
        asked = self._names(decided.survivors or decided.counted)
        back = [site for site in self._names(decided.hellos) if site not in asked]
        released = self._ask(
            grid,
            "query.unmask",
            dict.fromkeys(asked, request),
            wire.UnmaskReply,
            needed=self._smallest,
            beside=self._beside(
                grid, "query.share", back, wire.ShareRequest(self._hash, index + 1, 0, hellos), wire.ShareReply
            ),
        )
        for reply in released.replies.values():
            relay.add_unmask(reply.unmask)
        if not decided.hellos:
            return {}
        dealt = {
            self._index(site): wire.ShareReply(reply.share, reply.sealed_to, reply.sealed)
            for site, reply in released.replies.items()
        }
        return dealt | self._good_shares(index + 1, decided.hellos, released.beside)

    def _good_hellos(self, coming: int, replies: Mapping[str, wire.HelloReply]) -> dict[int, bytes]:
        """HELLOs of sites that come back; what is no HELLO of its sender leaves that site out, and nobody else."""
        good = {}
        for site, reply in replies.items():
            try:
                self._session(coming).add_hello(reply.hello)
            except SecAggError:
                continue
            good[self._index(site)] = reply.hello
        return good

    def _good_shares(
        self, coming: int, hellos: Mapping[int, bytes], replies: Mapping[str, wire.ShareReply]
    ) -> dict[int, wire.ShareReply]:
        """SHAREs of sites that come back, likewise."""
        good: dict[int, wire.ShareReply] = {}
        if not replies:
            return good
        relay = self._session(coming)
        for hello in hellos.values():
            relay.add_hello(hello)
        relay.hellos()
        for site, reply in replies.items():
            try:
                relay.add_share(reply.share, dict(zip(reply.sealed_to, reply.sealed, strict=True)))
            except (SecAggError, ValueError):
                continue
            good[self._index(site)] = reply
        return good

    def _close(self, grid: Grid, point: Checkpoint) -> Outcome:
        """Verdicts and ledgers. Every site is needed: a release states what it cost the patients of each."""
        last, everybody = self.manifest.rounds - 1, self.manifest.sites
        request = wire.CloseRequest(self._hash, last, 0, point.result)
        closed = self._ask(
            grid, "query.close", dict.fromkeys(everybody, request), wire.CloseReply, needed=len(everybody)
        ).replies
        self._require_charges(point, {site: reply.ledger for site, reply in closed.items()})
        closes = tuple(closed[site].close for site in everybody if closed[site].close)
        settled = self._ask(
            grid,
            "query.settle",
            dict.fromkeys(everybody, wire.SettleRequest(self._hash, closes)),
            wire.SettleReply,
            needed=len(everybody),
        ).replies
        return Outcome(
            standing=point.standing,
            released=self.course.released(point.standing),
            rounds=point.round_index,
            ledgers={site: reply.ledger for site, reply in closed.items()},
            audits={site: reply.audit for site, reply in settled.items()},
            bytes_up=self._traffic.up,
            bytes_down=self._traffic.down,
            missing=point.missing,
        )

    def _require_charges(self, point: Checkpoint, ledgers: Mapping[str, bytes]) -> None:
        """A site may have charged more rounds than it is counted in, never fewer."""
        for site, ledger in ledgers.items():
            charged = {event["purpose"] for event in json.loads(ledger)["events"]}
            for index in range(point.round_index):
                owed = {event.purpose for event in self.manifest.round_events(index)}
                if site not in point.missing.get(index, ()) and not owed <= charged:
                    raise LedgerBroken(
                        f"the ledger of site {site!r} lacks round {index}, in which its change was added; "
                        "a release with a missing charge is refused: ask the site for its ledger"
                    )

    def _ask(
        self,
        grid: Grid,
        action: str,
        requests: Mapping[str, object],
        kind: type[wire.M],
        *,
        needed: int,
        beside: Beside | None = None,
    ) -> Answers[wire.M]:
        reachable = {site: request for site, request in requests.items() if site in self._nodes}
        if len(reachable) < needed:
            away = ", ".join(site for site in requests if site not in reachable)
            raise DeadlineMissed(f"sites {away} are not connected; nothing more is released: start them, then resume")
        return ask_some(
            grid,
            action,
            reachable,
            kind,
            needed=needed,
            nodes=self._nodes,
            deadline_s=self.deadline_s,
            traffic=self._traffic,
            poll_s=self._poll_s,
            beside=beside,
        )

    def _beside(self, grid: Grid, action: str, sites: Iterable[str], request: object, kind: type) -> Beside | None:
        """Requests to those of `sites` that are connected."""
        listed = set(grid.get_node_ids()) if sites else set()
        requests = {site: request for site in sites if self._nodes.get(site) in listed}
        return Beside(action, requests, kind, self._beside_s) if requests else None

    @property
    def _beside_s(self) -> float:
        return min(_BESIDE_S, self.deadline_s / 10)

    def _decide(self, choice: Decided) -> None:
        """Where every round needs all sites there is nothing to choose."""
        if self._may_miss:
            self.checkpoints.decide(choice)

    def _session(self, index: int) -> RelaySession:
        return RelaySession(
            self.roster,
            sum_context(self.manifest, self.roster, index, 0),
            self._relay,
            length=self.manifest.step(index).size,
            config=sum_config(self.manifest, self.roster, index),
            smallest=self._smallest,
        )

    def _index(self, site: str) -> int:
        return self.roster.member(site).index

    def _names(self, indices: Iterable[int]) -> list[str]:
        """Sites by roster index, in roster order."""
        wanted = set(indices)
        return [member.site for member in self.roster.members if member.index in wanted]
