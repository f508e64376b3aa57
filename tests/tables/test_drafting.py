"""A drafted dictionary holds public knowledge and questions, and nothing of what patients' cells say."""

from pathlib import Path

import pandas as pd
import pytest

from synthfed.errors import DictionaryError, UnreadableFile
from synthfed.tables.dictionary import Dictionary, load_dictionary
from synthfed.tables.drafting import Draft, draft_from_table, known_columns, shape_of
from synthfed.tables.drafting_files import pipeline_text, rules_text, text_of

TABLE = pd.DataFrame(
    {
        "Pat-Nr": ["Q77-1", "Q77-2", "Q77-3"],
        "Vorname": ["Zoltana", "Xerxes", "Ulrike"],
        "Alter": ["41", "52", "93"],
        "Geschlecht": ["w", "m", "w"],
        "Hb (g/L)": ["81", "", "133"],
        "CRP": ["1,5", "7712,5", "0,3"],
        "Arm": ["zebra", "quokka", "zebra"],
        "Marker Z (kU/L)": ["7.25", "8.5", "987.75"],
        "Visits": ["3", "4", "777"],
        "Prior drug": ["ja", "nein", "ja"],
        "Randomised": ["2011-02-03", "2011-05-06", "2012-01-02"],
        "OS days": ["12", "345", "678"],
        "OS event": ["1", "0", "1"],
    },
    dtype="object",
)


def draft() -> Draft:
    return draft_from_table(TABLE)


def text() -> str:
    return text_of(draft(), disease="mine", origin="t.csv", form="")


def filled(folder: Path) -> Dictionary:
    content = text().replace('# levels = ["...", "..."]', 'levels = ["a", "b"]')
    content = content.replace("# bounds = [lowest possible, highest possible]", "bounds = [0, 2000]")
    (folder / "dictionary.toml").write_text(content, encoding="utf-8")
    return load_dictionary(folder / "dictionary.toml")


def test_a_draft_is_refused_until_its_open_lines_are_filled(tmp_path: Path) -> None:
    (tmp_path / "dictionary.toml").write_text(text(), encoding="utf-8")
    with pytest.raises(DictionaryError, match=r"'arm'.*levels|public bounds"):
        load_dictionary(tmp_path / "dictionary.toml")
    assert set(draft().open) == {"arm", "marker_z", "visits"}
    assert set(filled(tmp_path).schema.names) == set(draft().names)


def test_no_cell_is_in_a_draft() -> None:
    everything = text() + rules_text(draft()) + pipeline_text(draft(), "mine", Path("d.toml"))
    for cell in ("Q77", "Zoltana", "zebra", "quokka", "7712", "987", "777", "133", "93", "2011"):
        assert cell not in everything


def test_known_headers_bring_public_bounds_units_and_codes(tmp_path: Path) -> None:
    schema = filled(tmp_path).schema
    assert (schema["age_years"].lower, schema["age_years"].upper, schema["age_years"].aliases) == (0, 110, ("Alter",))
    assert (schema["crp_mg_l"].scale, schema["crp_mg_l"].code) == ("log", "LOINC 1988-5")
    assert dict(schema["sex"].synonyms)["w"] == "female"
    assert schema["prior_drug"].kind == "flag"
    assert [endpoint.name for endpoint in schema.survivals] == ["os"]


def test_a_header_in_another_unit_does_not_become_an_alias(tmp_path: Path) -> None:
    assert filled(tmp_path).schema["hb_g_dl"].aliases == ("Hb",)
    assert "# The header says g/L" in text()


def test_names_dates_and_free_text_are_left_out() -> None:
    notes = pd.Series([f"word {i}" for i in range(60)], dtype="object")
    other = draft_from_table(pd.DataFrame({"Remark on course": notes, "Ward": ["7b"] * 60}, dtype="object"))
    assert {header for header, _ in draft().ignored} == {"Vorname", "Randomised"}
    assert {header for header, _ in other.ignored} == {"Remark on course", "Ward"}


@pytest.mark.parametrize(
    ("cells", "shape"),
    [
        (["1", "0", "", "NA"], "yes or no"),
        (["1", "2", "-99"], "whole"),
        (["1,5", "2"], "decimal"),
        (["<0.5", "7.25", "12"], "decimal"),
        (["a", "b", "a"], "words"),
        (["3.4.2012", "31.12.2011"], "dates"),
        (["", "NA"], "empty"),
    ],
)
def test_shapes_are_of_the_writing_only(cells: list[str], shape: str) -> None:
    assert shape_of(pd.Series(cells, dtype="object")) == shape


def test_a_table_without_a_header_line_is_refused_and_not_repeated() -> None:
    with pytest.raises(UnreadableFile, match="first line must hold the column names") as raised:
        draft_from_table(pd.DataFrame([["b"] * 4], columns=["P-77", "61", "12,5", "2011-02-03"], dtype="object"))
    assert "61" not in str(raised.value)


def test_two_headers_never_give_one_column() -> None:
    twice = draft_from_table(
        pd.DataFrame({"Hb": ["9"], "Haemoglobin": ["8"], "X-1": ["a"], "X 1": ["b"]}, dtype="object")
    )
    assert len(set(twice.names)) == len(twice.names) == 4


def test_the_known_columns_are_a_dictionary_with_distinct_words() -> None:
    known = known_columns().schema
    assert len(known.columns) > 70
    assert {"hb_g_dl", "er_status", "pfs_days", "psa_ng_ml"} <= set(known.names)
