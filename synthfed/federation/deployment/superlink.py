"""The coordinator's side of Flower: the SuperLink on loopback, the front before it, and the sites that may connect."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from synthfed.errors import FederationError
from synthfed.federation.deployment.coordinator_home import CoordinatorHome
from synthfed.federation.deployment.flower import (
    CONNECTION,
    FlowerFailed,
    ask,
    end_leftovers,
    program,
    require_free,
    start,
    stop,
    told_to_end,
    wait_for_port,
)
from synthfed.federation.durable import write_durably

_PID = "up.pid"


def superlink_command(home: CoordinatorHome, *, simulation: bool = False) -> list[str]:
    """How the SuperLink is started: TLS and node authentication on, reachable from this machine only.

    Args:
        simulation: For Flower's simulation engine, to which no node connects.
    """
    return [
        program("flower-superlink"),
        *("--host", "127.0.0.1", "--port", str(home.superlink_port)),
        *("--database", str(home.flwr_home / "state.db")),
        *("--ssl-certfile", str(home.tls("server.crt"))),
        *("--ssl-keyfile", str(home.tls("server.key"))),
        *("--ssl-ca-certfile", str(home.tls("ca.crt"))),
        "--simulation" if simulation else "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]


def front_command(home: CoordinatorHome) -> list[str]:
    """How the front is started."""
    return [
        *(sys.executable, "-m", "synthfed.federation.deployment.front"),
        *("--host", home.listen, "--port", str(home.port), "--superlink-port", str(home.superlink_port)),
        *("--certificate", str(home.tls("server.crt")), "--key", str(home.tls("server.key"))),
        *("--authority", str(home.tls("ca.crt"))),
    ]


@contextmanager
def serving(home: CoordinatorHome, *, front: bool = True) -> Iterator[Callable[[], bool]]:
    """Keep SuperLink and front up, with the roster's sites let in; all are stopped at the end.

    Args:
        front: False where nginx stands in front.

    Yields:
        A function that says whether everything still runs.

    Raises:
        FederationError: The coordinator is up already.
        FlowerFailed: A program did not start.
    """
    lock = os.open(home.folder / _PID, os.O_RDWR | os.O_CREAT, 0o600)
    started: list[subprocess.Popen[bytes]] = []
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FederationError(
                f"the coordinator in {home.folder} is up already; stop it with: synthfed coordinator stop {home.folder}"
            ) from error
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        end_leftovers(home.flwr_home, patience_s=0.0)  # of one that was killed
        require_free("127.0.0.1", home.superlink_port, remedy="run `coordinator init` again with --superlink-port")
        if front:
            require_free(home.listen, home.port, remedy="stop that program, or give --address another port at `init`")
        link = start(superlink_command(home), flwr_home=home.flwr_home, log=home.log("superlink"))
        started.append(link)
        wait_for_port(home.superlink_port, link, home.log("superlink"))
        let_in(home)
        if front:
            door = start(front_command(home), flwr_home=home.flwr_home, log=home.log("front"))
            started.append(door)
            wait_for_port(home.port, door, home.log("front"))

        def still_up() -> bool:
            return all(process.poll() is None for process in started)

        yield still_up
    finally:
        for process in started:  # the SuperLink first: its helpers watch it
            stop(process)
        if started:
            end_leftovers(home.flwr_home)
        os.close(lock)


def serve(home: CoordinatorHome, *, front: bool = True, with_parent: bool = False, ready: Callable[[], None]) -> None:
    """Keep the coordinator up until this process is told to end.

    Args:
        with_parent: End also when whoever started this process has ended, by whatever.

    Raises:
        FlowerFailed: A program ended by itself.
    """
    ended = told_to_end(with_parent=with_parent)
    with serving(home, front=front) as still_up:
        ready()
        while not ended(0.5):
            if not still_up() and not ended(0.0):
                raise FlowerFailed(f"the SuperLink or the front ended by itself; {home.folder / 'logs'} says why")


def running(home: CoordinatorHome) -> int | None:
    """The process id of `coordinator up`, None where it does not run."""
    try:
        with (home.folder / _PID).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # held by `up` as long as it lives
            except BlockingIOError:
                return int(file.read() or b"0")
    except (OSError, ValueError):
        pass
    return None


def require_running(home: CoordinatorHome) -> None:
    """Refuse to go on where the coordinator is down.

    Raises:
        FederationError: It is.
    """
    if running(home) is None:
        raise FederationError(f"the coordinator is not up; start it with: synthfed coordinator up {home.folder}")


def let_in(home: CoordinatorHome) -> None:
    """Register the node key of every site in the roster, and let nobody else in.

    Raises:
        FlowerFailed: The SuperLink refused a key.
    """
    file = home.folder / "nodes.json"
    before: dict[str, dict[str, str]] = json.loads(file.read_bytes()) if file.exists() else {}
    known = {str(node["node-id"]) for node in _listed(home)}
    wanted = {join.site: join.node_key for join in home.joins() if join.site in home.members()}
    kept = {
        site: entry
        for site, entry in before.items()
        if entry["node_key"] == wanted.get(site) and entry["node_id"] in known
    }
    for site, entry in before.items():
        if site not in kept and entry["node_id"] in known:
            ask(["supernode", "unregister", entry["node_id"], CONNECTION], flwr_home=home.flwr_home)
    for site, key in wanted.items():
        if site not in kept:
            path = home.folder / "joins" / f"{site}.pub"
            write_durably(path, key.encode() + b"\n")
            answer = ask(["supernode", "register", str(path), CONNECTION, "--name", site], flwr_home=home.flwr_home)
            kept[site] = {"node_id": str(answer["node-id"]), "node_key": key}
            write_durably(file, json.dumps(kept, indent=1).encode())
    write_durably(file, json.dumps(kept, indent=1).encode())


def connected(home: CoordinatorHome) -> dict[str, bool]:
    """Which of the roster's sites have a SuperNode that is connected now.

    Raises:
        FlowerFailed: The SuperLink does not answer.
    """
    ids = node_ids(home)
    online = {str(node["node-id"]) for node in _listed(home) if node["status"] == "online"}
    return {site: ids.get(site) in online for site in home.members()}


def node_ids(home: CoordinatorHome) -> dict[str, str]:
    """Flower's number of every site that was let in."""
    file = home.folder / "nodes.json"
    entries: dict[str, dict[str, str]] = json.loads(file.read_bytes()) if file.exists() else {}
    return {site: entry["node_id"] for site, entry in entries.items()}


def _listed(home: CoordinatorHome) -> list[Mapping[str, Any]]:
    nodes = ask(["supernode", "list", CONNECTION], flwr_home=home.flwr_home)["nodes"]
    return [node for node in nodes if node["status"] != "unregistered"]
