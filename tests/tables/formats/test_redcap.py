"""A REDCap project of synthetic patients: its dictionary is one, and reading the import back loses no cell."""

import io
from pathlib import Path

import pandas as pd
import pytest

from synthfed.errors import ConfigError
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.formats.redcap import DATA, DICTIONARY, HEADERS, MAPPING, field_name
from synthfed.tables.formats.registry import formats, writers
from synthfed.tables.handover import list_tables, read_handover
from synthfed.tables.reading import type_table
from synthfed.tables.redcap import load_redcap
from synthfed.tables.schema import Column, Schema
from tests.tables.formats.simulated import dictionary, patients


def put(table: pd.DataFrame, known: Dictionary, folder: Path) -> Path:
    for name, content in writers()["redcap"](table, known).items():
        (folder / name).write_bytes(content)
    return folder / DATA


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_a_project_is_read_back_cell_for_cell(disease: str, tmp_path: Path) -> None:
    table, known = patients(disease, 300), dictionary(disease)
    path = put(table, known, tmp_path)
    assert list_tables(tmp_path, known) == [path]
    frame, _ = read_handover(path, known)
    again, _ = type_table(frame, known, list(table.columns), origin=DATA)
    asked = [column for column in table.columns if not known.schema[column].derived]
    pd.testing.assert_frame_equal(again[asked], table[asked])
    assert formats()["redcap"].losses(table, known) == ()


def test_the_dictionary_has_18_columns_and_the_forms_name_says_synthetic(tmp_path: Path) -> None:
    table, known = patients("aml", 20), dictionary("aml")
    content = writers()["redcap"](table, known)
    form = pd.read_csv(io.BytesIO(content[DICTIONARY]), dtype=str, keep_default_na=False)
    data = pd.read_csv(io.BytesIO(content[DATA]), dtype=str, keep_default_na=False)
    assert list(form.columns) == list(HEADERS)
    assert len(HEADERS) == 18
    assert set(form["Form Name"]) == {"synthetic_patients"}
    assert [*form["Variable / Field Name"], "synthetic_patients_complete"] == list(data.columns)
    assert form["Variable / Field Name"].str.fullmatch(r"[a-z][a-z0-9_]*").all()


def test_fields_carry_units_ranges_choices_and_branching(tmp_path: Path) -> None:
    put(patients("aml", 20), dictionary("aml"), tmp_path)
    fields = load_redcap(tmp_path / DICTIONARY).fields
    assert (fields["hb_g_dl"].note, fields["hb_g_dl"].minimum, fields["hb_g_dl"].maximum) == ("g/dL", "2", "20")
    assert fields["sex"].choices == (("1", "male"), ("2", "female"))
    assert fields["npm1"].kind == "yesno"
    assert fields["flt3_itd_allelic_ratio"].branching == "[flt3_itd] = '1'"


def test_tables_without_ids_get_records_that_say_synthetic(tmp_path: Path) -> None:
    table, known = patients("aml", 5).drop(columns="patient_id"), dictionary("aml")
    path = put(table, known, tmp_path)
    assert list(pd.read_csv(path)["record_id"])[:2] == ["SYNTHETIC-1", "SYNTHETIC-2"]
    assert "record_id" in (tmp_path / MAPPING).read_text(encoding="utf-8")
    assert "patient_id" not in read_handover(path, known)[0]


@pytest.mark.parametrize(
    ("name", "field"),
    [("NPM1", "npm1"), ("anomaly chr 1", "anomaly_chr_1"), ("7other", "v_7other"), ("T (mm)", "t_mm")],
)
def test_names_become_fields(name: str, field: str) -> None:
    assert field_name(name) == field


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ((Column("A", "flag"), Column("a", "flag")), "share the fields"),
        ((Column("a", "category", levels=("x|y", "z")),), "separates REDCap's choices"),
    ],
)
def test_what_a_project_cannot_hold_is_refused(columns: tuple[Column, ...], words: str, tmp_path: Path) -> None:
    known = Dictionary(Schema("x", columns), (), tmp_path)
    table = known.schema.cast(pd.DataFrame({column.name: [None] for column in columns}))
    with pytest.raises(ConfigError, match=words):
        writers()["redcap"](table, known)
