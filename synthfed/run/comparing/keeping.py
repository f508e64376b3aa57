"""The folder of a comparison: finished cells, unfinished runs, and the note that makes `--resume` honest.

| entry | content |
|---|---|
| `compared.json` | which pipeline and patients; another comparison is refused |
| `cells/` | one finished cell each: its scores and the rows of the table they are in |
| `unfinished/` | keys, protocol state and checkpoints of runs under way; private, removed when they end |
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from synthfed.errors import DossierError
from synthfed.pipeline import Pipeline
from synthfed.run.comparing.comparison import Cell, Measure, cell_from, six_digits
from synthfed.run.comparing.kinds import Planned

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort

Scored = tuple[Cell, tuple[Measure, ...]]

_NOTE = "compared.json"
_STAYS = """Stays at the site.

The scores in this folder were measured on patients' rows outside the privacy budget. They are for the data holder.
"""


class Kept:
    """Finished cells of a comparison, one file each; nothing is written before `begin`."""

    def __init__(self, folder: Path, identity: Mapping[str, object], *, resume: bool, stays: bool) -> None:
        """Use `keep_in`, which checks that the folder may be used.

        Args:
            stays: The scores were measured on patients; a note in the folder says so.
        """
        self._folder = folder
        self._identity = identity
        self._resume = resume
        self._stays = stays

    def begin(self) -> None:
        """Make the folder; what an earlier comparison left is removed unless this one goes on with it."""
        for part in ("cells", "unfinished"):
            if not self._resume:
                shutil.rmtree(self._folder / part, ignore_errors=True)
            (self._folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(self._folder / _NOTE, json.dumps(self._identity, indent=1))
        if self._stays:
            _write(self._folder / "README.txt", _STAYS)

    def finished(self, cell: Planned) -> Scored | None:
        """What is kept of a cell; None where it must be run.

        Raises:
            DossierError: The cell was run with other settings than it would be now.
        """
        file = self._folder / "cells" / f"{cell.name}.json"
        if not self._resume or not file.is_file():
            return None
        plain = json.loads(file.read_text(encoding="utf-8"))
        if plain["pipeline"] != cell.pipeline.digest():
            raise DossierError(f"{file} was made with other settings; delete it, or start anew with --replace")
        return cell_from(plain["cell"]), tuple(Measure(**row) for row in plain["measures"])

    def finish(self, cell: Planned, scored: Scored) -> None:
        """Keep a cell and remove what its run left; after a crash it is there whole, or not at all."""
        done, measures = scored
        plain = {
            "pipeline": cell.pipeline.digest(),
            "cell": asdict(done),
            "measures": [asdict(row) for row in measures],
        }
        _write(self._folder / "cells" / f"{cell.name}.json", json.dumps(six_digits(plain), indent=1, allow_nan=False))
        self.abandon(cell)

    def has_begun(self, cell: Planned) -> bool:
        """Whether an unfinished run of it is here: its charges are in the ledgers already."""
        return self._resume and self.work(cell).exists()

    def work(self, cell: Planned) -> Path:
        """The folder of a cell's run while it is under way."""
        return self._folder / "unfinished" / cell.name

    def abandon(self, cell: Planned) -> None:
        """Remove what an unfinished run left."""
        if self.work(cell).exists():
            shutil.rmtree(self.work(cell))


@contextmanager
def keep_in(out: Path | None, pipeline: Pipeline, cohort: "Cohort", *, resume: bool, replace: bool) -> Iterator[Kept]:
    """The folder of a comparison; without one, a folder that is gone afterwards.

    Raises:
        DossierError: `out` holds another comparison, one and neither `resume` nor `replace` is set, or none to resume.
    """
    identity = {
        "pipeline": pipeline.digest(),
        "origin": cohort.origin,
        "sites": sorted(cohort.sites),
        "version": version("synthfed"),
    }
    if out is None:
        with tempfile.TemporaryDirectory(prefix="synthfed-compare-") as place:
            yield Kept(Path(place), identity, resume=False, stays=False)
        return
    note = out / _NOTE
    if resume:
        _check_same(note, identity)
    elif note.exists() and not replace:
        raise DossierError(f"{out} holds a comparison; add --resume to go on with it, or --replace to start anew")
    elif out.exists() and not note.exists() and any(out.iterdir()):
        raise DossierError(f"{out} exists and holds no comparison; choose another --out")
    yield Kept(out, identity, resume=resume, stays=not cohort.simulated)
    if not any((out / "unfinished").iterdir()):
        (out / "unfinished").rmdir()


def _check_same(note: Path, identity: Mapping[str, object]) -> None:
    if not note.is_file():
        raise DossierError(f"nothing to resume: {note.parent} holds no comparison; run once without --resume")
    before = json.loads(note.read_text(encoding="utf-8"))
    for key, now in identity.items():
        if before.get(key) != now:
            raise DossierError(
                f"the comparison in {note.parent} had another {key}; resume with the same pipeline, --set, --data and "
                "version, or start anew with --replace (charges stay in the ledgers)"
            )


def _write(file: Path, text: str) -> None:
    fresh = file.with_name(file.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, file)
