"""The coding is total, reversible up to its cells, and blind to who is in the table."""

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import DataError, DictionaryError, MissingColumn, ModelError, OutOfRange, UnknownLevel
from synthfed.pipeline import Pipeline
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.reading import read_frame, type_table
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import Transformer, public_transformer

TOY = Schema(
    "toy",
    (
        Column("patient_id", "id", missing="never"),
        Column("hb", "continuous", lower=2, upper=20, decimals=1, knots=(6.0, 8.0, 10.0), spikes=(8.5,)),
        Column("wbc", "continuous", lower=0.1, upper=1000, decimals=1, scale="log"),
        Column("age", "count", lower=18, upper=100, missing="never"),
        Column("sex", "category", levels=("male", "female"), missing="never"),
        Column("npm1", "flag"),
        Column("ecog", "ordinal", levels=("0", "1", "2")),
        Column("bmi_class", "category", levels=("low", "high"), derived=True),
        Column("os_days", "count", lower=1, upper=7300),
        Column("os_event", "flag"),
    ),
    (Survival("os", "os_days", "os_event"),),
)
TRANSFORMER = public_transformer(TOY)


def toy_table(**values: object) -> pd.DataFrame:
    row = {"hb": 9.0, "wbc": 9.0, "age": 20, "sex": "male", "npm1": 0, "ecog": "0", "os_days": 5, "os_event": 1}
    return TOY.cast(pd.DataFrame([row | values]))


def aml_schema() -> Schema:
    return load_dictionary("aml").schema.select(Pipeline.load("aml").cohort.columns)


def toy_rows() -> st.SearchStrategy[pd.DataFrame]:
    row = st.fixed_dictionaries(
        {
            "hb": st.none() | st.floats(2, 20),
            "wbc": st.none() | st.floats(0.1, 1000),
            "age": st.integers(18, 100),
            "sex": st.sampled_from(["male", "female"]),
            "npm1": st.none() | st.integers(0, 1),
            "ecog": st.sampled_from([None, "0", "1", "2"]),
            "os_days": st.none() | st.integers(1, 7300),
            "os_event": st.none() | st.integers(0, 1),
        }
    )
    return st.lists(row, min_size=1, max_size=8).map(lambda rows: TOY.cast(pd.DataFrame(rows, dtype="object")))


