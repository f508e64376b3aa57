"""What `flwr build` ships to hospitals: code and settings, never a row."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sources() -> dict[str, bytes]:
    """The checkout as `flwr build` sees it, read once; environments and history are ignored by .gitignore anyway."""
    found: dict[str, bytes] = {}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in (".venv", ".git") and not name.endswith("_cache")]
        for name in files:
            path = Path(folder) / name
            found[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def bundle(sources) -> bytes:
    return build_fab_from_files(sources)[0]


def test_the_bundle_holds_code_and_toml_only_and_stays_small(bundle):
    names = zipfile.ZipFile(io.BytesIO(bundle)).namelist()
    assert "synthfed/federation/client_app.py" in names
    assert "pipelines/aml.toml" in names
    assert "datasets/aml/dictionary.toml" in names
    assert {Path(name).suffix for name in names} <= {".py", ".toml", ".md", ""}
    assert {name for name in names if not Path(name).suffix} <= {".info/CONTENT", "LICENSE"}
    assert not [name for name in names if name.startswith(("tests/", "reports/runs", ".venv"))]
    assert len(bundle) < 5_000_000  # stored, not compressed; Flower takes 10 MB


def test_the_same_sources_give_the_same_bundle(bundle, sources):
    assert build_fab_from_files(sources)[0] == bundle


def test_both_apps_load_from_the_unpacked_bundle(bundle, tmp_path):
    zipfile.ZipFile(io.BytesIO(bundle)).extractall(tmp_path)
    script = (
        "import synthfed, sys\n"
        "from synthfed.federation.client_app import app as client\n"
        "from synthfed.federation.server_app import app as server\n"
        "from synthfed.pipeline import Pipeline\n"
        f"assert synthfed.__file__.startswith({str(tmp_path)!r})\n"
        "assert Pipeline.load('aml').disease == 'aml'\n"
        "assert 'torch' not in sys.modules\n"
        "print(type(client).__name__, type(server).__name__)\n"
    )
    environment = dict(os.environ, PYTHONPATH=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.stdout.split() == ["ClientApp", "ServerApp"]
