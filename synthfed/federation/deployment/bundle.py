"""The code that runs at a site, as one file: a Flower bundle (FAB) made from the synthfed that is installed here.

Coordinator and sites each make it from their own installation. The same version of synthfed gives the same files, so
the same hash; a site that finds another hash does not run what the coordinator sent. Code, settings and dictionaries
are in it, never a row.
"""

import compileall
import hashlib
import io
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from synthfed.errors import FederationError
from synthfed.federation.deployment.flower import call
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.manifest import synthfed_version
from synthfed.resources import shipped

APP = {
    "publisher": "synthema",
    "fab-include": ["synthfed/**/*.py", "pipelines/*.toml", "datasets/**/*.toml"],
    "components": {
        "serverapp": "synthfed.federation.server_app:app",
        "clientapp": "synthfed.federation.client_app:app",
    },
    "config": {"pipeline": "aml", "out-dir": "", "resume": False},
}
_SOURCES = "synthfed-app"  # Flower takes letters, digits and hyphens


@dataclass(frozen=True, slots=True)
class Bundle:
    """A built bundle.

    Attributes:
        file: `<publisher>.<name>.<version>.<8 hex>.fab`.
        sources: The folder it was built from, for `flwr run`.
    """

    file: Path
    sources: Path

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, hex: what Flower names the code by."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()


def build_bundle(flwr_home: Path) -> Bundle:
    """Build the bundle of the installed synthfed below `flwr_home`.

    Raises:
        FlowerFailed: `flwr build` refused.
    """
    make_private_folder(flwr_home)
    sources, built = flwr_home / _SOURCES, flwr_home / "built"
    for folder in (sources, built):
        if folder.exists():
            shutil.rmtree(folder)
        make_private_folder(folder)
    _assemble(sources)
    call(["build", "--app", str(sources)], flwr_home=flwr_home, cwd=built)
    (file,) = built.glob("*.fab")
    return Bundle(file, sources)


def install_bundle(flwr_home: Path, bundle: Path) -> Path:
    """Install a bundle as the only one that this `FLWR_HOME` runs; the folder that it lies in.

    Flower runs a bundle whose folder exists as it is and installs any other before it runs it. So the folder of
    bundles is made read-only afterwards: a bundle that nobody approved ends in an error before its first line. Root
    ignores file modes, so this holds only for a user without root's rights.

    Raises:
        FederationError: The file is no bundle.
        FlowerFailed: `flwr install` refused it.
    """
    apps = flwr_home / "apps"
    if apps.exists():
        _set_modes(apps, folder=0o700, file=0o600)
        shutil.rmtree(apps)
    if not zipfile.is_zipfile(bundle):
        raise FederationError(f"{bundle} is no Flower bundle; wanted a .fab file")
    call(["install", str(bundle)], flwr_home=flwr_home)
    (folder,) = apps.iterdir()
    compileall.compile_dir(folder, quiet=2)  # each message is a new process, which could not keep what it compiles
    _set_modes(apps, folder=0o500, file=0o400)
    return folder


def installed_bundle(flwr_home: Path) -> str | None:
    """The name of the bundle that may run, None before one was installed."""
    found = sorted(path.name for path in (flwr_home / "apps").glob("*"))
    return found[0] if len(found) == 1 else None


def differing_files(bundle: bytes, other: bytes) -> list[str]:
    """Names of files that are not the same in two bundles."""
    ours, theirs = _contents(bundle), _contents(other)
    return sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))


def _contents(bundle: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != ".info/CONTENT"}


def _assemble(folder: Path) -> None:
    """Copy what travels, and only that, from wherever synthfed is installed."""
    package = Path(__file__).resolve().parents[2]
    wanted = [(package, "synthfed", "**/*.py"), (shipped("pipelines"), "pipelines", "*.toml")]
    wanted.append((shipped("datasets"), "datasets", "**/*.toml"))
    for root, name, pattern in wanted:
        for source in sorted(root.glob(pattern)):
            place = source.relative_to(root)
            if place.parts[0] == "_bundled":
                continue
            target = folder / name / place
            make_private_folder(target.parent)
            shutil.copyfile(source, target)
    project = {
        "name": "synthfed",
        "version": synthfed_version(),
        "description": "Federated, differentially private synthetic patient data",
        "license": {"text": "Apache-2.0"},
        "requires-python": ">=3.11,<3.12",
        "dependencies": ["flwr>=1.41,<1.42"],
    }
    document = {"project": project, "tool": {"flwr": {"app": APP}}}
    write_durably(folder / "pyproject.toml", tomli_w.dumps(document).encode())


def _set_modes(root: Path, *, folder: int, file: int) -> None:
    for place, _, files in os.walk(root):
        os.chmod(place, folder | 0o200)
        for name in files:
            os.chmod(Path(place) / name, file)
    for place, _, _ in os.walk(root, topdown=False):
        os.chmod(place, folder)
