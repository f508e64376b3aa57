"""`federation.pq`: one key per pair of sites and run, agreed under ML-KEM-768 and X25519 before the first round.

Three trips, once per run: every site shows a key, the lower index of each pair offers psk_ij to the higher, the offers
are handed over. The relay carries signed and sealed bytes and learns sizes. Secrets lie sealed in the run's state until
the run is closed; see `secagg.hybrid` for what they protect.
"""

import os
from collections.abc import Mapping

from synthfed.federation import wire
from synthfed.federation.refused import Refused
from synthfed.federation.run_state import RunState
from synthfed.federation.site import Site
from synthfed.secagg import hybrid
from synthfed.secagg.masks import KEY_BYTES

_SECRET = "run key"
_SECRET_BYTES = 96


def show(site: Site, request: wire.ShowRequest) -> wire.ShowReply:
    """Show this site's public key for the run; the secret one is made once."""
    manifest = site.manifest(request.manifest)
    if not manifest.sums.post_quantum:
        raise Refused("order")
    with site.run(request.manifest) as run, run.transaction():
        secret = run.secret(_SECRET)
        if secret is None:
            secret = os.urandom(_SECRET_BYTES)
            run.keep_secret(_SECRET, secret)
        shown = hybrid.show_run_key(secret, bytes.fromhex(request.manifest), own=_own(site), identity=site.identity)
        return wire.ShowReply(shown)


def offer(site: Site, request: wire.OfferRequest) -> wire.OfferReply:
    """Draw a key for each pair in which this site is the lower index, and seal it for the other.

    Raises:
        BadSignature: A shown key is not the one of its site for this run.
        Refused: `order`: not every other site's key is there. `replay`: the keys are not those of the first time.
    """
    peers = _peers(site)
    if len(request.shown) != len(peers) + 1:
        raise Refused("order")
    shown = dict(zip(sorted([*peers, _own(site)]), request.shown, strict=True))
    receivers = [peer for peer in peers if peer > _own(site)]
    run_id = bytes.fromhex(request.manifest)
    site.manifest(request.manifest)
    with site.run(request.manifest) as run, run.transaction():
        offers = []
        for peer in receivers:
            kept = run.secret(f"offer {peer}")
            if kept is None:
                pair_key = os.urandom(KEY_BYTES)
                sealed = hybrid.offer_pair_key(
                    pair_key,
                    shown[peer],
                    run_id,
                    own=_own(site),
                    receiver=peer,
                    roster=site.roster,
                    identity=site.identity,
                )
                kept = shown[peer] + sealed
                run.keep_secret(f"pair {peer}", pair_key)
                run.keep_secret(f"offer {peer}", kept)
            if not kept.startswith(shown[peer]):
                raise Refused("replay")
            offers.append(kept[len(shown[peer]) :])
    return wire.OfferReply(tuple(receivers), tuple(offers))


def accept(site: Site, request: wire.AcceptRequest) -> wire.AcceptReply:
    """Open the keys that lower indices offered.

    Raises:
        BadSignature, MalformedMessage: An offer is not its sender's for this site and run.
        Refused: `order`: an offer is missing. `replay`: another key was accepted before.
    """
    site.manifest(request.manifest)
    senders = tuple(peer for peer in _peers(site) if peer < _own(site))
    if request.senders != senders:
        raise Refused("order")
    with site.run(request.manifest) as run, run.transaction():
        secret = run.secret(_SECRET)
        if secret is None:
            raise Refused("order")
        for sender, raw in zip(request.senders, request.offers, strict=True):
            pair_key = hybrid.accept_pair_key(
                raw,
                secret,
                bytes.fromhex(request.manifest),
                sender=sender,
                own=_own(site),
                roster=site.roster,
            )
            kept = run.secret(f"pair {sender}")
            if kept is not None and kept != pair_key:
                raise Refused("replay")
            run.keep_secret(f"pair {sender}", pair_key)
    return wire.AcceptReply(len(senders))


def all_pair_keys(site: Site, run: RunState) -> Mapping[int, bytes]:
    """psk by roster index of every other site: what a new session needs.

    Raises:
        Refused: `order`: the keys of the run have not been agreed.
    """
    found = kept_pair_keys(site, run)
    if len(found) < len(_peers(site)):
        raise Refused("order")
    return found


def kept_pair_keys(site: Site, run: RunState) -> Mapping[int, bytes]:
    """The psk that are still held; none once the run is closed, when no session needs them any more."""
    found = {peer: run.secret(f"pair {peer}") for peer in _peers(site)}
    return {peer: key for peer, key in found.items() if key is not None}


def _own(site: Site) -> int:
    return site.roster.member(site.name).index


def _peers(site: Site) -> list[int]:
    return sorted(member.index for member in site.roster.members if member.site != site.name)
