"""A trained generator as one file: a zip of safetensors and JSON, the same bytes for the same content.

It holds what drawing rows needs and what a reader must know about it: the released tensors, the layout, the public
encoder, the schema, the pipeline and the privacy statement. It holds no row, no row id, no encoder network, critic or
optimiser state, and nothing that is executed when read (no pickle).

| entry | content |
|---|---|
| `model.json` | format, generator kind, which network ships (`kept`), layout, SHA-256 of every other entry |
| `weights.safetensors` | float32 tensors of the decoder or generator |
| `transformer.json`, `schema.json`, `pipeline.json`, `ledger.json` | canonical JSON |
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from synthfed.errors import ModelError, TrainingError
from synthfed.generators import condition
from synthfed.generators.base import Layout, Weights
from synthfed.generators.marginal import MarginalModel
from synthfed.generators.start import Kept

FORMAT = "synthfed.model/1"
RELEASED_PREFIX = {"tvae": "decoder.", "ctgan": "generator.", "marginal": "tree."}  # what may ship, by kind

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold: the file says nothing about when it was written
_PARTS = ("weights.safetensors", "transformer.json", "schema.json", "pipeline.json", "ledger.json")
_LARGEST = 1 << 30  # bytes per entry; a larger one is refused unread


@dataclass(frozen=True, slots=True)
class SavedModel:
    """Everything in a model file.

    Attributes:
        weights: The released tensors only (`Generator.release`).
        transformer: The encoder's own JSON text (`Transformer.to_json`).
        schema: `Schema.to_dict()`.
        pipeline: The pipeline as plain values (`json.loads(Pipeline.canonical())`).
        ledger: The privacy statement of the release.
        kept: Of a network that started from noisy counts, whether it ships as it started or as it was trained.
    """

    kind: str
    layout: Layout
    weights: Weights
    transformer: str
    schema: Mapping[str, Any]
    pipeline: Mapping[str, Any]
    ledger: Mapping[str, Any]
    kept: Kept | None = None


def save_model(path: str | Path, model: SavedModel) -> None:
    """Write `model` to `path`.

    Raises:
        ModelError: A tensor is not among those that may ship, or a value is not finite JSON.
    """
    Path(path).write_bytes(model_bytes(model))


def model_bytes(model: SavedModel) -> bytes:
    """The file's bytes; equal models give equal bytes."""
    _check_weights(model.kind, model.layout, model.weights, where="model to save")
    tensors = {name: np.ascontiguousarray(value) for name, value in sorted(model.weights.items())}
    try:
        contents = {
            "weights.safetensors": safetensors.numpy.save(tensors),
            "transformer.json": _canonical(json.loads(model.transformer)),
            "schema.json": _canonical(model.schema),
            "pipeline.json": _canonical(model.pipeline),
            "ledger.json": _canonical(model.ledger),
        }
    except (TypeError, ValueError) as error:
        raise ModelError(f"model to save holds a value that JSON has no place for: {error}") from error
    head = {
        "format": FORMAT,
        "kind": model.kind,
        **({"kept": model.kept} if model.kept else {}),
        "layout": {"names": model.layout.names, "widths": model.layout.widths},
        "sha256": {name: hashlib.sha256(contents[name]).hexdigest() for name in _PARTS},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (("model.json", _canonical(head)), *((name, contents[name]) for name in _PARTS)):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def load_model(path: str | Path | IO[bytes]) -> SavedModel:
    """Read a model file, given by its path or opened; nothing in it is executed.

    Raises:
        ModelError: The file is missing, damaged, of another version, or holds what a model must not.
    """
    where = f"model {path}" if isinstance(path, str | Path) else "the model file"
    try:
        with zipfile.ZipFile(path) as archive:
            contents = _read_entries(archive, where)
    except OSError as error:
        raise ModelError(f"{where} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"{where} is not an intact model file: {error}; copy it again from its dossier") from error
    head = _json(contents.pop("model.json"), "model.json", where)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        found = head.get("format") if isinstance(head, dict) else None
        raise ModelError(f"{where} has format {found!r}; this version reads {FORMAT!r}: use the synthfed that wrote it")
    for name in _PARTS:
        if hashlib.sha256(contents[name]).hexdigest() != _field(head, "sha256", where).get(name):
            raise ModelError(f"{where}: {name} is not what was saved; copy the file again from its dossier")
    try:
        layout = Layout(
            tuple(str(name) for name in head["layout"]["names"]), tuple(int(w) for w in head["layout"]["widths"])
        )
        weights: Weights = safetensors.numpy.load(contents["weights.safetensors"])
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{where}: layout or tensors cannot be read: {error}") from error
    kind = str(head.get("kind"))
    _check_weights(kind, layout, weights, where=where)
    kept = head.get("kept")
    if kept not in (None, "start", "trained"):
        raise ModelError(f"{where} ships its network {kept!r}; known: 'start', 'trained'")
    return SavedModel(
        kind=kind,
        layout=layout,
        weights=weights,
        transformer=contents["transformer.json"].decode("utf-8"),
        schema=_json(contents["schema.json"], "schema.json", where),
        pipeline=_json(contents["pipeline.json"], "pipeline.json", where),
        ledger=_json(contents["ledger.json"], "ledger.json", where),
        kept=kept,
    )


def _read_entries(archive: zipfile.ZipFile, where: str) -> dict[str, bytes]:
    names = archive.namelist()
    wanted = ("model.json", *_PARTS)
    if sorted(names) != sorted(wanted):
        raise ModelError(f"{where} holds {sorted(names)}; a model holds exactly {sorted(wanted)}")
    for entry in archive.infolist():
        if entry.file_size > _LARGEST:
            raise ModelError(
                f"{where}: {entry.filename} says it is {entry.file_size} bytes; at most {_LARGEST} are read"
            )
    return {name: archive.read(name) for name in names}


def _check_weights(kind: str, layout: Layout, weights: Weights, *, where: str) -> None:
    prefix = RELEASED_PREFIX.get(kind)
    if prefix is None:
        raise ModelError(f"{where} is of kind {kind!r}; known: {', '.join(RELEASED_PREFIX)}")
    strangers = sorted(name for name in weights if not name.startswith(prefix))
    if strangers or not weights:
        raise ModelError(f"{where}: a {kind} model ships tensors {prefix}* only, found {strangers or 'none'}")
    if len(layout.names) != len(layout.widths) or any(width < 1 for width in layout.widths):
        raise ModelError(f"{where}: the layout's names and widths do not fit together")
    for name, tensor in weights.items():
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise ModelError(f"{where}: tensor {name!r} must be finite float32, found {tensor.dtype}")
    if kind == "marginal":
        MarginalModel.from_weights(weights, layout)  # refuses anything but a whole tree over this layout
        return
    depth = sum(name.endswith(".weight") for name in weights)
    last = weights.get(f"{prefix}layers.{depth - 1}.weight")
    if last is None or last.ndim != 2 or last.shape[0] != layout.total_width:
        raise ModelError(f"{where}: the last layer does not give the layout's {layout.total_width} outputs")
    _check_inputs(prefix, layout, weights, where)


def _check_inputs(prefix: str, layout: Layout, weights: Weights, where: str) -> None:
    """What a network is told must be shares of one block, and its first layer must have room for them."""
    try:
        given = condition.centre_of(weights, prefix, layout)
    except TrainingError as error:
        raise ModelError(f"{where}: {error}") from error
    first = weights.get(f"{prefix}layers.0.weight")
    told = 0 if given is None else layout.widths[given]
    if first is None or first.ndim != 2 or first.shape[1] <= told:
        raise ModelError(f"{where}: the first layer has no room for the {told} levels that the network is told")


def _canonical(value: object) -> bytes:
    """JSON with sorted keys; infinities, which the privacy statement may hold, as the text `inf`."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def _json(content: bytes, name: str, where: str) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ModelError(f"{where}: {name} is not JSON: {error}") from error


def _field(head: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = head.get(key)
    if not isinstance(value, dict):
        raise ModelError(f"{where}: model.json lacks {key!r}")
    return value
