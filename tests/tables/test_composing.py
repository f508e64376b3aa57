"""A column is put together from several as the mapping says; contradictions and gaps are asked about, never guessed."""

from pathlib import Path

import pandas as pd
import pytest

from synthfed.errors import DataError, MappingError, UnknownColumn
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.findings import Finding
from synthfed.tables.handover import read_handover
from synthfed.tables.mapping import load_mapping

AML = load_dictionary("aml")


def read(folder: Path, table: dict[str, list[str]], mapping: str) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    path = folder / "lyon.csv"
    pd.DataFrame(table).to_csv(path, index=False)
    path.with_suffix(".mapping.toml").write_text(mapping, encoding="utf-8")
    return read_handover(path, AML)


def column(folder: Path, table: dict[str, list[str]], mapping: str, name: str) -> list[str]:
    return list(
        read(folder, {"ID": [str(i) for i in range(len(next(iter(table.values()))))]} | table, mapping)[0][name]
    )


HOTSPOTS = {"R140": ["1", "0", "0", "", "", "0"], "R172": ["0", "1", "0", "0", "1", "n.d."]}


def test_any_part_decides_and_a_gap_leaves_it_open(tmp_path: Path) -> None:
    found = column(tmp_path, HOTSPOTS, '[compose]\nIDH2 = { any = ["R140", "R172"] }', "IDH2")
    assert found == ["1", "1", "0", "", "1", ""]


def test_a_gap_counts_as_no_only_where_that_is_said(tmp_path: Path) -> None:
    mapping = '[compose]\nIDH2 = { any = ["R140", "R172"], gaps = "no" }'
    table = {"R140": [*HOTSPOTS["R140"], ""], "R172": [*HOTSPOTS["R172"], ""]}
    assert column(tmp_path, table, mapping, "IDH2") == ["1", "1", "0", "0", "1", "0", ""]


def test_parts_are_read_by_their_own_line(tmp_path: Path) -> None:
    table = {"R140": ["2", "1", "9"], "IDH2_R172": ["nein", "nein", "ja"]}
    mapping = """
    [columns]
    R140 = { column = "IDH2_R140", codes = { 2 = 1, 1 = 0 }, missing = [9] }
    [compose]
    IDH2 = { any = ["R140", "IDH2_R172"] }
    """
    assert column(tmp_path, table, mapping, "IDH2") == ["1", "0", "1"]


def test_known_says_whether_something_is_written_and_never_what(tmp_path: Path) -> None:
    table = {"KARYOTYPE": ["46,XX", "", "n.d.", "-992", "~45,XY,-7"], "-7": ["", "0", "", "", "1"]}
    mapping = '[columns]\n"-7" = "mono7"\n[compose]\nkaryotype_known = { known = ["KARYOTYPE", "-7"] }'
    frame, findings = read(tmp_path, {"ID": list("abcde")} | table, mapping)
    assert list(frame["karyotype_known"]) == ["1", "1", "0", "0", "1"]
    assert "KARYOTYPE" not in frame
    assert "46" not in " ".join(finding.note for finding in findings)


def test_the_first_known_of_two_laboratories_counts(tmp_path: Path) -> None:
    table = {"Hb old": ["80", "", "", "95"], "Hb new": ["", "9,1", "", "9,5"]}
    mapping = """
    decimal = ","
    [columns]
    "Hb old" = { column = "hb_g_dl", unit = "g/L" }
    "Hb new" = { column = "hb_g_dl", unit = "g/dL" }
    [compose]
    hb_g_dl = { first_known = ["Hb old", "Hb new"] }
    """
    assert column(tmp_path, table, mapping, "hb_g_dl") == ["8", "9.1", "", "9.5"]
    with pytest.raises(DataError, match="its unit is not said"):
        column(tmp_path, table, '[compose]\nhb_g_dl = { first_known = ["Hb old", "Hb new"] }', "hb_g_dl")


CAUSES = {"[Status] = '3'": "disease", "[Status] = '4' or [Status] = '5'": "other"}


def test_levels_follow_conditions_on_the_cells(tmp_path: Path) -> None:
    levels = "".join(f'"{condition}" = "{level}"\n' for condition, level in CAUSES.items())
    mapping = f"""
    [columns]
    Status = {{ column = "os_event", codes = {{ 1 = 0, 3 = 1, 4 = 1, 5 = 1 }} }}
    [compose.cause_of_death.levels]
    {levels}
    """
    table = {"Status": ["1", "3", "4", "5", "", "-99"]}
    assert column(tmp_path, table, mapping, "cause_of_death") == ["", "disease", "other", "other", "", ""]
    assert column(tmp_path, table, mapping, "os_event") == ["0", "1", "1", "1", "", ""]


