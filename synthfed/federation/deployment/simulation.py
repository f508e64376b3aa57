"""A run in Flower's simulation engine (Ray): the same bundle, all sites simulated, one host.

For those who know Flower and want to see the app in its usual surroundings. `flwr run .` alone would leave a SuperLink
behind that answers later runs with old code, so one is started here, with TLS on loopback, and ended with the run.
"""

import importlib.util
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tomli_w

from synthfed.errors import FederationError
from synthfed.federation.deployment.bundle import build_bundle
from synthfed.federation.deployment.coordinator_home import CoordinatorHome
from synthfed.federation.deployment.flower import (
    CONNECTION,
    FlowerFailed,
    ask,
    end_leftovers,
    free_port,
    interrupted_once,
    start,
    stop,
    tail,
    wait_for_port,
)
from synthfed.federation.deployment.superlink import superlink_command
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.server_app import FAILED, PROGRESS
from synthfed.federation.simulated import coordinator_folder
from synthfed.pipeline import Pipeline


def simulate(
    pipeline: Pipeline, toml: str, *, out: Path, cpus: int, resume: bool = False, say: Callable[[str], None]
) -> Path:
    """Run a pipeline's simulated sites in Flower's simulation engine; the file of released tensors.

    Args:
        toml: The pipeline as a file.
        out: Folder of the run: sites, coordinator, outcome.
        cpus: CPUs that Ray may use.
        resume: Go on after the last finished round found in `out`.

    Raises:
        FederationError: Ray is not installed, or `out` holds a run and `resume` is not set.
        FlowerFailed: A program did not start, or the run failed.
    """
    if importlib.util.find_spec("ray") is None:
        raise FederationError(
            "Flower's simulation engine needs Ray, which is not installed; install it with: pip install -c "
            "constraints.txt 'flwr[simulation]>=1.41,<1.42'; `synthfed run` simulates without it"
        )
    out = out.absolute()
    if out.exists() and any(out.iterdir()) and not resume:
        raise FederationError(f"{out} is not empty; go on with --resume, or choose another --out")
    make_private_folder(out)
    write_durably(out / "pipeline.toml", toml.encode())
    with interrupted_once() as from_here_on_ignored, tempfile.TemporaryDirectory(prefix="synthfed-simulation-") as made:
        port = free_port()
        home = CoordinatorHome.init(Path(made) / "coordinator", address=f"localhost:{port}", superlink_port=port)
        link = start(
            superlink_command(home, simulation=True),
            flwr_home=home.flwr_home,
            log=home.log("superlink"),
            own_session=True,
        )
        try:
            wait_for_port(port, link, home.log("superlink"))
            _run(home, pipeline, out, cpus=cpus, resume=resume, say=say)
        finally:
            from_here_on_ignored()
            stop(link)
            end_leftovers(home.flwr_home, patience_s=3.0)  # Ray's processes among them
            shutil.copyfile(home.log("superlink"), out / "flower.log")
    return out / "released.safetensors"


def _run(
    home: CoordinatorHome, pipeline: Pipeline, out: Path, *, cpus: int, resume: bool, say: Callable[[str], None]
) -> None:
    bundle = build_bundle(home.flwr_home)
    config = {"pipeline": str(out / "pipeline.toml"), "out-dir": str(out), "resume": resume}
    write_durably(home.folder / "run-config.toml", tomli_w.dumps(config).encode())
    sites = len(pipeline.cohort.simulated_sites)
    engine = f"num-supernodes={sites} client-resources-num-cpus=1 init-args-num-cpus={cpus}"
    arguments = ["run", str(bundle.sources), CONNECTION, "--run-config", str(home.folder / "run-config.toml")]
    number = int(ask([*arguments, "--federation-config", engine], flwr_home=home.flwr_home)["run-id"])
    say(f"running   {bundle.file.name} in Flower's simulation engine: {sites} sites, {cpus} CPUs")
    told = 0
    while True:
        runs = ask(["list", "--run-id", str(number), CONNECTION], flwr_home=home.flwr_home)["runs"]
        file = coordinator_folder(out) / PROGRESS
        for line in file.read_text(encoding="utf-8").splitlines()[told:] if file.exists() else ():
            told += 1
            done = json.loads(line)
            say(f"round {done['round_index'] + 1} of {done['rounds']}: {done.get('stage') or 'a round'}")
        state = str(runs[0]["status"])
        if state.startswith("finished"):
            break
        time.sleep(4.0)
    if state != "finished:completed" or not (out / "released.safetensors").exists():
        why = (out / FAILED).read_text(encoding="utf-8").strip() if (out / FAILED).exists() else ""
        raise FlowerFailed(
            f"the simulation ended as {state!r}: {why or tail(home.log('superlink'))}; see {out}/flower.log"
        )
