"""A hospital's side of Flower: its SuperNode, and what can be checked before it is started."""

import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from synthfed.errors import FederationError, SynthfedError
from synthfed.federation.deployment.bundle import installed_bundle
from synthfed.federation.deployment.flower import (
    FlowerFailed,
    end_leftovers,
    free_port,
    program,
    start,
    stop,
    tail,
    told_to_end,
)
from synthfed.federation.deployment.site_home import SiteHome
from synthfed.federation.mailbox import CONFIG, Mailbox
from synthfed.federation.peer_link import look_up
from synthfed.federation.peer_tls import LinkFailed, require_own_listed
from synthfed.federation.site import Site, split_key

AGAIN_S = 20.0  # a SuperLink takes a vanished node for alive up to 60 s and refuses it meanwhile
_EARLY_S, _LATE_S = 5.0, 305.0  # Flower's node authentication: clocks within these (flwr node_auth.py)


@dataclass(frozen=True, slots=True)
class Found:
    """One line of `site check`."""

    what: str
    good: bool
    says: str


def supernode_command(home: SiteHome, *, local_port: int) -> list[str]:
    """How the SuperNode is started: outbound TLS, its own key, and nothing listening but on loopback.

    Raises:
        FederationError: No coordinator is pinned, or no table is named.
    """
    local = home.folder / "local"
    return [
        program("flower-supernode"),
        *("--superlink", home.address, "--root-certificates", str(home.folder / "ca.crt")),
        *("--auth-supernode-private-key", str(home.folder / "identity" / "node.key")),
        *("--host", "127.0.0.1", "--port", str(local_port)),
        *("--ssl-certfile", str(local / "server.crt"), "--ssl-keyfile", str(local / "server.key")),
        *("--ssl-ca-certfile", str(local / "ca.crt")),
        *("--node-config", home.node_config()),
    ]


def require_unprivileged(*, as_root: bool) -> None:
    """Refuse root, to whom the read-only folder of approved code is no obstacle.

    Raises:
        FederationError: This is root and nobody said that it may be.
    """
    if os.geteuid() == 0 and not as_root:
        raise FederationError(
            "this is root, who could run code that the hospital did not approve; run the site as a user of its own "
            "(such as synthfed), or add --as-root on a machine that holds nothing but simulated patients"
        )


def serve(
    home: SiteHome,
    *,
    as_root: bool = False,
    local_port: int | None = None,
    with_parent: bool = False,
    say: Callable[[str], None],
    again_s: float = AGAIN_S,
) -> None:
    """Keep the SuperNode up until this process is told to end; one that ends by itself is started again.

    Beside it this process listens for direct links, where the hospital wants them.

    Args:
        local_port: Loopback port of Flower's own processes; None takes a free one.
        with_parent: End also when whoever started this process has ended, by whatever.
        again_s: Pause before the SuperNode is started again.

    Raises:
        FederationError: Something is missing, or this is root.
    """
    require_unprivileged(as_root=as_root)
    if installed_bundle(home.flwr_home) is None:
        raise FederationError(f"site {home.site!r} approved no code; run: synthfed site approve {home.folder} --code")
    with Site(home.folder, home.site):
        pass  # keys, roster and policy hold, or this raises
    ended = told_to_end(with_parent=with_parent)
    end_leftovers(home.flwr_home, patience_s=0.0)  # of one that was killed
    with Mailbox(home.folder, home.site, say=say):
        while not ended(0.0):
            command = supernode_command(home, local_port=local_port or free_port())
            node = start(command, flwr_home=home.flwr_home, log=home.log)
            say(f"site {home.site!r} keeps a connection to {home.address} (process {node.pid}); it stops with Ctrl-C")
            try:
                while node.poll() is None and not ended(0.5):
                    pass
            finally:
                stop(node)
                end_leftovers(home.flwr_home)
            if not ended(0.0):
                say(f"the SuperNode ended ({tail(home.log, 1)}); it starts again in {again_s:g} s")
                ended(again_s)