def test_a_condition_that_denies_does_not_hold_for_a_blank_cell(tmp_path: Path) -> None:
    mapping = "[compose]\nprior_mds = { any = [\"[MDS] <> 'none'\"] }"
    assert column(tmp_path, {"MDS": ["none", "RAEB", "", "unk"]}, mapping, "prior_mds") == ["0", "1", "", ""]
    asked = "[compose]\nprior_mds = { any = [\"[MDS] = ''\"] }"
    assert column(tmp_path, {"MDS": ["x", "", "unk"]}, asked, "prior_mds") == ["0", "1", "1"]


FUSIONS = {"CBF": ["1", "0", "0", "1"], "APL": ["0", "1", "0", "1"]}
BY_FUSION = """
[compose.class_fusion]
otherwise = "none"
levels = {{ CBF = "t_8_21", APL = "t_15_17" }}
{more}
"""


def test_contradicting_parts_stop_the_reading_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"class_fusion.*1 row \(4\).*conflict = \"first\".*conflict = \"missing\""):
        column(tmp_path, FUSIONS, BY_FUSION.format(more=""), "class_fusion")


@pytest.mark.parametrize(("conflict", "last"), [("first", "t_8_21"), ("missing", "")])
def test_the_mapping_settles_contradictions_and_they_are_counted(conflict: str, last: str, tmp_path: Path) -> None:
    mapping = BY_FUSION.format(more=f'conflict = "{conflict}"')
    frame, findings = read(tmp_path, {"ID": list("abcd")} | FUSIONS, mapping)
    assert list(frame["class_fusion"]) == ["t_8_21", "t_15_17", "none", last]
    assert [(f.column, f.count) for f in findings if f.kind == "ambiguous"] == [("class_fusion", 1)]


def test_the_files_own_column_counts_before_its_parts_and_must_agree(tmp_path: Path) -> None:
    table = {"IDH2": ["1", "", "0"], "R140": ["0", "1", "0"]}
    mapping = '[compose]\nIDH2 = { any = ["R140"] }'
    with pytest.raises(DataError, match=r"1 row \(1\)"):
        column(tmp_path, table, mapping, "IDH2")
    settled = mapping.replace("] }", '], conflict = "first" }')
    assert column(tmp_path, table, settled, "IDH2") == ["1", "1", "0"]


def test_what_a_hospital_does_not_record_is_missing_and_said(tmp_path: Path) -> None:
    frame, findings = read(tmp_path, {"ID": ["a", "b"], "AGE": ["50", "60"]}, 'not_recorded = ["CEBPA"]')
    assert list(frame["CEBPA"]) == ["", ""]
    assert [f.column for f in findings if f.kind == "not_recorded"] == ["CEBPA"]
    with pytest.raises(DataError, match="the table gives CEBPA_bi"):
        read(tmp_path, {"ID": ["a"], "CEBPA_bi": ["1"]}, 'not_recorded = ["CEBPA"]')


WRONG = {
    "unknown part": ('IDH2 = { any = ["R141"] }', UnknownColumn, "did you mean 'R140'"),
    "category as a flag": ('IDH2 = { any = ["SEX"] }', DataError, "condition on its cells"),
    "unknown target": ('IDH3 = { any = ["R140"] }', MappingError, "not in the 'aml' dictionary"),
    "two ways": ('IDH2 = { any = ["R140"], known = ["R140"] }', MappingError, "exactly one of"),
    "flag by known of a number": ('hb_g_dl = { known = ["R140"] }', MappingError, "use levels or first_known"),
    "unknown level": ('class_fusion = { levels = { R140 = "t_1_1" } }', MappingError, "t_1_1"),
    "derived": ('eln2022 = { levels = { R140 = "apl" } }', MappingError, "computed by a rule"),
    "no condition": ('IDH2 = { any = ["[R140]"] }', MappingError, "not understood"),
    "condition on nothing": ("IDH2 = { any = [\"[R999] = '1'\"] }", UnknownColumn, "r999"),
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_a_wrong_composition_says_what_to_write(wrong: str, tmp_path: Path) -> None:
    line, kind, words = WRONG[wrong]
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        read(tmp_path, {"ID": ["a"], "SEX": ["m"], "R140": ["1"]}, f"[compose]\n{line}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('not_recorded = ["sex"]', "must be known for every patient"),
        ('not_recorded = ["IDH2"]\n[compose]\nIDH2 = { any = ["x"] }', "keep one of the two"),
        ('[columns]\na = "hb_g_dl"\nb = "hb_g_dl"', "first_known"),
        ('[columns]\na = "ldh_u_l"\n[compose]\nhb_g_dl = { first_known = ["a"] }', "is a part of"),
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.mapping.toml").write_text(text, encoding="utf-8")
    with pytest.raises(MappingError, match=words):
        load_mapping(tmp_path / "a.mapping.toml", AML)
