"""Verbs of whoever coordinates hospitals: `synthfed coordinator init|add|roster|up|submit|ask|score|finish|...`.

They start Flower's own programs with TLS and node authentication on, and write and read one folder.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthfed.cli.options import (
    AnswersEpsilonOption,
    JsonOption,
    PipelineArgument,
    QuestionsArgument,
    QuestionsOption,
    SetOption,
    SmallestCountOption,
    load_pipeline,
)

if TYPE_CHECKING:
    from synthfed.federation.deployment.coordinator_home import CoordinatorHome
    from synthfed.run.finishing import Finished

coordinator = typer.Typer(
    help="Run a federation of real hospitals from the coordinator's machine. It never sees a row.",
    epilog="Order: init, add (once per hospital), roster, up, submit, finish.",
    no_args_is_help=True,
)

FolderArgument = Annotated[Path, typer.Argument(help="The coordinator's folder; private, and to be backed up.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the run. Default: the pipeline's name.")]


@coordinator.command("init")
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


@coordinator.command("add")
def add(
    folder: FolderArgument,
    join: Annotated[list[Path], typer.Argument(help="Requests to join, as `synthfed site init` wrote them.")],
) -> None:
    """Take a hospital's request to join. Read its fingerprint to the hospital by telephone before `roster`.

    Example: synthfed coordinator add /srv/synthfed lyon.join
    """
    home = _open(folder)
    for path in join:
        request = home.add(_text(path))
        typer.echo(f"{request.site:12} {request.organisation}")
        typer.echo(f"{'':12} fingerprint {request.fingerprint}; is it what {request.site}'s screen shows?")


@coordinator.command("roster")
def roster(folder: FolderArgument) -> None:
    """Sign who takes part, and write invitation.toml for every hospital. Needs three organisations.

    Every change of the roster needs every hospital's approval again. A coordinator that is up lets new sites in at
    once, and those that left no more.

    Example: synthfed coordinator roster /srv/synthfed
    """
    from synthfed.federation.deployment.superlink import let_in, running

    home = _open(folder)
    invitation = home.sign_roster()
    if running(home) is not None:
        let_in(home)
    for member in invitation.roster.members:
        direct = f"; direct links at {member.address}" if member.address else ""
        typer.echo(f"{member.site:12} {member.organisation}{direct}")
    typer.echo(f"send         {home.folder / 'invitation.toml'} to each of them")
    typer.echo(f"read out     {invitation.fingerprint}")
    typer.echo("             by telephone; a hospital that sees another one must stop")


@coordinator.command("up")
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

    home = _open(folder)

    def ready() -> None:
        typer.echo(f"up           hospitals connect to {home.address}; logs in {home.folder / 'logs'}")
        typer.echo("             stop with Ctrl-C; runs can be resumed")

    serve(home, front=not no_front, with_parent=with_parent, ready=ready)
    typer.echo("down")


@coordinator.command("submit")
def submit(
    folder: FolderArgument,
    pipeline: PipelineArgument = "",
    settings: SetOption = None,
    name: NameOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished round of --name.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit and leave; see `status`.")] = False,
) -> None:
    """Start a run at every site of the roster and follow it. Each site decides by its own policy whether it takes part.

    Example: synthfed coordinator submit /srv/synthfed aml --set privacy.epsilon=3 --name first
    """
    from synthfed.errors import ConfigError, FederationError
    from synthfed.federation.deployment import runs
    from synthfed.run.contents import pipeline_toml

    home = _open(folder)
    if resume:
        if not name or pipeline or settings:
            raise ConfigError("--resume goes on with the run of --name as it is; give no pipeline and no --set")
        place = home.run_folder(name)
        if not place.is_dir():
            raise FederationError(f"there is no run {name!r} to resume in {home.folder / 'runs'}")
        again = runs.status_of(place)
        if again.finished:
            raise FederationError(f"run {name!r} is {again.words}")
        begun = again.begun
    else:
        if not pipeline:
            raise ConfigError("name a pipeline to run, such as aml; or --resume with --name")
        chosen = load_pipeline(pipeline, settings)
        home.roster()
        place = home.begin_run(name or Path(pipeline).stem, chosen, toml=pipeline_toml(chosen))
        begun = False
        typer.echo(f"pipeline  {place / 'pipeline.toml'}")
        typer.echo(f"          sha256 {chosen.digest()}; every site needs it in its policy")
    runs.submit(home, place, resume=begun, say=typer.echo)
    if no_wait:
        typer.echo(f"submitted; see: synthfed coordinator status {home.folder}")
        return
    _follow(home, place, say=typer.echo)
    if runs.status_of(place).kind == "scores":
        typer.echo(f"closed    every site agreed; next: synthfed coordinator finish ... --scores {place.name}")
        return
    verb = "answers" if runs.status_of(place).kind == "asks" else "finish"
    typer.echo(f"closed    every site agreed; next: synthfed coordinator {verb} {home.folder} {place.name}")


@coordinator.command("ask")
def ask(
    folder: FolderArgument,
    pipeline: PipelineArgument,
    questions: QuestionsArgument = None,
    settings: SetOption = None,
    questions_file: QuestionsOption = None,
    epsilon: AnswersEpsilonOption = 1.0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Without noise; each hospital's policy must allow exact_answers.")
    ] = False,
    smallest_count: SmallestCountOption = 10,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run. Default: ask-1, ask-2, ...")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every site of the roster at once; only sums over all of them are ever seen. The questions of `synthfed ask`.

    The pipeline names dictionary, columns and delta; nothing is trained. Each site decides by its own policy
    (`questions`, `exact_answers`, `epsilon_run`, `epsilon_total`) and pays from its own ledger before anything leaves.

    Example: synthfed coordinator ask /srv/synthfed aml "median age_years" "count by sex, NPM1" --epsilon 1
    """
    from itertools import count

    from synthfed.cli.ask import from_file
    from synthfed.federation.deployment import runs
    from synthfed.federation.deployment.superlink import require_running
    from synthfed.run.asking.deployed import Wanted, begin_asking
    from synthfed.run.contents import pipeline_toml

    home = _open(folder)
    require_running(home)
    chosen = load_pipeline(pipeline, settings)
    texts = (*(questions or ()), *(from_file(questions_file) if questions_file else ()))
    free = name or next(one for one in (f"ask-{number}" for number in count(1)) if not home.run_folder(one).exists())
    place = home.begin_run(free, chosen, toml=pipeline_toml(chosen))
    with _or_removed(place):
        begin_asking(place, Wanted(texts, None if exact else epsilon, smallest_count))
    say = _say_to_stderr if as_json else typer.echo
    say(f"run       {free}; if it stops: synthfed coordinator submit {home.folder} --name {free} --resume")
    runs.submit(home, place, resume=True, say=say)
    _follow(home, place, say=say)
    _tell_answers(place, as_json=as_json)


