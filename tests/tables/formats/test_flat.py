"""Flat files hold every cell, say what they are, and explain themselves."""

import io
from pathlib import Path

import pandas as pd
import pytest

from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.files import read_frame
from synthfed.tables.formats.flat import SYNTHETIC, dictionary_toml
from synthfed.tables.formats.registry import formats, writers
from synthfed.tables.reading import type_table
from tests.tables.formats.simulated import dictionary, patients


@pytest.mark.parametrize("disease", ["aml", "scd"])
@pytest.mark.parametrize("name", ["csv", "parquet", "xlsx"])
def test_reading_a_written_table_gives_it_back(tmp_path: Path, disease: str, name: str) -> None:
    table, known = patients(disease), dictionary(disease)
    content = writers()[name](table, known)[f"synthetic.{name}"]
    path = tmp_path / f"t.{name}"
    path.write_bytes(content)
    again, _ = type_table(read_frame(path), known, table.columns, origin="t")
    asked = [column for column in table.columns if not known.schema[column].derived]
    pd.testing.assert_frame_equal(again, table[asked])


@pytest.mark.parametrize("name", ["csv", "parquet", "xlsx"])
def test_equal_tables_give_equal_bytes(name: str) -> None:
    write = writers()[name]
    assert write(patients("scd", 20), dictionary("scd")) == write(patients("scd", 20), dictionary("scd"))


def test_nothing_is_lost() -> None:
    for name in ("csv", "parquet", "xlsx"):
        assert formats()[name].losses(patients("aml", 20), dictionary("aml")) == ()


def test_parquet_and_workbook_say_that_patients_are_synthetic() -> None:
    import openpyxl
    import pyarrow.parquet

    table, known = patients("aml", 5), dictionary("aml")
    parquet = pyarrow.parquet.read_schema(io.BytesIO(writers()["parquet"](table, known)["synthetic.parquet"]))
    assert parquet.metadata[b"synthfed"].decode() == SYNTHETIC
    book = openpyxl.load_workbook(io.BytesIO(writers()["xlsx"](table, known)["synthetic.xlsx"]))
    assert book.sheetnames == ["patients", "dictionary", "about"]
    assert book["about"]["A1"].value == book.properties.title == SYNTHETIC


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_the_written_dictionary_loads_to_the_same_schema(tmp_path: Path, disease: str) -> None:
    schema = dictionary(disease).schema
    (tmp_path / "dictionary.toml").write_bytes(dictionary_toml(schema))
    assert load_dictionary(tmp_path / "dictionary.toml").schema == schema


def test_a_level_that_looks_like_a_formula_stays_text() -> None:
    import openpyxl

    known = dictionary("scd")
    table = patients("scd", 50)
    book = openpyxl.load_workbook(io.BytesIO(writers()["xlsx"](table, known)["synthetic.xlsx"]))
    place = list(table.columns).index("alpha_globin") + 1
    kinds = {book["patients"].cell(row, place).data_type for row in range(2, 52)}
    assert kinds <= {"s", "n"}  # texts, and empty cells
