"""What a site does for each message, from a checked request to a stored reply; knows no Flower.

Every stage runs under the run's lock and keeps one order: look for a stored reply, check, work, make durable, reply.
For `contribute` that is: work, park the noised vector, charge the ledger, seal state and reply in one transaction,
reply. A crash before parking leaves nothing and charges nothing; after it, the parked result is used again; after the
charge, its id (the hash of the parked file) is known to the ledger, so it is charged once.

Where policy and pipeline let a round go on without a site, a site may skip rounds: it joins again with a HELLO for a
coming round. It can check only sums that it helped to open; the masks cancel only among sites with the same model.

What leaves the site: public keys, sealed key shares, one masked vector per round, its word on a set of survivors, and
codes of refusals.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from synthfed.federation import records, wire
from synthfed.federation.direct import forget_parts, hand_over_parts, with_parts_at_hand
from synthfed.federation.durable import write_durably
from synthfed.federation.holdout import require_disjoint
from synthfed.federation.manifest import RunManifest, check_signature, read_manifest
from synthfed.federation.refused import Refused
from synthfed.federation.run_state import Key, RunState
from synthfed.federation.sessions import (
    check_sum,
    complaint_of,
    deal,
    deal_if_invited,
    false_sum_ends,
    may_miss,
    note_reduced,
    open_session,
    require_one_result,
    session_of_sum,
    smallest_of,
    thaw,
)
from synthfed.federation.site import Site
from synthfed.federation.sums import check_roster
from synthfed.federation.work import SiteWork
from synthfed.privacy.mechanisms import seeded_key
from synthfed.secagg.audit import seen_heads
from synthfed.secagg.protocol import PartsSiteSession
from synthfed.secagg.ring import Ring

R = TypeVar("R")
WorkOf = Callable[[RunManifest], SiteWork]

_DTYPES = {"2^32": "uint32", "2^64": "uint64"}


def enrol(site: Site, node_id: int, request: wire.EnrolRequest, *, version: str) -> wire.EnrolReply:
    """Check the run against roster and policy, reserve its whole budget, and sign up.

    Raises:
        ManifestError, Refused, BudgetRefused: Nothing was reserved.
    """
    check_signature(request.manifest, request.signature, site.roster.relay_key)
    manifest = read_manifest(request.manifest)
    check_roster(manifest, site.roster)
    name = manifest.hash()
    site.policy.check(manifest, answered=site.inquiries(besides=name))
    manifest.check()
    require_disjoint(manifest, site.folder)
    if manifest.version != version:
        raise Refused("versions")
    with site.run(name) as run:
        run.require_not_left()
        if not (run.folder / "manifest.json").exists():
            if planned := manifest.events():  # exact answers cost no epsilon: none covers them, and policy allowed them
                site.ledger().reserve(name, planned)
            run.keep_manifest(request.manifest, request.signature)
        last_round = run.last_round("masked")
    return wire.EnrolReply(
        site=site.name,
        versions=version,
        last_round=last_round,
        signature=site.identity.sign(records.enrol_statement(name, site.name, node_id)),
    )


def hello(site: Site, request: wire.HelloRequest) -> wire.HelloReply:
    """Make a round's keys and show the public ones: of round 0, or of a coming round after an absence.

    Raises:
        Refused: `order`: the round was begun here, or is over, or so is the run.
    """
    manifest = site.manifest(request.manifest)
    if request.attempt or not 0 <= request.round_index < manifest.rounds:
        raise Refused("order")
    with site.run(request.manifest) as run:

        def work() -> wire.HelloReply:
            begun = run.has_session(request.round_index, request.attempt)
            if run.ended or begun or request.round_index <= run.last_round("masked"):
                raise Refused("order")  # a second session for one context could mask a second vector
            return wire.HelloReply(open_session(site, run, manifest, request.round_index, request.attempt))

        return _once(run, Key(request.round_index, request.attempt, "hello"), request, wire.HelloReply, work)


def share(site: Site, request: wire.ShareRequest) -> wire.ShareReply:
    """Deal key shares, sealed to each peer."""
    manifest = site.manifest(request.manifest)
    with site.run(request.manifest) as run:

        def work() -> wire.ShareReply:
            return wire.ShareReply(*deal(site, run, manifest, request.round_index, request.attempt, request.hellos))

        return _once(run, Key(request.round_index, request.attempt, "share"), request, wire.ShareReply, work)


def contribute(site: Site, request: wire.RoundRequest, *, work_of: WorkOf) -> wire.RoundReply:
    """Verify the last sum, work out this round's vector, pay for it, and send it masked.

    An adversary who sees the reply learns a vector that is uniform without the other sites' masks; with the sum of
    all sites, the sum. The vector's own noise limits what the sum tells about one patient.
    """
    manifest = site.manifest(request.manifest)
    with site.run(request.manifest) as run:

        def work() -> wire.RoundReply:
            return _contribute(site, run, manifest, request, work_of)

        with false_sum_ends(run, request.round_index - 1, site.identity):
            reply = _once(run, Key(request.round_index, request.attempt, "masked"), request, wire.RoundReply, work)
        return hand_over_parts(site, run, manifest, request.round_index, reply)


def parts(site: Site, request: wire.PartsRequest) -> wire.PartsReply:
    """In modes with parts: add up the parts held and send their sum; deal the next round's keys.

    The relay learns this site's share of the sum, and with enough of them the sum.
    """
    manifest = site.manifest(request.manifest)
    with site.run(request.manifest) as run:
        request = with_parts_at_hand(site, run, request)

        def work() -> wire.PartsReply:
            index, attempt = request.round_index, request.attempt
            session = thaw(site, run, manifest, index, attempt)
            if not isinstance(session, PartsSiteSession):
                raise Refused("order")
            masked = session.add_up(request.parts)
            note_reduced(site, run, session, index)
            session.forget_masked()
            run.store_session(index, attempt, session.freeze())
            return wire.PartsReply(masked, *deal_if_invited(site, run, manifest, index + 1, request.hellos))

        return _once(run, Key(request.round_index, request.attempt, "parts"), request, wire.PartsReply, work)


def survivors(site: Site, request: wire.SurvivorsRequest) -> wire.SurvivorsReply:
    """Give this site's word on the smaller set whose sum it will help to open, after a site was lost.

    Nothing is released yet, but from here on this round ends with the sum over that set or with none. The log says so:
    what the sum tells about each of them is more than in a round of all.
    """
    manifest = site.manifest(request.manifest)
    with site.run(request.manifest) as run:

        def work() -> wire.SurvivorsReply:
            index, attempt = request.round_index, request.attempt
            session = thaw(site, run, manifest, index, attempt)
            word = session.sign_survivors(request.heads)
            note_reduced(site, run, session, index)
            run.store_session(index, attempt, session.freeze())
            return wire.SurvivorsReply(word)

        return _once(run, Key(request.round_index, request.attempt, "survivors"), request, wire.SurvivorsReply, work)


def unmask(site: Site, request: wire.UnmaskRequest) -> wire.UnmaskReply:
    """Release the key shares that open this round's sum, once and for one set; deal the next round's keys."""
    manifest = site.manifest(request.manifest)
    with site.run(request.manifest) as run:

        def work() -> wire.UnmaskReply:
            index, attempt = request.round_index, request.attempt
            session = thaw(site, run, manifest, index, attempt)
            if request.survivors:
                released = session.release(request.survivors)
            else:
                released = session.unmask(request.heads)
                note_reduced(site, run, session, index)
            run.store_session(index, attempt, session.freeze())
            return wire.UnmaskReply(released, *deal_if_invited(site, run, manifest, index + 1, request.hellos))

        return _once(run, Key(request.round_index, request.attempt, "unmask"), request, wire.UnmaskReply, work)


def close(site: Site, request: wire.CloseRequest) -> wire.CloseReply:
    """Verify the last sum, give back what never ran, and hand over the ledger's export.

    A site that was away from the last sum gives no verdict on it.
    """
    manifest = site.manifest(request.manifest)
    if request.round_index != manifest.rounds - 1:
        raise Refused("order")
    with site.run(request.manifest) as run:

        def work() -> wire.CloseReply:
            session = session_of_sum(site, run, manifest, request.round_index)
            verified, closed = "", b""
            if session is not None:
                check_sum(session, manifest, request.result, request.evidence)
                verified = _hash(request.result)
            run.audit("closed", {"result": verified}, site.identity)
            if session is not None:
                closed = session.close(run.audit_head.id)
            export = _settled_ledger(site, manifest)
            run.erase(request.round_index)
            run.forget_secrets()
            if session is not None:
                run.store_session(request.round_index, request.attempt, session.freeze())  # only hashes are left in it
            return wire.CloseReply(closed, json.dumps(export, sort_keys=True).encode())

        # One round after the last, so that erasing the last round keeps this reply.
        with false_sum_ends(run, request.round_index, site.identity):
            reply = _once(run, Key(request.round_index + 1, 0, "close"), request, wire.CloseReply, work)
        run.drop_parked(request.round_index)
        forget_parts(run, manifest, request.round_index)
        return reply


def _settled_ledger(site: Site, manifest: RunManifest) -> dict[str, Any]:
    """The export of the closed run; of a run that costs no epsilon, that it charged nothing."""
    name = manifest.hash()
    if not manifest.events():
        return {"site": site.name, "manifest": name, "events": []}
    site.ledger().close(name)
    return site.ledger().export(name)


def settle(site: Site, request: wire.SettleRequest) -> wire.SettleReply:
    """Check that every site closed on the same last sum and accepted it, and hand over the audit chain.

    Raises:
        SplitView: A site saw another result, rejected it, or more sites said nothing than may be missing: the relay
            told different sites different sums, or dropped a verdict.
    """
    manifest = site.manifest(request.manifest)
    with site.run(request.manifest) as run:
        last = manifest.rounds - 1
        session = session_of_sum(site, run, manifest, last)
        if session is not None:  # else this site was away and has nothing to compare
            require_one_result(site, session, request.closes, smallest=smallest_of(site, manifest))
        return wire.SettleReply(run.audit_lines())


def _once(run: RunState, key: Key, request: object, kind: type[R], work: Callable[[], R]) -> R:
    """Answer a stage once: the same request gets the stored bytes, another one is refused."""
    asked = records.fingerprint(request)
    stored = run.answered(key, asked)
    if stored is not None:
        return records.unpack(stored, kind)
    run.require_not_left()
    with run.transaction():
        reply = work()
        run.store_answer(key, asked, records.pack(reply))
    return reply


def _contribute(
    site: Site, run: RunState, manifest: RunManifest, request: wire.RoundRequest, work_of: WorkOf
) -> wire.RoundReply:
    index, attempt = request.round_index, request.attempt
    last = run.last_round("masked")
    skips = last < index - 1 and may_miss(site, manifest)
    if not 0 <= index < manifest.rounds or not (skips or last == index - 1):
        raise Refused("order")
    before = session_of_sum(site, run, manifest, index - 1) if index else None
    if before is not None:
        check_sum(before, manifest, request.result, request.evidence)
    session = thaw(site, run, manifest, index, attempt)
    if complaint := complaint_of(session, request.shares, request.sealed):
        run.audit("complaint", {"round": index, "complaint": _hash(complaint)}, site.identity)
        run.store_session(index, attempt, session.freeze())
        hello_next = open_session(site, run, manifest, index + 1, 0) if index + 1 < manifest.rounds else b""
        return wire.RoundReply(complaint, b"", (), (), hello_next)

    model = hashlib.sha256(request.model).digest()
    path = run.parked(index, model)
    if not path.exists():
        _work_and_park(site, run, manifest, request.model, index, path, work_of)
    parked = path.read_bytes()
    charged = _charge(site, manifest, index, parked)
    vector = _vector_in(parked)
    masked, parts = b"", dict[int, bytes]()
    if isinstance(session, PartsSiteSession):
        parts = dict(sorted(session.deal(vector, model, request.shares, request.sealed).items()))
    else:
        masked = session.mask(vector, model, request.shares, request.sealed)
    entry = {
        "round": index,
        "context": session.context1.hex(),
        "members": list(session.members),
        "verified": _hash(request.result) if before is not None else "",
        "charged": charged,
        "masked": _hash(masked or b"".join(parts.values())),
        "heads": seen_heads({site.roster.at(i).public_key: head for i, head in session.shown_heads.items()}),
    }
    run.audit("masked", entry, site.identity)
    session.forget_masked()  # the stored reply has it
    run.store_session(index, attempt, session.freeze())
    if index:
        run.erase(index - 1)
        run.drop_parked(index - 1)
        forget_parts(run, manifest, index - 1)
    hello_next = open_session(site, run, manifest, index + 1, 0) if index + 1 < manifest.rounds else b""
    return wire.RoundReply(b"", masked, tuple(parts), tuple(parts.values()), hello_next)


def _work_and_park(
    site: Site, run: RunState, manifest: RunManifest, broadcast: bytes, index: int, path: Path, work_of: WorkOf
) -> None:
    from safetensors.numpy import save

    began = time.monotonic()
    done = work_of(manifest).contribute(index, broadcast, noise_key=_noise_key(manifest, site.name, index))
    step = manifest.step(index)
    if done.vector.dtype.name != _DTYPES[step.ring] or done.vector.shape != (step.size,):
        raise Refused("training")  # a vector that the run's sums have no place for
    run.log_training(round=index, **done.notes, seconds=round(time.monotonic() - began, 3))
    write_durably(path, save({"vector": done.vector}, {"round": str(index)}))


def _charge(site: Site, manifest: RunManifest, index: int, parked: bytes) -> str:
    result = _hash(parked)
    for number, event in enumerate(manifest.round_events(index)):
        site.ledger().charge(f"{result}:{number}", manifest.hash(), event)
    return result


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _vector_in(parked: bytes) -> Ring:
    from safetensors.numpy import load

    vector: Ring = load(parked)["vector"]
    return vector


def _noise_key(manifest: RunManifest, site: str, index: int) -> bytes:
    """32 bytes for one round: fresh and secret, or, for simulated cohorts, a function of the public seed."""
    if manifest.randomness == "secure":
        return os.urandom(32)
    return seeded_key(manifest.seed, site, index)
