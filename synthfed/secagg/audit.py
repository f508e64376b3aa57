"""A site's audit log: signed JSON lines, each naming the one before, so that the past cannot be rewritten unseen.

A line is {seq, prev, time, kind, body, id, signature}; id = H(prev, canonical JSON of the first five), signed with the
site's key. The head (the last id) travels in every HELLO, so peers know how long a log once was. What the log does not
show: that the site wrote down everything. Bodies hold hashes, sets and verdicts, never a vector, a key or a patient.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from synthfed.secagg.contexts import digest, lp
from synthfed.secagg.refusals import AuditBroken
from synthfed.secagg.signatures import Signer, first_key

_DOMAIN = b"synthfed/secagg/v1/audit"
_SHORT = 32  # hexadecimal digits of a hash in a line about other logs
_KEYS = ("seq", "prev", "time", "kind", "body", "id", "signature")


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Where a log stands: how many lines, and the id of the last (32 zero bytes when empty)."""

    length: int = 0
    id: bytes = bytes(32)


def append_line(
    head: AuditHead, *, time: str, kind: str, body: Mapping[str, Any], identity: Signer
) -> tuple[AuditHead, str]:
    """Make the next line (without newline) and the head after it. `time` is the caller's, ISO 8601."""
    entry: dict[str, Any] = {
        "seq": head.length,
        "prev": head.id.hex(),
        "time": time,
        "kind": kind,
        "body": dict(body),
    }
    line_id = digest(_DOMAIN, head.id, _canonical(entry))
    entry["id"] = line_id.hex()
    entry["signature"] = first_key(identity).sign(lp(_DOMAIN, line_id)).hex()
    return AuditHead(head.length + 1, line_id), _canonical(entry).decode()


def verify_lines(lines: Iterable[str], public_key: bytes, *, expected: AuditHead | None = None) -> AuditHead:
    """Check a whole log and give its head.

    Args:
        expected: A head that was seen elsewhere (in a HELLO): the log must have passed through it.

    Raises:
        AuditBroken: Names the first line that is not in its place, altered, or not signed by that key; or the log
            never had the expected head, as after a restored backup.
    """
    head = AuditHead()
    passed = {head}
    key = Ed25519PublicKey.from_public_bytes(public_key)
    for number, line in enumerate(lines, start=1):
        head = _verify_line(line.rstrip("\n"), number, head, key)
        passed.add(head)
    if expected is not None and expected not in passed:
        raise AuditBroken(
            f"the log of {head.length} lines never had the head {expected.id.hex()[:16]} at {expected.length} lines; "
            "it was cut or restored from an older copy"
        )
    return head


def seen_heads(heads: Mapping[bytes, bytes]) -> dict[str, str]:
    """What a line says of other logs (`heads` of its body): by public key where each stood, both cut to 128 bits."""
    return {key.hex()[:_SHORT]: head.hex()[:_SHORT] for key, head in heads.items()}


def require_seen_heads(logs: Mapping[str, tuple[bytes, Sequence[str]]]) -> None:
    """Check that every log passed through the heads which other sites wrote down of it.

    A log that was begun again, cut or rewritten while the run went on may hold by itself; against its peers' it does
    not. What this cannot show: that two sites changed their logs together, or which of two speaks the truth.

    Args:
        logs: By site its public key and its lines, whose chains hold.

    Raises:
        AuditBroken: Names a site whose log never had a head, and a site that wrote it down.
    """
    entries = {site: [json.loads(line) for line in lines] for site, (_, lines) in logs.items()}
    passed = {
        key.hex()[:_SHORT]: (site, {AuditHead().id.hex()[:_SHORT], *(entry["id"][:_SHORT] for entry in entries[site])})
        for site, (key, _) in logs.items()
    }
    for witness, lines in entries.items():
        for entry in lines:
            for key, head in entry["body"].get("heads", {}).items():
                site, had = passed.get(key, ("", {head}))
                if head not in had:
                    raise AuditBroken(
                        f"the log of site {site!r} never had the head {head} that site {witness!r} was shown (line "
                        f"{entry['seq'] + 1} of its log): one was cut, rewritten or restored from an older copy"
                    )


def _verify_line(line: str, number: int, head: AuditHead, key: Ed25519PublicKey) -> AuditHead:
    try:
        entry = json.loads(line)
        if _canonical(entry).decode() != line or set(entry) != set(_KEYS):
            raise AuditBroken(f"audit line {number} is not in canonical form")
        signed_id, signature = _from_hex(entry.pop("id")), _from_hex(entry.pop("signature"))
        if entry["seq"] != head.length or entry["prev"] != head.id.hex():
            raise AuditBroken(f"audit line {number} does not follow the line before it")
        if digest(_DOMAIN, head.id, _canonical(entry)) != signed_id:
            raise AuditBroken(f"audit line {number} was altered")
        key.verify(signature, lp(_DOMAIN, signed_id))
    except (ValueError, TypeError, AttributeError, InvalidSignature) as error:
        raise AuditBroken(f"audit line {number} cannot be read or is not signed by this site") from error
    return AuditHead(head.length + 1, signed_id)


def _from_hex(text: str) -> bytes:
    """Lower-case hexadecimal only: one line has one spelling."""
    found = bytes.fromhex(text)
    if found.hex() != text:
        raise ValueError("not lower-case hexadecimal")
    return found


def _canonical(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
