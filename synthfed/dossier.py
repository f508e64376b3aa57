"""The dossier: a release folder that is written whole or not at all, signed, and checked by anybody who receives it.

`SHA256SUMS` names every file with its hash (the format of `sha256sum`), `signatures/SHA256SUMS.sig` is an Ed25519
signature over its bytes and `signatures/coordinator.pem` the public key, so that a reader without synthfed can check:

    sha256sum --check SHA256SUMS
    openssl pkeyutl -verify -pubin -inkey signatures/coordinator.pem -rawin -in SHA256SUMS -sigfile \
signatures/SHA256SUMS.sig

The signature shows that the holder of that key wrote exactly these files. Whose key it is, readers learn elsewhere (by
voice, from a web page): a forger can sign a forged folder with a key of their own. Files under `internal/` stay with
the data holder; sums and signature leave them out.
"""

import ctypes
import hashlib
import json
import math
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from synthfed.errors import DossierError, LedgerBroken, SecAggError

SUMS = "SHA256SUMS"
SIGNATURE = "signatures/SHA256SUMS.sig"
PUBLIC_KEY = "signatures/coordinator.pem"
INTERNAL = "internal"

Kind = Literal["altered", "missing", "extra", "signature", "ledger", "audit", "report"]

_DESCRIBED = {"table_sha256": "synthetic.csv", "model_sha256": "model.synthfed"}  # fields of report.json
_SIX_DIGITS = 5.1e-6  # relative: report.json rounds to six significant digits


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a dossier."""

    kind: Kind
    name: str
    note: str

    def __str__(self) -> str:
        return f"{self.kind:9} {self.name}: {self.note}"


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What one patient's data may have changed, from nothing but the events of a ledger.

    Attributes:
        epsilon_local: The same against all other sites together; equal where each site draws all its own noise.
        events: How many charges it was computed from.
        promised: Whether the noise was secret, so that the numbers are in force.
    """

    population: str
    epsilon: float
    epsilon_local: float
    delta: float
    events: int
    promised: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify_dossier` found.

    Attributes:
        findings: Empty when everything holds.
        files: How many files the sums cover.
        signer: Ed25519 public key, hex, that signed; empty when the signature does not hold.
        recomputed: Per population of patients what the ledger's events cost, computed again; empty when it cannot be.
    """

    findings: tuple[Finding, ...]
    files: int
    signer: str
    recomputed: tuple["Recomputed", ...] = ()

    @property
    def ok(self) -> bool:
        return not self.findings


def write_dossier(
    out: Path,
    files: Mapping[str, bytes],
    *,
    key: Ed25519PrivateKey,
    replace: bool = False,
    unsigned: Mapping[str, bytes] | None = None,
) -> Path:
    """Write, sign and publish a dossier in one rename.

    Everything is written and synced in a sibling folder `<out>.partial` first; a writer that is killed leaves that
    folder, never a half dossier, and the next writer removes it.

    Args:
        files: Content by relative path, such as `report.json` or `figures/marginals.svg`.
        replace: Swap with an existing dossier; readers see the old one or the new one, whole. Where the system cannot
            swap folders in one step, the old one is moved to `<out>.previous` for that moment.
        unsigned: Files below `internal/`, outside sums and signature.

    Raises:
        DossierError: `out` exists and `replace` is false, or is no dossier; a name is not a plain relative path.
    """
    out = out.absolute()
    unsigned = dict(unsigned or {})
    for name in [*files, *unsigned]:
        _check_name(name, inside=name in unsigned)
    if os.path.lexists(out):
        _check_replaceable(out, replace=replace)
    partial = out.with_name(f"{out.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    out.parent.mkdir(parents=True, exist_ok=True)
    sums = _sums(files)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = {**files, SUMS: sums, SIGNATURE: key.sign(sums), PUBLIC_KEY: public}
    try:
        for name, content in {**signed, **unsigned}.items():
            _write_synced(partial / name, content)
        for folder in [partial, *(path for path in partial.rglob("*") if path.is_dir())]:
            _sync_folder(folder)
        _publish(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync_folder(out.parent)
    return out


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
    try:
        sums = (path / SUMS).read_bytes()
    except OSError as error:
        raise DossierError(f"{path} is no dossier: {SUMS} cannot be read; give the folder that a run wrote") from error
    findings: list[Finding] = []
    key = _check_signature(path, sums, signer, findings)
    named = _parse_sums(sums, findings)
    present = set(_present(path))
    for name in sorted(set(named) - present):
        findings.append(Finding("missing", name, "named in SHA256SUMS, not in the folder"))
    for name in sorted(present - set(named) - {SUMS, SIGNATURE, PUBLIC_KEY}):
        findings.append(Finding("extra", name, "in the folder, not named in SHA256SUMS"))
    for name in sorted(present & set(named)):
        file = path / name
        if file.is_symlink() or not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != named[name]:
            findings.append(Finding("altered", name, "content differs from its hash in SHA256SUMS"))
    ledger_findings, recomputed = _check_ledger(path)
    findings += ledger_findings
    findings += _check_report(path)
    findings += _check_audit(path)
    return Verification(tuple(findings), len(named), key, recomputed)


def read_report(path: Path) -> dict[str, Any]:
    """The dossier's `report.json`.

    Raises:
        DossierError: It is missing or no JSON object.
    """
    try:
        report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DossierError(f"{path} holds no readable report.json; give the folder that a run wrote") from error
    if not isinstance(report, dict):
        raise DossierError(f"{path / 'report.json'} holds {type(report).__name__}; it must be a JSON object")
    return report


def coordinator_key(home: Path) -> Ed25519PrivateKey:
    """The key that signs dossiers: kept in `home`, made at first use, readable by its owner only.

    Raises:
        DossierError: The key file can be read by others, or is not 32 bytes.
    """
    file = home / "coordinator.key"
    if not file.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = file.with_name(f"coordinator.key.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(os.urandom(32))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(fresh, file)  # fails when another process was first: its key is the key
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    if file.stat().st_mode & 0o077:
        raise DossierError(f"{file} can be read by others; set its mode to 0600, or remove it to get a new key")
    raw = file.read_bytes()
    if len(raw) != 32:
        raise DossierError(f"{file} has {len(raw)} bytes; a key has 32: restore it, or remove it to get a new key")
    return Ed25519PrivateKey.from_private_bytes(raw)


def _check_name(name: str, *, inside: bool) -> None:
    path = PurePosixPath(name)
    plain = name == str(path) and not path.is_absolute() and ".." not in path.parts and path.parts
    if not plain or "\\" in name or not name.isprintable():
        raise DossierError(f"dossier file {name!r} is not a plain relative path with forward slashes")
    if inside != (path.parts[0] == INTERNAL) or path.parts[0] in (SUMS, "signatures"):
        raise DossierError(
            f"dossier file {name!r} is in the wrong place: {INTERNAL}/ is for unsigned files only, and {SUMS} and "
            "signatures/ are written by the dossier itself"
        )


def _check_replaceable(out: Path, *, replace: bool) -> None:
    if not replace:
        raise DossierError(f"{out} exists; choose another folder with --out, or replace it on purpose")
    if out.is_symlink() or not out.is_dir() or (any(out.iterdir()) and not (out / SUMS).is_file()):
        raise DossierError(f"{out} is no dossier, so it is not replaced; choose another folder with --out")


def _sums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def _write_synced(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(partial: Path, out: Path) -> None:
    if not out.exists():
        os.rename(partial, out)
    elif _exchange(partial, out):
        shutil.rmtree(partial)
    else:
        previous = out.with_name(f"{out.name}.previous")
        os.rename(out, previous)
        os.rename(partial, out)
        shutil.rmtree(previous)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step: renameat2(2) with RENAME_EXCHANGE. False where the system has none."""
    if not sys.platform.startswith("linux"):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: linux/fcntl.h, linux/fs.h
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    return bool(libc.renameat2(here, os.fsencode(first), here, os.fsencode(second), swap) == 0)


def _present(path: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(path):
        relative = Path(folder).relative_to(path)
        if relative == Path():
            folders[:] = [name for name in folders if name != INTERNAL]
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*files, *links]:
            yield (relative / name).as_posix()


def _check_signature(path: Path, sums: bytes, signer: str | None, findings: list[Finding]) -> str:
    try:
        pem = (path / PUBLIC_KEY).read_bytes()
        key = load_pem_public_key(pem)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        if key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) != pem:
            raise ValueError("not in canonical form")
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        findings.append(Finding("signature", PUBLIC_KEY, f"the public key cannot be read ({error})"))
        return ""
    try:
        key.verify((path / SIGNATURE).read_bytes(), sums)
    except (OSError, InvalidSignature):
        findings.append(Finding("signature", SIGNATURE, f"does not sign {SUMS} under {PUBLIC_KEY}: one was altered"))
        return ""
    found = key.public_bytes_raw().hex()
    if signer is not None and found != signer:
        findings.append(Finding("signature", PUBLIC_KEY, f"signed by {found[:16]}…, wanted {signer[:16]}…"))
    return found


def _parse_sums(sums: bytes, findings: list[Finding]) -> dict[str, str]:
    named: dict[str, str] = {}
    for number, line in enumerate(sums.decode(errors="replace").splitlines(), start=1):
        digest, gap, name = line[:64], line[64:66], line[66:]
        if gap != "  " or not name or name in named or name.startswith("/") or ".." in PurePosixPath(name).parts:
            findings.append(Finding("altered", SUMS, f"line {number} is not '<sha256>  <name>'"))
            continue
        named[name] = digest
    return named


def _check_ledger(path: Path) -> tuple[list[Finding], tuple[Recomputed, ...]]:
    from synthfed.privacy.statement import inconsistencies, recompute_populations

    try:
        ledger = json.loads((path / "ledger.json").read_text(encoding="utf-8"))
        problems = inconsistencies(ledger)
    except (OSError, ValueError, LedgerBroken) as error:
        return [Finding("ledger", "ledger.json", f"cannot be read ({type(error).__name__})")], ()
    if problems:
        return [Finding("ledger", "ledger.json", problem) for problem in problems], ()
    alone = recompute_populations(ledger, alone=True)
    return [], tuple(
        Recomputed(
            population=name,
            epsilon=epsilon,
            epsilon_local=alone[name],
            delta=ledger["populations"][name]["delta"],
            events=sum(event["population"] == name for event in ledger["events"]),
            promised=bool(ledger["formal"]),
        )
        for name, epsilon in recompute_populations(ledger).items()
    )


def _check_report(path: Path) -> list[Finding]:
    """That the report speaks of the files beside it: a signed folder can still hold another run's report."""
    try:
        report = read_report(path)
        ledger = json.loads((path / "ledger.json").read_text(encoding="utf-8"))
    except DossierError:
        return [Finding("report", "report.json", "cannot be read")]
    except (OSError, ValueError):
        return []  # said by the check of the ledger
    said = [
        f"{field} is not the hash of {name}"
        for field, name in _DESCRIBED.items()
        if (path / name).is_file() and report.get(field) != hashlib.sha256((path / name).read_bytes()).hexdigest()
    ]
    pipeline, privacy = report.get("pipeline"), report.get("privacy")
    try:
        digest = _digest_of((path / "pipeline.toml").read_text(encoding="utf-8"))
        if not isinstance(pipeline, dict) or pipeline.get("sha256") != digest:
            said.append("pipeline.sha256 is not the digest of pipeline.toml")
    except FileNotFoundError:
        pass  # as with the table: what lies there is compared
    except (OSError, ValueError, TypeError, KeyError):
        said.append("pipeline.sha256 cannot be compared: pipeline.toml cannot be read")
    if not isinstance(privacy, dict) or not _same(privacy.get("statement"), ledger):
        said.append("privacy.statement is not what ledger.json states")
    return [Finding("report", "report.json", line) for line in said]


def _digest_of(text: str) -> str:
    """`Pipeline.digest` of a pipeline file that holds every setting, whatever settings this version knows."""
    raw = tomllib.loads(text)
    if math.isinf(raw["privacy"]["epsilon"]):
        raw["privacy"]["epsilon"] = "inf"
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _same(shown: Any, exact: Any) -> bool:
    """Whether `shown` is `exact` but for the rounding of `report.json`."""
    if isinstance(exact, dict):
        return isinstance(shown, dict) and set(shown) == set(exact) and all(_same(shown[k], exact[k]) for k in exact)
    if isinstance(exact, list):
        return isinstance(shown, list) and len(shown) == len(exact) and all(map(_same, shown, exact))
    if isinstance(exact, float):
        return isinstance(shown, int | float) and abs(shown - exact) <= _SIX_DIGITS * abs(exact)
    return bool(shown == exact)


def site_logs(path: Path) -> dict[str, tuple[bytes, list[str]]]:
    """Each site's public key and audit log, as the dossier holds them; nothing is checked but their form.

    Raises:
        DossierError: `audit.jsonl` or `audit_keys.json` is missing or damaged, or they do not name as many sites.
    """
    try:
        keys: dict[str, str] = json.loads((path / "audit_keys.json").read_text(encoding="utf-8"))
        logs = _split_logs((path / "audit.jsonl").read_text(encoding="utf-8").splitlines())
        pairs = zip(keys.items(), logs, strict=True)
        return {name: (bytes.fromhex(key), lines) for (name, key), lines in pairs}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DossierError(
            f"{path} has no audit logs that can be read ({type(error).__name__}: {error}); give a whole dossier folder"
        ) from error


def _check_audit(path: Path) -> list[Finding]:
    """Each site's log, where there is one: order and links, and signatures where `audit_keys.json` names the keys."""
    from synthfed.secagg.audit import verify_lines

    if not (path / "audit.jsonl").exists():
        return []
    try:
        if not (path / "audit_keys.json").exists():
            _split_logs((path / "audit.jsonl").read_text(encoding="utf-8").splitlines())
            return []
        for key, lines in site_logs(path).values():
            verify_lines(lines, key)
    except (DossierError, OSError, ValueError, TypeError, KeyError, AttributeError, SecAggError) as error:
        return [Finding("audit", "audit.jsonl", f"a site's chain does not hold: {error}")]
    return []


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
