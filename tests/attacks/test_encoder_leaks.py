"""What stock encoders tell about one patient, shown on ctgan and SDV as installed, and what ours tells: nothing.

The attacker knows every patient but one and holds the fitted encoder or the saved model. Each leak is shown on the
stock library first (so a test fails when a new version mends it), then looked for here and not found.
"""

import inspect
import logging
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthfed.errors import UnknownLevel
from synthfed.tables import fine
from synthfed.tables.fine import FineGrid, NoisyHistograms, fine_grid, fit_transformer
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import Transformer, public_transformer

SCHEMA = Schema(
    "toy",
    (
        Column("wbc", "continuous", lower=0.1, upper=1000, decimals=1, scale="log"),
        Column("sex", "category", levels=("male", "female", "other")),
        Column("days", "count", lower=1, upper=5000),
        Column("died", "flag"),
    ),
    (Survival("os", "days", "died"),),
)
RNG = np.random.default_rng(0)
OTHERS = pd.DataFrame(
    {
        "wbc": RNG.normal(10, 2, 100).round(1),
        "sex": RNG.choice(["male", "female"], 100),
        "days": RNG.integers(5, 900, 100),
        "died": RNG.integers(0, 2, 100),
    }
)
ONE = pd.DataFrame({"wbc": [901.7], "sex": ["other"], "days": [4711], "died": [1]})  # the patient looked for
EVERYBODY = pd.concat([OTHERS, ONE], ignore_index=True)


@pytest.fixture(autouse=True)
def _stock_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the stock libraries warn as they import and fit
        yield


def stock_transformer(table: pd.DataFrame) -> Any:
    from ctgan.data_transformer import DataTransformer

    transformer = DataTransformer()
    transformer.fit(table, ["sex", "died"])
    return transformer


def our_transformers(table: pd.DataFrame) -> list[Transformer]:
    """All there are: one that never sees rows, and one that sees noisy counts of them."""
    grid = fine_grid(SCHEMA)
    noise = np.round(np.random.default_rng(3).normal(0, 40, grid.cells))
    counts = grid.count(SCHEMA.cast(table)) + noise
    return [public_transformer(SCHEMA), fit_transformer(grid, NoisyHistograms(counts, 40.0), codes=6)]


# --- 1: the width of the row ------------------------------------------------------------------------------------------


def test_one_patient_changes_the_stock_width_and_not_ours() -> None:
    """ctgan fits a mixture to the raw column; one far value adds components to every row of every message."""
    without, present = stock_transformer(OTHERS[["wbc"]]), stock_transformer(EVERYBODY[["wbc"]])
    assert without.output_dimensions < present.output_dimensions
    for alone, both in zip(our_transformers(OTHERS), our_transformers(EVERYBODY), strict=True):
        assert alone.names == both.names
        assert alone.widths == both.widths


def test_the_stock_encoder_keeps_the_far_value_and_ours_has_no_place_for_one() -> None:
    transformer = stock_transformer(EVERYBODY[["wbc"]])._column_transform_info_list[0].transform
    assert transformer._max_value == ONE["wbc"][0] or transformer._bgm_transformer.means_.max() > 400
    for ours in our_transformers(EVERYBODY):
        assert "901" not in ours.to_json()
        assert "9017" not in ours.to_json()


# --- 2: levels and their order ----------------------------------------------------------------------------------------


def test_a_rare_level_shows_membership_in_the_stock_encoder_and_not_in_ours() -> None:
    def levels(table: pd.DataFrame) -> list[str]:
        return list(stock_transformer(table[["sex"]].assign(died=1))._column_transform_info_list[0].transform.dummies)

    assert "other" not in levels(OTHERS)
    assert "other" in levels(EVERYBODY)
    for ours in our_transformers(OTHERS):
        assert ours.blocks[ours.names.index("sex")].levels == SCHEMA["sex"].levels


