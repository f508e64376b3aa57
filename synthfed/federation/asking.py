"""One trip: the same kind of message to several sites, and what each of them said.

Replies are matched by the id of the message they answer, because Flower's own errors do not come from the site they
concern. A message that broke on the way is sent again once with the same bytes, which is free: the site answers a
known request from its store. A site that says no, breaks or stays silent ends the trip with an error that names it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flwr.app import Message
from flwr.serverapp import Grid

from synthfed.errors import DeadlineMissed, FederationError, SiteBroken
from synthfed.federation import wire
from synthfed.federation.refused import refusal_error

M = TypeVar("M")

_RESEND = {3, 4, 5, 8}  # message or reply unavailable, node offline, app process died
_GRACE_S = 60.0  # a message outlives its deadline by this, so that a late reply is dropped by us and not in transit


@dataclass(slots=True)
class Traffic:
    """Payload bytes since the start: down to the sites, up from them."""

    down: int = 0
    up: int = 0

    @property
    def total(self) -> int:
        return self.down + self.up


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
    """Send one request per site and wait for all replies.

    Args:
        action: Flower's message type, such as `train.round`.
        requests: Site to request.
        kind: The reply that is wanted.
        nodes: Site to Flower node id.
        poll_s: Longest pause between two looks for replies.

    Raises:
        SiteRefused, BudgetRefused: A site said no.
        SiteBroken: A site's app raised or did not load, or its process died twice.
        DeadlineMissed: A site did not answer in time.
        BadMessage: A reply does not decode.
    """
    end = time.monotonic() + deadline_s
    step = action.split(".")[-1]
    left = set(requests)
    again = set(requests)  # each site may be sent the same bytes once more
    open_ids: dict[str, str] = {}
    replies: dict[str, M] = {}
    _push(grid, action, requests, nodes, deadline_s, traffic, open_ids)
    waiting: set[str] = set()  # failed once; sent again as soon as Flower lists the node
    pause = 0.001
    while left:
        back = {site for site in waiting if nodes[site] in set(grid.get_node_ids())}
        if back:
            waiting -= back
            _push(grid, action, {site: requests[site] for site in sorted(back)}, nodes, deadline_s, traffic, open_ids)
        arrived = [m for m in grid.pull_messages(list(open_ids)) if m.metadata.reply_to_message_id in open_ids]
        for message in arrived:
            site = open_ids.pop(message.metadata.reply_to_message_id)
            if message.has_error():
                if message.error.code not in _RESEND or site not in again:
                    raise SiteBroken(
                        f"site {site!r} failed at {step} (Flower code {message.error.code}); its own log says why"
                    )
                again.remove(site)
                waiting.add(site)
                continue
            traffic.up += wire.size(message.content)
            if wire.kind_of(message.content) == wire.Refusal.KIND:
                raise refusal_error(site, step, wire.from_record(message.content, wire.Refusal))
            replies[site] = wire.from_record(message.content, kind)
            left.discard(site)
        if left and not arrived:
            if time.monotonic() > end:
                silent = ", ".join(sorted(left))
                raise DeadlineMissed(
                    f"no answer to {step} within {deadline_s:g} s (federation.deadline_s) from {silent}; "
                    "look at these sites, then resume"
                )
            time.sleep(pause)
            pause = min(pause * 2, poll_s)
    return replies


def _push(
    grid: Grid,
    action: str,
    requests: Mapping[str, Any],
    nodes: Mapping[str, int],
    deadline_s: float,
    traffic: Traffic,
    open_ids: dict[str, str],
) -> None:
    messages = []
    for site, request in requests.items():
        record = wire.to_record(request)
        traffic.down += wire.size(record)
        messages.append(Message(record, nodes[site], action, ttl=deadline_s + _GRACE_S))
    ids = list(grid.push_messages(messages))
    if len(ids) != len(messages) or not all(ids):
        raise FederationError("Flower did not take all messages; they may be larger than its front allows")
    open_ids.update(zip(ids, requests, strict=True))
