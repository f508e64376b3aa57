"""Written whole or not at all, whoever is killed when; other tools can check it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from synthfed.dossier import write_dossier, writing
from synthfed.dossier.layout import SUMS
from synthfed.errors import DossierError
from tests.dossier.parts import KEY, snapshot, unsealed


def test_the_same_files_make_the_same_dossier(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    first = write_dossier(tmp_path / "first", files, key=KEY)
    second = write_dossier(tmp_path / "second", dict(reversed(files.items())), key=KEY)
    assert snapshot(first) == snapshot(second)


def test_internal_files_stay_outside_sums_and_signature(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY, unsigned={"internal/report.json": b"{}"})
    assert b"internal" not in (out / SUMS).read_bytes()
    shutil.rmtree(out / "internal")
    assert unsealed(out) == []


def test_an_existing_dossier_is_kept_unless_replaced_on_purpose(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    before = snapshot(out)
    with pytest.raises(DossierError, match="exists"):
        write_dossier(out, {"other": b"x"}, key=KEY)
    assert snapshot(out) == before
    write_dossier(out, {**files, "figures/marginals.svg": b"new"}, key=KEY, replace=True)
    assert (out / "figures" / "marginals.svg").read_bytes() == b"new"
    assert unsealed(out) == []
    assert [path.name for path in tmp_path.iterdir()] == ["aml"]


def test_a_folder_that_is_no_dossier_is_never_replaced(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(DossierError, match="no dossier"):
        write_dossier(tmp_path / "thesis", files, key=KEY, replace=True)
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_replacing_works_where_folders_cannot_be_swapped(
    tmp_path: Path, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    monkeypatch.setattr(writing, "_exchange", lambda first, second: False)
    write_dossier(out, {**files, "figures/marginals.svg": b"new"}, key=KEY, replace=True)
    assert unsealed(out) == []
    assert [path.name for path in tmp_path.iterdir()] == ["aml"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux swaps folders in one step")
def test_replacing_swaps_in_one_step(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert writing._exchange(tmp_path / "first", tmp_path / "second")
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["first"]


@pytest.mark.parametrize("moment", range(1, 10))
@pytest.mark.parametrize("replace", [False, True])
def test_a_writer_killed_at_any_sync_leaves_the_old_dossier_or_the_new_one(
    tmp_path: Path, files: Mapping[str, bytes], moment: int, replace: bool
) -> None:
    """A child process is ended without clean-up at its n-th fsync; at most `.partial` is left, and swept later."""
    out = tmp_path / "aml"
    if replace:
        write_dossier(out, files, key=KEY)
    new = {**files, "figures/marginals.svg": b"new"}
    child = os.fork()
    if child == 0:
        calls, real = iter(range(1, 1000)), os.fsync
        os.fsync = lambda descriptor: os._exit(9) if next(calls) == moment else real(descriptor)  # type: ignore[assignment]
        write_dossier(out, new, key=KEY, replace=replace)
        os._exit(0)
    os.waitpid(child, 0)
    assert out.exists() == replace or unsealed(out) == []
    if out.exists():
        assert unsealed(out) == []
    write_dossier(out, new, key=KEY, replace=True)
    assert unsealed(out) == []
    assert [path.name for path in tmp_path.iterdir()] == ["aml"]


def test_an_interrupted_writer_cleans_up(
    tmp_path: Path, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(partial: Path, out: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_publish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_dossier(tmp_path / "aml", files, key=KEY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../up", "/root", "a//b", "a\\b", "", "SHA256SUMS", "signatures/x", "internal/x", "new\nline", "./a"]
)
def test_a_name_that_leaves_or_breaks_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DossierError):
        write_dossier(tmp_path / "aml", {name: b""}, key=KEY)
    assert list(tmp_path.iterdir()) == []


def test_other_tools_can_check_it(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    if shutil.which("sha256sum") is None or shutil.which("openssl") is None:
        pytest.skip("sha256sum or openssl is not installed")
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    command = "openssl pkeyutl -verify -pubin -inkey signatures/coordinator.pem -rawin -in SHA256SUMS -sigfile"
    subprocess.run([*command.split(), "signatures/SHA256SUMS.sig"], cwd=out, check=True, stdout=subprocess.DEVNULL)
