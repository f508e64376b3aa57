"""Where things lie in a dossier, and which names a file of it may have."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from synthfed.errors import DossierError

SUMS = "SHA256SUMS"
SIGNATURE = "signatures/SHA256SUMS.sig"
PUBLIC_KEY = "signatures/coordinator.pem"
INTERNAL = "internal"


def check_name(name: str, *, inside: bool) -> None:
    """Refuse a name that leaves the folder, or is in the wrong part of it.

    Args:
        inside: Whether the file belongs under `internal/`.

    Raises:
        DossierError: Naming what is wrong.
    """
    path = PurePosixPath(name)
    plain = name == str(path) and not path.is_absolute() and ".." not in path.parts and path.parts
    if not plain or "\\" in name or not name.isprintable():
        raise DossierError(f"dossier file {name!r} is not a plain relative path with forward slashes")
    if inside != (path.parts[0] == INTERNAL) or path.parts[0] in (SUMS, "signatures"):
        raise DossierError(
            f"dossier file {name!r} is in the wrong place: {INTERNAL}/ is for unsigned files only, and {SUMS} and "
            "signatures/ are written by the dossier itself"
        )


def names_in(path: Path) -> Iterator[str]:
    """Every file and link of a dossier but those under `internal/`."""
    for folder, folders, files in os.walk(path):
        relative = Path(folder).relative_to(path)
        if relative == Path():
            folders[:] = [name for name in folders if name != INTERNAL]
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*files, *links]:
            yield (relative / name).as_posix()