def check(home: SiteHome) -> list[Found]:
    """Everything that can be checked without sending anything of the site: files, table, connection, clock."""
    found = [
        _tried("keys, roster and policy", lambda: _folder(home)),
        _tried("split key", lambda: f"{len(split_key(home.folder))} bytes; it decides who is held out"),
        _tried("code", lambda: _code(home)),
        _tried("table", lambda: _table(home)),
        _tried("coordinator", lambda: _connection(home)),
    ]
    if (home.folder / CONFIG).exists():
        found.append(_tried("direct links", lambda: _links(home)))
    if os.geteuid() == 0:
        found.append(Found("user", False, "this is root; take a user of its own, so that unapproved code cannot run"))
    return found


def _tried(what: str, attempt: Callable[[], str]) -> Found:
    try:
        return Found(what, True, attempt())
    except (SynthfedError, OSError) as error:
        return Found(what, False, str(error))


def _folder(home: SiteHome) -> str:
    with Site(home.folder, home.site) as site:
        allowed = len(site.policy.pipelines)
        return f"{len(site.roster.members)} sites in the roster, {allowed} pipeline(s) allowed"


def _code(home: SiteHome) -> str:
    name = installed_bundle(home.flwr_home)
    if name is None:
        raise FederationError(f"no code is approved; run: synthfed site approve {home.folder} --code")
    return name


def _table(home: SiteHome) -> str:
    """The table fits the dictionary; how many rows it has is not said, the line may be mailed around."""
    from synthfed.cohorts.sites import read_cohort

    if home.data is None:
        raise FederationError("no table is named; run `site init` again with --data FILE")
    if home.dictionary is None:
        if not home.data.is_file():
            raise FederationError(f"{home.data} does not exist")
        return "exists; name --dictionary at `site init` to have it checked against one"
    read_cohort({home.site: home.data}, dictionary=home.dictionary, split_key=split_key(home.folder))
    return f"fits the dictionary {home.dictionary!r}"


def _links(home: SiteHome) -> str:
    """Each peer is called and hung up; one that does not answer is no fault of this site, another one in its place is.

    Raises:
        LinkFailed: Somebody else answers at a peer's address.
        FederationError: This site's own certificate is not the one that the roster lists.
    """
    with Site(home.folder, home.site) as site:
        identity = home.folder / "identity"
        require_own_listed(identity, site.roster.member(home.site))
        if not site.policy.direct:
            return "policy.toml says direct = false: nothing is listened on, and runs with direct links are refused"
        said = []
        for peer in site.roster.members:
            if peer.site == home.site:
                continue
            if not peer.certificate:
                said.append(f"{peer.site} has no address")
                continue
            try:
                look_up(peer, identity)
            except LinkFailed as failed:
                if failed.reason == "certificate":
                    raise
                said.append(f"NOT {failed}")
            else:
                said.append(f"{peer.site} answers at {peer.address} with the listed certificate")
    return "; ".join(said) + "; parts for a site that does not answer go through the coordinator"


def _connection(home: SiteHome) -> str:
    """A TLS handshake under the pinned certificate, and the coordinator's clock; nothing of the site is sent."""
    host, _, port = home.address.rpartition(":")
    context = ssl.create_default_context(cafile=str(home.folder / "ca.crt"))
    try:
        plain = socket.create_connection((host, int(port)), timeout=10.0)
    except OSError as error:
        raise FederationError(
            f"{home.address} cannot be reached ({error.strerror or error}); is the coordinator up, and does the "
            "firewall let this machine connect to it?"
        ) from error
    with (
        plain,
        context.wrap_socket(plain, server_hostname=host) as line,
    ):
        line.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (piece := line.recv(4096)):
            answer += piece
    head = answer.decode("latin-1").split("\r\n")
    dates = [line.split(":", 1)[1].strip() for line in head if line.lower().startswith("date:")]
    if not dates:
        raise FlowerFailed(f"{home.address} answers, but not as a coordinator")
    ahead = time.time() - parsedate_to_datetime(dates[0]).timestamp()
    if not -_LATE_S < ahead < _EARLY_S:
        raise FederationError(
            f"this machine's clock is {ahead:+.0f} s off the coordinator's; it may be {_EARLY_S:g} s ahead or "
            f"{_LATE_S:g} s behind: set it by NTP"
        )
    return f"{home.address} answers under the pinned certificate; clocks differ by {abs(ahead):.0f} s"
