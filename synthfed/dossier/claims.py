"""Whether `report.json` speaks of the files beside it: a signed folder can still hold another run's report."""

import hashlib
import io
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from synthfed.dossier.basis import Basis
from synthfed.dossier.findings import Finding
from synthfed.errors import ModelError, TrainingError

_DESCRIBED = {"table_sha256": "synthetic.csv", "model_sha256": "model.synthfed"}  # fields of report.json
_SIX_DIGITS = 5.1e-6  # relative: report.json rounds to six significant digits


def check_claims(
    report: Mapping[str, Any], files: Mapping[str, bytes], ledger: Mapping[str, Any] | None
) -> list[Finding]:
    """Hashes of table and model, digest of the pipeline, and the ledger's statement, as the report gives them.

    Args:
        ledger: `ledger.json`; None where it cannot be read, which is said elsewhere.
    """
    said = [
        f"{field} is not the hash of {name}"
        for field, name in _DESCRIBED.items()
        if name in files and report.get(field) != hashlib.sha256(files[name]).hexdigest()
    ]
    pipeline, privacy = report.get("pipeline"), report.get("privacy")
    if "pipeline.toml" in files:
        try:
            digest = digest_of(files["pipeline.toml"].decode())
            if not isinstance(pipeline, dict) or pipeline.get("sha256") != digest:
                said.append("pipeline.sha256 is not the digest of pipeline.toml")
        except (ValueError, TypeError, KeyError):
            said.append("pipeline.sha256 cannot be compared: pipeline.toml cannot be read")
    said += [f"files: {problem}" for problem in _files_named(report.get("files") or (), files)]
    if ledger is not None and not (isinstance(privacy, dict) and same(privacy.get("statement"), ledger)):
        said.append("privacy.statement is not what ledger.json states")
    return [Finding("report", "report.json", line) for line in said]


def _files_named(named: Any, files: Mapping[str, bytes]) -> Iterator[str]:
    """What the report's list of files says of a file, and is not so."""
    for entry in named if isinstance(named, list) else ():
        name = str(entry.get("name")) if isinstance(entry, dict) else ""
        if name not in files:
            yield f"{name} is not in the folder"
        elif (entry.get("bytes"), entry.get("sha256")) != (len(files[name]), hashlib.sha256(files[name]).hexdigest()):
            yield f"{name} has another size or hash"


def digest_of(text: str) -> str:
    """`Pipeline.digest` of a pipeline file that holds every setting, whatever settings this version knows."""
    raw = tomllib.loads(text)
    if math.isinf(raw["privacy"]["epsilon"]):
        raw["privacy"]["epsilon"] = "inf"
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def same(shown: Any, exact: Any) -> bool:
    """Whether `shown` is `exact` but for the rounding of `report.json`."""
    if isinstance(exact, dict):
        return isinstance(shown, dict) and set(shown) == set(exact) and all(same(shown[k], exact[k]) for k in exact)
    if isinstance(exact, list):
        return isinstance(shown, list) and len(shown) == len(exact) and all(map(same, shown, exact))
    if isinstance(exact, float):
        return isinstance(shown, int | float) and abs(shown - exact) <= _SIX_DIGITS * abs(exact)
    return bool(shown == exact)


def check_model(files: Mapping[str, bytes], basis: Basis, ledger: Mapping[str, Any]) -> list[Finding]:
    """That the model is intact, and was made by this pipeline, over these columns, at this cost."""
    from synthfed.generators.model_file import load_model

    name = "model.synthfed"
    if name not in files:
        return []
    try:
        saved = load_model(io.BytesIO(files[name]))
    except (ModelError, TrainingError) as error:
        return [Finding("model", name, str(error))]
    portable = {  # as a model holds it: without the names of the entries
        **ledger,
        "events": [{key: value for key, value in event.items() if key != "ids"} for event in ledger["events"]],
        "sites": [{key: value for key, value in site.items() if key != "chain_head"} for site in ledger["sites"]],
    }
    parts = (
        ("pipeline", saved.pipeline, json.loads(basis.pipeline.canonical()), "pipeline.toml"),
        ("schema", saved.schema, json.loads(json.dumps(basis.schema.to_dict())), "dictionary.toml"),
        ("ledger", saved.ledger, portable, "ledger.json"),
    )
    return [
        Finding("model", name, f"its {part} is not that of {file}")
        for part, inside, beside, file in parts
        if inside != beside
    ]
