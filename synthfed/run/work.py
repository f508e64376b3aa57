"""The folder of an unfinished run: `<out>.work`, and the checks that make `--resume` honest.

It exists from the first check to the finished dossier. A run that is stopped leaves it, and nothing else.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from synthfed.errors import DossierError
from synthfed.pipeline import Pipeline

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort

_NOTE = "run.json"


def work_folder(out: Path) -> Path:
    """Where the run that will end in `out` keeps its unfinished state."""
    return out.with_name(out.name + ".work")


def open_work(pipeline: Pipeline, cohort: "Cohort", out: Path, *, resume: bool, replace: bool) -> Path:
    """Make or find the work folder.

    Raises:
        DossierError: `out` is taken, there is nothing to resume, or the unfinished run had other settings or sites.
    """
    if out.exists() and not replace:
        raise DossierError(f"{out} already exists; choose another --out, or add --replace to put a new dossier there")
    work = work_folder(out)
    identity = {"pipeline": pipeline.digest(), "origin": cohort.origin, "sites": sorted(cohort.sites)}
    if resume:
        _check_same_run(work, identity, out)
        return work
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True, mode=0o700)
    (work / _NOTE).write_text(json.dumps(identity, indent=1))
    return work


def close_work(work: Path) -> None:
    """Remove the work folder of a finished run."""
    shutil.rmtree(work)


def _check_same_run(work: Path, identity: Mapping[str, object], out: Path) -> None:
    note = work / _NOTE
    if not note.is_file():
        raise DossierError(f"nothing to resume: {work} does not exist; run once without --resume")
    before = json.loads(note.read_text())
    for key, now in identity.items():
        if before.get(key) != now:
            raise DossierError(
                f"the unfinished run in {work} had another {key}; resume with the same pipeline, --set and --data, "
                f"or start anew without --resume (its charges stay in the ledgers)"
            )
