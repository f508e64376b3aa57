"""Audit logs in a dossier hold, line by line and site by site."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from synthfed.dossier import verify_dossier, write_dossier
from tests.dossier.parts import KEY


@pytest.mark.parametrize("change", ["drop", "swap", "edit", "site"])
def test_a_signed_audit_log_that_does_not_hold_is_found(
    tmp_path: Path, files: Mapping[str, bytes], change: str
) -> None:
    lines = files["audit.jsonl"].decode().splitlines()
    if change == "drop":
        del lines[1]
    elif change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif change == "edit":
        lines[2] = lines[2].replace('"round":2', '"round":3')
    else:
        lines = lines[:3]
    out = write_dossier(tmp_path / "aml", {**files, "audit.jsonl": "\n".join(lines).encode()}, key=KEY)
    assert [finding.kind for finding in verify_dossier(out).findings] == ["audit"]


def test_an_audit_log_without_keys_is_checked_for_order(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    rest = {name: content for name, content in files.items() if name != "audit_keys.json"}
    assert verify_dossier(write_dossier(tmp_path / "whole", rest, key=KEY)).ok
    lines = files["audit.jsonl"].decode().splitlines()
    rest["audit.jsonl"] = "\n".join([lines[0], *lines[2:]]).encode()
    assert not verify_dossier(write_dossier(tmp_path / "cut", rest, key=KEY)).ok
