"""The coordinator's loop: enrol, first keys, rounds of two trips, close.

Reads as the protocol does. A round is trip A (`train.round`: what the `Course` says out, masked vectors back) and trip
B, which opens their sum; both carry the next round's keys, so no third trip is needed. The coordinator opens one sum
per round and nothing else. What it computes from a sum is post-processing.

| `federation.shares` | trip A brings | trip B |
|---|---|---|
| `compressed` | masked vectors | `query.unmask`: who answered out, key shares back |
| `pairwise` | masked vectors, which open by themselves | `query.share`: only the next round's keys |
| `full`, `shamir` | sealed parts | `query.parts`: to each its parts out, their sums back |

By default a round waits for all sites; one that fails ends the run until it is resumed. Where `federation.max_missing`
allows it, a round goes on without a site that is lost:

| lost | then |
|---|---|
| in trip A | trip B' (`query.survivors`): the others sign the smaller set; trip B opens their sum |
| in trip B' or B | its vector counts; the others' key shares open the sum; it has no keys for the next round |
| and comes back | `query.hello` beside the next trip A, `query.share` beside B: it is in the round after that |
| or sends what the protocol refuses | as if it had sent nothing |
| or proves that a dealer lied to it | likewise, and the dealer is not asked again |

What a sum means is the `Course`'s affair: it is told how many sites are in it. Weights are uniform and public, so that
count is the total weight and no auxiliary coordinate travels. An answer that comes after its trip is over is dropped;
the vector in it stays unreadable.

A checkpoint is written before each round, and every choice of sites before they hear of it. Requests follow from these
alone, so a loop that is started again continues where it was, with the same bytes, and ends with the same weights.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.serverapp import Grid

from synthfed.errors import SecAggError, SynthfedError
from synthfed.federation import records, wire
from synthfed.federation.asking import Traffic
from synthfed.federation.checkpoints import Checkpoint, Checkpoints, Decided
from synthfed.federation.closing import Closed, close
from synthfed.federation.connections import Connections
from synthfed.federation.direct import linked
from synthfed.federation.manifest import RunManifest
from synthfed.federation.progress import Odometer, RoundDone, stage_and_coming
from synthfed.federation.relay_sessions import RelaySessions
from synthfed.federation.sums import smallest_set
from synthfed.federation.work import Course, Standing
from synthfed.secagg.messages import addresses
from synthfed.secagg.protocol import PartsRelaySession, RelaySession
from synthfed.secagg.refusals import BadShare
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
        """Prepare a run.

        Raises:
            FederationError: Parts of the vectors would be too large to go through a relay.
        """
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
        self._smallest = smallest_set(manifest, roster)
        self._sessions = RelaySessions(manifest, roster, relay, smallest=self._smallest)
        self._may_miss = self._smallest < len(manifest.sites)

    def run(self, grid: Grid) -> Outcome:
        """Go from enrolment, or from the newest checkpoint, to the closed run.

        Raises:
            SiteRefused, BudgetRefused: A site said no, and too few are left; nothing of it was used.
            SiteBroken, DeadlineMissed: A site failed, and too few are left; resume when it is back.
            LedgerBroken: A site's ledger lacks a charge for a round in which its change was added.
            SecAggError: A message was forged, replayed or altered, and too few sites are left.
        """
        point = self.checkpoints.latest()
        begun = point is not None or self.checkpoints.decided(0) is not None
        sites = Connections(
            grid,
            self.manifest,
            self.roster,
            self._relay,
            deadline_s=self.deadline_s,
            poll_s=self._poll_s,
            traffic=self._traffic,
        )
        sites.enrol(needed=self._smallest if begun else len(self.manifest.sites))
        point = point or self._begin(sites)
        self._traffic.down += point.bytes_down
        self._traffic.up += point.bytes_up
        while point.round_index < self.manifest.rounds:
            sites.welcome()
            point = self._round(sites, point)
        sites.welcome()
        closed = close(sites, self.manifest, self.roster, point)
        return self._outcome(point, closed)

    def _begin(self, sites: Connections) -> Checkpoint:
        """What is known before any sum, and the first round's keys."""
        if self.manifest.sums.post_quantum:
            self._agree_on_pair_keys(sites)
        relay = self._sessions.new(0)
        decided = self.checkpoints.decided(0)
        if decided is None:
            asked = dict.fromkeys(self.manifest.sites, wire.HelloRequest(self._hash, 0, 0))
            shown = sites.ask("query.hello", asked, wire.HelloReply, needed=self._smallest)
            hellos = self._taken(
                shown.replies, lambda index, reply: self._sessions.new(0).add_hello(reply.hello, came_from=index)
            )
            decided = Decided(0, {self._index(site): reply.hello for site, reply in hellos.items()})
            self._decide(decided)
        for hello in decided.hellos.values():
            relay.add_hello(hello)
        request = wire.ShareRequest(self._hash, 0, 0, tuple(relay.hellos()))
        names = self._names(decided.hellos)
        dealt = sites.ask("query.share", dict.fromkeys(names, request), wire.ShareReply, needed=self._smallest)
        point = Checkpoint(
            round_index=0,
            standing=self.course.start(),
            result=b"",
            hellos=decided.hellos,
            shares=self._good_shares(0, decided.hellos, dealt.replies, needed=self._smallest),
            bytes_up=self._traffic.up,
            bytes_down=self._traffic.down,
        )
        self.checkpoints.save(point)
        self._traffic.up = self._traffic.down = 0
        return point

    def _agree_on_pair_keys(self, sites: Connections) -> None:
        """Three trips, once: keys shown, pair keys offered, offers handed over. Every site is needed."""
        everybody = self.manifest.sites
        show = dict.fromkeys(everybody, wire.ShowRequest(self._hash))
        shown = sites.ask("query.show", show, wire.ShowReply, needed=len(everybody)).replies
        in_order = tuple(shown[site].shown for site in self._names(map(self._index, everybody)))
        offer = dict.fromkeys(everybody, wire.OfferRequest(self._hash, in_order))
        offered = sites.ask("query.offer", offer, wire.OfferReply, needed=len(everybody)).replies
        sealed = {
            (self._index(site), receiver): raw
            for site, reply in offered.items()
            for receiver, raw in zip(reply.receivers, reply.offers, strict=True)
        }
        accept = {}
        for site in everybody:
            senders = sorted(sender for sender, receiver in sealed if receiver == self._index(site))
            mine = tuple(sealed[sender, self._index(site)] for sender in senders)
            accept[site] = wire.AcceptRequest(self._hash, tuple(senders), mine)
        sites.ask("query.accept", accept, wire.AcceptReply, needed=len(everybody))

    def _round(self, sites: Connections, point: Checkpoint) -> Checkpoint:
        began = time.monotonic()
        index = point.round_index
        relay = self._sessions.of(point)
        decided = self._contributions(sites, point, relay)
        if isinstance(relay, PartsRelaySession):
            shares = self._add_up(sites, index, relay, decided)
        elif not self._sessions.config(index).deals_keys:
            shares = self._next_keys(sites, index, decided)
        else:
            if relay.reduced and not decided.survivors:
                decided = self._sign(sites, relay, decided)
            for raw in decided.survivors.values():
                relay.add_survivors(raw)
            shares = self._unmask(sites, index, relay, decided)
        result, total = relay.result()
        recomputed = self.manifest.sums.verify == "recompute"

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
            evidence=records.pack_evidence(relay.evidence()) if recomputed else b"",
            liars=tuple(sorted({*point.liars, *self._unwanted(decided)})),
        )
        self.checkpoints.save(after)
        if self._progress is not None:
            stage, coming = stage_and_coming(self.manifest, index)
            self._progress(
                RoundDone(
                    round_index=index,
                    rounds=self.manifest.rounds,
                    epsilon_so_far=self._odometer.after(index + 1),
                    bytes_moved=self._traffic.total,
                    update_norm=self.course.size_of(total, index),
                    seconds=time.monotonic() - began,
                    missing=missing,
                    stage=stage,
                    coming=coming,
                    by_relay=self._fallen_back(relay),
                )
            )
        return after

    def _fallen_back(self, relay: RelaySession) -> tuple[str, ...]:
        """Pairs of sites that have a direct link and did not use it in this round."""
        if self.manifest.sums.transport != "direct" or not isinstance(relay, PartsRelaySession):
            return ()
        carried = [addresses(part) for parts in relay.part_deliveries().values() for part in parts]
        return tuple(
            f"{self._name(dealer)} to {self._name(receiver)}"
            for dealer, receiver in sorted(carried)
            if linked(self.roster, dealer, receiver)
        )

    def _contributions(self, sites: Connections, point: Checkpoint, relay: RelaySession) -> Decided:
        """Trip A: hidden vectors, and everybody's HELLO of the coming round; then settle whose vectors count."""
        index = point.round_index
        last = index + 1 == self.manifest.rounds
        broadcast = self.course.broadcast(point.standing, index)
        deliveries = relay.deliveries(hashlib.sha256(broadcast).digest())
        decided = self.checkpoints.decided(index + 1)
        asked = self._names(point.shares if decided is None else decided.counted)
        requests = {}
        for site in asked:
            mine = deliveries[self._index(site)]
            requests[site] = wire.RoundRequest(
                self._hash, index, 0, broadcast, point.result, point.evidence, mine.shares, mine.sealed
            )
        away = () if last or decided else [site for site in self.manifest.sites if site not in {*asked, *point.liars}]
        hello = wire.HelloRequest(self._hash, index + 1, 0)
        answers = sites.ask(
            "train.round",
            requests,
            wire.RoundReply,
            needed=self._smallest if decided is None else len(asked),  # vectors that count must all be there
            beside=sites.beside("query.hello", away, hello, wire.HelloReply),
        )

        liars: set[str] = set()
        trial = None if last else self._sessions.new(index + 1)
        shown: dict[int, bytes] = {}  # also of a site whose vector is not there: it may be in the coming round

        def take(sender: int, reply: wire.RoundReply) -> None:
            if trial is not None and decided is None:
                trial.add_hello(reply.hello, came_from=sender)
                shown[sender] = reply.hello
            if reply.complaint:
                liars.update(relay.add_complaint(reply.complaint, came_from=sender))
                raise BadShare(
                    f"site {self._name(sender)!r} proved that {' or '.join(sorted(liars))} lied to it about a key "
                    "share; check that site's software, then begin a new run",
                    party=min(liars),
                )
            if isinstance(relay, PartsRelaySession):
                relay.add_parts(sender, dict(zip(reply.parts_to, reply.parts, strict=True)))
            else:
                relay.add_masked(reply.masked, came_from=sender)

        good = self._taken(answers.replies, take, needed=self._smallest if decided is None else len(asked))
        if decided is None:
            shown |= self._good_hellos(index + 1, answers.beside)
            if len(liars) == 1:  # of two names, one is innocent
                shown.pop(self._index(min(liars)), None)
            counted = tuple(sorted(self._index(site) for site in good))
            decided = Decided(index + 1, dict(sorted(shown.items())), counted)
            self._decide(decided)
        if self._sessions.config(index).deals_keys:
            relay.heads()  # the set is fixed
        return decided

    def _sign(self, sites: Connections, relay: RelaySession, decided: Decided) -> Decided:
        """Trip B', after a drop: every site that is left gives its word on the same smaller set."""
        request = wire.SurvivorsRequest(self._hash, decided.coming - 1, 0, relay.heads())
        signed = sites.ask(
            "query.survivors",
            dict.fromkeys(self._names(decided.counted), request),
            wire.SurvivorsReply,
            needed=self._smallest,
        )
        index = decided.coming - 1
        trial = self._sessions.copy(relay, index)  # a word that is refused by it is never decided on
        good = self._taken(signed.replies, lambda sender, reply: trial.add_survivors(reply.survivors, came_from=sender))
        decided = replace(decided, survivors={self._index(site): reply.survivors for site, reply in good.items()})
        self._decide(decided)
        return decided

    def _unmask(
        self, sites: Connections, index: int, relay: RelaySession, decided: Decided
    ) -> dict[int, wire.ShareReply]:
        """Trip B: key shares that open the sum; the SHAREs of the coming round come back."""
        hellos = decided.hellos_in_order
        if decided.survivors:
            request = wire.UnmaskRequest(self._hash, index, 0, b"", relay.survivors(), hellos)
        else:
            request = wire.UnmaskRequest(self._hash, index, 0, relay.heads(), (), hellos)
        asked = self._names(decided.survivors or decided.counted)
        back = [site for site in self._names(decided.hellos) if site not in asked]
        coming = wire.ShareRequest(self._hash, index + 1, 0, hellos)
        released = sites.ask(
            "query.unmask",
            dict.fromkeys(asked, request),
            wire.UnmaskReply,
            needed=self._smallest,
            beside=sites.beside("query.share", back, coming, wire.ShareReply),
        )
        good = self._taken(released.replies, lambda sender, reply: relay.add_unmask(reply.unmask, came_from=sender))
        return self._coming_shares(index, decided, good, released.beside)

    def _add_up(
        self, sites: Connections, index: int, relay: PartsRelaySession, decided: Decided
    ) -> dict[int, wire.ShareReply]:
        """Trip B in modes with parts: to each site its parts, their sum back, and the coming round's SHAREs."""
        hellos = decided.hellos_in_order
        delivered = {self._name(receiver): parts for receiver, parts in relay.part_deliveries().items()}
        self._sessions.require_small(sum(len(part) for parts in delivered.values() for part in parts))
        dealers = tuple(sorted(map(self._index, delivered)))
        requests = {
            site: wire.PartsRequest(self._hash, index, 0, dealers, parts, hellos) for site, parts in delivered.items()
        }
        back = [site for site in self._names(decided.hellos) if site not in requests]
        coming = wire.ShareRequest(self._hash, index + 1, 0, hellos)
        added = sites.ask(
            "query.parts",
            requests,
            wire.PartsReply,
            needed=self._smallest,
            beside=sites.beside("query.share", back, coming, wire.ShareReply),
        )
        good = self._taken(added.replies, lambda sender, reply: relay.add_masked(reply.masked, came_from=sender))
        return self._coming_shares(index, decided, good, added.beside)

    def _next_keys(self, sites: Connections, index: int, decided: Decided) -> dict[int, wire.ShareReply]:
        """Trip B where sums open by themselves: only the coming round's SHAREs."""
        if not decided.hellos:
            return {}
        hellos = decided.hellos_in_order
        asked = dict.fromkeys(self._names(decided.hellos), wire.ShareRequest(self._hash, index + 1, 0, hellos))
        dealt = sites.ask("query.share", asked, wire.ShareReply, needed=self._smallest)
        return self._good_shares(index + 1, decided.hellos, dealt.replies, needed=self._smallest)

    def _coming_shares(
        self,
        index: int,
        decided: Decided,
        answered: Mapping[str, wire.UnmaskReply] | Mapping[str, wire.PartsReply],
        beside: Mapping[str, wire.ShareReply],
    ) -> dict[int, wire.ShareReply]:
        """SHAREs of the coming round: of the sites of this one that are invited, and of those that come back."""
        if not decided.hellos:
            return {}
        invited = {
            site: wire.ShareReply(reply.share, reply.sealed_to, reply.sealed)
            for site, reply in answered.items()
            if self._index(site) in decided.hellos
        }
        return self._good_shares(index + 1, decided.hellos, {**invited, **beside}, needed=self._smallest)

    def _good_hellos(self, coming: int, replies: Mapping[str, wire.HelloReply]) -> dict[int, bytes]:
        """HELLOs of sites that come back; what is no HELLO of its sender leaves that site out, and nobody else."""
        good = self._taken(
            replies,
            lambda sender, reply: self._sessions.new(coming).add_hello(reply.hello, came_from=sender),
            needed=0,
        )
        return {self._index(site): reply.hello for site, reply in good.items()}

    def _good_shares(
        self, coming: int, hellos: Mapping[int, bytes], replies: Mapping[str, wire.ShareReply], *, needed: int
    ) -> dict[int, wire.ShareReply]:
        """SHAREs that are ones, by roster index."""
        if not replies:
            return {}
        relay = self._sessions.with_hellos(coming, hellos)
        good = self._taken(
            replies,
            lambda sender, reply: relay.add_share(
                reply.share, dict(zip(reply.sealed_to, reply.sealed, strict=True)), came_from=sender
            ),
            needed=needed,
        )
        self._sessions.keep(coming, relay)
        return {self._index(site): reply for site, reply in good.items()}

    def _taken(
        self, replies: Mapping[str, wire.M], take: Callable[[int, wire.M], None], *, needed: int | None = None
    ) -> dict[str, wire.M]:
        """Hand each reply to the protocol; a site whose reply is refused is lost for this trip.

        Raises:
            SecAggError: The last refusal, if fewer than `needed` replies are good (by default the smallest set).
        """
        good: dict[str, wire.M] = {}
        refused: SynthfedError | None = None
        for site, reply in replies.items():
            try:
                take(self._index(site), reply)
            except SecAggError as error:
                refused = error
            except ValueError:
                refused = wire.BadMessage(f"site {site!r} sent lists that do not belong together")
            else:
                good[site] = reply
        if refused is not None and len(good) < (self._smallest if needed is None else needed):
            raise refused
        return good

    def _outcome(self, point: Checkpoint, closed: Closed) -> Outcome:
        return Outcome(
            standing=point.standing,
            released=self.course.released(point.standing),
            rounds=point.round_index,
            ledgers=closed.ledgers,
            audits=closed.audits,
            bytes_up=self._traffic.up,
            bytes_down=self._traffic.down,
            missing=point.missing,
        )

    def _unwanted(self, decided: Decided) -> list[str]:
        """Sites whose vectors count in this round, though they were not invited to the next: dealers that lied."""
        if not decided.hellos:
            return []
        return [site for site in self._names(decided.counted) if self._index(site) not in decided.hellos]

    def _decide(self, choice: Decided) -> None:
        """Where every round needs all sites there is nothing to choose."""
        if self._may_miss:
            self.checkpoints.decide(choice)

    def _index(self, site: str) -> int:
        return self.roster.member(site).index

    def _name(self, index: int) -> str:
        return self.roster.at(index).site

    def _names(self, indices: Iterable[int]) -> list[str]:
        """Sites by roster index, in roster order."""
        wanted = set(indices)
        return [member.site for member in self.roster.members if member.index in wanted]
