"""A whole federation on this machine's loopback: a coordinator and simulated hospitals as real processes, with TLS.

Everything is what real hospitals use, the command line included; only the patients are drawn, and whoever controls
this machine sees all of them.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from synthfed.errors import FederationError
from synthfed.federation.deployment.bundle import build_bundle, install_bundle
from synthfed.federation.deployment.coordinator_home import CoordinatorHome
from synthfed.federation.deployment.flower import (
    FlowerFailed,
    end_leftovers,
    free_port,
    interrupted_once,
    start,
    tail,
)
from synthfed.federation.deployment.site_home import SiteHome
from synthfed.federation.deployment.superlink import connected
from synthfed.federation.durable import make_private_folder
from synthfed.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A federation that is up.

    Attributes:
        processes: `coordinator` and every site to the `synthfed ... up` that keeps it up.
    """

    folder: Path
    coordinator: CoordinatorHome
    sites: Mapping[str, SiteHome]
    processes: dict[str, "subprocess.Popen[bytes]"]

    def start_coordinator(self) -> None:
        """Start `synthfed coordinator up` and wait until it is.

        Raises:
            FlowerFailed: It ended, or is not up within a minute.
        """
        home = self.coordinator
        log = self._log("coordinator")
        before = log.stat().st_size if log.exists() else 0
        self._start("coordinator", ["coordinator", "up", str(home.folder), "--with-parent"], home.flwr_home)
        self._wait("coordinator", lambda: b"hospitals connect" in log.read_bytes()[before:])

    def start_site(self, name: str) -> None:
        """Start `synthfed site up`; `wait_for_sites` waits until it is connected."""
        home = self.sites[name]
        command = ["site", "up", str(home.folder), "--with-parent"]
        self._start(name, [*command, *(["--as-root"] if os.geteuid() == 0 else [])], home.flwr_home)

    def wait_for_sites(self) -> None:
        """Wait until every site is connected.

        Raises:
            FlowerFailed: One is not within a minute.
        """
        self._wait("coordinator", lambda: all(connected(self.coordinator).values()), patience_s=120.0)

    def stop(self) -> None:
        """End everything that was started, hospitals first."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(40.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for flwr_home in (self.coordinator.flwr_home, *(home.flwr_home for home in self.sites.values())):
            end_leftovers(flwr_home, patience_s=0.0)

    def _start(self, name: str, arguments: list[str], flwr_home: Path) -> None:
        command = [sys.executable, "-c", "from synthfed.cli import main; main()", *arguments]
        environment_home = flwr_home.with_name("starter")  # its children get the folder's own FLWR_HOME
        make_private_folder(environment_home)
        self.processes[name] = start(command, flwr_home=environment_home, log=self._log(name), own_session=True)

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _wait(self, name: str, done: Callable[[], bool], *, patience_s: float = 90.0) -> None:
        end = time.monotonic() + patience_s
        while not done():
            if self.processes[name].poll() is not None:
                raise FlowerFailed(f"{name} ended by itself: {tail(self._log(name))}")
            if time.monotonic() > end:
                raise FlowerFailed(f"{name} is not ready after {patience_s:g} s: {tail(self._log(name))}")
            time.sleep(1.0)


def prepare(folder: Path, pipeline: Pipeline, *, allow_seeded: bool = False) -> Rehearsal:
    """Play coordinator and hospitals up to the moment where each would start its own program.

    Args:
        allow_seeded: Let the hospitals accept noise from a public seed, for comparing two runs bit for bit.

    Raises:
        FederationError: The folder exists.
    """
    from dataclasses import replace

    from synthfed.cohorts.simulated import simulated_cohort
    from synthfed.federation.durable import write_durably
    from synthfed.tables.writing import write_csv

    folder = folder.absolute()
    if folder.exists():
        raise FederationError(f"{folder} exists; a rehearsal needs a new folder")
    cohort = simulated_cohort(pipeline, holdout_fraction=0.0)
    links, front = pipeline.federation.transport == "direct", free_port()
    coordinator = CoordinatorHome.init(
        folder / "coordinator", address=f"localhost:{front}", listen="127.0.0.1", superlink_port=free_port()
    )
    sites: dict[str, SiteHome] = {}
    for name, rows in cohort.sites.items():
        table = folder / "tables" / f"{name}.csv"
        make_private_folder(table.parent)
        write_csv(rows, cohort.schema, table)
        home = SiteHome.init(
            folder / name,
            site=name,
            organisation=f"Simulated hospital of {name}",
            data=table,
            dictionary=pipeline.disease,
            direct=f"127.0.0.1:{free_port()}" if links else None,
        )
        coordinator.add((home.folder / f"{name}.join").read_text(encoding="utf-8"))
        sites[name] = home
    invitation = coordinator.sign_roster()
    bundle = build_bundle(coordinator.flwr_home)
    for home in sites.values():
        home.pin(invitation, invitation.fingerprint)
        install_bundle(home.flwr_home, bundle.file)
        policy = replace(
            home.allow(pipeline),
            epsilon_run=pipeline.privacy.epsilon,
            epsilon_total=pipeline.privacy.epsilon,
            delta=pipeline.privacy.delta,
            allow_seeded=allow_seeded,
            direct=links,
        )
        write_durably(home.folder / "policy.toml", policy.to_toml().encode())
    return Rehearsal(folder, coordinator, sites, {})


@contextmanager
def rehearsing(
    folder: Path, pipeline: Pipeline, *, allow_seeded: bool = False, keep: bool = False, say: Callable[[str], None]
) -> Iterator[Rehearsal]:
    """Bring a federation up on loopback; everything is stopped at the end, and removed unless `keep`.

    Ctrl-C, a closed terminal and a request to end lead to that end too. After a kill -9 of this process the others see
    that it is gone and end by themselves; the folder, with its simulated patients, stays.

    Raises:
        FederationError: The folder exists.
        FlowerFailed: A program did not start.
    """
    folder = folder.absolute()
    if folder.exists():
        raise FederationError(f"{folder} exists; a rehearsal needs a new folder")
    begun: list[Rehearsal] = []
    with interrupted_once() as from_here_on_ignored:
        try:
            say(f"rehearsal {folder}: keys, certificates, a signed roster, one policy per simulated hospital")
            begun.append(rehearsal := prepare(folder, pipeline, allow_seeded=allow_seeded))
            rehearsal.start_coordinator()
            say(f"up        coordinator on {rehearsal.coordinator.address} (TLS); its SuperLink on loopback behind it")
            for name in rehearsal.sites:
                rehearsal.start_site(name)
            rehearsal.wait_for_sites()
            say(f"up        {', '.join(rehearsal.sites)}, each by its own key")
            yield rehearsal
        finally:
            from_here_on_ignored()
            if begun:
                say("stopping  hospitals and coordinator")
                begun[0].stop()
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
