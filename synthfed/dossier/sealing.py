"""Checksums of a dossier and the signature over them: what shows that no byte changed since it was signed."""

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from synthfed.dossier.findings import Finding
from synthfed.dossier.layout import PUBLIC_KEY, SIGNATURE, SUMS


def sums_of(files: Mapping[str, bytes]) -> bytes:
    """The bytes of `SHA256SUMS`."""
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def check_signature(files: Mapping[str, bytes], signer: str | None) -> tuple[str, list[Finding]]:
    """The key, hex, that signed the checksums (empty when the signature does not hold), and what is wrong with it.

    Args:
        signer: The Ed25519 public key, hex, that must have signed; None accepts the key in the folder.
    """
    try:
        pem = files[PUBLIC_KEY]
        key = load_pem_public_key(pem)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        if key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) != pem:
            raise ValueError("not in canonical form")
    except KeyError:
        return "", [Finding("signature", PUBLIC_KEY, "is missing")]
    except (ValueError, UnsupportedAlgorithm) as error:
        return "", [Finding("signature", PUBLIC_KEY, f"the public key cannot be read ({error})")]
    try:
        key.verify(files[SIGNATURE], files[SUMS])
    except (KeyError, InvalidSignature):
        return "", [Finding("signature", SIGNATURE, f"does not sign {SUMS} under {PUBLIC_KEY}: one was altered")]
    found = key.public_bytes_raw().hex()
    if signer is not None and found != signer:
        return found, [Finding("signature", PUBLIC_KEY, f"signed by {found[:16]}…, wanted {signer[:16]}…")]
    return found, []


def check_sums(files: Mapping[str, bytes]) -> tuple[int, list[Finding]]:
    """How many files the checksums name, and every file that is altered, missing or not named."""
    named, findings = _parse_sums(files[SUMS])
    present = set(files) - {SUMS, SIGNATURE, PUBLIC_KEY}
    for name in sorted(set(named) - set(files)):
        findings.append(Finding("missing", name, f"named in {SUMS}, not in the folder"))
    for name in sorted(present - set(named)):
        findings.append(Finding("extra", name, f"in the folder, not named in {SUMS}"))
    for name in sorted(set(files) & set(named)):
        if hashlib.sha256(files[name]).hexdigest() != named[name]:
            findings.append(Finding("altered", name, f"content differs from its hash in {SUMS}"))
    return len(named), findings


def _parse_sums(sums: bytes) -> tuple[dict[str, str], list[Finding]]:
    named: dict[str, str] = {}
    findings = []
    for number, line in enumerate(sums.decode(errors="replace").splitlines(), start=1):
        digest, gap, name = line[:64], line[64:66], line[66:]
        if gap != "  " or not name or name in named or name.startswith("/") or ".." in PurePosixPath(name).parts:
            findings.append(Finding("altered", SUMS, f"line {number} is not '<sha256>  <name>'"))
            continue
        named[name] = digest
    return named, findings
