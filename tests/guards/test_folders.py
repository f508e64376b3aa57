"""Every folder of the package says what lives in it, shortly, and names all of it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 40
PACKAGES = sorted(path.parent for path in (ROOT / "synthfed").glob("*/__init__.py"))
OTHERS = ("synthfed", "synthfed/federation/deployment", "datasets", "pipelines", "reports", "tests")
DESCRIBED = [*PACKAGES, *(ROOT / name for name in OTHERS)]


def _named(readme: Path) -> set[str]:
    return set(re.findall(r"`(\w+\.py|\w+/)`", readme.read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", DESCRIBED, ids=lambda folder: folder.name)
def test_a_folder_says_in_a_screen_what_lives_there(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_it_names_every_module_and_nothing_else(folder: Path) -> None:
    named = _named(folder / "README.md")
    here = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    here |= {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert here <= named
    assert {name for name in named if not (folder / name).exists() and not (folder.parent / name).exists()} == set()