def test_the_first_patient_decides_the_stock_order_and_the_dictionary_ours() -> None:
    def levels(table: pd.DataFrame) -> list[str]:
        return list(stock_transformer(table[["sex"]].assign(died=1))._column_transform_info_list[0].transform.dummies)

    male_first = OTHERS.sort_values("sex", ascending=False, kind="stable")
    female_first = OTHERS.sort_values("sex", kind="stable")
    assert levels(male_first) != levels(female_first)
    assert [t.digest() for t in our_transformers(male_first)] == [t.digest() for t in our_transformers(female_first)]
    columns_turned = OTHERS[["died", "sex", "days", "wbc"]]
    assert [t.digest() for t in our_transformers(columns_turned)] == [t.digest() for t in our_transformers(OTHERS)]


def test_a_level_outside_the_dictionary_is_refused_and_never_learned() -> None:
    stranger = SCHEMA.cast(OTHERS).assign(sex="zebra")
    for ours in our_transformers(OTHERS):
        with pytest.raises(UnknownLevel) as error:
            ours.encode(stranger)
        assert "zebra" not in str(error.value)


# --- 3: rows in the saved model ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_column_is_rebuilt_from_a_saved_stock_model(tmp_path: Path) -> None:
    from ctgan import CTGAN

    model = CTGAN(
        epochs=1, batch_size=20, pac=2, generator_dim=(8,), discriminator_dim=(8,), embedding_dim=4, enable_gpu=False
    )
    model.fit(EVERYBODY[["wbc", "sex"]], ["sex"])
    model.save(tmp_path / "ctgan.pkl")
    stolen = CTGAN.load(tmp_path / "ctgan.pkl")
    assert rebuilt(stolen._data_sampler, stolen._transformer, len(EVERYBODY)) == EVERYBODY["sex"].tolist()


def test_the_stock_sampler_holds_every_row_id() -> None:
    from ctgan.data_sampler import DataSampler

    table = EVERYBODY[["wbc", "sex"]]
    transformer = stock_transformer(table.assign(died=1))
    sampler = DataSampler(transformer.transform(table.assign(died=1)), transformer.output_info_list, True)
    assert rebuilt(sampler, transformer, len(table)) == table["sex"].tolist()


def rebuilt(sampler: Any, transformer: Any, rows: int) -> list[str]:
    """The column `sex`, patient by patient, from what the stock sampler keeps."""
    levels = transformer._column_transform_info_list[1].transform.dummies
    column = [""] * rows
    for level, members in zip(levels, sampler._rid_by_cat_cols[0], strict=True):
        for row in members:
            column[row] = level
    return column


@pytest.mark.parametrize("kind", ["tvae", "ctgan", "marginal"])
def test_our_saved_model_has_the_same_shape_whoever_was_trained_on(kind: str, tmp_path: Path) -> None:
    """One more patient changes no entry, no tensor's name or shape and no byte of the encoder; no cohort fits in."""
    import safetensors.numpy

    import synthfed as sf

    patients = sf.load_cohort("aml", sites=1, patients=160, seed=7, columns=sf.Pipeline.load("smoke").cohort.columns)
    shapes = []
    for rows in (patients.train, patients.train.iloc[:-1]):
        synth = sf.Synthesizer("smoke", generator__kind=kind, privacy__expected_patients=130, federation__rounds=2)
        synth.fit(rows).save(tmp_path / "model.synthfed")
        with zipfile.ZipFile(tmp_path / "model.synthfed") as file:
            entries = {name: file.read(name) for name in file.namelist()}
        tensors = safetensors.numpy.load(entries["weights.safetensors"])
        assert not any(len(rows) in tensor.shape for tensor in tensors.values())
        assert b"_rid_" not in b"".join(entries.values())
        shapes.append(
            (
                {
                    name: tensor.shape for name, tensor in tensors.items() if kind != "marginal"
                },  # a tree's edges are paid
                {name: entries[name] for name in ("transformer.json", "schema.json", "pipeline.json")},
                set(entries),
            )
        )
    assert shapes[0] == shapes[1]


# --- 11: bounds, rounding, names and logs -----------------------------------------------------------------------------


