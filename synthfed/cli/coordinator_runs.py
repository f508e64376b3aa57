"""Runs, as a coordinator starts, follows and finishes them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthfed.cli.coordinator_home import FolderArgument, open_home, text_of
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

NameOption = Annotated[str | None, typer.Option("--name", help="Name of the run. Default: the pipeline's name.")]


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

    home = open_home(folder)
    if resume:
        if not name or pipeline or settings:
            raise ConfigError("--resume goes on with the run of --name as it is; give no pipeline and no --set")
        place = home.known_run(name)
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
        typer.echo(
            f"closed    every site agreed; next: synthfed coordinator finish {home.folder} RUN --scores {place.name}"
        )
        return
    verb = "answers" if runs.status_of(place).kind == "asks" else "finish"
    typer.echo(f"closed    every site agreed; next: synthfed coordinator {verb} {home.folder} {place.name}")


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

    home = open_home(folder)
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


def answers(
    folder: FolderArgument,
    run: Annotated[str, typer.Argument(help="Name of a question run that every site closed.")],
    as_json: JsonOption = False,
) -> None:
    """Show again what a question run answered; no site is asked.

    Example: synthfed coordinator answers /srv/synthfed ask-1
    """
    _tell_answers(open_home(folder).known_run(run), as_json=as_json)


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
    from synthfed.federation.deployment import runs
    from synthfed.federation.deployment.superlink import require_running
    from synthfed.run.scoring_deployed import begin_scoring

    home = open_home(folder)
    require_running(home)
    training = _closed(home, run)
    toml = training / "pipeline.toml"
    place = home.begin_run(name or f"{run}-scores", load_pipeline(str(toml), None), toml=text_of(toml))
    with _or_removed(place):
        begin_scoring(training, place)
    typer.echo(
        f"run       {place.name}; if it stops: synthfed coordinator submit {home.folder} --name {place.name} --resume"
    )
    runs.submit(home, place, resume=True, say=typer.echo)
    _follow(home, place, say=typer.echo)
    typer.echo(f"closed    next: synthfed coordinator finish {home.folder} {run} --scores {place.name}")


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

    home = open_home(folder)
    done = finish_run(
        _closed(home, run),
        out=out or Path(f"dossier-{run}"),
        signing=home.folder / "keys",
        replace=replace,
        scores=_closed(home, scores) if scores else None,
    )
    tell_finished(done)


def tell_finished(done: "Finished") -> None:
    """Say where a dossier is and what its patients lost."""
    if done.epsilon is None:
        typer.echo("privacy   no formal guarantee for this run; ledger.json says why")
    else:
        typer.echo(f"privacy   epsilon {done.epsilon:.2f}, delta {done.delta:g} per training patient (add/remove one)")
    typer.echo(f"dossier   {done.dossier}")
    typer.echo(f"re-check  synthfed verify {done.dossier}")


def _closed(home: "CoordinatorHome", name: str) -> Path:
    """The folder of a run that every site closed."""
    from synthfed.errors import FederationError
    from synthfed.federation.deployment.runs import status_of

    place = home.known_run(name)
    status = status_of(place)
    if not status.finished:
        raise FederationError(
            f"run {name!r} is not closed by every site ({status.words}); see: synthfed coordinator status {home.folder}"
        )
    return place


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
