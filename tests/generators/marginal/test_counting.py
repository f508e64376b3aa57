"""What leaves a site: each record touches one cell of each table, and that is what it costs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthfed.generators.base import Codes
from synthfed.generators.marginal import CountTable, NoisyTables, cells_of, count, mu_squared
from tests.generators.marginal.worlds import LAYOUT, make_codes

TABLES = (
    CountTable((2,), 2.0),
    CountTable((0, 3), 4.0),
    CountTable((1, 2), 4.0, ((), (0, 1, 0, 1, 0, 1))),
    CountTable((0, 1, 4), 8.0),
)
records = st.tuples(*(st.integers(0, width - 1) for width in LAYOUT.widths))


def _codes(rows: list[tuple[int, ...]]) -> Codes:
    return np.array(rows, dtype=np.int32).reshape(-1, len(LAYOUT.widths))


@given(st.lists(records, max_size=20), records)
def test_a_record_touches_exactly_one_cell_of_each_table(rows: list[tuple[int, ...]], extra: tuple[int, ...]) -> None:
    difference = count(_codes([*rows, extra]), LAYOUT, TABLES) - count(_codes(rows), LAYOUT, TABLES)
    offset = 0
    for table in TABLES:
        size = math.prod(table.shape(LAYOUT))
        part = difference[offset : offset + size]
        assert part.sum() == 1
        assert np.count_nonzero(part) == 1
        offset += size
    assert offset == len(difference)


@given(st.lists(records, max_size=20), records)
def test_a_record_moves_the_vector_by_what_mu_squared_says(rows: list[tuple[int, ...]], extra: tuple[int, ...]) -> None:
    difference = count(_codes([*rows, extra]), LAYOUT, TABLES) - count(_codes(rows), LAYOUT, TABLES)
    spread = np.concatenate([np.full(math.prod(table.shape(LAYOUT)), table.stddev) for table in TABLES])
    assert ((difference / spread) ** 2).sum() == pytest.approx(mu_squared(TABLES))


def test_counts_are_the_joint_frequencies() -> None:
    codes = make_codes(50)
    counts = count(codes, LAYOUT, (CountTable((1, 3), 0.0),)).reshape(4, 3)
    assert counts[2, 1] == ((codes[:, 1] == 2) & (codes[:, 3] == 1)).sum()
    assert counts.dtype == np.int64
    assert not count(codes[:0], LAYOUT, TABLES).any()


def test_no_noise_costs_everything() -> None:
    assert mu_squared((CountTable((0,), 0.0), CountTable((1,), 3.0))) == math.inf
    assert mu_squared(()) == 0


def test_noise_of_several_sites_adds_up() -> None:
    noisy = NoisyTables(TABLES, np.zeros(cells_of(TABLES, LAYOUT)), sites=4)
    assert noisy.noise_stddev(TABLES[0]) == 4.0
    with pytest.raises(ValueError, match="cells"):
        list(NoisyTables(TABLES, np.zeros(3), sites=4).arrays(LAYOUT))


@pytest.mark.parametrize("blocks", [(), (1, 0), (1, 1), (0, 1, 2, 3), (-1,)])
def test_impossible_tables_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        CountTable(blocks, 1.0)


@pytest.mark.parametrize("stddev", [-1.0, math.inf, math.nan])
def test_impossible_noise_is_refused(stddev: float) -> None:
    with pytest.raises(ValueError, match="stddev"):
        CountTable((0,), stddev)


def test_codes_outside_the_layout_are_refused_without_naming_them() -> None:
    codes = make_codes(5)
    codes[3, 1] = 4
    with pytest.raises(ValueError, match="lie outside") as refused:
        count(codes, LAYOUT, TABLES)
    assert "4" not in str(refused.value)
    with pytest.raises(ValueError, match="5 blocks"):
        count(codes[:, :4], LAYOUT, TABLES)
