"""The coordinator's and the hospitals' verbs as typed, over real processes: train, ask, score, finish, leave, stop."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from synthfed.dossier import read_report
from synthfed.federation.deployment.rehearsal import Rehearsal
from synthfed.federation.durable import write_durably
from synthfed.run.contents import pipeline_toml
from tests.deploy.test_processes import PIPELINE, rehearsal

__all__ = ["rehearsal"]  # the fixture

pytestmark = pytest.mark.deploy


def synthfed(*words: str | Path, code: int = 0) -> str:
    """What a verb says on a terminal, errors included."""
    command = [sys.executable, "-c", "from synthfed.cli import main; main()", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    said = done.stdout + done.stderr
    print(f"$ synthfed {' '.join(map(str, words))}\n{said}")
    assert done.returncode == code, said
    return said


def allow(up: Rehearsal, site: str, **limits: object) -> None:
    """Edit a hospital's policy.toml by hand."""
    file = up.sites[site].folder / "policy.toml"
    text = file.read_text(encoding="utf-8")
    for name, value in limits.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    write_durably(file, text.encode())


def test_a_federation_trains_answers_scores_and_finishes_as_its_messages_say(rehearsal, tmp_path):
    """Each message that names a next step is taken at its word."""
    home, sites = rehearsal.coordinator.folder, {name: place.folder for name, place in rehearsal.sites.items()}
    pipeline, dossier = tmp_path / "pipeline.toml", tmp_path / "dossier"
    pipeline.write_text(pipeline_toml(PIPELINE), encoding="utf-8")
    for site in sites:
        allow(rehearsal, site, epsilon_total=30.0)

    said = synthfed("coordinator", "submit", home, pipeline, "--name", "first")
    assert f"next: synthfed coordinator finish {home} first" in said
    assert synthfed("coordinator", "status", home).count(": connected") == 3

    asked = ("coordinator", "ask", home, pipeline, "median age_years", "count by sex", "--epsilon", "1")
    said = synthfed(*asked, code=2)
    assert "the policy allows no more question runs" in said
    assert "synthfed site approve FOLDER --questions NUMBER" in said
    again = re.search(r"synthfed (coordinator submit .* --name ask-1 --resume)", said)
    assert again is not None
    for site in ("lyon", "milano"):
        synthfed("site", "approve", sites[site], "--questions", "3")
    assert "site 'barcelona' refused" in synthfed(*again[1].split(), code=2)  # the others set its budget aside
    (open_run,) = re.findall(r"synthfed (site leave \S+ \w+)", synthfed("site", "status", sites["lyon"]))
    assert "left         run" in synthfed(*open_run.split())
    assert "open run" not in synthfed("site", "status", sites["lyon"])
    synthfed("site", "approve", sites["barcelona"], "--questions", "3")
    assert "the hospital left this run for good" in synthfed(*again[1].split(), code=2)

    said = synthfed(*asked)
    assert "3 sites: tables that stayed at their hospitals" in said
    assert "epsilon 1, delta 1e-05 per patient" in said
    assert "median" in synthfed("coordinator", "answers", home, "ask-2")

    said = synthfed("coordinator", "score", home, "first")
    assert f"next: synthfed coordinator finish {home} first --scores first-scores" in said
    synthfed("coordinator", "finish", home, "first", "--out", dossier, "--scores", "first-scores")
    assert "verified:" in synthfed("verify", dossier)
    assert "holdout: epsilon" in synthfed("verify", dossier)
    assert read_report(dossier)

    said = synthfed("coordinator", "status", home)
    assert "run          first: closed by every site; make the dossier with `finish`" in said
    assert "run          ask-2: closed by every site; read it with `answers`" in said
    assert "stopped   the coordinator" in synthfed("coordinator", "stop", home)
    assert "there is nothing to stop" in synthfed("coordinator", "stop", home, code=2)
    assert "is not up; start it with: synthfed coordinator up" in synthfed(*asked, code=2)
