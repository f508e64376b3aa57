"""What leaves a site: each record touches one cell of each table, and that is what it costs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthfed.generators.base import Codes, Layout
from synthfed.generators.marginal import CountTable, NoisyTables, PackedTable, cells_of, count, mu_squared
from synthfed.generators.marginal.counting import UNIT
from tests.generators.marginal.worlds import LAYOUT, make_codes

TABLES = (
    CountTable((2,), 2.0),
    CountTable((0, 3), 4.0),
    CountTable((1, 2), 4.0, ((), (0, 1, 0, 1, 0, 1))),
    CountTable((0, 1, 4), 8.0),
)
records = st.tuples(*(st.integers(0, width - 1) for width in LAYOUT.widths))

FLAGS = Layout(("os", *(f"flag {index}" for index in range(8))), (4, *(3,) * 6, 2, 2))
flagged = st.tuples(*(st.integers(0, width - 1) for width in FLAGS.widths))
packs = st.builds(
    PackedTable,
    st.just(tuple(range(1, 9))),
    st.sampled_from((0, None)),
    st.integers(2, 8),
    st.floats(0.5, 50.0),
)


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


@given(st.lists(flagged, max_size=10), flagged, st.lists(packs, min_size=1, max_size=3))
def test_no_record_moves_packed_tables_by_more_than_mu_squared_says(
    rows: list[tuple[int, ...]], extra: tuple[int, ...], tables: list[PackedTable]
) -> None:
    codes = np.array([*rows, extra], dtype=np.int32).reshape(-1, 9)
    difference = count(codes, FLAGS, tables) - count(codes[:-1], FLAGS, tables)
    spread = np.concatenate([np.full(math.prod(table.shape(FLAGS)), table.stddev) for table in tables])
    assert ((difference / spread) ** 2).sum() <= mu_squared(tables) * (1 + 1e-12)


@pytest.mark.parametrize("cap", range(2, 9))
@pytest.mark.parametrize("by", [0, None])
def test_a_packed_table_reaches_its_bound_at_the_cap_and_never_beyond(cap: int, by: int | None) -> None:
    table = PackedTable(tuple(range(1, 9)), by, cap, 1.0)
    moved = []
    for positive in range(9):
        codes = np.zeros((1, 9), dtype=np.int32)
        codes[0, 1 : 1 + positive] = 1
        moved.append(float((count(codes, FLAGS, [table]).astype(float) ** 2).sum()))
    assert max(moved) == moved[cap] == mu_squared([table])


def test_a_packed_table_counts_who_has_a_flag_and_who_has_both() -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, FLAGS.widths, (200, 9)).astype(np.int32)
    by_group = PackedTable(tuple(range(1, 9)), 0, 8, 0.0, (0, 1, 0, 1))
    both = PackedTable(tuple(range(1, 9)), None, 8, 0.0)
    counts = count(codes, FLAGS, [by_group, both])
    positive = codes[:, 1:] == 1
    wanted = [[(positive[:, flag] & (codes[:, 0] % 2 == group)).sum() for group in (0, 1)] for flag in range(8)]
    np.testing.assert_array_equal(counts[:16].reshape(8, 2), UNIT * np.array(wanted))
    pairs = [(positive[:, a] & positive[:, b]).sum() for a in range(8) for b in range(a + 1, 8)]
    np.testing.assert_array_equal(counts[16:], UNIT * np.array(pairs))
    (table, read, variance), _ = NoisyTables((by_group, both), counts.astype(float), 1).arrays(FLAGS)
    np.testing.assert_array_equal(read, wanted)
    assert (table, variance) == (by_group, 0.0)


def test_noise_of_a_packed_table_is_read_in_patients() -> None:
    table = PackedTable((1, 2), 0, 1, 32.0)
    ((_, _, variance),) = NoisyTables((table,), np.zeros(8), 4).arrays(FLAGS)
    assert variance == pytest.approx(4 * (32.0 / UNIT) ** 2)


@pytest.mark.parametrize(
    ("blocks", "by", "cap", "groups"),
    [
        ((1,), 0, 1, ()),
        ((2, 1), 0, 1, ()),
        ((-1, 1), 0, 1, ()),
        ((1, 2), 2, 1, ()),
        ((1, 2), -1, 1, ()),
        ((1, 2), 0, 0, ()),
        ((1, 2), 0, 3, ()),
        ((1, 2), None, 1, ()),
        ((1, 2), None, 2, (0, 1, 0, 1)),
    ],
)
def test_impossible_packed_tables_are_refused(
    blocks: tuple[int, ...], by: int | None, cap: int, groups: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="packed table"):
        PackedTable(blocks, by, cap, 1.0, groups)
    with pytest.raises(ValueError, match="stddev"):
        PackedTable((1, 2), 0, 1, math.nan)


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


@pytest.mark.parametrize("blocks", [(), (1, 0), (1, 1), (0, 1, 2, 3, 4), (-1,)])
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
