"""Verbs of a hospital's IT person: `synthfed site init|check|approve|up|status|leave`.

Nothing runs at a site that its people did not approve: the federation (by fingerprint), the code (by hash), each
pipeline (by hash).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthfed.cli.options import SetOption, load_pipeline

if TYPE_CHECKING:
    from synthfed.federation.deployment.site_home import SiteHome
    from synthfed.federation.policy import Policy

site = typer.Typer(
    help="Take part in a federation as a hospital. Patients' rows stay on this machine.",
    epilog="Order: init, send SITE.join, approve (invitation, code, pipeline), check, up.",
    no_args_is_help=True,
)

FolderArgument = Annotated[Path, typer.Argument(help="The site's folder; private, durable, and to be backed up.")]


@site.command("init")
def init(
    folder: FolderArgument,
    name: Annotated[str, typer.Option(help="Short name: a-z, 0-9, '-', '_'. It stays for years.")],
    organisation: Annotated[str, typer.Option(help="The legal body that runs the site.")],
    data: Annotated[
        Path | None, typer.Option(help="The patients' table (CSV, XLSX, Parquet); it is only read.")
    ] = None,
    dictionary: Annotated[
        str | None,
        typer.Option(help="Dictionary of the table: a disease (aml, scd) or a file. Default: the pipeline's."),
    ] = None,
    direct: Annotated[
        str | None,
        typer.Option(help="host:port where the other hospitals may hand sealed parts to this one. Default: nowhere."),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="Local address:port to bind for that, if it is another than --direct.")
    ] = None,
) -> None:
    """Make keys, a policy that allows nothing yet, and NAME.join for the coordinator. Run again, it keeps keys.

    For the IT person. Ports: none inbound, unless --direct names one. Outbound: one TLS connection to the
    coordinator's address, kept open.
    Flower's own processes talk over 127.0.0.1. Code: one bundle of synthfed that you approve by hash; any other is
    refused. Run it as a user of its own (not root) that may read the table and write FOLDER, and nothing else.
    NAME.join holds public keys only.

    Example: synthfed site init /var/lib/synthfed --name lyon --organisation "Hospices Civils de Lyon" --data aml.csv
    """
    from synthfed.errors import ConfigError
    from synthfed.federation.deployment.site_home import SiteHome

    if listen and not direct:
        raise ConfigError("--listen says where to bind for --direct HOST:PORT; give both")
    home = SiteHome.init(
        folder,
        site=name,
        organisation=organisation,
        data=data,
        dictionary=dictionary,
        direct=direct,
        listen=listen,
    )
    join = home.join()
    typer.echo(f"site         {home.site} in {home.folder}")
    if join.address:
        typer.echo(f"opens        {join.address} to the other hospitals, once policy.toml says direct = true")
    else:
        typer.echo("opens        no port; connects outward only")
    typer.echo(f"policy       {home.folder / 'policy.toml'}: no pipeline allowed yet; read it, it is yours")
    typer.echo(f"send         {home.folder / (name + '.join')} to the coordinator (public keys, no secret)")
    typer.echo(f"fingerprint  {join.fingerprint}; the coordinator reads it to you by telephone")
    typer.echo(f"back up      {home.folder / 'identity'} and ledger.sqlite: without the ledger no run starts")


@site.command("approve")
def approve(
    folder: FolderArgument,
    invitation: Annotated[Path | None, typer.Option(help="The coordinator's invitation.toml.")] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="The invitation's fingerprint, as the steward read it to you by telephone.")
    ] = None,
    code: Annotated[
        bool, typer.Option("--code", help="Approve the synthfed that is installed on this machine.")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="Approve this .fab file instead; files that differ from yours are listed.")
    ] = None,
    pipeline: Annotated[str | None, typer.Option(help="Approve a pipeline: a shipped name or a .toml file.")] = None,
    settings: SetOption = None,
    questions: Annotated[
        int | None, typer.Option("--questions", min=0, help="Answer so many question runs in all; 0 answers none.")
    ] = None,
) -> None:
    """Approve the federation, the code, a pipeline, or questions. Each is one decision and can be asked apart.

    Example: synthfed site approve /var/lib/synthfed --invitation invitation.toml --fingerprint 3f1a-...

    Example: synthfed site approve /var/lib/synthfed --code --pipeline aml
    """
    from synthfed.errors import ConfigError

    home = _open(folder)
    if not (invitation or fingerprint or code or bundle or pipeline) and questions is None:
        raise ConfigError(
            "say what to approve: --invitation with --fingerprint, --code, --bundle FILE, --pipeline NAME or "
            "--questions NUMBER"
        )
    if bool(invitation) != bool(fingerprint):
        raise ConfigError("--invitation and --fingerprint belong together: hear the fingerprint from the steward first")
    if code and bundle:
        raise ConfigError("--code and --bundle are two answers to one question; give one")
    if invitation and fingerprint:
        _approve_invitation(home, invitation, fingerprint)
    if code or bundle:
        _approve_code(home, bundle)
    if pipeline:
        chosen = load_pipeline(pipeline, settings)
        _tell_pipeline(chosen, home.allow(chosen))
    if questions is not None:
        policy = home.answer(questions)
        typer.echo(
            f"questions    {policy.questions} question runs in all, "
            f"{'also without noise (exact_answers)' if policy.exact_answers else 'with noise only'}, "
            f"epsilon {policy.epsilon_run:g} each at most and {policy.epsilon_total:g} with all other runs"
        )


@site.command("check")
def check(folder: FolderArgument) -> None:
    """Check keys, policy, code, table, connection and clock. Nothing of the site is sent. Exit code 1 if one fails.

    Example: synthfed site check /var/lib/synthfed
    """
    from synthfed.federation.deployment.supernode import check as look

    found = look(_open(folder))
    for one in found:
        typer.echo(f"{'ok' if one.good else 'NO':3} {one.what}: {one.says}")
    if not all(one.good for one in found):
        raise typer.Exit(1)
    typer.echo("ready: synthfed site up")


@site.command("up")
def up(
    folder: FolderArgument,
    as_root: Annotated[
        bool,
        typer.Option("--as-root", help="Run as root although unapproved code could then run. Simulated data only."),
    ] = False,
    local_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Loopback port of Flower's own processes. Default: a free one.")
    ] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Connect to the coordinator and stay connected until Ctrl-C. Made for systemd: it stays in front.

    Only pipelines that `approve` allowed run, within the limits of policy.toml.

    Example: synthfed site up /var/lib/synthfed
    """
    from synthfed.federation.deployment.supernode import serve

    serve(_open(folder), as_root=as_root, local_port=local_port, with_parent=with_parent, say=typer.echo)
    typer.echo("down")


