"""Runs of a deployed federation: submit, watch, go on after a stop.

A run lives in `<coordinator>/runs/<name>/`: its pipeline, the roster it began with, progress, checkpoints and, once
every site has closed it, the outcome. Flower's run id changes with every `flwr run`; the folder is what lasts.
"""

import json
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w

from synthfed.errors import FederationError
from synthfed.federation.deployment.bundle import Bundle, build_bundle
from synthfed.federation.deployment.coordinator_home import CoordinatorHome
from synthfed.federation.deployment.flower import CONNECTION, FlowerFailed, ask, call
from synthfed.federation.deployment.superlink import connected, node_ids, require_running
from synthfed.federation.durable import write_durably
from synthfed.federation.inquiry import SCHEMA as INQUIRY
from synthfed.federation.scoring import SCHEMA as SCORING
from synthfed.federation.server_app import FAILED, PROGRESS

Kind = Literal["trains", "asks", "scores"]
_KINDS: Mapping[str, Kind] = {INQUIRY: "asks", SCORING: "scores"}
_NEXT: Mapping[Kind, str] = {
    "trains": "make the dossier with `finish`",
    "asks": "read it with `answers`",
    "scores": "put it into the dossier of the run it scored, with `finish --scores`",
}
_DOES: Mapping[Kind, str] = {"trains": "a round", "asks": "questions", "scores": "counting held-out patients"}
_LEFT = "(left)"  # the code with which a site refuses a run that it left
_FLOWER_RUN = "flower-run"
_ENDS = ("finished:",)  # "finished:completed", "finished:failed", "finished:stopped"


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What is known of a run without asking any site.

    Attributes:
        rounds_done: Finished rounds.
        finished: Whether every site has closed it, so that `finish` can make a dossier.
        begun: Whether its manifest is signed.
        kind: What it does; known once the manifest is signed.
        stopped: Why it ended last, where its ServerApp could say so.
    """

    name: str
    rounds_done: int
    rounds: int | None
    finished: bool
    begun: bool
    kind: Kind = "trains"
    stopped: str = ""

    @property
    def words(self) -> str:
        """The status in words."""
        if self.finished:
            return f"closed by every site; {_NEXT[self.kind]}"
        if not self.begun:
            return "submitted; no site was asked yet"
        done = f"{self.rounds_done} of {self.rounds or '?'} rounds done"
        if not self.stopped:
            return done
        return f"{done}; it stopped ({self.stopped})" + (", go on with `submit --resume`" if self.goes_on else "")

    @property
    def goes_on(self) -> bool:
        """Whether a run that stopped can be gone on with: not without a site that left it for good."""
        return _LEFT not in self.stopped


def status_of(folder: Path) -> RunStatus:
    """Read a run's folder."""
    lines = progress_of(folder)
    return RunStatus(
        name=folder.name,
        rounds_done=max((int(line["round_index"]) + 1 for line in lines), default=0),
        rounds=int(lines[-1]["rounds"]) if lines else None,
        finished=is_closed(folder),
        begun=(folder / "manifest.json").exists(),
        kind=_kind_of(folder),
        stopped=_failure_in(folder),
    )


def _failure_in(folder: Path) -> str:
    file = folder / FAILED
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def _kind_of(folder: Path) -> Kind:
    if not (folder / "manifest.json").exists():
        return "trains"
    schema = json.loads((folder / "manifest.json").read_bytes())["schema"]
    return _KINDS.get(schema, "trains")


def is_closed(folder: Path) -> bool:
    """Whether the outcome lies there whole: the audit chain of every site of the roster is written last."""
    names = (folder / "roster.toml").read_text(encoding="utf-8") if (folder / "roster.toml").exists() else ""
    sites = [site["name"] for site in tomllib.loads(names).get("site", [])]
    return bool(sites) and all((folder / f"audit-{site}.jsonl").exists() for site in sites)


