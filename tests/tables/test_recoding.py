"""A hand-over and its mapping give the table that the patients are; a mapping that is wrong or silent is refused."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from synthfed.cohorts.sites import read_cohort
from synthfed.errors import DataError, MappingError
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.mapping import load_mapping
from tests.tables.messify import COLUMNS, simulated_patients, write_redcap, write_spreadsheet, write_workbook

KEY = bytes(32)
WRITERS: dict[str, Callable[[pd.DataFrame, Path], Path]] = {
    "spreadsheet": write_spreadsheet,
    "workbook": write_workbook,
    "redcap": write_redcap,
}


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    return simulated_patients()


def loaded(path: Path) -> pd.DataFrame:
    return read_cohort({"site": path}, columns=COLUMNS, split_key=KEY, holdout_fraction=1e-9).train


def change(path: Path, right: str, wrong: str) -> Path:
    file = path.with_suffix(".mapping.toml")
    text = file.read_text(encoding="utf-8")
    assert right in text
    file.write_text(text.replace(right, wrong), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", list(WRITERS))
def test_every_hand_over_loads_to_the_same_patients(kind: str, patients: pd.DataFrame, tmp_path: Path) -> None:
    path = WRITERS[kind](patients, tmp_path)
    truth = read_cohort({"site": patients}, columns=COLUMNS, split_key=KEY, holdout_fraction=1e-9).train
    pd.testing.assert_frame_equal(loaded(path), truth)


def test_a_folder_of_hand_overs_is_a_cohort_and_its_form_is_no_site(patients: pd.DataFrame, tmp_path: Path) -> None:
    for write in WRITERS.values():
        write(patients, tmp_path)
    assert read_cohort(tmp_path, columns=COLUMNS).site_names == ("berlin", "lyon", "milano")
    assert set(COLUMNS) - {"class_fusion"} <= set(read_cohort(tmp_path).schema.names)


def test_every_conversion_is_listed(patients: pd.DataFrame, tmp_path: Path) -> None:
    noted: set[tuple[str, str]] = set()
    for kind, write in WRITERS.items():
        report = read_cohort({kind: write(patients, tmp_path)}, columns=COLUMNS).reports[kind]
        noted |= {(f.kind, f.column) for f in report.findings}
    assert noted >= {
        ("thousands", "ldh_u_l"),
        ("missing_code", "hb_g_dl"),
        ("duplicate", "patient_id"),
        ("converted", "ldh_u_l"),
        ("rounded", "ldh_u_l"),
        ("converted", "bm_blasts_pct"),
        ("codes", "sex"),
        ("codes", "os_event"),
        ("difference", "os_days"),
        ("dates", "Erstdiagnose"),
        ("not_asked", "mono7"),
        ("not_asked", "FLT3_ITD_allelic_ratio"),
        ("ignored", "comment"),
        ("ignored", "Ward"),
        ("renamed", "hb_g_dl"),
        ("unmapped", "NPM1"),
    }


WRONG = {
    "day and month swapped": ("spreadsheet", 'order = "dmy"', 'order = "mdy"', "order"),
    "dot as decimal point": ("spreadsheet", 'decimal = ","', 'decimal = "."', "decimal"),
    "dot as decimal point in one column": ("spreadsheet", 'unit = "U/L"', 'unit = "U/L", decimal = "."', "decimal"),
    "two-digit years": ("spreadsheet", ", two_digit_years_from = 2000", "", "two_digit_years_from"),
    "dates the wrong way round": (
        "spreadsheet",
        'from = "Diagnosis", to = "Last contact"',
        'from = "Last contact", to = "Diagnosis"',
        "from",
    ),
    "a column without meaning": ("spreadsheet", 'ignore = ["Ward"]', "", "'Ward'"),
    "a response without code": ("spreadsheet", ', RD = "refractory"', "", "codes"),
    "sex 1/2 as 0/1": ("workbook", '{ 1 = "male", 2 = "female" }', '{ 0 = "female", 1 = "male" }', "codes"),
    "sex codes undeclared": ("workbook", '{ column = "sex", codes = { 1 = "male", 2 = "female" } }', '"sex"', "codes"),
    "vital 1 as dead": ("workbook", "{ 1 = 0, 2 = 1 }", "{ 1 = 1, 0 = 0 }", "codes"),
    "vital codes undeclared": ("workbook", ", codes = { 1 = 0, 2 = 1 }", "", "codes"),
    "fraction as percent": ("workbook", 'unit = "fraction"', 'unit = "%"', "fraction"),
    "percent or fraction undeclared": ("workbook", ', unit = "fraction"', "", 'unit = "%" or "fraction"'),
    "unit undeclared": ("workbook", ', unit = "g/L"', "", 'unit = "g/dL" or "g/L"'),
    "g/L as g/dL": ("workbook", 'unit = "g/L"', 'unit = "g/dL"', "hb_g_dl"),
    "serials undeclared": ("workbook", "{ serials = true }", "{}", "serials"),
    "mmol as gram": ("redcap", 'hb = "hb_g_dl"', 'hb = { column = "hb_g_dl", unit = "g/dL" }', "mmol/L"),
    "closed box as negative": ("redcap", 'redcap_dictionary = "milano_fields.csv"', "", "known_when"),
    "closed box as always asked": (
        "redcap",
        'mut___tp53 = "TP53"',
        'mut___tp53 = { column = "TP53", known_when = "always" }',
        "known_when",
    ),
    "a choice code of another meaning": (
        "redcap",
        'vital = "os_event"',
        'vital = { column = "os_event", codes = { 1 = 1, 0 = 0 } }',
        "codes",
    ),
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_a_wrong_assumption_fails_loudly(wrong: str, patients: pd.DataFrame, tmp_path: Path) -> None:
    kind, right, changed, named = WRONG[wrong]
    path = change(WRITERS[kind](patients, tmp_path), right, changed)
    with pytest.raises(DataError) as raised:
        loaded(path)
    assert named in str(raised.value)
    assert "SIM-" not in str(raised.value)


def _small(folder: Path, text: str, mapping: str) -> Path:
    path = folder / "small.csv"
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".mapping.toml").write_text(mapping, encoding="utf-8")
    return path


def _read(path: Path, *columns: str) -> pd.DataFrame:
    return read_cohort({"s": path}, columns=columns, split_key=KEY, holdout_fraction=1e-9).train


def test_a_code_for_missing_is_never_a_value(tmp_path: Path) -> None:
    mapping = '[columns]\nHb = { column = "hb_g_dl", unit = "g/L" }\n'
    path = _small(tmp_path, "ID;Hb\n1;85\n2;-99\n3;-88\n", mapping)
    with pytest.raises(DataError, match="hb_g_dl") as raised:
        _read(path, "patient_id", "hb_g_dl")
    assert "-88" not in str(raised.value)
    path = _small(tmp_path, "ID;Hb\n1;85\n2;-99\n3;-88\n", "missing = [-88]\n" + mapping)
    assert _read(path, "patient_id", "hb_g_dl")["hb_g_dl"].isna().tolist() == [False, True, True]


def test_a_mark_before_three_digits_is_asked_about_when_nothing_tells(tmp_path: Path) -> None:
    mapping = '[columns]\nLDH = { column = "ldh_u_l", unit = "U/L" }\n'
    text = "ID;LDH\n1;1.151\n2;244\n"
    with pytest.raises(DataError, match='decimal = ","'):
        _read(_small(tmp_path, text, mapping), "patient_id", "ldh_u_l")
    assert _read(_small(tmp_path, text, 'decimal = ","\n' + mapping), "patient_id", "ldh_u_l")["ldh_u_l"].tolist() == [
        1151,
        244,
    ]


def test_a_limit_is_taken_and_listed(tmp_path: Path) -> None:
    path = _small(tmp_path, "ID;L\n1;<1000\n2;27200\n", '[columns]\nL = { column = "wbc_10e9_l", unit = "/uL" }\n')
    cohort = read_cohort({"s": path}, columns=["patient_id", "wbc_10e9_l"], split_key=KEY, holdout_fraction=1e-9)
    assert cohort.train["wbc_10e9_l"].tolist() == [1.0, 27.2]
    assert ("censored", 1) in {(f.kind, f.count) for f in cohort.reports["s"].findings}


def test_a_percentage_below_one_is_believed_when_checked(tmp_path: Path) -> None:
    text = "ID;B\n1;0.4\n2;0.2\n"
    line = '[columns]\nB = { column = "pb_blasts_pct", unit = "%" }\n'
    with pytest.raises(DataError, match="checked = true"):
        _read(_small(tmp_path, text, line), "patient_id", "pb_blasts_pct")
    line = '[columns]\nB = { column = "pb_blasts_pct", unit = "%", checked = true }\n'
    assert _read(_small(tmp_path, text, line), "patient_id", "pb_blasts_pct")["pb_blasts_pct"].tolist() == [0.4, 0.2]


def test_a_time_beside_its_dates_must_agree(tmp_path: Path) -> None:
    mapping = '[columns]\n[dates]\nd = {}\ne = {}\n[differences]\nos_days = { from = "d", to = "e" }\n'
    text = "ID,d,e,os_days\n1,2012-01-01,2012-01-31,30\n2,2012-01-01,2012-01-31,99\n"
    with pytest.raises(DataError, match="differs from the difference of its dates in 1 row"):
        _read(_small(tmp_path, text, mapping), "patient_id", "os_days")


def test_boxes_that_nobody_touched_are_asked_about(tmp_path: Path) -> None:
    header = "field_name,form_name,field_type,field_label,select_choices_or_calculations,field_note,"
    header += "text_validation_type_or_show_slider_number,text_validation_min,text_validation_max,identifier,"
    header += "branching_logic\n"
    (tmp_path / "form.csv").write_text(
        header + 'mut,f,checkbox,Genes,"tp53, TP53 | npm1, NPM1",,,,,,\n', encoding="utf-8"
    )
    text = "ID,mut___tp53,mut___npm1\n1,1,0\n2,0,0\n"
    mapping = 'redcap_dictionary = "form.csv"\n[columns]\nmut___tp53 = "TP53"\nmut___npm1 = "NPM1"\n'
    with pytest.raises(DataError, match="always"):
        _read(_small(tmp_path, text, mapping), "patient_id", "TP53")
    mapping = mapping.replace('"TP53"', '{ column = "TP53", known_when = "always" }')
    mapping = mapping.replace('"NPM1"', '{ column = "NPM1", known_when = "always" }')
    assert _read(_small(tmp_path, text, mapping), "patient_id", "TP53")["TP53"].tolist() == [1, 0]


def test_contradicting_rows_of_a_patient_are_refused_by_column(tmp_path: Path) -> None:
    text = "ID,NPM1,TP53\n1,1,0\n1,0,0\n"
    with pytest.raises(DataError, match="contradict each other in NPM1;"):
        _read(_small(tmp_path, text, "[columns]\n"), "patient_id", "NPM1", "TP53")


@pytest.mark.parametrize(
    ("mapping", "named"),
    [
        ('[columns]\nHb = "haemo"\n', "haemo"),
        ('[columns]\nHb = { column = "hb_g_dl", unit = "stone" }\n', '"mmol/L"'),
        ('[columns]\nS = { column = "sex", codes = { 1 = "mann" } }\n', "male, female"),
        ('[columns]\nHb = { column = "hb_g_dl", einheit = "g/L" }\n', "unknown key"),
        ('[columns]\nA = "hb_g_dl"\nB = "hb_g_dl"\n', "all give"),
        ('ignore = ["A"]\n[columns]\nA = "hb_g_dl"\n', "keep one line"),
        ('[differences]\nos_days = { from = "a", to = "b" }\n', "[dates]"),
        ('[dates]\na = {}\nb = {}\n[differences]\nage_years = { from = "a", to = "b" }\n', "days"),
        ('[columns]\nA = { column = "TP53", known_when = "sum([a])" }\n', "not understood"),
        ("[columns\n", "TOML"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused_before_the_table(tmp_path: Path, mapping: str, named: str) -> None:
    path = _small(tmp_path, "ID,Hb\n1,2\n", mapping)
    with pytest.raises(MappingError) as raised:
        _read(path, "patient_id", "hb_g_dl")
    assert named in str(raised.value)


def test_a_mapping_for_an_absent_column_or_table_is_refused(tmp_path: Path) -> None:
    path = _small(tmp_path, "ID,NPM1\n1,1\n", '[columns]\nNPM = "NPM1"\n')
    with pytest.raises(DataError, match="lacks; did you mean 'NPM1'"):
        _read(path, "patient_id", "NPM1")
    (tmp_path / "smal.mapping.toml").write_text("", encoding="utf-8")
    with pytest.raises(MappingError, match="without a table of that name"):
        read_cohort(tmp_path, columns=["patient_id", "NPM1"])


@pytest.mark.parametrize(("codes", "loads"), [('1 = "male", 2 = "female"', True), ('1 = "female", 2 = "male"', False)])
def test_codes_against_the_header_are_refused(tmp_path: Path, codes: str, loads: bool) -> None:
    mapping = f'[columns]\n"Geschlecht (1=m, 2=w)" = {{ column = "sex", codes = {{ {codes} }} }}\n'
    path = _small(tmp_path, "ID;Geschlecht (1=m, 2=w)\n1;1\n2;2\n", mapping)
    if loads:
        assert _read(path, "patient_id", "sex")["sex"].tolist() == ["male", "female"]
    else:
        with pytest.raises(DataError, match="otherwise than the header"):
            _read(path, "patient_id", "sex")


def test_a_site_column_passes_through_a_mapping(tmp_path: Path) -> None:
    mapping = '[columns]\nHb = { column = "hb_g_dl", unit = "g/L" }\n'
    path = _small(tmp_path, "ID;Clinic;Hb\n1;lyon;85\n2;milano;91\n", mapping)
    cohort = read_cohort(
        path, columns=["patient_id", "hb_g_dl"], site_column="Clinic", split_key=KEY, holdout_fraction=1e-9
    )
    assert {site: rows["hb_g_dl"].tolist() for site, rows in cohort.sites.items()} == {"lyon": [8.5], "milano": [9.1]}


def test_a_table_without_header_line_is_refused_without_repeating_it(tmp_path: Path) -> None:
    path = _small(tmp_path, "P-77,61,zzvaluezz\nP-78,62,b\n", '[columns]\nHb = "hb_g_dl"\n')
    with pytest.raises(DataError, match="first line must hold") as raised:
        _read(path, "patient_id", "hb_g_dl")
    assert "zzvaluezz" not in str(raised.value)


def test_the_example_in_the_guide_is_a_mapping(tmp_path: Path) -> None:
    guide = Path(__file__).resolve().parents[2] / "datasets" / "TABLES.md"
    text = guide.read_text(encoding="utf-8")
    example = text.split("<!-- example mapping -->")[1].split("```toml")[1].split("```")[0]
    file = tmp_path / "lyon.mapping.toml"
    file.write_text(example, encoding="utf-8")
    mapping = load_mapping(file, load_dictionary("aml"))
    assert mapping.columns["Hb (g/L)"].unit == "g/L"
    assert mapping.differences["os_days"].end == "Letzter Kontakt"