@coordinator.command("answers")
def answers(
    folder: FolderArgument,
    run: Annotated[str, typer.Argument(help="Name of a question run that every site closed.")],
    as_json: JsonOption = False,
) -> None:
    """Show again what a question run answered; no site is asked.

    Example: synthfed coordinator answers /srv/synthfed ask-1
    """
    _tell_answers(_open(folder).run_folder(run), as_json=as_json)


@coordinator.command("score")
def score(
    folder: FolderArgument,
    run: Annotated[str, typer.Argument(help="Name of a training run that every site closed.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the scoring run. Default: RUN-scores.")] = None,
) -> None:
    """Have every site count its held-out patients beside the table of a closed run, with noise that they pay for.

    Only the sum over all sites is seen. The pipeline says what it may cost (`evaluation.epsilon_holdout`); each site's
    policy counts it among its `questions`. `finish --scores` puts the scores into the dossier.

    Example: synthfed coordinator score /srv/synthfed first
    """
    from synthfed.errors import FederationError
    from synthfed.federation.deployment import runs
    from synthfed.federation.deployment.superlink import require_running
    from synthfed.run.scoring_deployed import begin_scoring

    home = _open(folder)
    require_running(home)
    training = home.run_folder(run)
    if not runs.status_of(training).finished:
        raise FederationError(
            f"run {run!r} is not closed by every site; see: synthfed coordinator status {home.folder}"
        )
    toml = training / "pipeline.toml"
    place = home.begin_run(name or f"{run}-scores", load_pipeline(str(toml), None), toml=_text(toml))
    with _or_removed(place):
        begin_scoring(training, place)
    typer.echo(
        f"run       {place.name}; if it stops: synthfed coordinator submit {home.folder} --name {place.name} --resume"
    )
    runs.submit(home, place, resume=True, say=typer.echo)
    _follow(home, place, say=typer.echo)
    typer.echo(f"closed    next: synthfed coordinator finish {home.folder} {run} --scores {place.name}")


