"""A fitted encoder is public post-processing of noisy counts, and keeps every promise of the public one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import ModelError
from synthfed.pipeline import Pipeline
from synthfed.tables.blocks import Block
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.fine import NoisyHistograms, budget_share, code_count, fine_grid, fit_transformer
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import Transformer, public_transformer
from tests.tables.test_transform import TOY, toy_rows

EVERY_NUMBER = ("hb", "wbc", "age", "os")
GRID = fine_grid(TOY, columns=EVERY_NUMBER)


def some_patients(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    return TOY.cast(
        pd.DataFrame(
            {
                "hb": np.where(rng.random(rows) < 0.3, 8.5, rng.normal(9, 1, rows).clip(2, 20)),
                "wbc": np.exp(rng.normal(3, 1, rows)).clip(0.1, 1000),
                "age": rng.integers(40, 80, rows),
                "sex": "male",
                "npm1": 0,
                "ecog": "1",
                "os_days": rng.exponential(500, rows).astype(int).clip(1, 7300),
                "os_event": rng.integers(0, 2, rows),
            }
        )
    )


def fitted(table: pd.DataFrame, *, stddev: float = 0.0, codes: int = 6, seed: int = 0) -> Transformer:
    noise = np.round(np.random.default_rng(seed).normal(0, stddev, GRID.cells))
    return fit_transformer(GRID, NoisyHistograms(GRID.count(table) + noise, stddev), codes=codes)


def test_the_grid_follows_from_the_schema_and_is_fine() -> None:
    assert fine_grid(TOY).names == ("wbc", "age", "os")  # hb has published knots
    assert GRID.names == EVERY_NUMBER
    hb, wbc, age, overall = GRID.coding.blocks
    assert 96 <= hb.cells <= 98  # the spike 8.5 adds its two edges
    assert {85, 86} <= set(hb.edges)
    assert wbc.cells <= 96  # the first steps of its log scale are narrower than a last decimal
    assert age.cells == 83  # no finer than whole years
    assert overall.width == 2 * overall.cells + 1
    assert np.diff(overall.edges[:20]).max() < np.diff(overall.edges[-20:]).min()
    assert fine_grid(TOY, columns=EVERY_NUMBER) == GRID


def test_each_patient_counts_once_per_block() -> None:
    counts = GRID.count(some_patients(50))
    assert counts.dtype == np.int64
    assert counts.shape == (GRID.cells,)
    ends = np.cumsum(GRID.coding.widths)
    assert [part.sum() for part in np.split(counts, ends[:-1])] == [50] * len(GRID.names)


@given(table=toy_rows(), seed=st.integers(0, 2**32 - 1), stddev=st.sampled_from([0.0, 3.0, 1000.0]))
@settings(max_examples=60, deadline=None)
def test_any_valid_table_keeps_its_codes_through_decoding(table: pd.DataFrame, seed: int, stddev: float) -> None:
    transformer = fitted(table, stddev=stddev, seed=seed)
    codes = transformer.encode(table)
    assert ((codes >= 0) & (codes < np.array(transformer.widths))).all()
    decoded = transformer.decode(codes, np.random.default_rng(seed))
    np.testing.assert_array_equal(transformer.encode(decoded), codes)


@given(seed=st.integers(0, 2**32 - 1), stddev=st.sampled_from([0.0, 10.0, 300.0]))
@settings(max_examples=30, deadline=None)
def test_every_code_can_be_drawn_and_falls_back_into_itself(seed: int, stddev: float) -> None:
    """Also codes that nobody had: an empty range is drawn from evenly."""
    rng = np.random.default_rng(seed)
    transformer = fitted(some_patients(80), stddev=stddev, codes=10, seed=seed)
    codes = rng.integers(0, transformer.widths, size=(500, len(transformer.widths))).astype(np.int32)
    table = transformer.decode(codes, rng)
    np.testing.assert_array_equal(transformer.encode(table), codes)
    for column in TOY.modelled:
        if column.is_number:
            numbers = table[column.name].astype("Float64").dropna().astype(float)
            np.testing.assert_array_equal(numbers, numbers.round(column.decimals))


def test_equal_counts_give_equal_bytes_and_json_brings_them_back() -> None:
    first, second = fitted(some_patients(300), stddev=5.0), fitted(some_patients(300), stddev=5.0)
    assert first.to_json() == second.to_json()
    again = Transformer.from_json(first.to_json())
    assert again == first
    assert again.digest() == first.digest()
    codes = first.encode(some_patients(300))
    pd.testing.assert_frame_equal(
        first.decode(codes, np.random.default_rng(1)), again.decode(codes, np.random.default_rng(1))
    )


def test_without_noise_codes_weigh_about_the_same() -> None:
    table = some_patients(3000)
    transformer = fitted(table, codes=10)
    for name, atom in (("wbc", 0.0), ("age", 0.03), ("hb", 0.3)):
        block = transformer.names.index(name)
        shares = np.bincount(transformer.encode(table)[:, block], minlength=transformer.widths[block])[:-1] / 3000
        assert shares.max() <= max(0.14, atom + 0.1), name


def test_decoding_follows_the_histogram_inside_a_code() -> None:
    """A spike keeps its weight although it shares a code, and a gap stays empty."""
    table = some_patients(4000)
    transformer = fitted(table, codes=4)
    drawn = transformer.decode(transformer.encode(table), np.random.default_rng(2))
    assert (drawn["hb"] == 8.5).mean() == pytest.approx((table["hb"].round(1) == 8.5).mean(), abs=0.02)
    assert drawn["age"].between(40, 79).mean() > 0.999
    for name in ("wbc", "os_days"):
        quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
        real, ours = (t[name].astype(float).quantile(quantiles).to_numpy() for t in (table, drawn))
        np.testing.assert_allclose(ours, real, rtol=0.1)


def test_time_is_drawn_by_what_happened_to_those_with_the_same_event() -> None:
    days = np.repeat([30, 2000], 500)
    table = some_patients(1000).assign(os_days=days, os_event=np.repeat([1, 0], 500))
    transformer = fitted(TOY.cast(table), codes=2)
    drawn = transformer.decode(transformer.encode(TOY.cast(table)), np.random.default_rng(2))
    died = drawn["os_event"] == 1
    assert drawn["os_days"][died].astype(float).median() == pytest.approx(30, abs=10)
    assert drawn["os_days"][~died].astype(float).median() == pytest.approx(2000, abs=100)


def test_noise_alone_leaves_a_grid_that_is_even_on_its_scale() -> None:
    counts = np.round(np.random.default_rng(4).normal(0, 30, GRID.cells))
    transformer = fit_transformer(GRID, NoisyHistograms(counts, 30.0), codes=4)
    wbc = transformer.blocks[transformer.names.index("wbc")]
    assert wbc.cells == 4
    ratios = np.diff(np.log(wbc.edges))
    assert ratios.max() / ratios.min() < 2.5


def test_blocks_that_are_not_fitted_stay_public() -> None:
    grid = fine_grid(TOY)
    transformer = fit_transformer(grid, NoisyHistograms(np.ones(grid.cells), 0.0), codes=6)
    public = public_transformer(TOY)
    assert transformer.names == public.names
    for name, ours, theirs in zip(public.names, transformer.blocks, public.blocks, strict=True):
        assert (ours == theirs) == (name not in grid.names), name


def test_a_dictionary_with_knots_everywhere_needs_no_counts() -> None:
    schema = load_dictionary("aml").schema.select(Pipeline.load("aml").cohort.columns)
    grid = fine_grid(schema)
    assert grid.cells == 0
    assert grid.count(some_patients(3)).shape == (0,)
    assert fit_transformer(grid, NoisyHistograms(np.zeros(0), 1.0), codes=6) == public_transformer(schema)
    assert budget_share(grid, 40) == 0


def test_the_share_of_the_budget_grows_with_the_columns() -> None:
    assert budget_share(GRID, 8) == pytest.approx(0.15 * 4 / 8)
    assert budget_share(GRID, 16) == pytest.approx(0.275 * 4 / 16)
    assert budget_share(GRID, 40) == pytest.approx(0.4 * 4 / 40)


@pytest.mark.parametrize(
    ("patients", "blocks", "epsilon", "codes"),
    [(2000, 10, 1, 10), (2000, 10, 10, 10), (1499, 10, 3, 6), (2000, 21, 3, 6), (400, 35, 1, 4), (400, 35, 1.01, 6)],
)
def test_codes_follow_from_public_numbers(patients: int, blocks: int, epsilon: float, codes: int) -> None:
    assert code_count(patients, blocks, epsilon) == codes


def test_what_is_not_on_the_grid_is_refused() -> None:
    right = NoisyHistograms(np.zeros(GRID.cells), 1.0)
    with pytest.raises(ValueError, match="counts"):
        fit_transformer(GRID, NoisyHistograms(np.zeros(GRID.cells - 1), 1.0), codes=6)
    with pytest.raises(ValueError, match="codes"):
        fit_transformer(GRID, right, codes=1)
    with pytest.raises(ValueError, match="sex"):
        fine_grid(TOY, columns=["sex"])
    with pytest.raises(ValueError, match="cells"):
        fine_grid(TOY, cells=2)
    for counts, stddev in (
        (np.array([np.nan]), 1.0),
        (np.zeros(3), -1.0),
        (np.zeros(3), np.inf),
        (np.zeros((2, 2)), 0),
    ):
        with pytest.raises(ValueError, match="noisy histograms"):
            NoisyHistograms(counts, stddev)


def test_saved_histograms_that_do_not_fit_their_cells_are_refused() -> None:
    block = Block("x", ("x",), "number", 2, False, edges=(0, 4, 9), fine=(0, 2, 4, 9), mass=(1, 0, 3))
    for changes in ({"mass": (0, 0, 3)}, {"fine": (0, 2, 5, 9)}, {"mass": (-1, 2, 3)}, {"fine": (0, 2, 4, 8)}):
        with pytest.raises(ValueError, match="block 'x'"):
            replace(block, **changes)
    text = fitted(some_patients(30)).to_json()
    with pytest.raises(ModelError):
        Transformer.from_json(text.replace('"mass":[', '"mass":[1,'))


def test_one_whole_number_step_per_cell_is_the_finest_grid() -> None:
    schema = Schema(
        "toy",
        (Column("n", "count", lower=0, upper=3), Column("t", "count", lower=0, upper=5), Column("e", "flag")),
        (Survival("s", "t", "e"),),
    )
    grid = fine_grid(schema)
    assert grid.coding.blocks[0].edges == (0, 1, 2, 3, 4)
    table = schema.cast(pd.DataFrame({"n": [0, 3, 3, None], "t": [0, 5, 1, 2], "e": [0, 1, 1, None]}))
    transformer = fit_transformer(grid, NoisyHistograms(grid.count(table).astype(float), 0.0), codes=10)
    drawn = transformer.decode(transformer.encode(table), np.random.default_rng(0))
    assert drawn["n"].isna().tolist() == [False, False, False, True]
