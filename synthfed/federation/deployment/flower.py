"""Flower's own programs, started with the switches that synthfed stands for.

Every child gets one `FLWR_HOME` per federation, no telemetry, no update check, and no installation of packages while
it runs. Nothing here is detached: what was started is stopped by its process id.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from synthfed.errors import FederationError
from synthfed.federation.durable import make_private_folder

CONNECTION = "synthfed"  # the name of the SuperLink in FLWR_HOME/config.toml
_SWITCHES = {
    "FLWR_TELEMETRY_ENABLED": "0",  # no POST to telemetry.flower.ai
    "FLWR_DISABLE_UPDATE_CHECK": "1",  # no GET of api.flower.ai
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",  # no `uv sync` of what a bundle names
    "RAY_USAGE_STATS_ENABLED": "0",
}


class FlowerFailed(FederationError):
    """A program of Flower ended with an error; the message holds its last lines."""


def environment(flwr_home: Path) -> dict[str, str]:
    """The environment of every Flower process of one folder."""
    programs = Path(sys.executable).parent
    return {
        **os.environ,
        **_SWITCHES,
        "FLWR_HOME": str(flwr_home),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def program(name: str) -> str:
    """The path of one of Flower's programs, beside this Python.

    Raises:
        FederationError: It is not installed there.
    """
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise FederationError(f"{name} is not beside {sys.executable}; install synthfed with its dependencies again")
    return str(path)


def start(command: Sequence[str], *, flwr_home: Path, log: Path, own_session: bool = False) -> subprocess.Popen[bytes]:
    """Start a program whose output goes to the end of a log file of mode 0600.

    Args:
        own_session: Ctrl-C in this terminal does not reach it: whoever started it ends it in order.
    """
    make_private_folder(log.parent)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(command),
            env=environment(flwr_home),
            cwd=flwr_home,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=own_session,
        )
    finally:
        os.close(handle)


def stop(process: subprocess.Popen[bytes], *, patience_s: float = 10.0) -> None:
    """End a program we started, by request first."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def interrupted_once() -> Iterator[Callable[[], None]]:
    """Turn every request to end into one KeyboardInterrupt; yields what makes further ones be ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_: int, __: FrameType | None) -> None:
        ignore()
        raise KeyboardInterrupt

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def told_to_end(*, with_parent: bool) -> Callable[[float], bool]:
    """From here on, requests to end only count; returns what waits some seconds and says whether there was one.

    Args:
        with_parent: That whoever started this process has ended, by whatever, counts too.
    """
    told = threading.Event()

    def end(_: int, __: FrameType | None) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    parent = os.getppid()

    def waited(seconds: float) -> bool:
        return told.wait(seconds) or (with_parent and os.getppid() != parent)

    return waited


def children_of(flwr_home: Path) -> list[int]:
    """Processes that were started for a folder and still run: Flower's helpers outlive their parent by seconds."""
    wanted = f"FLWR_HOME={flwr_home}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            if wanted in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def end_leftovers(flwr_home: Path, *, patience_s: float = 8.0, request_s: float = 5.0) -> None:
    """Wait until no process of a folder runs, and end those that do not end by themselves (where there is a /proc)."""
    for words, seconds in ((None, patience_s), (signal.SIGTERM, request_s), (signal.SIGKILL, 5.0)):
        end = time.monotonic() + seconds
        left = children_of(flwr_home)
        for number in left:
            if words is not None:
                with contextlib.suppress(OSError):
                    os.kill(number, words)
        while left and time.monotonic() < end:
            time.sleep(0.2)
            left = children_of(flwr_home)
        if not left:
            return


def call(arguments: Sequence[str], *, flwr_home: Path, cwd: Path | None = None, timeout_s: float = 120.0) -> str:
    """Run `flwr ARGUMENTS` to its end; its standard output.

    Raises:
        FlowerFailed: It ended with an error, or not in time.
    """
    named = f"flwr {arguments[0]}"
    try:
        done = subprocess.run(
            [program("flwr"), *arguments],
            env=environment(flwr_home),
            cwd=cwd or flwr_home,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FlowerFailed(
            f"{named} did not answer within {timeout_s:g} s; is `synthfed coordinator up` running?"
        ) from (error)
    if done.returncode:
        raise FlowerFailed(f"{named} failed: {_last_lines(done.stdout + done.stderr)}")
    return done.stdout


def ask(arguments: Sequence[str], *, flwr_home: Path) -> Mapping[str, Any]:
    """Run a `flwr` command that answers in JSON.

    Raises:
        FlowerFailed: It failed, or said something else.
    """
    text = call([*arguments, "--format", "json"], flwr_home=flwr_home)
    try:
        answer = json.loads(text)
    except ValueError as error:
        raise FlowerFailed(f"flwr {arguments[0]} gave no JSON: {_last_lines(text)}") from error
    if not answer.get("success"):
        raise FlowerFailed(f"flwr {arguments[0]} failed: {answer.get('error-message', _last_lines(text))}")
    return dict(answer)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, *, patience_s: float = 60.0) -> None:
    """Wait until a program listens on a loopback port.

    Raises:
        FlowerFailed: It ended, or does not listen in time.
    """
    end = time.monotonic() + patience_s
    while True:
        if process.poll() is not None:
            raise FlowerFailed(f"{Path(str(process.args[0])).name} ended at once; {log} says why: {tail(log)}")  # type: ignore[index]  # we pass lists
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > end:
            raise FlowerFailed(f"nothing listens on port {port} after {patience_s:g} s; see {log}")
        time.sleep(0.2)


def require_free(host: str, port: int, *, remedy: str) -> None:
    """Refuse a port that another program listens on, before a program of ours is taken for that one.

    Raises:
        FederationError: It is taken, or this user may not open it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise FederationError(f"port {port} of {host} cannot be opened ({error.strerror}); {remedy}") from error


def free_port() -> int:
    """A loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(log: Path, lines: int = 4) -> str:
    """The last lines of a log, joined."""
    try:
        return _last_lines(log.read_text(errors="replace"), lines)
    except OSError:
        return ""


def _last_lines(text: str, lines: int = 4) -> str:
    return " | ".join([line.strip() for line in text.splitlines() if line.strip()][-lines:])