@coordinator.command("status")
def status(folder: FolderArgument) -> None:
    """Say who is connected and how far each run is.

    Example: synthfed coordinator status /srv/synthfed
    """
    from synthfed.federation.deployment.runs import status_of
    from synthfed.federation.deployment.superlink import connected, running

    home = _open(folder)
    up = running(home)
    typer.echo(f"coordinator  {f'up (process {up})' if up else 'down'}; hospitals connect to {home.address}")
    if up:
        for site, here in connected(home).items():
            typer.echo(f"site         {site}: {'connected' if here else 'not connected'}")
    for path in home.runs():
        typer.echo(f"run          {path.name}: {status_of(path).words}")


@coordinator.command("finish")
def finish(
    folder: FolderArgument,
    run: Annotated[str, typer.Argument(help="Name of a run that every site closed.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the dossier. Default: dossier-RUN.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an older dossier at --out.")] = False,
    scores: Annotated[
        str | None, typer.Option("--scores", help="Name of a closed scoring run of it (`coordinator score`).")
    ] = None,
) -> None:
    """Make the signed dossier of a closed run: synthetic table, model, ledger, logs and the report of the release.

    No patient is here, so nothing in it was measured on patients but the noisy counts of `coordinator score`. A
    hospital scores the table on its own with `synthfed score`.

    Example: synthfed coordinator finish /srv/synthfed first --out dossier-first
    """
    from synthfed.run.finishing import finish_run

    home = _open(folder)
    done = finish_run(
        home.run_folder(run),
        out=out or Path(f"dossier-{run}"),
        signing=home.folder / "keys",
        replace=replace,
        scores=home.run_folder(scores) if scores else None,
    )
    _tell_finished(done)


@coordinator.command("stop")
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

    home = _open(folder)
    if run is not None:
        stop_run(home, home.run_folder(run))
        typer.echo(f"stopped   run {run}")
        return
    number = running(home)
    if number is None:
        raise FederationError(f"the coordinator in {home.folder} is not up")
    os.kill(number, signal.SIGTERM)
    end = time.monotonic() + 30.0
    while running(home) is not None:
        if time.monotonic() > end:
            raise FederationError(f"process {number} does not end; see {home.folder / 'logs'}")
        time.sleep(0.2)
    typer.echo("stopped   the coordinator")


