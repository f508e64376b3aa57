"""The bundle that coordinator and sites each make from their own installation."""

import tomllib
from pathlib import Path

import pytest

from synthfed.errors import FederationError
from synthfed.federation.deployment.bundle import APP, _assemble, differing_files, install_bundle, installed_bundle

ROOT = Path(__file__).resolve().parents[3]


def test_it_starts_the_same_apps_with_the_same_settings_as_the_checkout():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert {**wanted, "fab-include": None} == {**APP, "fab-include": None}
    assert set(APP["fab-include"]) == set(wanted["fab-include"]) - {"/README.md"}


def test_its_sources_are_code_and_settings_and_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _assemble(tmp_path / name)
    one, two = (
        {path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )
    assert one == two
    assert {Path(name).suffix for name in one} == {".py", ".toml"}
    assert {"synthfed/federation/client_app.py", "pipelines/aml.toml", "datasets/aml/dictionary.toml"} <= set(one)


def test_what_is_no_bundle_is_refused_and_nothing_is_approved(tmp_path):
    (tmp_path / "x.fab").write_text("no bundle")
    with pytest.raises(FederationError, match="no Flower bundle"):
        install_bundle(tmp_path / "flower", tmp_path / "x.fab")
    assert installed_bundle(tmp_path / "flower") is None


def test_files_that_differ_between_two_bundles_are_named():
    import io
    import zipfile

    def bundle(**files: str) -> bytes:
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return held.getvalue()

    assert differing_files(bundle(a="1", b="2"), bundle(a="1", b="3", c="4")) == ["b", "c"]
