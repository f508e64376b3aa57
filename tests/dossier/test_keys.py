"""The key that signs: one per coordinator, and its own."""

from pathlib import Path

import pytest

from synthfed.dossier import coordinator_key
from synthfed.errors import DossierError


def test_the_coordinator_has_one_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    first = coordinator_key(tmp_path / "home")
    assert coordinator_key(tmp_path / "home").private_bytes_raw() == first.private_bytes_raw()
    file = tmp_path / "home" / "coordinator.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["coordinator.key"]
    file.chmod(0o644)
    with pytest.raises(DossierError, match="0600"):
        coordinator_key(tmp_path / "home")
    file.chmod(0o600)
    file.write_bytes(b"short")
    with pytest.raises(DossierError, match="32"):
        coordinator_key(tmp_path / "home")