def stock_synthesizer(table: pd.DataFrame) -> Any:
    from sdv.metadata import Metadata
    from sdv.single_table import GaussianCopulaSynthesizer

    columns = {"wbc": {"sdtype": "numerical"}, "sex": {"sdtype": "categorical"}}
    synthesizer = GaussianCopulaSynthesizer(Metadata.load_from_dict({"tables": {"t": {"columns": columns}}}))
    synthesizer.fit({"t": table[["wbc", "sex"]]})
    return synthesizer


def test_one_patient_moves_the_stock_bounds_and_rounding_and_not_ours(caplog: pytest.LogCaptureFixture) -> None:
    precise = EVERYBODY.assign(wbc=[*OTHERS["wbc"], 901.765])
    with caplog.at_level(logging.INFO):
        without, present = (
            stock_synthesizer(table)._data_processor._hyper_transformer.field_transformers["wbc"]
            for table in (OTHERS, precise)
        )
    assert present._max_value == 901.765
    assert without._max_value == OTHERS["wbc"].max()
    assert (without._rounding_digits, present._rounding_digits) == (1, 3)
    fits = [record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg["EVENT"] == "Fit"]
    assert [fit["TOTAL NUMBER OF ROWS"] for fit in fits] == [100, 101]  # the exact number of patients, in a log

    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        for alone, both in zip(our_transformers(OTHERS), our_transformers(precise), strict=True):
            for ours in (alone, both):
                block = ours.blocks[ours.names.index("wbc")]
                assert (block.edges[0], block.edges[-1], block.decimals) == (1, 10_001, 1)
    assert not caplog.records


def test_what_ours_draws_reaches_the_public_bounds_whoever_is_in_the_table() -> None:
    """Min and max of a decoded table are the dictionary's, not this cohort's."""
    for ours in our_transformers(OTHERS):
        width = ours.widths[ours.names.index("wbc")]
        codes = np.zeros((4000, len(ours.widths)), dtype=np.int32)
        codes[:, ours.names.index("wbc")] = RNG.integers(0, width - 1, 4000)
        drawn = ours.decode(codes, RNG)["wbc"]
        assert drawn.min() < OTHERS["wbc"].min()
        assert drawn.max() > ONE["wbc"][0] / 2


# --- the only door ----------------------------------------------------------------------------------------------------


def test_rows_reach_a_fitted_encoder_through_noisy_counts_only() -> None:
    """No function that makes an encoder takes a table; one patient moves the counts by 1 in one cell per block."""
    for name, function in inspect.getmembers(fine, inspect.isfunction):
        if function.__module__ == fine.__name__ and not name.startswith("_"):
            parameters = inspect.signature(function).parameters.values()
            assert all("DataFrame" not in str(parameter.annotation) for parameter in parameters), name
    takes_rows = [
        name
        for name, method in inspect.getmembers(FineGrid, inspect.isfunction)
        if "DataFrame" in str(inspect.signature(method).parameters.values())
    ]
    assert set(takes_rows) == {"encode", "count"}
    grid = fine_grid(SCHEMA)
    moved = grid.count(SCHEMA.cast(EVERYBODY)) - grid.count(SCHEMA.cast(OTHERS))
    assert moved.sum() == len(grid.names)
    assert set(moved.tolist()) == {0, 1}


def test_equal_noisy_counts_give_equal_bytes_whoever_was_counted() -> None:
    """The noise can hide the one patient entirely: then nothing in the encoder is left of them."""
    grid = fine_grid(SCHEMA)
    noise = np.round(np.random.default_rng(5).normal(0, 40, grid.cells))
    with_them = grid.count(SCHEMA.cast(EVERYBODY)) + noise
    without_them = grid.count(SCHEMA.cast(OTHERS)) + (with_them - grid.count(SCHEMA.cast(OTHERS)))
    first, second = (
        fit_transformer(grid, NoisyHistograms(counts, 40.0), codes=6) for counts in (with_them, without_them)
    )
    assert first.to_json().encode() == second.to_json().encode()
