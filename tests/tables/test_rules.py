"""Rules on hand-made schemas: what each kind says, what is refused at load, and the two laws of enforcing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import DictionaryError
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Column, Schema


def number(name: str, upper: float = 100.0, **more: object) -> Column:
    return Column(name, "continuous", lower=0.0, upper=upper, decimals=1, **more)  # type: ignore[arg-type]


SCHEMA = Schema(
    "toy",
    (
        Column("id", "id", missing="never"),
        number("low"),
        number("high"),
        number("twin"),
        number("a"),
        number("b"),
        number("c", upper=30.0),
        number("ratio", upper=50.0, derived=True),
        Column("days", "count", lower=1, upper=5000),
        Column("x", "flag"),
        Column("y", "flag"),
        Column("z", "flag"),
        Column("color", "category", levels=("red", "green", "blue")),
        Column("grade", "ordinal", levels=("0", "1", "2", "3")),
        number("gap", derived=True),
        Column("any", "flag", derived=True),
        Column("band", "category", levels=("small", "middle", "large"), derived=True),
    ),
)


def rule(kind: str, hard: bool = True, id: str = "R1", **more: object) -> dict[str, object]:
    return {"id": id, "kind": kind, "class": "hard" if hard else "soft", "source": "test", "note": "test"} | more


def rule_set(*rules: dict[str, object]) -> RuleSet:
    return RuleSet.parse({"rule": list(rules)}, SCHEMA)


def typed(**columns: object) -> pd.DataFrame:
    return SCHEMA.cast(pd.DataFrame(columns))


def broken(rules: RuleSet, table: pd.DataFrame) -> list[bool]:
    return [bool(value) for value in rules.check(table).iloc[:, 0]]


def test_range_clips_to_the_nearest_bound() -> None:
    rules = rule_set(rule("range", columns=["low"], lower=10, upper=20))
    table = typed(low=[5.0, 15.0, 25.0, None])
    assert broken(rules, table) == [True, False, True, False]
    assert rules.enforce(table)["low"].tolist()[:3] == [10.0, 15.0, 20.0]


def test_order_lowers_the_earlier_column_and_looks_past_a_blank() -> None:
    rules = rule_set(rule("order", columns=["low", "twin", "high"]))
    table = typed(low=[9.0, 9.0, 1.0], twin=[5.0, None, 2.0], high=[7.0, 3.0, 4.0])
    assert broken(rules, table) == [True, True, False]
    after = rules.enforce(table)
    assert after["low"].tolist() == [5.0, 3.0, 1.0]
    assert after["high"].tolist() == [7.0, 3.0, 4.0]


def test_order_tolerates_its_slack() -> None:
    rules = rule_set(rule("order", hard=False, columns=["low", "high"], slack=2))
    assert broken(rules, typed(low=[3.0, 3.1], high=[1.0, 1.0])) == [False, True]


def test_equal_follows_the_second_column() -> None:
    rules = rule_set(rule("equal", columns=["twin", "low"]))
    assert rules.enforce(typed(twin=[1.0, None], low=[2.0, 2.0]))["twin"].tolist()[0] == 2.0


def test_implies_sets_the_consequent_and_leaves_blanks_alone() -> None:
    rules = rule_set(rule("implies", when={"x": 1}, then={"y": 0, "color": ["green", "blue"], "days": {"ge": 21}}))
    table = typed(x=[1, 1, 0, None], y=[1, None, 1, 1], color=["red", "blue", "red", "red"], days=[3, 30, 3, 3])
    assert broken(rules, table) == [True, False, False, False]
    after = rules.enforce(table)
    assert after["y"].tolist() == [0, pd.NA, 1, 1]
    assert after["color"].tolist() == ["green", "blue", "red", "red"]
    assert after["days"].tolist() == [21, 30, 3, 3]


def test_conditions_know_alternatives_levels_bounds_and_blanks() -> None:
    when = [{"x": 1}, {"color": {"not": "red"}, "grade": {"ge": 2}}, {"low": "missing"}]
    rules = rule_set(rule("implies", hard=False, when=when, then={"y": 1}))
    table = typed(
        x=[1, 0, 0, 0], color=["red", "blue", "blue", "red"], grade=["0", "2", "1", "3"],
        low=[1.0, 1.0, 1.0, None], y=[0, 0, 0, 0],
    )  # fmt: skip
    assert broken(rules, table) == [True, True, False, True]


def test_structural_blanks_children_unless_the_parent_surely_holds() -> None:
    rules = rule_set(rule("structural", columns=["low", "days"], when={"x": 1}))
    table = typed(x=[1, 0, None], low=[1.0, 1.0, 1.0], days=[1, None, 1])
    assert broken(rules, table) == [False, True, True]
    assert rules.enforce(table)["low"].isna().tolist() == [False, True, True]


def test_structural_fill_makes_a_child_present_exactly_where_the_parent_holds() -> None:
    rules = rule_set(rule("structural", columns=["color"], when={"x": 1}, fill="blue"))
    table = typed(x=[1, 1, 0], color=[None, "red", None])
    assert broken(rules, table) == [True, False, False]
    assert rules.enforce(table)["color"].tolist() == ["blue", "red", np.nan]


def test_a_value_of_a_closed_row_goes_to_an_open_row_that_lacks_one() -> None:
    rules = rule_set(rule("structural", columns=["color", "days"], when={"x": 1}))
    table = typed(x=[1, 1, 0, 0], color=[None, "red", "green", None], days=[None, 7, 9, 4])
    after = rules.enforce(table)
    assert after["color"].tolist() == ["green", "red", np.nan, np.nan]
    assert after["days"].tolist() == [9, 7, pd.NA, pd.NA]
    assert rules.blank(table)[0]["color"].tolist() == [np.nan, "red", np.nan, np.nan]  # never between real patients


def test_excluding_columns_keep_their_frequencies_where_a_rule_swaps() -> None:
    rng = np.random.default_rng(0)
    drawn = {name: (rng.random(2000) < share).astype(int) for name, share in (("x", 0.4), ("y", 0.2), ("z", 0.1))}
    when = [{"y": 1}, {"z": 1}]
    after = rule_set(rule("implies", when=when, then={"x": 0}, swap=True)).enforce(typed(**drawn))
    assert not (after["x"].eq(1) & (after["y"].eq(1) | after["z"].eq(1))).any()
    for name, values in drawn.items():
        assert after[name].sum() == values.sum()
    plain = rule_set(rule("implies", when=when, then={"x": 0})).enforce(typed(**drawn))
    assert plain["x"].sum() < drawn["x"].sum()


def test_at_most_one_keeps_the_first_flag() -> None:
    rules = rule_set(rule("at_most_one", columns=["x", "y", "z"]))
    after = rules.enforce(typed(x=[1, 0, None], y=[1, 1, 1], z=[1, 0, 1]))
    assert after[["x", "y", "z"]].values.tolist() == [[1, 0, 0], [0, 1, 0], [pd.NA, 1, 0]]


def test_sum_rescales_shares_and_rounds_to_the_total() -> None:
    rules = rule_set(rule("sum", columns=["a", "b", "c"], total=100, tolerance=0.05))
    after = rules.enforce(typed(a=[1.0, 50.0, 40.0], b=[1.0, 30.0, 40.0], c=[1.0, 20.0, None]))
    assert after[["a", "b", "c"]].sum(axis=1).tolist()[:2] == pytest.approx([100.0, 100.0])
    assert after.iloc[0][["a", "b", "c"]].tolist() == [98.0, 1.0, 1.0]
    assert after.iloc[1][["a", "b", "c"]].tolist() == [50.0, 30.0, 20.0]
    assert rules.enforce(typed(a=[5.0], b=[90.0], c=[25.0])).iloc[0].tolist() == pytest.approx([4.2, 75.0, 20.8])
    assert after["c"].isna().tolist() == [False, False, True]


def test_a_share_that_swaps_goes_where_the_others_leave_room_for_it() -> None:
    # c was drawn without regard to the rest: both its values exist, in each other's row
    table = typed(a=[60.0, 30.0, 50.0, 70.0], b=[10.0, 20.0, 30.0, None], c=[50.0, 30.0, 20.0, 5.0])
    after = rule_set(rule("sum", columns=["a", "b", "c"], total=100, tolerance=0.05, swap="c")).enforce(table)
    assert after["c"].tolist() == [30.0, 50.0, 20.0, 5.0]  # rows that add up or lack a share keep theirs
    assert after["a"].tolist() == [60.0, 30.0, 50.0, 70.0]
    plain = rule_set(rule("sum", columns=["a", "b", "c"], total=100, tolerance=0.05)).enforce(table)
    assert plain["a"].tolist() == [40.0, 50.0, 50.0, 70.0]


def test_identity_is_computed_and_blank_outside_the_bounds() -> None:
    rules = rule_set(rule("identity", columns=["ratio"], times=["a"], over=["b"], scale=10))
    after = rules.derive(typed(a=[10.0, 90.0, None, 5.0], b=[20.0, 1.0, 5.0, 0.0]))
    assert after["ratio"].tolist()[0] == 5.0
    assert after["ratio"].isna().tolist() == [False, True, True, True]
    assert list(after.columns) == ["a", "b", "ratio"]


def test_an_order_that_swaps_gives_tall_values_to_rows_with_room() -> None:
    rules = rule_set(rule("order", columns=["low", "high"], swap=True))
    table = typed(low=[8.0, 1.0, 9.0, 5.0], high=[2.0, 50.0, 3.0, 60.0])
    after = rules.enforce(table)
    assert sorted(after["low"]) == [1.0, 3.0, 5.0, 8.0]  # 8 and 1 change places, 5 does not fit under 3
    assert not rules.check(after).any(axis=None)


def test_order_can_raise_the_later_column_and_keep_a_distance() -> None:
    rules = rule_set(rule("order", columns=["low", "high"], moves="later", slack=-1))
    after = rules.enforce(typed(low=[5.0, 5.0, 1.0], high=[5.0, None, 9.0]))
    assert after["low"].tolist() == [5.0, 5.0, 1.0]
    assert after["high"].tolist()[::2] == [6.0, 9.0]


def test_order_compares_with_a_multiple_and_keeps_whole_numbers_whole() -> None:
    rules = rule_set(rule("order", columns=["days", "low"], factor=12))
    after = rules.enforce(typed(days=[30, 12], low=[2.1, 1.0]))
    assert after["days"].tolist() == [25, 12]


def test_parts_are_pressed_into_their_whole() -> None:
    rules = rule_set(rule("parts", columns=["a", "b"], whole="low"))
    table = typed(a=[4.0, 4.0, 1.0], b=[6.0, None, 1.0], low=[5.0, 3.0, 9.0])
    assert broken(rules, table) == [True, True, False]
    after = rules.enforce(table)
    assert after["a"].tolist() == [2.0, 3.0, 1.0]
    assert after["b"].tolist()[0] == 3.0
    assert [r.columns for r in rules.restrict(["a", "low"]).rules] == [("a", "low")]
    assert not rules.restrict(["a", "b"]).rules


def test_linear_adds_terms_and_the_least_known_where_its_condition_holds() -> None:
    rules = rule_set(rule("linear", columns=["gap"], least=["low", "high"], terms={"a": -1}, when={"x": 1}))
    after = rules.derive(typed(low=[9.0, None, 9.0, 1.0], high=[12.0, 12.0, 12.0, 2.0], a=[4.0] * 4, x=[1, 1, 0, 1]))
    assert after["gap"].tolist()[:2] == [5.0, 8.0]
    assert after["gap"].isna().tolist() == [False, False, True, True]  # closed; below the bound


def test_an_indicator_answers_where_it_is_open_and_sure() -> None:
    rules = rule_set(rule("indicator", columns=["any"], then=[{"low": "present"}, {"y": 1}], when={"x": 1}))
    after = rules.derive(typed(low=[1.0, None, None, None], y=[0, 0, None, 1], x=[1, 1, 1, 0]))
    assert after["any"].tolist() == [1, 0, pd.NA, pd.NA]


def test_a_band_holds_the_numbers_below_its_upper_edge() -> None:
    rules = rule_set(rule("band", columns=["band"], of="low", edges=[10, 20]))
    after = rules.derive(typed(low=[9.9, 10.0, 20.0, None]))
    assert after["band"].tolist() == ["small", "middle", "large", np.nan]


def test_writers_come_before_readers_whatever_the_file_says() -> None:
    rules = rule_set(
        rule("implies", id="second", when={"y": 1}, then={"z": 1}),
        rule("implies", id="first", when={"x": 1}, then={"y": 1}),
    )
    assert [r.id for r in rules.rules] == ["first", "second"]
    assert rules.enforce(typed(x=[1], y=[0], z=[0]))["z"].tolist() == [1]


def test_a_cycle_is_refused() -> None:
    with pytest.raises(DictionaryError, match=r"one.*two.*wait for each other"):
        rule_set(
            rule("implies", id="one", when={"x": 1}, then={"y": 1}),
            rule("implies", id="two", when={"y": 1}, then={"x": 0}),
        )


def test_two_rules_that_write_one_cell_differently_are_refused() -> None:
    one = rule("implies", id="one", when={"x": 1}, then={"z": 1})
    with pytest.raises(DictionaryError, match=r"'one' and 'two' can both apply and write 'z' differently"):
        rule_set(one, rule("implies", id="two", when={"y": 1}, then={"z": 0}))
    rule_set(one, rule("implies", id="two", when={"x": 0, "y": 1}, then={"z": 0}))


def test_a_derived_column_has_one_writer() -> None:
    identity = rule("identity", id="one", columns=["ratio"], times=["a"], over=["b"])
    with pytest.raises(DictionaryError, match="derived"):
        rule_set(identity, rule("implies", id="two", when={"x": 1}, then={"ratio": 3}))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (rule("nonsense"), "kinds: range"),
        (rule("range", columns=["nowhere"]), "'nowhere' is not in the 'toy' dictionary"),
        (rule("implies", when={"color": "pink"}, then={"x": 1}), "no level 'pink'; levels: red, green, blue"),
        (rule("implies", when={"low": {"above": 3}}, then={"x": 1}), "allowed keys: not, ge, gt, le, lt"),
        (rule("implies", when={"x": 1}, then=[{"y": 1}, {"z": 1}]), "one alternative"),
        (rule("structural", columns=["low"], when={"x": 1}, filling=3), "unknown keys"),
        ({"id": "R1", "kind": "range"}, "are missing"),
        (rule("derived", columns=["ratio"], function="eln1999"), "eln2022"),
        (rule("linear", columns=["low"], terms={"a": 1}), "derived = true"),
        (rule("band", columns=["band"], of="low", edges=[3]), "a level more than 'edges'"),
        (rule("indicator", columns=["any"]), "a flag with 'then'"),
        (rule("order", columns=["low", "high"], moves="up"), "moves is 'earlier'"),
        (rule("parts", columns=["a"], whole="color"), "parts are numbers"),
        (rule("order", columns=["low", "high", "a"], swap=True), "swap needs two columns"),
        (rule("implies", when={"x": 1}, then={"y": 0}, swap=1), "swap is true or false"),
        (rule("sum", columns=["a", "b"], total=100, swap="c"), "'swap' names one of the columns"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_name_and_the_next_step(entry: dict[str, object], words: str) -> None:
    with pytest.raises(DictionaryError, match=words) as error:
        rule_set(entry)
    assert "R1" in str(error.value)


def test_restricting_weakens_rules_and_never_sharpens_them() -> None:
    rules = rule_set(
        rule("implies", id="parts", when=[{"x": 1}, {"y": 1}], then={"z": 0, "low": 0}),
        rule("implies", id="either", hard=False, when={"x": 1}, then=[{"z": 1}, {"y": 1}]),
        rule("structural", id="child", columns=["high", "days"], when={"y": 1}),
    )
    kept = rules.restrict(["x", "z"])
    assert [r.id for r in kept.rules] == ["parts"]
    assert kept.rules[0].columns == ("x", "z")
    assert rules.check(typed(x=[1], z=[1])).iloc[0].to_dict() == {"child": False, "parts": True, "either": False}


def test_repairs_that_undo_each_other_end_in_a_blank() -> None:
    rules = rule_set(
        rule("order", id="one", columns=["low", "twin"]), rule("range", id="two", columns=["low"], lower=50, upper=90)
    )
    after = rules.enforce(typed(low=[60.0], twin=[10.0]))
    assert after["low"].isna().all()
    assert not rules.check(after).any(axis=None)


def test_reading_blanks_offending_cells_and_names_rows() -> None:
    rules = rule_set(
        rule("implies", id="H", when={"x": 1}, then={"y": 0}),
        rule("sum", id="S", columns=["a", "b", "c"], total=100, tolerance=0.5, input_tolerance=3),
        rule("identity", id="I", columns=["ratio"], times=["a"], over=["b"]),
    )
    table = typed(x=[1, 1], y=[1, 0], a=[40.0, 60.0], b=[32.0, 60.0], c=[30.0, 30.0])
    after, rows = rules.blank(table)
    assert {name: places.tolist() for name, places in rows.items()} == {"H": [0], "S": [0, 1]}
    assert after["y"].tolist() == [pd.NA, 0]
    assert after.loc[0, ["a", "b", "c"]].sum() == pytest.approx(100)
    assert after.loc[1, ["a", "b", "c"]].isna().all()


def test_changed_cells_names_the_share_per_rule() -> None:
    rules = rule_set(rule("implies", id="H", when={"x": 1}, then={"y": 0}))
    before = typed(x=[1, 1, 0, 0], y=[1, 0, 1, 0])
    assert rules.changed_cells(before, rules.enforce(before)) == {"H": 0.25}


ALL_KINDS = rule_set(
    rule("range", id="01", columns="*"),
    rule("order", id="02", columns=["low", "twin", "high"]),
    rule("equal", id="03", columns=["twin", "a"], when={"z": 1}),
    rule("implies", id="04", when=[{"x": 1}, {"grade": {"ge": 2}}], then={"y": 0, "days": {"ge": 21}}),
    rule("structural", id="05", columns=["color"], when={"y": 1}, fill="red"),
    rule("structural", id="06", columns=["high"], when={"grade": "present"}),
    rule("sum", id="07", columns=["a", "b", "c"], total=100, tolerance=0.5),
    rule("identity", id="08", columns=["ratio"], times=["days"], over=["c"], scale=0.1),
    rule("implies", id="09", when={"low": {"gt": 90}}, then={"z": 1}) | {"class": "soft"},
    rule("linear", id="10", columns=["gap"], least=["low", "high"], terms={"twin": -1}, when={"x": 1}),
    rule("indicator", id="11", columns=["any"], then=[{"high": "present"}, {"y": 1}], when={"x": 1}),
    rule("band", id="12", columns=["band"], of="days", edges=[100, 1000]),
    rule("at_most_one", id="13", columns=["y", "z"]),
)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 12))

    def column(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(st.none() | values, min_size=rows, max_size=rows))

    data: dict[str, list[object]] = {}
    for entry in SCHEMA.modelled:
        if entry.has_levels:
            data[entry.name] = column(
                st.sampled_from([int(v) for v in (0, 1)] if entry.kind == "flag" else entry.levels)
            )
        else:
            assert entry.lower is not None
            assert entry.upper is not None
            data[entry.name] = column(st.integers(int(entry.lower), int(entry.upper)))
    kept = draw(st.sets(st.sampled_from(sorted(data)), min_size=len(data) - 3))
    return SCHEMA.cast(pd.DataFrame({name: pd.Series(data[name], dtype="object") for name in data if name in kept}))


@settings(max_examples=150, deadline=None)
@given(tables())
def test_enforcing_leaves_no_hard_violation_and_is_idempotent(table: pd.DataFrame) -> None:
    once = ALL_KINDS.enforce(table)
    hard = [r.id for r in ALL_KINDS.hard]
    assert not ALL_KINDS.check(once)[hard].any(axis=None)
    pd.testing.assert_frame_equal(ALL_KINDS.enforce(once), once)
    for name in once.columns:
        assert once[name].dtype == SCHEMA.dtype(name)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_reading_only_blanks_fills_or_rescales_and_leaves_no_hard_violation(table: pd.DataFrame) -> None:
    after, _ = ALL_KINDS.blank(table)
    assert not ALL_KINDS.check(after)[[r.id for r in ALL_KINDS.hard]].any(axis=None)
    for name in set(table.columns) - {"color", "a", "b", "c"}:
        differs = (after[name] != table[name]).fillna(False).astype(bool) & after[name].notna()
        assert not differs.any()
