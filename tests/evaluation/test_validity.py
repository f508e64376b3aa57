import pytest

from synthfed.evaluation.rows import Shape, read_rows
from synthfed.evaluation.validity import duplicates, hard_rules_metric, structure_metric, valid_cells
from tests.evaluation import cheats

TABLE = cheats.simulate(50, 1)


def test_a_typed_table_is_valid_in_every_cell():
    assert valid_cells(TABLE, cheats.SCHEMA) == (50 * 15, 50 * 15)
    assert structure_metric(TABLE, cheats.SCHEMA).light == "green"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("age_years", 17.9),  # below the bounds
        ("age_years", 40.25),  # more decimals than declared
        ("age_years", None),  # never missing
        ("ldh", 20.0),
        ("sex", "unknown"),
        ("NPM1", 2),
        ("hb", "ten"),
    ],
)
def test_one_wrong_cell_is_counted(column, value):
    table = TABLE.astype({column: "object"})
    table.loc[3, column] = value
    good, total = valid_cells(table, cheats.SCHEMA)
    assert total - good == 1
    assert structure_metric(table, cheats.SCHEMA).light == "red"


def test_an_absent_column_is_invalid_in_every_row_but_identity_is_not_needed():
    assert valid_cells(TABLE.drop(columns=["hb", "patient_id"]), cheats.SCHEMA) == (50 * 14, 50 * 15)


def test_no_broken_row_in_n_still_has_an_upper_bound():
    broken = cheats.RULES.check(TABLE)[["T1"]]
    metric = hard_rules_metric(broken, 50)
    assert (metric.value, metric.light) == (0, "green")
    assert metric.value_high == pytest.approx(3 / 50, rel=0.05)


def test_unchecked_rules_are_grey():
    assert hard_rules_metric(None, 50).light == "grey"


def test_repeated_rows_are_counted_once_each():
    rows = read_rows(TABLE, Shape.of(cheats.SCHEMA))
    assert duplicates(rows) == 0
    assert duplicates(rows.take([0, 0, 0, 1])) == 0.5
