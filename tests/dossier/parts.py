"""A small dossier of four kinds of files, and the statements that hold it together."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.dossier.findings import Finding
from synthfed.dossier.reading import read_files
from synthfed.dossier.sealing import check_signature, check_sums
from synthfed.pipeline import Pipeline
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.ledger import Ledger
from synthfed.report import report_bytes
from synthfed.secagg.audit import AuditHead, append_line

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def small_pipeline() -> Pipeline:
    return Pipeline.parse(
        {
            "title": "small",
            "disease": "aml",
            "cohort": {"columns": ["age_years", "sex"]},
            "generator": {"kind": "tvae", "start": "cold"},
            "privacy": {"epsilon": 3.0, "expected_patients": 1600},
            "federation": {"rounds": 2, "local_steps": 3},
        },
        origin="test",
    )


def audit_log(identity: Ed25519PrivateKey, lines: int = 3) -> list[str]:
    head, log = AuditHead(), []
    for number in range(lines):
        head, line = append_line(head, time="2026-01-01", kind="round", body={"round": number}, identity=identity)
        log.append(line)
    return log


def report_on(files: Mapping[str, bytes], ledger: object) -> bytes:
    """The fields of `report.json` that speak of the files beside it, rounded as it rounds."""
    report = {
        "schema": "synthfed.report/1",
        "table_sha256": hashlib.sha256(files["synthetic.csv"]).hexdigest(),
        "model_sha256": hashlib.sha256(files["model.synthfed"]).hexdigest(),
        "pipeline": {"sha256": small_pipeline().digest()},
        "privacy": {"statement": ledger},
    }
    return report_bytes(report)


def site_ledger(site: str, events: Sequence[PrivacyEvent]) -> dict[str, Any]:
    with Ledger.open(None, site=site, limit=Budget(30.0, 1e-5)) as ledger:
        ledger.reserve("run", events)
        for index, event in enumerate(events):
            ledger.charge(f"{site}:{index}", "run", event)
        ledger.close("run")
        return ledger.export()


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unsealed(folder: Path, signer: str | None = None) -> list[Finding]:
    """What is wrong with signature and checksums."""
    files, findings = read_files(folder)
    return [*findings, *check_sums(files)[1], *check_signature(files, signer)[1]]