@site.command("status")
def status(folder: FolderArgument) -> None:
    """Say what this site allows, what its patients have lost so far, and which runs it took part in.

    Example: synthfed site status /var/lib/synthfed
    """
    from synthfed.federation.deployment.bundle import installed_bundle
    from synthfed.federation.site import Site

    home = _open(folder)
    policy = home.policy()
    typer.echo(f"site         {home.site} ({home.organisation})")
    typer.echo(f"code         {installed_bundle(home.flwr_home) or 'none approved'}")
    typer.echo(f"pipelines    {', '.join(digest[:16] for digest in policy.pipelines) or 'none allowed'}")
    if address := home.join().address:
        heard = "listens there while it is up" if policy.direct else "listens nowhere: policy.toml says direct = false"
        typer.echo(f"direct       {address}; {heard}")
    with Site(home.folder, home.site) as opened:
        kept = (home.folder / "ledger.sqlite").exists()
        spent, unfinished = (opened.ledger().committed(), opened.ledger().open_runs()) if kept else (0.0, ())
        runs = len(list((home.folder / "runs").glob("*/manifest.json")))
    typer.echo(
        f"privacy      epsilon {spent:.3g} charged or reserved of {policy.epsilon_total:g}, delta {policy.delta:g}"
    )
    for run in unfinished:
        typer.echo(f"open run     {run[:16]}; when it was given up: synthfed site leave {home.folder} {run[:16]}")
    typer.echo(f"runs         {runs}; refusals and faults in {home.folder / 'site.log'}")


@site.command("leave")
def leave(
    folder: FolderArgument,
    run: Annotated[str, typer.Argument(help="The run, as `site status` names it.")],
) -> None:
    """Take no further part in a run that was given up: what it set aside and never charged is free again.

    What was charged stays charged. The run cannot go on with this site afterwards, so ask the coordinator first.

    Example: synthfed site leave /var/lib/synthfed 3f1a9c20
    """
    home = _open(folder)
    typer.echo(f"left         run {home.leave(run)[:16]}; see: synthfed site status {home.folder}")


def _approve_invitation(home: "SiteHome", path: Path, fingerprint: str) -> None:
    from synthfed.errors import ConfigError
    from synthfed.federation.deployment.joining import Invitation

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text") from error
    invitation = Invitation.from_toml(text)
    home.pin(invitation, fingerprint)
    typer.echo(f"federation   {', '.join(m.site for m in invitation.roster.members)}; connects to {invitation.address}")


def _approve_code(home: "SiteHome", bundle: Path | None) -> None:
    from synthfed.federation.deployment.bundle import build_bundle, differing_files, install_bundle

    own = build_bundle(home.flwr_home)
    if bundle is not None:
        for name in differing_files(bundle.read_bytes(), own.file.read_bytes()):
            typer.echo(f"differs      {name}")
    placed = install_bundle(home.flwr_home, bundle or own.file)
    typer.echo(f"code         {placed.name}; no other bundle runs here")


def _tell_pipeline(pipeline: Any, policy: "Policy") -> None:
    typer.echo(f"pipeline     {pipeline.title}")
    typer.echo(f"             sha256 {pipeline.digest()}")
    typer.echo(f"             columns {', '.join(pipeline.cohort.columns)}")
    typer.echo(f"             epsilon {pipeline.privacy.epsilon:g} per patient, delta {pipeline.privacy.delta:g}")
    if pipeline.privacy.epsilon > policy.epsilon_total or pipeline.privacy.delta > policy.delta:
        typer.echo(
            f"             policy.toml allows {policy.epsilon_total:g} and {policy.delta:g}: the site will refuse"
        )


def _open(folder: Path) -> "SiteHome":
    from synthfed.federation.deployment.site_home import SiteHome

    return SiteHome.open(folder)
