"""Checks a dossier against itself, from the signature down to what its report says of the files beside it."""

from pathlib import Path

from synthfed.dossier.claims import check_claims
from synthfed.dossier.costs import check_costs
from synthfed.dossier.findings import Finding, Recomputed, Verification
from synthfed.dossier.logs import check_logs
from synthfed.dossier.reading import json_object, read_files
from synthfed.dossier.sealing import check_signature, check_sums


def verify_dossier(path: Path, *, signer: str | None = None) -> Verification:
    """Check a dossier against itself.

    Signature; every file's hash; nothing missing, nothing extra; both epsilons computed again from the ledger's events,
    counting and training alike; that `report.json` is about this table, this model, this pipeline and this ledger; each
    site's audit chain.

    Args:
        signer: The Ed25519 public key, hex, that must have signed; None accepts the key in the folder.

    Raises:
        DossierError: `path` is no folder or holds no `SHA256SUMS`.
    """
    files, findings = read_files(path)
    named, said = check_sums(files)
    unreadable = {finding.name for finding in findings}
    findings += [finding for finding in said if finding.name not in unreadable]
    key, said = check_signature(files, signer)
    findings += said

    recomputed: tuple[Recomputed, ...] = ()
    ledger = json_object(files, "ledger.json", "ledger")
    if isinstance(ledger, Finding):
        findings.append(ledger)
    else:
        recomputed, said = check_costs(ledger)
        findings += said
    report = json_object(files, "report.json", "report")
    if isinstance(report, Finding):
        findings.append(report)
    else:
        findings += check_claims(report, files, None if isinstance(ledger, Finding) else ledger)
    findings += check_logs(files)
    return Verification(tuple(findings), named, key, recomputed)
