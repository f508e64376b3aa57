"""Put an export on disk, whole or not at all, with a note that says what it is.

The note, `SYNTHETIC.md`, also marks the folder as an export: only such a folder is ever replaced.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from synthfed.errors import ConfigError

NOTE = "SYNTHETIC.md"


def write_folder(out: Path, files: Mapping[str, bytes], *, note: str, replace: bool = False) -> list[Path]:
    """Write files and note into a new folder, which appears under its name when it is complete.

    Args:
        files: Content by relative path.
        replace: Put it in the place of an earlier export.

    Returns:
        The paths written, the note last.

    Raises:
        ConfigError: `out` exists and `replace` is false, or it is no export.
    """
    check_place(out, replace=replace)
    out = out.absolute()
    partial, previous = out.with_name(f"{out.name}.partial"), out.with_name(f"{out.name}.previous")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name, content in {**files, NOTE: note.encode()}.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{name!r} leaves the folder")
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / path).write_bytes(content)
        if out.exists():
            os.rename(out, previous)
        os.rename(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(previous, ignore_errors=True)
    return [out / name for name in (*files, NOTE)]


def check_place(out: Path, *, replace: bool) -> None:
    """Whether an export may be written there; asked before the work of writing.

    Raises:
        ConfigError: It may not.
    """
    if not os.path.lexists(out):
        return
    if not replace:
        raise ConfigError(f"{out} exists; choose another folder with --out, or add --replace")
    if out.is_symlink() or not out.is_dir() or not (out / NOTE).is_file():
        raise ConfigError(f"{out} was not written by `synthfed export`, so it is not replaced; choose another folder")


def synthetic_note(*, title: str, disease: str, patients: int, losses: Sequence[str], origin: str) -> str:
    """What the folder holds, for whoever finds it."""
    lines = [
        "# Synthetic patients",
        "",
        "Every patient in this folder is synthetic: no row stems from a person.",
        "",
        f"- table: {disease or 'patients'}, {patients} synthetic patients",
        f"- format: {title}",
        f"- written by synthfed export from {origin}",
    ]
    if losses:
        lines += ["", "Not expressed in this format:", "", *(f"- {line}" for line in losses)]
    return "\n".join(lines) + "\n"
