"""A virtual environment per tool, with pinned packages; one that cannot be made says why.

Nothing is installed into the project's own environment. `constraints/NAME.txt` lists what pip chose; it is used where
it exists and written where it does not.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.peers.plan import HERE, Environment

_DONE, _FAILED = "installed.txt", "failed.txt"


class NotInstalled(Exception):
    """An environment that pip could not make; the message is pip's."""


def interpreter(name: str, environment: Environment, folder: Path) -> Path:
    """The Python of an environment, which is made if need be.

    Raises:
        NotInstalled: pip refused, now or before; delete the environment's folder to try again.
    """
    if not environment.packages:
        return Path(sys.executable)
    place = folder / name
    wanted, python = environment.note + "\n", place / "bin" / "python"
    for note in (_DONE, _FAILED):
        file = place / note
        known, _, reason = file.read_text(encoding="utf-8").partition("\n\n") if file.exists() else ("", "", "")
        if known + "\n" == wanted:
            if note == _DONE:
                return python
            raise NotInstalled(reason.strip())
    print(f"installing {' '.join(environment.packages)} for {name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
    pins = HERE / "constraints" / f"{name}.txt"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    chosen = ["--constraint", str(pins)] if pins.exists() else []
    found = subprocess.run(
        [*pip, "install", *environment.packages, *chosen], capture_output=True, text=True, check=False
    )
    if found.returncode:
        reason = why(found.stderr + found.stdout)
        (place / _FAILED).write_text(f"{wanted}\n{reason}\n", encoding="utf-8")
        raise NotInstalled(reason)
    if environment.without:
        subprocess.run([*pip, "uninstall", "--yes", *environment.without], capture_output=True, check=True)
    if not pins.exists():
        frozen = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True).stdout
        pins.parent.mkdir(exist_ok=True)
        pins.write_text(portable(frozen), encoding="utf-8")
    (place / _DONE).write_text(f"{wanted}\n", encoding="utf-8")
    return python


def why(output: str) -> str:
    """What pip or a program said last about what went wrong, in one line."""
    lines = [re.sub(r"\s+", " ", line).strip() for line in output.splitlines()]
    conflict = [line for line in lines if re.match(r"(The user requested|\S+ \S+ depends on) ", line)]
    if conflict:
        return "; ".join(dict.fromkeys(conflict))
    errors = [
        line for line in lines if line.startswith("ERROR") or re.match(r"[\w.]*(Error|Exception|Refused)\b", line)
    ]
    return (errors or [line for line in lines if line] or ["no output"])[-1].removeprefix("ERROR: ")


def portable(frozen: str) -> str:
    """`pip freeze` without builds (`+cpu`) and without where a file came from."""
    lines = (re.sub(r" @ .*|\+\w+$", "", line.strip()) for line in frozen.splitlines())
    return "".join(f"{line}\n" for line in lines if "==" in line)


def environment_of(fit: str) -> dict[str, str]:
    """Variables of a fit: one thread, no GPU, and the project's code for the project's own tool only."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")
    xla = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    root = {"PYTHONPATH": str(HERE.parents[2])} if fit == "fit_synthfed" else {}
    return kept | one | root | {"XLA_FLAGS": xla, "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
