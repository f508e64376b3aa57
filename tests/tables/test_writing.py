"""A written table reads back equal, and equal tables give equal bytes."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthfed.errors import UnknownColumn
from synthfed.pipeline import Pipeline
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.reading import read_frame, type_table
from synthfed.tables.schema import Column, Schema
from synthfed.tables.transform import public_transformer
from synthfed.tables.writing import to_csv_bytes, to_parquet_bytes, write_csv, write_parquet

TOY = Schema(
    "toy",
    (
        Column("patient_id", "id", missing="never"),
        Column("hb", "continuous", lower=2, upper=20, decimals=1),
        Column("plt", "count", lower=1, upper=2000),
        Column("npm1", "flag"),
        Column("sex", "category", levels=("male", "female")),
    ),
)
TABLE = TOY.cast(
    pd.DataFrame(
        {
            "patient_id": ["P1", "P,2"],
            "hb": [8.26, np.nan],
            "plt": [43, None],
            "npm1": [1, None],
            "sex": ["male", None],
        }
    )
)


def random_table(disease: str) -> tuple[Schema, pd.DataFrame]:
    columns = [c for c in Pipeline.load(disease).cohort.columns if c != "patient_id"]
    schema = load_dictionary(disease).schema.select(columns)
    transformer = public_transformer(schema)
    rng = np.random.default_rng(5)
    return schema, transformer.decode(rng.integers(0, transformer.widths, (400, len(transformer.widths))), rng)


def test_csv_is_plain() -> None:
    assert to_csv_bytes(TABLE, TOY) == b'patient_id,hb,plt,npm1,sex\nP1,8.3,43,1,male\n"P,2",,,,\n'


@pytest.mark.parametrize("disease", ["aml", "scd"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_reading_a_written_table_gives_it_back(tmp_path: Path, disease: str, suffix: str) -> None:
    schema, table = random_table(disease)
    path = tmp_path / f"t.{suffix}"
    (write_csv if suffix == "csv" else write_parquet)(table, schema, path)
    again, _ = type_table(read_frame(path), load_dictionary(disease), schema.names, origin="t")
    pd.testing.assert_frame_equal(again, table)


def test_equal_tables_give_equal_bytes_whatever_their_index_or_column_order() -> None:
    _, table = random_table("scd")
    schema = load_dictionary("scd").schema
    shuffled = table[table.columns[::-1]].set_axis(range(7, 7 + len(table)))
    assert to_csv_bytes(table, schema) == to_csv_bytes(shuffled, schema)
    assert to_parquet_bytes(table, schema) == to_parquet_bytes(shuffled, schema)


def test_parquet_keeps_types_and_holds_no_index() -> None:
    frame = pd.read_parquet(io.BytesIO(to_parquet_bytes(TABLE, TOY)))
    assert list(frame.columns) == list(TOY.names)
    assert frame["hb"].tolist()[0] == 8.3
    assert frame["sex"].isna().tolist() == [False, True]


def test_a_column_outside_the_schema_is_not_written() -> None:
    with pytest.raises(UnknownColumn, match="postcode"):
        to_csv_bytes(TABLE.assign(postcode=1), TOY)


def test_an_open_file_is_accepted() -> None:
    buffer = io.BytesIO()
    write_csv(TABLE, TOY, buffer)
    assert buffer.getvalue() == to_csv_bytes(TABLE, TOY)
