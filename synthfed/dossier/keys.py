"""The key that signs dossiers, kept at the coordinator."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.errors import DossierError


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
