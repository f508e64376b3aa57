"""The sites' audit logs in a dossier: cut apart, and their chains checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthfed.dossier.findings import Finding
from synthfed.errors import DossierError, SecAggError

_LOGS, _KEYS = "audit.jsonl", "audit_keys.json"
_SCORING = "audit_holdout.jsonl"  # of the run that counted held-out patients, where there was one


def site_logs(path: Path) -> dict[str, tuple[bytes, list[str]]]:
    """Each site's public key and audit log, as the dossier holds them; nothing is checked but their form.

    Raises:
        DossierError: `audit.jsonl` or `audit_keys.json` is missing or damaged, or they do not name as many sites.
    """
    try:
        return _logs_of({name: (path / name).read_bytes() for name in (_LOGS, _KEYS)})
    except (DossierError, OSError) as error:
        raise DossierError(
            f"{path} has no audit logs that can be read ({error}); give a whole dossier folder"
        ) from error


def check_logs(files: Mapping[str, bytes]) -> list[Finding]:
    """Each site's log, where there is one: order and links, and where `audit_keys.json` names the keys, signatures and
    the heads that the sites saw of each other."""
    from synthfed.secagg.audit import require_seen_heads, verify_lines

    findings = []
    for name in (_LOGS, _SCORING):
        if name not in files:
            continue
        try:
            if _KEYS not in files:
                _split_logs(files[name].decode().splitlines())
                continue
            logs = _logs_of(files, name)
            for key, lines in logs.values():
                verify_lines(lines, key)
            require_seen_heads(logs)
        except (DossierError, ValueError, TypeError, KeyError, AttributeError, RecursionError, SecAggError) as error:
            findings.append(Finding("audit", name, f"a site's chain does not hold: {error}"))
    return findings


def check_charges(files: Mapping[str, bytes], ledger: Mapping[str, Any]) -> list[Finding]:
    """That the ledger holds every charge which the sites' signed logs name: one left out would make epsilon smaller.

    A ledger may hold more: a round that was charged and then lost stays charged.

    Args:
        ledger: It must agree with itself.
    """
    try:
        named = _charges_in(files, _LOGS)
        if _SCORING in files and not ledger.get("exact_sums"):  # exact sums are in the logs and in no ledger
            scored = _charges_in(files, _SCORING)
            named = {site: hashes | scored[site] for site, hashes in named.items()}
    except (DossierError, ValueError, TypeError, KeyError, AttributeError):
        return []  # said by `check_logs`, or there are no logs
    findings = []
    for site, hashes in named.items():
        charged = {event["ids"][site].rpartition(":")[0] for event in ledger["events"] if site in event["ids"]}
        if absent := hashes - charged:
            note = f"lacks {len(absent)} of {len(hashes)} charges that the signed log of site {site!r} names"
            findings.append(Finding("ledger", "ledger.json", note))
    if strangers := set(named) ^ {site["site"] for site in ledger["sites"]}:
        findings.append(Finding("audit", _KEYS, f"names other sites than ledger.json: {', '.join(sorted(strangers))}"))
    return findings


def _charges_in(files: Mapping[str, bytes], name: str) -> dict[str, set[str]]:
    """Hashes that the sites' logs name as charged, by site."""
    logs = _logs_of(files, name)
    return {site: {hash_ for line in lines if (hash_ := _charge_in(line))} for site, (_, lines) in logs.items()}


def _charge_in(line: str) -> str:
    return str(json.loads(line)["body"].get("charged", ""))


def _logs_of(files: Mapping[str, bytes], name: str = _LOGS) -> dict[str, tuple[bytes, list[str]]]:
    try:
        keys: dict[str, str] = json.loads(files[_KEYS])
        logs = _split_logs(files[name].decode().splitlines())
        pairs = zip(keys.items(), logs, strict=True)
        return {name: (bytes.fromhex(key), lines) for (name, key), lines in pairs}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DossierError(f"{type(error).__name__}: {error}") from error


def _split_logs(lines: list[str]) -> list[list[str]]:
    """Cut at the lines that begin a log (seq 0) and check that each line names the one before.

    Raises:
        ValueError: A line does not follow the line before it.
        KeyError, TypeError: A line is no audit line.
    """
    logs: list[list[str]] = []
    previous = ""
    for number, line in enumerate(lines, start=1):
        entry = json.loads(line)
        if entry["seq"] == 0:
            logs.append([])
        elif not logs or (entry["seq"], entry["prev"]) != (len(logs[-1]), previous):
            raise ValueError(f"line {number} does not follow the line before it")
        logs[-1].append(line)
        previous = entry["id"]
    return logs
