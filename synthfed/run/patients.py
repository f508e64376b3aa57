"""What must outlast one run over real patients: the ledgers, and the key that decides who is held out.

A patient's losses add up over runs, so a site's ledger is kept per data source and not per run.

The hold-out is a keyed hash of each patient's id. With another key at the next run, patients held out before would
train now, and the two populations would no longer be disjoint; so the key is kept per data source, with mode 0600.
"""

import hashlib
import math
import os
from pathlib import Path

from synthfed.resources import state_home
from synthfed.run.training import LedgerHome


def source_folder(source: Path) -> Path:
    """The state folder of one data source, named by its resolved path."""
    name = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    return state_home() / "sources" / name


def ledger_home(source: Path, epsilon_limit: float | None) -> LedgerHome:
    """The lasting ledgers of one data source; without a limit they record and refuse nothing."""
    limit = math.inf if epsilon_limit is None else epsilon_limit
    return LedgerHome(source_folder(source) / "sites", limit)


def split_key_of(source: Path) -> bytes:
    """The hold-out key of a data source, made at its first use. Who holds it can tell trainers from held-out."""
    folder = source_folder(source)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "split.key"
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return bytes.fromhex(file.read_text().strip())
    with os.fdopen(handle, "w") as out:
        key = os.urandom(32)
        out.write(key.hex() + "\n")
    return key
