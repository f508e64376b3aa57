"""The end of a run: every site's verdict on the last sum, its ledger and its audit chain."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from synthfed.errors import LedgerBroken
from synthfed.federation import wire
from synthfed.federation.checkpoints import Checkpoint
from synthfed.federation.connections import Connections
from synthfed.federation.manifest import RunManifest
from synthfed.secagg.audit import require_seen_heads, verify_lines
from synthfed.secagg.refusals import AuditBroken
from synthfed.secagg.roster import Roster


@dataclass(frozen=True, slots=True)
class Closed:
    """What the sites leave: ledger exports (JSON bytes) and audit chains (JSON lines) by site."""

    ledgers: Mapping[str, bytes]
    audits: Mapping[str, bytes]


def close(sites: Connections, manifest: RunManifest, roster: Roster, point: Checkpoint) -> Closed:
    """Collect verdicts and ledgers, and show every site all verdicts.

    Every site is needed: a release states what it cost the patients of each.

    Raises:
        LedgerBroken: A site's ledger lacks a round in which its vector was added.
        AuditBroken: A site's log does not hold, or is not the one that the other sites saw grow.
    """
    name, everybody = manifest.hash(), manifest.sites
    request = wire.CloseRequest(name, manifest.rounds - 1, 0, point.result, point.evidence)
    closed = sites.ask("query.close", dict.fromkeys(everybody, request), wire.CloseReply, needed=len(everybody)).replies
    ledgers = {site: reply.ledger for site, reply in closed.items()}
    _require_charges(manifest, point, ledgers)
    closes = tuple(closed[site].close for site in everybody if closed[site].close)
    settle = dict.fromkeys(everybody, wire.SettleRequest(name, closes))
    settled = sites.ask("query.settle", settle, wire.SettleReply, needed=len(everybody)).replies
    audits = {site: reply.audit for site, reply in settled.items()}
    keys = {member.site: member.public_key for member in roster.members}
    require_seen_heads({site: (keys[site], _lines_of(site, audit, keys[site])) for site, audit in audits.items()})
    return Closed(ledgers, audits)


def _lines_of(site: str, audit: bytes, public_key: bytes) -> list[str]:
    """The lines of a site's log, whose chain holds.

    Raises:
        AuditBroken: It does not.
    """
    try:
        lines = audit.decode().splitlines()
        verify_lines(lines, public_key)
    except (AuditBroken, ValueError) as error:
        raise AuditBroken(f"site {site!r}: {error}") from error
    return lines


def _require_charges(manifest: RunManifest, point: Checkpoint, ledgers: Mapping[str, bytes]) -> None:
    """A site may have charged more rounds than it is counted in, never fewer."""
    for site, ledger in ledgers.items():
        charged = {event["purpose"] for event in json.loads(ledger)["events"]}
        for index in range(point.round_index):
            owed = {event.purpose for event in manifest.round_events(index)}
            if site not in point.missing.get(index, ()) and not owed <= charged:
                raise LedgerBroken(
                    f"the ledger of site {site!r} lacks round {index}, in which its change was added; "
                    "a release with a missing charge is refused: ask the site for its ledger"
                )
