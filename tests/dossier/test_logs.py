"""Audit logs in a dossier hold, line by line and site by site, and the ledger holds every charge they name."""

import json
from collections.abc import Mapping

import pytest

from synthfed.dossier.logs import check_charges, check_logs


@pytest.mark.parametrize("change", ["drop", "swap", "edit", "site"])
def test_an_audit_log_that_does_not_hold_is_found(files: Mapping[str, bytes], change: str) -> None:
    lines = files["audit.jsonl"].decode().splitlines()
    if change == "drop":
        del lines[1]
    elif change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif change == "edit":
        lines[2] = lines[2].replace('"round":2', '"round":3')
    else:
        lines = lines[:3]
    (finding,) = check_logs({**files, "audit.jsonl": "\n".join(lines).encode()})
    assert (finding.kind, finding.name) == ("audit", "audit.jsonl")


def test_an_audit_log_without_keys_is_checked_for_order(files: Mapping[str, bytes]) -> None:
    rest = {name: content for name, content in files.items() if name != "audit_keys.json"}
    assert check_logs(rest) == []
    lines = files["audit.jsonl"].decode().splitlines()
    assert check_logs({**rest, "audit.jsonl": "\n".join([lines[0], *lines[2:]]).encode()}) != []


def test_a_charge_that_a_site_signed_cannot_be_left_out_of_the_ledger(whole: Mapping[str, bytes]) -> None:
    """It would make epsilon smaller, and the ledger would still agree with itself."""
    ledger = json.loads(whole["ledger.json"])
    assert check_charges(whole, ledger) == []
    for event in ledger["events"]:
        event["ids"].pop("lyon")
    (finding,) = check_charges(whole, ledger)
    assert (finding.kind, finding.name) == ("ledger", "ledger.json")
    assert "lacks 2 of 2 charges" in finding.note
    assert "lyon" in finding.note


def test_sites_of_log_and_ledger_are_the_same(whole: Mapping[str, bytes]) -> None:
    keys = whole["audit_keys.json"].replace(b"lyon", b"nice")
    findings = check_charges({**whole, "audit_keys.json": keys}, json.loads(whole["ledger.json"]))
    assert (findings[-1].kind, findings[-1].name) == ("audit", "audit_keys.json")
    assert "lyon, nice" in findings[-1].note
