"""What a hospital hands over becomes a typed table, or one message that names every problem and no patient."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.errors import DataError, MissingColumn, OutOfRange, UnknownColumn, UnknownLevel, UnreadableFile
from synthfed.pipeline import Pipeline
from synthfed.tables.cells import as_text, decimal_mark, read_numbers
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.reading import read_frame, type_table
from synthfed.tables.schema import Column

AML = load_dictionary("aml")
COLUMNS = ("patient_id", "age_years", "sex", "hb_g_dl", "platelets_10e9_l", "NPM1", "cause_of_death")
SMALL = (
    "patient_id,age_years,sex,hb_g_dl,platelets_10e9_l,NPM1,cause_of_death\n"
    "P1,61,male,8.3,43,1,disease\nP2,34,female,,1151,0,\n"
)

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "site.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def typed(raw: pd.DataFrame, columns: tuple[str, ...] = COLUMNS, **options: object) -> pd.DataFrame:
    return type_table(raw, AML, columns, origin="site 'lyon'", **options)[0]  # type: ignore[arg-type]


def rows(**columns: list[object]) -> pd.DataFrame:
    length = len(next(iter(columns.values())))
    full = {"patient_id": [f"P{i}" for i in range(length)], "age_years": [60] * length, "sex": ["male"] * length}
    return pd.DataFrame(full | columns)


def test_a_plain_csv_becomes_a_typed_table(write: Write) -> None:
    table = typed(read_frame(write(SMALL)))
    assert table["age_years"].tolist() == [61.0, 34.0]
    assert table["platelets_10e9_l"].tolist() == [43, 1151]
    assert table["hb_g_dl"].isna().tolist() == [False, True]
    assert table["cause_of_death"].tolist()[0] == "disease"
    for name in COLUMNS:
        assert table[name].dtype == AML.schema.dtype(name)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(".", "@").replace(",", ";").replace("@", ","),
        lambda text: text.replace(".", "@").replace(",", ";").replace("@", ",").replace("1151", "1.151"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text + ",,,,,,\n,,,,,,\n",
        lambda text: "\n" + text + "\n\n",
        lambda text: text.replace("age_years", " AGE ").replace("NPM1", "npm1 ").replace("hb_g_dl", "HB"),
        lambda text: text.replace("\n", ",\n"),
        lambda text: text.replace(",male", ",M ").replace(",female", ",Frau"),
        lambda text: text.replace(",,", ",n.d.,").replace(",0,", ",nein,").replace(",1,", ",positive,"),
        lambda text: text.replace(",,", ",-99,").replace("61", "61.0"),
        lambda text: text.replace("1151", '"1,151"'),
        lambda text: text.encode("utf-16"),
    ],
)
def test_the_same_patients_in_another_dialect_give_the_same_table(
    write: Write, change: Callable[[str], str | bytes]
) -> None:
    expected = typed(read_frame(write(SMALL)))
    pd.testing.assert_frame_equal(typed(read_frame(write(change(SMALL)))), expected)


def test_windows_1252_letters_are_read(write: Write) -> None:
    text = SMALL.replace(",male", ",männlich")
    assert typed(read_frame(write(text.encode("cp1252"))))["sex"].tolist() == ["male", "female"]


def test_excel_and_parquet_give_the_same_table_as_csv(write: Write, tmp_path: Path) -> None:
    expected = typed(read_frame(write(SMALL)))
    expected.to_excel(tmp_path / "t.xlsx", index=False)
    expected.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(typed(read_frame(tmp_path / "t.xlsx")), expected)
    pd.testing.assert_frame_equal(typed(read_frame(tmp_path / "t.parquet")), expected)


def test_a_typed_table_is_typed_to_itself(write: Write) -> None:
    table = typed(read_frame(write(SMALL)))
    pd.testing.assert_frame_equal(typed(table), table)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("a,b\n1,2,3\n", "row 1 has 3 cells"),
        ("a,b\n1,2\n1\n", "row 2 has 1 cells"),
        ("a,b,a\n1,2,3\n", "columns 1, 3"),
        (b"a,b\n\x81,2\n", "neither UTF-8"),
    ],
)
def test_files_that_are_no_tables_are_refused(write: Write, content: str | bytes, named: str) -> None:
    with pytest.raises(UnreadableFile, match=named):
        read_frame(write(content))


@pytest.mark.parametrize("name", ["absent.csv", "table.docx", "table.xlsx", "table.parquet"])
def test_other_files_are_refused_with_the_next_step(tmp_path: Path, name: str) -> None:
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"not that")
    with pytest.raises(UnreadableFile, match="csv"):
        read_frame(tmp_path / name)


def test_unknown_headers_are_named_with_close_matches() -> None:
    with pytest.raises(UnknownColumn, match=r"'age_yaers'.*did you mean age_years"):
        typed(rows(age_yaers=[61]), ("patient_id", "age_years", "sex"))


def test_a_file_without_header_line_is_refused_without_repeating_it(write: Write) -> None:
    with pytest.raises(UnknownColumn, match="first line") as error:
        typed(read_frame(write(SMALL.split("\n", 1)[1])))
    assert "61" not in str(error.value)


def test_tolerated_and_ignored_headers_pass() -> None:
    raw = rows(wave=["w1"], KARYOTYPE=["46,XX"])
    table, report = type_table(raw, AML, ("age_years", "sex"), origin="t", extra=["Wave"])
    assert list(table.columns) == ["age_years", "sex"]
    assert {finding.kind for finding in report.findings} == {"ignored", "dropped"}


def test_missing_columns_are_named_with_the_headers_that_would_do() -> None:
    with pytest.raises(MissingColumn, match=r"'hb_g_dl'.*'HB'"):
        typed(rows(NPM1=[1]), ("age_years", "hb_g_dl"))


def test_unknown_level_names_rows_and_allowed_levels_but_not_the_value() -> None:
    with pytest.raises(UnknownLevel, match=r"'sex': 2 rows \(1, 3\).*male, female") as error:
        typed(rows(sex=["x-secret", "male", "x-secret"]), ("sex",))
    assert "secret" not in str(error.value)


def test_sex_coded_1_and_2_is_refused_not_guessed() -> None:
    with pytest.raises(UnknownLevel, match="sex"):
        typed(rows(sex=[1, 2, 1]), ("sex",))


def test_numbers_outside_the_public_bounds_are_an_error_or_missing() -> None:
    raw = rows(hb_g_dl=["8.1", "83.7"])
    with pytest.raises(OutOfRange, match=r"'hb_g_dl': 1 row \(2\).*\[2, 20\] g/dL") as error:
        typed(raw, ("hb_g_dl",))
    assert "83" not in str(error.value)
    table, report = type_table(raw, AML, ("hb_g_dl",), origin="t", on_out_of_range="missing")
    assert table["hb_g_dl"].isna().tolist() == [False, True]
    assert [f.count for f in report.findings if f.kind == "out_of_range"] == [1]


def test_text_in_a_number_column_is_an_error_without_the_text() -> None:
    with pytest.raises(DataError, match=r"1 row \(2\).*not a number") as error:
        typed(rows(hb_g_dl=["8.1", "see letter"]), ("hb_g_dl",))
    assert "letter" not in str(error.value)


def test_a_column_that_must_be_known_may_not_be_missing() -> None:
    with pytest.raises(DataError, match=r"'age_years' is missing in 1 row \(2\)"):
        typed(rows(age_years=["61", ""]), ("age_years",))


def test_all_problems_of_a_file_come_in_one_message() -> None:
    raw = rows(sex=["male", "oops"], hb_g_dl=["8", "800"], colour=["red", "red"])
    with pytest.raises(DataError) as error:
        typed(raw, ("sex", "hb_g_dl", "NPM1"))
    message = str(error.value)
    assert message.startswith("site 'lyon': 4 problems")
    assert all(name in message for name in ("colour", "sex", "hb_g_dl", "NPM1"))


def test_two_headers_for_one_column_are_refused() -> None:
    with pytest.raises(DataError, match=r"'age_years' and 'AGE' both mean 'age_years'"):
        typed(rows(AGE=[61]), ("age_years",))


def test_fusions_given_as_flags_are_composed() -> None:
    raw = rows(
        t_15_17=["1", "0", "0", "", "0"],
        inv16_t16_16=["0", "1", "0", "", "0"],
        t_9_11=["0", "0", "0", "", "1"],
        MLL_REARRANGED=["0", "0", "0", "", "1"],
    )
    table, report = type_table(raw, AML, ("class_fusion",), origin="t")
    assert table["class_fusion"].astype("object").where(table["class_fusion"].notna(), None).tolist() == [
        "t_15_17",
        "inv16_t16_16",
        "none",
        None,
        "t_9_11",
    ]
    composed = next(f for f in report.findings if f.kind == "composed")
    assert "t_8_21" in composed.note
    assert [f.count for f in report.findings if f.kind == "ambiguous"] == [1]


def test_derived_columns_of_the_file_are_left_to_the_rules() -> None:
    table, report = type_table(rows(eln2022=["anything"]), AML, ("age_years", "eln2022"), origin="t")
    assert list(table.columns) == ["age_years"]
    assert ("derived", "eln2022") in {(f.kind, f.column) for f in report.findings}


def test_limits_and_parts_are_read_and_reported() -> None:
    raw = rows(wbc_10e9_l=["<0.5", "12"], platelets_10e9_l=["43.5", "12"], bm_blasts_pct=["70 %", "5"])
    table, report = type_table(raw, AML, ("wbc_10e9_l", "platelets_10e9_l", "bm_blasts_pct"), origin="t")
    assert table["wbc_10e9_l"].tolist() == [0.5, 12.0]
    assert table["platelets_10e9_l"].tolist() == [44, 12]
    assert table["bm_blasts_pct"].tolist() == [70.0, 5.0]
    assert {(f.kind, f.count) for f in report.findings} >= {("censored", 1), ("rounded", 1)}


def test_fractions_in_a_percent_column_are_pointed_out() -> None:
    _, report = type_table(rows(bm_blasts_pct=[0.7, 0.2]), AML, ("bm_blasts_pct",), origin="t")
    assert [f.column for f in report.findings if f.kind == "unit"] == ["bm_blasts_pct"]
    _, report = type_table(rows(bm_blasts_pct=[70, 0.2]), AML, ("bm_blasts_pct",), origin="t")
    assert not [f for f in report.findings if f.kind == "unit"]


def test_a_code_for_missing_counts_only_outside_the_bounds() -> None:
    table = typed(rows(age_years=[99, 61], hb_g_dl=[99, 9]), ("age_years", "hb_g_dl"))
    assert table["age_years"].tolist() == [99.0, 61.0]
    assert table["hb_g_dl"].isna().tolist() == [True, False]


def test_a_level_named_like_a_missing_token_stays_a_level() -> None:
    table = typed(rows(cause_of_death=["unknown", "nk"]), ("cause_of_death",))
    assert table["cause_of_death"].isna().tolist() == [False, True]


def test_absent_ids_are_noticed_not_refused() -> None:
    table, report = type_table(pd.DataFrame({"AGE": [61]}), AML, ("patient_id", "age_years"), origin="t")
    assert list(table.columns) == ["age_years"]
    assert [f.kind for f in report.findings] == ["no_id"]


@given(st.lists(st.floats(2, 20), min_size=1), st.sampled_from([".", ","]))
@settings(deadline=None, max_examples=50)
def test_every_written_number_is_read_back(values: list[float], mark: str) -> None:
    texts = pd.Series([f"{value:.2f}".replace(".", mark) for value in values], dtype="object")
    column = Column("x", "continuous", lower=2, upper=20, decimals=2)
    assert decimal_mark([texts]) == mark
    cells = read_numbers(texts, column, decimal_mark([texts]) or ".")
    np.testing.assert_allclose(cells.values, np.round(values, 2), atol=0.0051)
    assert not cells.unreadable.any()


def test_three_digits_after_a_mark_decide_nothing() -> None:
    assert decimal_mark([pd.Series(["1.151", "2.300"], dtype="object")]) is None
    assert decimal_mark([pd.Series(["1.5", "2,5"], dtype="object")]) is None


def test_thousandths_of_a_whole_number_are_refused_not_rounded() -> None:
    with pytest.raises(DataError, match="thousandths") as raised:
        typed(rows(platelets_10e9_l=["1.151", "43"]), ("platelets_10e9_l",))
    assert "1.151" not in str(raised.value)


def test_text_of_any_dtype_is_plain() -> None:
    assert as_text(pd.Series([True, None], dtype="boolean")).tolist() == ["1", ""]
    assert as_text(pd.Series([1.5, np.nan])).tolist() == ["1.5", ""]
    assert as_text(pd.Series(["  a  b ", None], dtype="string")).tolist() == ["a b", ""]


def test_beat_aml_is_read_whole(beat_aml: Path) -> None:
    """Counts are those published with the table."""
    columns = Pipeline.load("aml").cohort.columns
    raw = read_frame(beat_aml)
    table, report = type_table(raw, AML, columns, origin="beat", extra=["wave"])
    assert len(table) == report.rows == 532
    assert (table["sex"] == "male").sum() == 294
    assert (table["class_fusion"] == "inv16_t16_16").sum() == 38
    assert table["os_event"].sum() == 301
    assert table["CEBPA"].notna().sum() == 504
    with pytest.raises(UnknownColumn, match="'enrolment'"):
        type_table(raw.rename(columns={"wave": "enrolment"}), AML, columns, origin="beat")


def test_a_decimal_comma_export_of_beat_aml_equals_it(beat_aml: Path, write: Write) -> None:
    columns = Pipeline.load("aml").cohort.columns
    raw = read_frame(beat_aml)
    expected, _ = type_table(raw, AML, columns, origin="beat", extra=["wave"])
    text = raw.to_csv(sep=";", index=False, lineterminator="\r\n").replace(".", ",")
    other, _ = type_table(read_frame(write("\ufeff" + text)), AML, columns, origin="beat", extra=["wave"])
    pd.testing.assert_frame_equal(other, expected)


def test_a_column_without_any_value_is_noticed(write: Write) -> None:
    raw = read_frame(write(SMALL.replace(",8.3,", ",,")))
    report = type_table(raw, AML, COLUMNS, origin="site 'lyon'")[1]
    assert ("empty", "hb_g_dl") in {(f.kind, f.column) for f in report.findings}
    with pytest.raises(DataError, match="'sex' is missing in all 2 rows"):
        typed(read_frame(write(SMALL.replace("female", "").replace("male", ""))))
