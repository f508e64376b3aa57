"""A model file is inert, the same for the same content, and refused when it is not what was saved."""

import io
import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthfed.errors import ModelError
from synthfed.generators.base import Layout
from synthfed.generators.model_file import SavedModel, load_model, model_bytes, save_model
from synthfed.generators.start import Kept
from tests.generators.conftest import make_generator


@pytest.fixture
def model(layout: Layout) -> SavedModel:
    generator = make_generator("tvae")
    weights = generator.init(layout, seed=1)
    return SavedModel(
        kind="tvae",
        layout=layout,
        weights=generator.release(weights, generator.start(weights)),
        transformer='{"blocks": [1, 2], "a": 1}',
        schema={"disease": "aml", "columns": [{"name": "age", "knots": (1.0, 2.5)}]},
        pipeline={"title": "test", "generator": {"kind": "tvae"}},
        ledger={"epsilon": 3.0},
    )


def _rewrite(path: Path, changes: dict[str, bytes]) -> None:
    """Replace or add entries, leaving the others as they are."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**contents, **changes}.items():
            archive.writestr(name, content)


def test_a_model_comes_back_as_it_was_saved(model: SavedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "m.synthfed", model)
    back = load_model(tmp_path / "m.synthfed")
    assert back.kind == model.kind
    assert back.layout == model.layout
    assert sorted(back.weights) == sorted(model.weights)
    assert all(np.array_equal(back.weights[name], model.weights[name]) for name in model.weights)
    assert json.loads(back.transformer) == json.loads(model.transformer)
    assert back.schema["columns"][0]["knots"] == [1.0, 2.5]
    assert back.pipeline == model.pipeline
    assert back.ledger == model.ledger


@pytest.mark.parametrize("kept", [None, "start", "trained"])
def test_the_file_says_which_network_ships(kept: Kept | None, model: SavedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "m.synthfed", replace(model, kept=kept))
    assert load_model(tmp_path / "m.synthfed").kept == kept
    assert (b'"kept"' in model_bytes(replace(model, kept=kept))) == (kept is not None)


def test_a_file_that_ships_something_unknown_is_refused(model: SavedModel, tmp_path: Path) -> None:
    path = tmp_path / "m.synthfed"
    save_model(path, replace(model, kept="start"))
    with zipfile.ZipFile(path) as archive:
        head = archive.read("model.json")
    _rewrite(path, {"model.json": head.replace(b'"kept":"start"', b'"kept":"other"')})
    with pytest.raises(ModelError, match="'other'"):
        load_model(path)


def test_a_loaded_model_draws_the_same_rows(model: SavedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "m.synthfed", model)
    back = load_model(tmp_path / "m.synthfed")
    generator = make_generator("tvae")
    drawn = [generator.sample(m.weights, m.layout, rows=50, seed=3).tobytes() for m in (model, back)]
    assert drawn[0] == drawn[1]


def test_equal_models_give_equal_bytes_whatever_the_order(model: SavedModel) -> None:
    turned = replace(
        model,
        weights=dict(reversed(model.weights.items())),
        transformer='{"a":1,"blocks":[1,2]}',
        pipeline=dict(reversed(model.pipeline.items())),
    )
    assert model_bytes(model) == model_bytes(turned)


def test_the_file_holds_these_entries_and_no_pickle(model: SavedModel) -> None:
    with zipfile.ZipFile(io.BytesIO(model_bytes(model))) as archive:
        assert archive.namelist() == [
            "model.json",
            "weights.safetensors",
            "transformer.json",
            "schema.json",
            "pipeline.json",
            "ledger.json",
        ]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("name", ["encoder.layers.0.weight", "critic.layers.0.weight", "m.decoder.layers.0.weight"])
def test_encoder_critic_and_optimiser_state_are_refused(name: str, model: SavedModel) -> None:
    with pytest.raises(ModelError, match=r"decoder\.\* only"):
        model_bytes(replace(model, weights={**model.weights, name: np.zeros(2, np.float32)}))


def test_a_network_that_is_told_a_block_comes_back_and_draws_the_same(model: SavedModel, tmp_path: Path) -> None:
    generator = make_generator("tvae")
    weights = generator.init(model.layout, seed=1, given=2)
    told = replace(model, weights=generator.release(weights, generator.start(weights)))
    save_model(tmp_path / "m.synthfed", told)
    back = load_model(tmp_path / "m.synthfed")
    drawn = [generator.sample(m.weights, m.layout, rows=50, seed=3).tobytes() for m in (told, back)]
    assert drawn[0] == drawn[1]


def test_counts_in_place_of_shares_are_refused(model: SavedModel) -> None:
    counts = np.zeros(model.layout.total_width, np.float32)
    counts[7:14] = 30.0
    with pytest.raises(ModelError, match="shares"):
        model_bytes(replace(model, weights={**model.weights, "decoder.condition": counts}))


def test_a_first_layer_without_room_for_the_condition_is_refused(model: SavedModel) -> None:
    shares = np.zeros(model.layout.total_width, np.float32)
    shares[7] = 1.0
    with pytest.raises(ModelError, match="first layer"):
        model_bytes(replace(model, weights={**model.weights, "decoder.condition": shares}))


def test_an_infinite_epsilon_is_written_as_text(model: SavedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "m.synthfed", replace(model, ledger={"epsilon": math.inf}))
    assert load_model(tmp_path / "m.synthfed").ledger == {"epsilon": "inf"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "pgm"}, "kind 'pgm'"),
        ({"ledger": {"epsilon": math.nan}}, "JSON"),
        ({"ledger": {"rows": object()}}, "JSON"),
        ({"layout": Layout(("a",), (3,))}, "last layer"),
    ],
)
def test_a_model_that_makes_no_sense_is_not_saved(change: dict[str, Any], message: str, model: SavedModel) -> None:
    with pytest.raises(ModelError, match=message):
        model_bytes(replace(model, **change))


def test_weights_that_are_not_finite_are_not_saved(model: SavedModel) -> None:
    next(iter(model.weights.values()))[0] = np.nan
    with pytest.raises(ModelError, match="finite"):
        model_bytes(model)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.synthfed"):
        load_model(tmp_path / "gone.synthfed")


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.synthfed").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="intact"):
        load_model(tmp_path / "m.synthfed")


def test_a_truncated_file_is_refused(model: SavedModel, tmp_path: Path) -> None:
    whole = model_bytes(model)
    (tmp_path / "m.synthfed").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="intact"):
        load_model(tmp_path / "m.synthfed")


@pytest.mark.parametrize("name", ["weights.safetensors", "transformer.json", "ledger.json", "model.json"])
def test_a_flipped_bit_is_refused(name: str, model: SavedModel, tmp_path: Path) -> None:
    whole = bytearray(model_bytes(model))
    with zipfile.ZipFile(io.BytesIO(bytes(whole))) as archive:
        content = archive.read(name)
    whole[whole.index(content) + len(content) // 2] ^= 0x40
    (tmp_path / "m.synthfed").write_bytes(bytes(whole))
    with pytest.raises(ModelError):
        load_model(tmp_path / "m.synthfed")


def test_another_version_is_refused(model: SavedModel, tmp_path: Path) -> None:
    path = tmp_path / "m.synthfed"
    save_model(path, model)
    _rewrite(path, {"model.json": b'{"format": "synthfed.model/99"}'})
    with pytest.raises(ModelError, match=r"synthfed\.model/99"):
        load_model(path)


@pytest.mark.parametrize("name", ["ledger.json", "schema.json", "weights.safetensors"])
def test_an_exchanged_entry_is_refused(name: str, model: SavedModel, tmp_path: Path) -> None:
    path = tmp_path / "m.synthfed"
    save_model(path, model)
    _rewrite(path, {name: b'{"epsilon":0.1}'})
    with pytest.raises(ModelError, match=f"{name} is not what was saved"):
        load_model(path)


def test_an_extra_entry_is_refused(model: SavedModel, tmp_path: Path) -> None:
    path = tmp_path / "m.synthfed"
    save_model(path, model)
    _rewrite(path, {"rows.csv": b"age\n1\n"})
    with pytest.raises(ModelError, match="exactly"):
        load_model(path)


@pytest.mark.parametrize("head", [b"[]", b"{", b"\xff", b'{"format": "synthfed.model/1"}'])
def test_a_head_that_cannot_be_read_is_refused(head: bytes, model: SavedModel, tmp_path: Path) -> None:
    path = tmp_path / "m.synthfed"
    save_model(path, model)
    _rewrite(path, {"model.json": head})
    with pytest.raises(ModelError):
        load_model(path)
