"""Trying a federation on one machine: real processes on loopback, or Flower's simulation engine."""

from pathlib import Path
from typing import Annotated

import typer

from synthfed.cli.coordinator_runs import tell_finished
from synthfed.cli.options import PipelineArgument, SetOption, load_pipeline


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
    tell_finished(done)


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