@coordinator.command("rehearse")
def rehearse(
    pipeline: PipelineArgument = "smoke",
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the dossier. Default: dossier-rehearsal.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an older dossier at --out.")] = False,
) -> None:
    """Try everything on this machine: a coordinator and the pipeline's simulated hospitals as real processes, with TLS.

    Each message starts a process at each hospital, so even a small run takes minutes. All is stopped and removed at the
    end but the dossier.

    Example: synthfed coordinator rehearse smoke --set 'generator={kind="marginal"}'
    """
    import tempfile

    from synthfed.errors import ConfigError
    from synthfed.federation.deployment import runs
    from synthfed.federation.deployment.rehearsal import rehearsing
    from synthfed.run.contents import pipeline_toml
    from synthfed.run.finishing import finish_run

    chosen = load_pipeline(pipeline, settings)
    where = out or Path("dossier-rehearsal")
    if where.exists() and not replace:
        raise ConfigError(f"{where} already exists; choose another --out, or add --replace")
    folder = Path(tempfile.mkdtemp(prefix="synthfed-rehearsal-")) / "federation"
    try:
        with rehearsing(folder, chosen, say=typer.echo) as up:
            place = up.coordinator.begin_run("rehearsal", chosen, toml=pipeline_toml(chosen))
            runs.submit(up.coordinator, place, resume=False, say=typer.echo)
            runs.wait(up.coordinator, place, say=typer.echo)
            done = finish_run(place, out=where, signing=up.coordinator.folder / "keys", replace=replace)
    finally:
        folder.parent.rmdir()
    _tell_finished(done)


@coordinator.command("simulate")
def simulate(
    pipeline: PipelineArgument = "smoke",
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: simulation-PIPELINE.")] = None,
    cpus: Annotated[int, typer.Option(min=1, max=256, help="CPUs that Ray may use.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished round in --out.")] = False,
) -> None:
    """Run the pipeline's simulated hospitals in Flower's own simulation engine, which needs Ray.

    The app is the one that hospitals run, and the weights are, bit for bit, those of `synthfed run`: see the hash.
    Never for real patients: Ray listens on ports of all addresses of this machine.

    Example: synthfed coordinator simulate smoke --out simulation
    """
    import hashlib

    from synthfed.federation.deployment.simulation import simulate as run_simulation
    from synthfed.run.contents import pipeline_toml

    chosen = load_pipeline(pipeline, settings)
    where = out or Path(f"simulation-{Path(pipeline).stem}")
    released = run_simulation(chosen, pipeline_toml(chosen), out=where, cpus=cpus, resume=resume, say=typer.echo)
    typer.echo(f"weights   {released}")
    typer.echo(f"          sha256 {hashlib.sha256(released.read_bytes()).hexdigest()}")


def _tell_finished(done: "Finished") -> None:
    if done.epsilon is None:
        typer.echo("privacy   no formal guarantee for this run; ledger.json says why")
    else:
        typer.echo(f"privacy   epsilon {done.epsilon:.2f}, delta {done.delta:g} per training patient (add/remove one)")
    typer.echo(f"dossier   {done.dossier}")
    typer.echo(f"re-check  synthfed verify {done.dossier}")


def _follow(home: "CoordinatorHome", place: Path, *, say: Callable[[str], None]) -> None:
    """Wait for a run; Ctrl-C leaves it running, because it runs at the coordinator and not in this terminal."""
    from synthfed.federation.deployment import runs

    try:
        runs.wait(home, place, say=say)
    except KeyboardInterrupt:
        say(f"left      the run goes on; look: synthfed coordinator status {home.folder}")
        say(f"          or end it: synthfed coordinator stop {home.folder} --run {place.name}")
        raise typer.Exit(130) from None


@contextmanager
def _or_removed(place: Path) -> Iterator[None]:
    """Remove a run's folder again where the run cannot even be worded; nobody was asked yet."""
    import shutil

    from synthfed.errors import SynthfedError

    try:
        yield
    except SynthfedError:
        shutil.rmtree(place)
        raise


def _tell_answers(place: Path, *, as_json: bool) -> None:
    import json

    from synthfed.cli.ask import plain, tell
    from synthfed.run.asking.deployed import answers_in

    answered = answers_in(place)
    if as_json:
        print(json.dumps(plain(answered), indent=1, allow_nan=False))
    else:
        tell(answered)


def _say_to_stderr(line: str) -> None:
    typer.echo(line, err=True)


def _open(folder: Path) -> "CoordinatorHome":
    from synthfed.federation.deployment.coordinator_home import CoordinatorHome

    return CoordinatorHome.open(folder)


def _text(path: Path) -> str:
    from synthfed.errors import ConfigError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text") from error
