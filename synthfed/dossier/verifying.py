"""Checks a dossier against itself, from the signature down to every number that needs no patient.

First the seal: signature, checksums, nothing missing, nothing extra. Then what a forger with a key could still not make
agree: the ledger with its own charges and with the sites' signed logs, the report with the files beside it, the table
with its rules and its scores, every view with the report. Nothing installed is taken for the dossier's own dictionary,
rules or pipeline; the thresholds, the accountant and the way a page is drawn are those of this installation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthfed.dossier.basis import Basis, read_basis
from synthfed.dossier.claims import check_claims, check_model
from synthfed.dossier.costs import check_costs
from synthfed.dossier.findings import Finding, Recomputed, Verification
from synthfed.dossier.logs import check_charges, check_logs
from synthfed.dossier.reading import json_object, read_files
from synthfed.dossier.recounting import check_counts
from synthfed.dossier.redrawing import check_derived, check_views
from synthfed.dossier.rescoring import check_table
from synthfed.dossier.sealing import check_signature, check_sums
from synthfed.errors import DossierError


def verify_dossier(path: Path, *, signer: str | None = None) -> Verification:
    """Check a dossier against itself.

    Signature; every file's hash; nothing missing, nothing extra; both epsilons computed again from the ledger's events,
    counting and training alike; that `report.json` is about this table, this model, this pipeline and this ledger; each
    site's audit chain. Where the seal holds, also: rules and every metric of the table alone, the synthetic half of
    every figure, lights, verdict and privacy statement, and every view, drawn again byte by byte.

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
    sealed = not findings

    recomputed: tuple[Recomputed, ...] = ()
    ledger = json_object(files, "ledger.json", "ledger")
    if isinstance(ledger, Finding):
        findings.append(ledger)
    else:
        recomputed, said = check_costs(ledger)
        findings += said or check_charges(files, ledger)
    report = json_object(files, "report.json", "report")
    if isinstance(report, Finding):
        findings.append(report)
    else:
        findings += check_claims(report, files, None if isinstance(ledger, Finding) else ledger)
    findings += check_logs(files)

    checked: tuple[str, ...] = ()
    if sealed and recomputed and not isinstance(ledger, Finding) and not isinstance(report, Finding):
        checked, said = _compute_again(report, ledger, files)
        findings += said
    return Verification(tuple(findings), named, key, recomputed, checked)


def _compute_again(
    report: Mapping[str, Any], ledger: Mapping[str, Any], files: Mapping[str, bytes]
) -> tuple[tuple[str, ...], list[Finding]]:
    from synthfed.report import validate_report

    try:
        validate_report(report)
    except DossierError as error:
        return (), [Finding("report", "report.json", str(error))]
    if report["edition"] == "internal":
        return (), [Finding("report", "report.json", "is of the internal edition, which stays at the site")]
    basis = read_basis(files)
    if not isinstance(basis, Basis):
        return (), [basis]
    checked, findings = check_table(report, basis, files, ledger)
    counted, said = check_counts(report, basis, files, ledger)
    checked, findings = checked + counted, findings + said
    findings += check_model(files, basis, ledger)
    redrawn = [*check_derived(report, basis, ledger), *check_views(report, files)]
    if not redrawn:
        checked += ("lights, verdict and privacy statement derived again, every view drawn again: the same bytes",)
    return checked, [*findings, *redrawn]
