"""`federation.transport = "direct"`: sealed parts go from site to site, and through the coordinator where they cannot.

A site that has dealt (its state is durable by then) hands each peer its part. A part that the peer says it keeps is
left out of the reply to the coordinator; any other stays in it and goes the old way, in the same trips. The receiver
puts both together, so what it adds up, and what it remembers of the request, does not depend on which way a part came.

The coordinator is told who dealt, and sees no part that went by a link. A link that fails is written to the site's own
log, and to its audit chain with the one word that says why.
"""

import datetime
from dataclasses import replace

from synthfed.federation import wire
from synthfed.federation.durable import append_private
from synthfed.federation.inbox import Inbox
from synthfed.federation.manifest import RunManifest
from synthfed.federation.peer_tls import LinkFailed, fingerprint, own_certificate
from synthfed.federation.refused import Refused
from synthfed.federation.run_state import RunState
from synthfed.federation.site import LOG, Site
from synthfed.secagg import messages
from synthfed.secagg.roster import Member, Roster


def linked(roster: Roster, sender: int, receiver: int) -> bool:
    """Whether the roster lists what a link from one site to another needs."""
    return bool(roster.at(sender).certificate and roster.at(receiver).certificate)


def hand_over_parts(
    site: Site, run: RunState, manifest: RunManifest, index: int, reply: wire.RoundReply
) -> wire.RoundReply:
    """Give the peers their parts of a round; the reply with those that were not taken."""
    if manifest.sums.transport != "direct" or not reply.parts:
        return reply
    from synthfed.federation.peer_link import hand_over

    own, identity = site.roster.member(site.name), site.folder / "identity"
    parts = dict(zip(reply.parts_to, reply.parts, strict=True))
    peers = {receiver: site.roster.at(receiver) for receiver in parts if linked(site.roster, own.index, receiver)}
    if own_certificate(identity) != own.certificate:
        peers = {}  # a peer would turn this site away; `site check` says so
    by_link = {receiver: parts[receiver] for receiver in peers}
    failed = hand_over(manifest.hash(), index, by_link, own=own.index, peers=peers, identity=identity)
    if failed:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        for why in failed.values():
            append_private(site.folder / LOG, f"{now} direct link failed ({why.reason}): {why}")
        with run.transaction():
            entry = {"round": index, "links": [_noted(peers[receiver], why) for receiver, why in failed.items()]}
            run.audit("relayed", entry, site.identity)
    left = tuple(receiver for receiver in parts if receiver not in peers or receiver in failed)
    return replace(reply, parts_to=left, parts=tuple(parts[receiver] for receiver in left))


def with_parts_at_hand(site: Site, run: RunState, request: wire.PartsRequest) -> wire.PartsRequest:
    """The request with every part of its dealers in it, as if all had come through the coordinator.

    Raises:
        Refused: `parts`: one is missing, or is of no dealer named.
    """
    own, inbox = site.roster.member(site.name).index, Inbox(run.folder)
    parts = {messages.addresses(part)[0]: part for part in request.parts}
    for dealer in request.dealers:
        if dealer != own and dealer not in parts:
            kept = inbox.find(request.round_index, dealer)
            if kept is None:
                raise Refused("parts")
            parts[dealer] = kept
    if parts.keys() | {own} != set(request.dealers):
        raise Refused("parts")
    return replace(request, parts=tuple(parts[dealer] for dealer in sorted(parts)))


def forget_parts(run: RunState, manifest: RunManifest, round_index: int) -> None:
    """Delete the parts of a verified round and all before it; from here on peers cannot hand them over either."""
    if manifest.sums.transport == "direct":
        Inbox(run.folder).drop(round_index)


def _noted(peer: Member, why: LinkFailed) -> dict[str, str]:
    entry = {"to": peer.site, "why": why.reason}
    if why.found:
        entry |= {"listed": fingerprint(peer.certificate), "found": why.found}
    return entry
