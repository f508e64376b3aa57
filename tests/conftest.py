"""What every test shares: a state folder of its own, and real tables only where they are at hand."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _own_state_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHFED_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def beat_aml() -> Path:
    """The Beat AML table; the test is skipped where it is absent."""
    path = SHARED_DATA / "beataml" / "beataml_adult_newly_diagnosed.csv"
    if not path.is_file():
        pytest.skip("the Beat AML table is not here")
    return path
