"""Writes a dossier whole or not at all, by one rename."""

import ctypes
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from synthfed.dossier.layout import PUBLIC_KEY, SIGNATURE, SUMS, check_name
from synthfed.dossier.sealing import sums_of
from synthfed.errors import DossierError


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
        check_name(name, inside=name in unsigned)
    if os.path.lexists(out):
        _check_replaceable(out, replace=replace)
    partial = out.with_name(f"{out.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    out.parent.mkdir(parents=True, exist_ok=True)
    sums = sums_of(files)
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


def _check_replaceable(out: Path, *, replace: bool) -> None:
    if not replace:
        raise DossierError(f"{out} exists; choose another folder with --out, or replace it on purpose")
    if out.is_symlink() or not out.is_dir() or (any(out.iterdir()) and not (out / SUMS).is_file()):
        raise DossierError(f"{out} is no dossier, so it is not replaced; choose another folder with --out")


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
