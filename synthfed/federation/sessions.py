"""A site's secure-sum sessions: opened, dealt, found again and judged, always from its own manifest and roster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.federation import records
from synthfed.federation.manifest import RunManifest
from synthfed.federation.pair_keys import all_pair_keys, kept_pair_keys
from synthfed.federation.refused import Refused
from synthfed.federation.run_state import RunState
from synthfed.federation.site import Site
from synthfed.federation.sums import smallest_set, sum_config, sum_context
from synthfed.secagg import messages
from synthfed.secagg.protocol import PartsSiteSession, SiteSession, Stage
from synthfed.secagg.refusals import OutOfOrder, SplitView, TagMismatch


def open_session(site: Site, run: RunState, manifest: RunManifest, index: int, attempt: int) -> bytes:
    """Begin a round's session and give its HELLO."""
    config = sum_config(manifest, site.roster, index)
    kind = PartsSiteSession if config.deals_parts else SiteSession
    session = kind(
        site.roster,
        site.name,
        site.identity,
        sum_context(manifest, site.roster, index, attempt),
        config=config,
        smallest=smallest_of(site, manifest),
        pair_keys=all_pair_keys(site, run) if config.post_quantum else None,
    )
    shown = session.hello(run.audit_head.id)
    run.store_session(index, attempt, session.freeze())
    return shown


def deal(
    site: Site, run: RunState, manifest: RunManifest, index: int, attempt: int, hellos: Sequence[bytes]
) -> tuple[bytes, tuple[int, ...], tuple[bytes, ...]]:
    """A round's SHARE and its sealed boxes, by receiver."""
    session = thaw(site, run, manifest, index, attempt)
    dealt = session.share(hellos)
    run.store_session(index, attempt, session.freeze())
    receivers = tuple(sorted(dealt.sealed))
    return dealt.public, receivers, tuple(dealt.sealed[receiver] for receiver in receivers)


def deal_if_invited(
    site: Site, run: RunState, manifest: RunManifest, index: int, hellos: Sequence[bytes]
) -> tuple[bytes, tuple[int, ...], tuple[bytes, ...]]:
    """`deal` for a coming round, or nothing where the run is over or goes on without this site.

    Who the HELLOs are of is only looked at here; `deal` checks them before anything is dealt.
    """
    own = site.roster.member(site.name).index
    if index == manifest.rounds or own not in map(messages.claimed_sender, hellos):
        return b"", (), ()
    return deal(site, run, manifest, index, 0, hellos)


def thaw(site: Site, run: RunState, manifest: RunManifest, index: int, attempt: int) -> SiteSession:
    """The session of an attempt as it was left.

    Raises:
        Refused: `order`: there is none.
    """
    config = sum_config(manifest, site.roster, index)
    kind = PartsSiteSession if config.deals_parts else SiteSession
    return kind.thaw(
        run.session(index, attempt),
        site.roster,
        site.name,
        site.identity,
        sum_context(manifest, site.roster, index, attempt),
        config=config,
        smallest=smallest_of(site, manifest),
        pair_keys=kept_pair_keys(site, run) if config.post_quantum else None,
    )


def session_of_sum(site: Site, run: RunState, manifest: RunManifest, index: int) -> SiteSession | None:
    """The session of a round whose sum this site helped to open; None for a site that was away and may be.

    Raises:
        Refused: `secagg`: a sum of this run was false. `order`: it took no part, though every round needs all sites.
    """
    if run.ended:
        raise Refused("secagg")
    if run.has_session(index, 0):
        session = thaw(site, run, manifest, index, 0)
        if session.stage in (Stage.RELEASED, Stage.VERIFIED, Stage.CLOSED):  # not one that ended in a complaint
            return session
    if not may_miss(site, manifest):
        raise Refused("order")
    return None


def complaint_of(session: SiteSession, shares: Sequence[bytes], sealed: Sequence[bytes]) -> bytes:
    """The proof that a dealer lied to this site; empty where none did. Looked for before any row is touched.

    Raises:
        SecAggError: The relay, not a dealer, is at fault.
    """
    try:
        return session.complain(shares, sealed)
    except OutOfOrder:
        return b""


def check_sum(session: SiteSession, manifest: RunManifest, result: bytes, evidence: bytes) -> None:
    """Check an announced sum as the run says: by its tag, or by adding up all signed vectors too.

    Raises:
        TagMismatch: It is false.
        SecAggError: The evidence is not what was signed.
    """
    if manifest.sums.verify == "recompute":
        session.recompute(result, records.read_evidence(evidence))
    else:
        session.verify(result)


def require_one_result(site: Site, session: SiteSession, closes: Sequence[bytes], *, smallest: int) -> None:
    """Check that every site closed on the result that this site saw, and accepted it.

    Raises:
        SplitView: One did not, or fewer than `smallest` closed.
    """
    own = messages.Close.unpack(messages.body_of(session.close()))
    said: dict[int, messages.Close] = {}
    for raw in closes:
        envelope = messages.read(raw, kind=messages.Kind.CLOSE, context=session.context1, roster=site.roster)
        said[envelope.sender] = messages.Close.unpack(envelope.body)
    agree = all(close.accepted and close.result_digest == own.result_digest for close in said.values())
    if len(said) < smallest or not agree:
        raise SplitView("the sites did not all accept the same last sum; keep the audit log and ask the relay")


def note_reduced(site: Site, run: RunState, session: SiteSession, index: int) -> None:
    """Say in the audit chain that a round's sum lacks sites of the roster."""
    missing = [member.site for member in site.roster.members if member.index not in session.counted]
    if missing:
        entry = {
            "round": index,
            "context": session.context1.hex(),
            "members": list(session.members),
            "counted": list(session.counted),
            "missing": missing,
        }
        run.audit("reduced", entry, site.identity)


@contextmanager
def false_sum_ends(run: RunState, round_index: int, identity: Ed25519PrivateKey) -> Iterator[None]:
    """After a false sum the run is over for this site: the secrets go before the refusal does."""
    try:
        yield
    except TagMismatch:
        with run.transaction():
            run.erase(round_index)
            run.end(round_index)
            run.audit("false sum", {"round": round_index}, identity)
        raise


def smallest_of(site: Site, manifest: RunManifest) -> int:
    """Fewest sites whose sum this site helps to open."""
    return smallest_set(manifest, site.roster, site.policy)


def may_miss(site: Site, manifest: RunManifest) -> bool:
    """Whether a round may go on without a site."""
    return smallest_of(site, manifest) < len(site.roster.members)