def progress_of(folder: Path) -> list[Mapping[str, Any]]:
    """What the ServerApp said after each round, by round; a round that ended twice counts as it ended last."""
    file = folder / PROGRESS
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    found: dict[int, Mapping[str, Any]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the process was killed while it wrote this line
        found[int(entry["round_index"])] = entry
    return [found[index] for index in sorted(found)]


def submit(
    home: CoordinatorHome, folder: Path, *, resume: bool, say: Callable[[str], None], patience_s: float = 120.0
) -> int:
    """Start a run, or go on with it; Flower's run id.

    Raises:
        FederationError: The coordinator is down, or sites are not connected in time.
        FlowerFailed: Flower refused.
    """
    require_running(home)
    _wait_for_sites(home, say=say, patience_s=patience_s)
    bundle: Bundle = build_bundle(home.flwr_home)
    say(f"code      {bundle.file.name} (sha256 {bundle.sha256[:16]}...); a site runs it only if it approved the same")
    config = {"pipeline": str(folder / "pipeline.toml"), "out-dir": str(folder), "resume": resume}
    write_durably(folder / "run-config.toml", tomli_w.dumps(config).encode())
    arguments = ["run", str(bundle.sources), CONNECTION, "--run-config", str(folder / "run-config.toml")]
    answer = ask(arguments, flwr_home=home.flwr_home)
    say("running   each message starts a process at each site, so a round takes seconds to minutes")
    number = int(answer["run-id"])
    write_durably(folder / _FLOWER_RUN, str(number).encode())
    return number


def wait(
    home: CoordinatorHome, folder: Path, *, say: Callable[[str], None], poll_s: float = 2.0, ask_every_s: float = 12.0
) -> None:
    """Follow a submitted run to its end, round by round.

    Raises:
        FlowerFailed: The run failed or was stopped; what was trained can be gone on with.
    """
    number, told, asked = _flower_run(folder), status_of(folder).rounds_done, time.monotonic()
    while True:
        for line in progress_of(folder)[told:]:
            told += 1
            stage = line.get("stage") or _DOES[status_of(folder).kind]
            say(
                f"round {line['round_index'] + 1} of {line['rounds']}: {stage}; epsilon {line['epsilon_so_far']:.3g}, "
                f"{_size(int(line['bytes_moved']))} moved, {line['seconds']:.0f} s"
            )
            if line.get("by_relay"):
                say(f"          direct links that failed, so that sealed parts came through here: {_listed(line)}")
        if is_closed(folder):
            return
        if time.monotonic() - asked > ask_every_s:
            asked = time.monotonic()
            runs = ask(["list", "--run-id", str(number), CONNECTION], flwr_home=home.flwr_home)["runs"]
            state = str(runs[0]["status"])
            if state.startswith(_ENDS):
                break
        time.sleep(poll_s)
    if state != "finished:completed" or not is_closed(folder):
        why = _why(home, folder, number)
        again = f"synthfed coordinator submit {home.folder} --name {folder.name} --resume"
        rest = "" if _LEFT in why else f". When that is settled, go on with: {again}"
        raise FlowerFailed(f"run {folder.name!r} ended as {state!r}: {why}{rest}")


def _listed(line: Mapping[str, Any]) -> str:
    return ", ".join(line["by_relay"])


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def stop_run(home: CoordinatorHome, folder: Path) -> None:
    """Tell Flower to end a run; finished rounds stay, and it can be resumed.

    Raises:
        FlowerFailed: Flower knows no such run, or it ended already.
    """
    ask(["stop", str(_flower_run(folder)), CONNECTION], flwr_home=home.flwr_home)


def _flower_run(folder: Path) -> int:
    try:
        return int((folder / _FLOWER_RUN).read_text())
    except (OSError, ValueError) as error:
        raise FederationError(f"run {folder.name!r} was never submitted") from error


def _wait_for_sites(home: CoordinatorHome, *, say: Callable[[str], None], patience_s: float) -> None:
    end, said = time.monotonic() + patience_s, False
    while True:
        away = [site for site, here in connected(home).items() if not here]
        if not away:
            return
        if time.monotonic() > end:
            raise FederationError(
                f"sites {', '.join(away)} are not connected after {patience_s:g} s; ask them to run: synthfed site up"
            )
        if not said:
            say(f"waiting for {', '.join(away)}")
            said = True
        time.sleep(2.0)


def _why(home: CoordinatorHome, folder: Path, number: int) -> str:
    """What the ServerApp left as its last word, or else the last line of its log; it never sees a row."""
    said = _failure_in(folder)
    if not said:
        try:
            text = call(["log", str(number), CONNECTION, "--show"], flwr_home=home.flwr_home)
        except FlowerFailed:
            text = ""
        lines = [line.strip() for line in text.splitlines() if "Error" in line]
        said = lines[-1] if lines else f"its process was killed, or see {home.log('superlink')}"
    return with_site_names(home, said)


def with_site_names(home: CoordinatorHome, said: str) -> str:
    """A message about sites; before one has signed in, Flower's number is its name."""
    for site, node in node_ids(home).items():
        said = said.replace(f"'node {node}'", repr(site)).replace(f"node {node}", site)
    return said