@given(table=toy_rows(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_any_valid_table_keeps_its_codes_through_decoding(table: pd.DataFrame, seed: int) -> None:
    codes = TRANSFORMER.encode(table)
    assert codes.dtype == np.int32
    assert codes.shape == (len(table), len(TRANSFORMER.blocks))
    assert ((codes >= 0) & (codes < np.array(TRANSFORMER.widths))).all()
    decoded = TRANSFORMER.decode(codes, np.random.default_rng(seed))
    np.testing.assert_array_equal(TRANSFORMER.encode(decoded), codes)


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_every_code_of_the_shipped_diseases_decodes_to_a_valid_table_with_the_same_code(disease: str) -> None:
    schema = load_dictionary(disease).schema.select(Pipeline.load(disease).cohort.columns)
    transformer = public_transformer(schema)
    rng = np.random.default_rng(3)
    codes = rng.integers(0, transformer.widths, size=(3000, len(transformer.widths))).astype(np.int32)
    table = transformer.decode(codes, rng)
    np.testing.assert_array_equal(transformer.encode(table), codes)
    assert list(table.columns) == [column.name for column in schema.modelled]
    for column in schema.modelled:
        assert table[column.name].dtype == schema.dtype(column.name)
        if column.is_number:
            numbers = table[column.name].astype("Float64").dropna().astype(float)
            assert numbers.between(column.lower, column.upper).all()
            np.testing.assert_array_equal(numbers, numbers.round(column.decimals))


def test_nothing_about_rows_can_reach_the_transformer() -> None:
    """No parameter takes rows, so adding or swapping a patient changes neither the coding nor any shape."""
    assert set(inspect.signature(public_transformer).parameters) == {"schema", "cells", "survival_cells"}
    before, digest = TRANSFORMER.to_json(), TRANSFORMER.digest()
    one = toy_table(hb=5.0)
    extreme = one.assign(hb=20.0, wbc=1000.0, os_days=7300)
    alone, both = TRANSFORMER.encode(one), TRANSFORMER.encode(pd.concat([one, extreme], ignore_index=True))
    np.testing.assert_array_equal(alone[0], both[0])
    assert alone.shape[1] == both.shape[1]
    assert (TRANSFORMER.to_json(), TRANSFORMER.digest()) == (before, digest)


def test_the_public_coding_is_the_same_in_every_version() -> None:
    """Sites of one run compare digests, and saved models name theirs: a change here breaks both."""
    assert TRANSFORMER.digest() == "eb7eea0e52f5dba740d078bae97f959ecf4d3c5e87f73339a05441cf743fca38"


def test_survival_columns_share_one_block() -> None:
    assert "os" in TRANSFORMER.names
    assert "os_days" not in TRANSFORMER.names
    block = TRANSFORMER.blocks[TRANSFORMER.names.index("os")]
    assert block.width == 2 * block.cells + 1


def test_half_known_survival_is_missing() -> None:
    table = toy_table(os_event=None)
    block = TRANSFORMER.names.index("os")
    assert TRANSFORMER.encode(table)[0, block] == TRANSFORMER.widths[block] - 1


def test_a_spike_has_its_own_cell_and_comes_back_exactly() -> None:
    table = pd.concat([toy_table(hb=value) for value in (8.4, 8.5, 8.6)], ignore_index=True)
    codes = TRANSFORMER.encode(table)[:, 0]
    assert len(set(codes)) == 3
    decoded = TRANSFORMER.decode(TRANSFORMER.encode(table), np.random.default_rng(0))
    assert decoded["hb"][1] == 8.5


def test_bounds_belong_to_the_outer_cells() -> None:
    codes = TRANSFORMER.encode(pd.concat([toy_table(hb=2.0), toy_table(hb=20.0)], ignore_index=True))[:, 0]
    assert codes.tolist() == [0, TRANSFORMER.blocks[0].cells - 1]


def test_same_seed_same_table() -> None:
    codes = TRANSFORMER.encode(pd.concat([toy_table()] * 50, ignore_index=True))
    first = TRANSFORMER.decode(codes, np.random.default_rng(5))
    pd.testing.assert_frame_equal(first, TRANSFORMER.decode(codes, np.random.default_rng(5)))
    assert not first.equals(TRANSFORMER.decode(codes, np.random.default_rng(6)))


def test_json_round_trip_keeps_everything() -> None:
    transformer = public_transformer(aml_schema())
    again = Transformer.from_json(transformer.to_json())
    assert again == transformer
    assert again.digest() == transformer.digest()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other/9"}', '{"format": "synthfed.transformer/1"}'])
def test_text_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        Transformer.from_json(text)


def test_values_outside_the_dictionary_are_refused_by_column_and_never_shown() -> None:
    with pytest.raises(OutOfRange, match=r"'hb'.*1 values") as error:
        TRANSFORMER.encode(toy_table(hb=21.7))
    assert "21.7" not in str(error.value)
    with pytest.raises(UnknownLevel, match="'npm1'"):
        TRANSFORMER.encode(toy_table(npm1=2))
    with pytest.raises(DataError, match=r"'sex'.*missing"):
        TRANSFORMER.encode(toy_table(sex="unheard"))  # cast turned it into missing
    with pytest.raises(MissingColumn, match="hb"):
        TRANSFORMER.encode(toy_table().drop(columns="hb"))


@pytest.mark.parametrize("codes", [np.zeros((2, 3)), np.full((1, 7), -1), np.full((1, 7), 10_000), np.zeros(7)])
def test_codes_of_another_layout_are_refused(codes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="codes"):
        TRANSFORMER.decode(codes.astype(np.int32), np.random.default_rng(0))


def test_bounds_finer_than_the_last_decimal_are_refused() -> None:
    schema = Schema("toy", (Column("x", "continuous", lower=0.01, upper=0.04, decimals=1),))
    with pytest.raises(DictionaryError, match="decimals"):
        public_transformer(schema)


def test_endpoints_that_share_a_column_are_refused() -> None:
    schema = Schema("toy", TOY.columns, (Survival("a", "os_days", "os_event"), Survival("b", "os_days", "npm1")))
    with pytest.raises(DictionaryError, match="share"):
        public_transformer(schema)


def test_cells_without_knots_are_even_on_the_scale() -> None:
    wbc = public_transformer(TOY, cells=8).blocks[1]
    assert wbc.cells == 8
    ratios = np.diff(np.log(wbc.edges[2:]))  # the first edges are whole last decimals, so less even
    assert ratios.max() / ratios.min() < 1.1


def test_the_aml_row_stays_narrow() -> None:
    assert sum(public_transformer(aml_schema()).widths) <= 230


def test_beat_aml_keeps_its_marginals_and_survival_curve(beat_aml: Path) -> None:
    """What the grid itself loses, before any generator: KS <= 0.06 per column, area between curves <= 1.5 %."""
    from lifelines import KaplanMeierFitter
    from scipy.stats import ks_2samp

    schema = aml_schema()
    table, _ = type_table(
        read_frame(beat_aml), load_dictionary("aml"), Pipeline.load("aml").cohort.columns, origin="t", extra=["wave"]
    )
    transformer = public_transformer(schema)
    decoded = transformer.decode(transformer.encode(table), np.random.default_rng(11))
    for column in schema.modelled:
        real, drawn = table[column.name].dropna(), decoded[column.name].dropna()
        if not column.is_number:
            pd.testing.assert_series_equal(real, drawn)
        elif len(real) > 200:
            assert ks_2samp(real.astype(float), drawn.astype(float)).statistic <= 0.06, column.name
    days = np.arange(1827)
    curves = []
    for rows in (table, decoded):
        rows = rows.dropna(subset=["os_days", "os_event"])
        fit = KaplanMeierFitter().fit(rows["os_days"].astype(float), rows["os_event"].astype(float))
        curves.append(fit.survival_function_at_times(days).to_numpy())
    assert np.abs(curves[0] - curves[1]).mean() <= 0.015
