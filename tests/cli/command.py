"""Runs the command line as a user does: in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

CALL = (sys.executable, "-c", "from synthfed.cli import main; main()")


def environment() -> dict[str, str]:
    """The test's environment with one thread and wide lines."""
    return os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def synthfed(*words: str, cwd: Path, seconds: float = 240) -> subprocess.CompletedProcess[str]:
    """Run `synthfed WORDS` in `cwd` and wait, so many seconds of the wall at most."""
    return subprocess.run(
        [*CALL, *words], cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False, env=environment()
    )
