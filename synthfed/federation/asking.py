"""One trip: the same kind of message to several sites, and what each of them said.

Replies are matched by the id of the message they answer, because Flower's own errors do not come from the site they
concern. A message that broke on the way is sent again once with the same bytes, which is free: the site answers a
known request from its store. A site that says no, breaks or stays silent is lost for this trip; when more are lost than
the trip can spare, it ends with an error that names the site. What comes after the end of a trip is dropped.

Messages may go out *beside* a trip, to sites that were away and may be back. Nobody waits long for their answers.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flwr.app import Message
from flwr.serverapp import Grid

from synthfed.errors import DeadlineMissed, FederationError, SiteBroken, SynthfedError
from synthfed.federation import records, wire
from synthfed.federation.refused import refusal_error

M = TypeVar("M")

_RESEND = {3, 4, 5, 8}  # message or reply unavailable, node offline, app process died
_STOP = {0, 6, 7}  # unknown, mod failed, bundle not verified: the installation is at fault, not one site's luck
_GRACE_S = 60.0  # a message outlives its deadline by this, so that a late reply is dropped by us and not in transit


@dataclass(slots=True)
class Traffic:
    """Payload bytes since the start: down to the sites, up from them."""

    down: int = 0
    up: int = 0

    @property
    def total(self) -> int:
        return self.down + self.up


@dataclass(frozen=True, slots=True)
class Beside:
    """Requests that go out with a trip to sites that take no part in it.

    Attributes:
        wait_s: How long their answers are waited for once the trip itself is over.
    """

    action: str
    requests: Mapping[str, Any]
    kind: type
    wait_s: float


@dataclass(frozen=True, slots=True)
class Answers(Generic[M]):
    """What a trip brought.

    Attributes:
        replies: By site, in the order of the requests.
        lost: Why a site gave no answer.
        beside: Replies to what went out beside the trip.
    """

    replies: Mapping[str, M]
    lost: Mapping[str, SynthfedError]
    beside: Mapping[str, Any] = field(default_factory=dict)


def ask(
    grid: Grid,
    action: str,
    requests: Mapping[str, Any],
    kind: type[M],
    *,
    nodes: Mapping[str, int],
    deadline_s: float,
    traffic: Traffic,
    poll_s: float = 0.25,
) -> dict[str, M]:
    """Send one request per site and wait for all replies; see `ask_some`."""
    answers = ask_some(
        grid,
        action,
        requests,
        kind,
        needed=len(requests),
        nodes=nodes,
        deadline_s=deadline_s,
        traffic=traffic,
        poll_s=poll_s,
    )
    return dict(answers.replies)


def ask_some(
    grid: Grid,
    action: str,
    requests: Mapping[str, Any],
    kind: type[M],
    *,
    needed: int,
    nodes: Mapping[str, int],
    deadline_s: float,
    traffic: Traffic,
    poll_s: float = 0.25,
    beside: Beside | None = None,
) -> Answers[M]:
    """Send one request per site and wait until each has answered or is lost.

    Args:
        action: Flower's message type, such as `train.round`.
        requests: Site to request.
        kind: The reply that is wanted.
        needed: Fewest answers with which the trip is a success.
        nodes: Site to Flower node id.
        poll_s: Longest pause between two looks for replies.

    Raises:
        SiteRefused, BudgetRefused: A site said no, and too few are left.
        SiteBroken: A site's app raised or did not load, or its process died twice, and too few are left.
        DeadlineMissed: Too few sites answered in time.
        BadMessage: A reply does not decode, and too few are left.
    """
    trip = _Trip(grid, nodes, deadline_s, traffic)
    trip.send(action, requests, kind)
    if beside is not None:
        trip.send(beside.action, beside.requests, beside.kind)
    end = time.monotonic() + deadline_s
    pause = 0.001
    while trip.open_of(requests):
        moved = trip.look()
        _require(needed, requests, trip)
        if trip.open_of(requests) and not moved:
            if time.monotonic() > end:
                break
            time.sleep(pause)
            pause = min(pause * 2, poll_s)
    silent = trip.open_of(requests)
    for site in silent:
        trip.lost[site] = _missed(trip.step_of(site), deadline_s, silent)
    _require(needed, requests, trip)
    if beside is not None:
        end = time.monotonic() + beside.wait_s
        while trip.look() or (trip.open_of(beside.requests) and time.monotonic() < end):
            time.sleep(0.001 if beside.wait_s < 1 else poll_s)
    return Answers(
        {site: trip.replies[site] for site in requests if site in trip.replies},
        {site: trip.lost[site] for site in requests if site in trip.lost},
        {site: trip.replies[site] for site in (beside.requests if beside else ()) if site in trip.replies},
    )


def _require(needed: int, requests: Mapping[str, Any], trip: "_Trip") -> None:
    lost = [trip.lost[site] for site in requests if site in trip.lost]
    if len(requests) - len(lost) < needed:
        raise lost[-1]


def _missed(step: str, deadline_s: float, silent: list[str]) -> DeadlineMissed:
    return DeadlineMissed(
        f"no answer to {step} within {deadline_s:g} s (federation.deadline_s) from {', '.join(silent)}; nothing more "
        "is released: look at these sites, then resume"
    )


@dataclass(slots=True)
class _Asked:
    action: str
    request: Any
    kind: type
    again: bool = True  # the same bytes may be sent once more


class _Trip:
    """The messages of one trip that are on their way."""

    def __init__(self, grid: Grid, nodes: Mapping[str, int], deadline_s: float, traffic: Traffic) -> None:
        self._grid = grid
        self._nodes = nodes
        self._ttl = deadline_s + _GRACE_S
        self._traffic = traffic
        self._asked: dict[str, _Asked] = {}
        self._open_ids: dict[str, str] = {}
        self._waiting: set[str] = set()  # failed once; sent again as soon as Flower lists the node
        self.replies: dict[str, Any] = {}
        self.lost: dict[str, SynthfedError] = {}

    def open_of(self, sites: Mapping[str, Any]) -> list[str]:
        """Those of `sites` that have neither answered nor failed, sorted."""
        return sorted(site for site in sites if site not in self.replies and site not in self.lost)

    def step_of(self, site: str) -> str:
        """The name of the stage that a site was asked for."""
        return self._asked[site].action.split(".")[-1]

    def send(self, action: str, requests: Mapping[str, Any], kind: type) -> None:
        """Send one request per site."""
        self._asked |= {site: _Asked(action, request, kind) for site, request in requests.items()}
        self._push(list(requests))

    def look(self) -> bool:
        """Take what has arrived; whether anything has."""
        if self._waiting:
            listed = set(self._grid.get_node_ids())
            back = sorted(site for site in self._waiting if self._nodes[site] in listed)
            self._waiting.difference_update(back)
            self._push(back)
        arrived = [
            m
            for m in self._grid.pull_messages(list(self._open_ids))
            if m.metadata.reply_to_message_id in self._open_ids
        ]
        for message in arrived:
            self._take(self._open_ids.pop(message.metadata.reply_to_message_id), message)
        return bool(arrived)

    def _take(self, site: str, message: Message) -> None:
        asked, step = self._asked[site], self.step_of(site)
        if message.has_error():
            code = message.error.code
            if code in _RESEND and asked.again:
                asked.again = False
                self._waiting.add(site)
                return
            broken = SiteBroken(
                f"site {site!r} failed at {step} (Flower code {code}); its own log says why; nothing more is released: "
                "resume when it is back"
            )
            if code in _STOP:
                raise broken
            self.lost[site] = broken
            return
        self._traffic.up += records.size(message.content)
        try:
            if records.kind_of(message.content) == wire.Refusal.KIND:
                self.lost[site] = refusal_error(site, step, records.from_record(message.content, wire.Refusal))
            else:
                self.replies[site] = records.from_record(message.content, asked.kind)
        except wire.BadMessage as error:
            self.lost[site] = error

    def _push(self, sites: list[str]) -> None:
        messages = []
        for site in sites:
            record = records.to_record(self._asked[site].request)
            self._traffic.down += records.size(record)
            messages.append(Message(record, self._nodes[site], self._asked[site].action, ttl=self._ttl))
        ids = list(self._grid.push_messages(messages)) if messages else []
        if len(ids) != len(messages):
            raise FederationError("Flower did not take the messages; they may be larger than its front allows")
        for ident, site in zip(ids, sites, strict=True):
            if ident:
                self._open_ids[ident] = site
            else:
                self.lost[site] = SiteBroken(f"Flower took no message for site {site!r}; start the site, then resume")
