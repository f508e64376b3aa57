"""Reads a dossier: every file once, so that what was hashed is what is checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthfed.dossier.findings import Finding, Kind
from synthfed.dossier.layout import SUMS, names_in
from synthfed.errors import DossierError


def read_files(path: Path) -> tuple[dict[str, bytes], list[Finding]]:
    """Content by name of all that lies in a dossier but `internal/`, and what there is no plain file.

    Raises:
        DossierError: `path` is no folder or holds no `SHA256SUMS`.
    """
    files: dict[str, bytes] = {}
    findings = []
    for name in names_in(path):
        file = path / name
        try:
            if file.is_symlink() or not file.is_file():
                raise OSError("no plain file")
            files[name] = file.read_bytes()
        except OSError as error:
            findings.append(Finding("altered", name, f"cannot be read: {error.strerror or error}"))
    if SUMS not in files:
        raise DossierError(f"{path} is no dossier: {SUMS} cannot be read; give the folder that a run wrote")
    return files, findings


def read_report(path: Path) -> dict[str, Any]:
    """The dossier's `report.json`.

    Raises:
        DossierError: It is missing or no JSON object.
    """
    try:
        report = json.loads((path / "report.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DossierError(f"{path} holds no readable report.json; give the folder that a run wrote") from error
    if not isinstance(report, dict):
        raise DossierError(f"{path / 'report.json'} holds {type(report).__name__}; it must be a JSON object")
    return report


def json_object(files: Mapping[str, bytes], name: str, kind: Kind) -> dict[str, Any] | Finding:
    """A JSON object of the dossier, or the finding that there is none."""
    try:
        content = json.loads(files[name])
    except KeyError:
        return Finding(kind, name, "is missing")
    except (ValueError, RecursionError) as error:
        return Finding(kind, name, f"cannot be read ({type(error).__name__})")
    if not isinstance(content, dict):
        return Finding(kind, name, f"holds {type(content).__name__}; it must be a JSON object")
    return content
