"""Where the shipped dictionaries, pipelines and report templates lie.

Three homes, tried in this order: a checkout (folders beside the package), an installed wheel (`synthfed/_bundled`),
a Flower bundle (the bundle's root is on `sys.path` and looks like a checkout).
"""

import os
from pathlib import Path

from synthfed.errors import ConfigError, DictionaryError, PipelineError

_PACKAGE = Path(__file__).resolve().parent


def shipped(folder: str) -> Path:
    """The folder `datasets`, `pipelines` or `reports/templates`, wherever synthfed runs from."""
    for root in (_PACKAGE.parent, _PACKAGE / "_bundled"):
        if (root / folder).is_dir():
            return root / folder
    raise ConfigError(f"this installation of synthfed has no {folder!r} folder; install it again")


def _find(name_or_path: str | Path, folder: str, file_of: str, error: type[ConfigError], noun: str) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise error(f"{noun} file {path} does not exist")
    known = shipped(folder)
    candidate = known / file_of.format(name=name_or_path)
    if candidate.is_file():
        return candidate
    names = sorted({p.parent.name if "/" in file_of else p.stem for p in known.glob(file_of.format(name="*"))})
    raise error(f"no {noun} named {str(name_or_path)!r}; shipped: {', '.join(names)}; or give the path of a .toml file")


def pipeline_path(name_or_path: str | Path) -> Path:
    """The file of a pipeline, by shipped name or path."""
    return _find(name_or_path, "pipelines", "{name}.toml", PipelineError, "pipeline")


def dictionary_path(name_or_path: str | Path) -> Path:
    """The file of a data dictionary, by disease or path; `rules.toml` and `prior.toml` lie beside it."""
    return _find(name_or_path, "datasets", "{name}/dictionary.toml", DictionaryError, "dictionary")


def state_home() -> Path:
    """Where keys and ledgers live that must outlast a run: `$SYNTHFED_HOME`, else the user's state folder."""
    chosen = os.environ.get("SYNTHFED_HOME")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "synthfed"
