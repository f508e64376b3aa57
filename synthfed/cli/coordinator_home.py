"""What a coordinator's folder is for: who takes part, and the programs that stand between hospitals and runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from synthfed.federation.deployment.coordinator_home import CoordinatorHome

FolderArgument = Annotated[Path, typer.Argument(help="The coordinator's folder; private, and to be backed up.")]


def init(
    folder: FolderArgument,
    address: Annotated[str, typer.Option(help="host:port that hospitals will connect to, such as fl.example.org:443.")],
    listen: Annotated[str, typer.Option(help="Local address to listen on.")] = "0.0.0.0",
    superlink_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Loopback port of Flower's SuperLink; keep it closed to others.")
    ] = 8000,
) -> None:
    """Make keys, a certificate authority, a server certificate and settings. Run again, it keeps the keys.

    For the IT person: one inbound TCP port (the one in --address), from the hospitals only. Nothing else is opened:
    the SuperLink listens on 127.0.0.1, because two of its three interfaces ask for no credentials. Nobody else should
    have an account on this machine, for the same reason. FOLDER/nginx.conf holds the same front for nginx.

    Example: synthfed coordinator init /srv/synthfed --address fl.example.org:443
    """
    from synthfed.federation.deployment.coordinator_home import CoordinatorHome
    from synthfed.federation.deployment.front import nginx_lines
    from synthfed.federation.durable import write_durably

    home = CoordinatorHome.init(folder, address=address, listen=listen, superlink_port=superlink_port)
    lines = nginx_lines(port=home.port, superlink_port=home.superlink_port, tls=home.folder / "tls")
    write_durably(home.folder / "nginx.conf", lines.encode())
    typer.echo(f"coordinator  {home.folder}")
    typer.echo(f"opens        TCP port {home.port}, inbound, TLS; Flower's Fleet API and nothing else")
    typer.echo(f"back up      {home.folder / 'keys'}: whoever holds steward.key decides who takes part")
    typer.echo(f"next         each hospital sends SITE.join: synthfed coordinator add {home.folder} SITE.join")


def add(
    folder: FolderArgument,
    join: Annotated[list[Path], typer.Argument(help="Requests to join, as `synthfed site init` wrote them.")],
) -> None:
    """Take a hospital's request to join. Read its fingerprint to the hospital by telephone before `roster`.

    Example: synthfed coordinator add /srv/synthfed lyon.join
    """
    home = open_home(folder)
    for path in join:
        request = home.add(text_of(path))
        typer.echo(f"{request.site:12} {request.organisation}")
        typer.echo(f"{'':12} fingerprint {request.fingerprint}; is it what {request.site}'s screen shows?")


def roster(folder: FolderArgument) -> None:
    """Sign who takes part, and write invitation.toml for every hospital. Needs three organisations.

    Every change of the roster needs every hospital's approval again. A coordinator that is up lets new sites in at
    once, and those that left no more.

    Example: synthfed coordinator roster /srv/synthfed
    """
    from synthfed.federation.deployment.superlink import let_in, running

    home = open_home(folder)
    invitation = home.sign_roster()
    if running(home) is not None:
        let_in(home)
    for member in invitation.roster.members:
        direct = f"; direct links at {member.address}" if member.address else ""
        typer.echo(f"{member.site:12} {member.organisation}{direct}")
    typer.echo(f"send         {home.folder / 'invitation.toml'} to each of them")
    typer.echo(f"read out     {invitation.fingerprint}")
    typer.echo("             by telephone; a hospital that sees another one must stop")


def up(
    folder: FolderArgument,
    no_front: Annotated[
        bool,
        typer.Option("--no-front", help="Start the SuperLink only; nginx with FOLDER/nginx.conf stands before it."),
    ] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Start SuperLink and front, and keep them up until Ctrl-C or `stop`. Made for systemd: it stays in front.

    Example: synthfed coordinator up /srv/synthfed
    """
    from synthfed.federation.deployment.superlink import serve

    home = open_home(folder)

    def ready() -> None:
        typer.echo(f"up           hospitals connect to {home.address}; logs in {home.folder / 'logs'}")
        typer.echo("             stop with Ctrl-C; runs can be resumed")

    serve(home, front=not no_front, with_parent=with_parent, ready=ready)
    typer.echo("down")


def status(folder: FolderArgument) -> None:
    """Say who is connected and how far each run is.

    Example: synthfed coordinator status /srv/synthfed
    """
    from synthfed.federation.deployment.runs import status_of, with_site_names
    from synthfed.federation.deployment.superlink import connected, running

    home = open_home(folder)
    up = running(home)
    typer.echo(f"coordinator  {f'up (process {up})' if up else 'down'}; hospitals connect to {home.address}")
    if up:
        for site, here in connected(home).items():
            typer.echo(f"site         {site}: {'connected' if here else 'not connected'}")
    for path in home.runs():
        typer.echo(f"run          {path.name}: {with_site_names(home, status_of(path).words)}")


def stop(
    folder: FolderArgument,
    run: Annotated[str | None, typer.Option("--run", help="Stop this run only; the coordinator stays up.")] = None,
) -> None:
    """Stop a run, or the coordinator. Finished rounds stay; `submit --resume` goes on.

    Example: synthfed coordinator stop /srv/synthfed
    """
    import os
    import signal
    import time

    from synthfed.errors import FederationError
    from synthfed.federation.deployment.runs import stop_run
    from synthfed.federation.deployment.superlink import running

    home = open_home(folder)
    if run is not None:
        stop_run(home, home.known_run(run))
        typer.echo(f"stopped   run {run}")
        return
    number = running(home)
    if number is None:
        raise FederationError(f"the coordinator in {home.folder} is not up; there is nothing to stop")
    os.kill(number, signal.SIGTERM)
    end = time.monotonic() + 30.0
    while running(home) is not None:
        if time.monotonic() > end:
            raise FederationError(f"process {number} does not end; see {home.folder / 'logs'}")
        time.sleep(0.2)
    typer.echo("stopped   the coordinator")


def open_home(folder: Path) -> "CoordinatorHome":
    """The folder that `init` made."""
    from synthfed.federation.deployment.coordinator_home import CoordinatorHome

    return CoordinatorHome.open(folder)


def text_of(path: Path) -> str:
    """The text of a file that somebody sent."""
    from synthfed.errors import ConfigError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text") from error
