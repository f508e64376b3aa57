"""Schemas go to SDV and come back; what SDV cannot say is asked for, never detected from rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from synthfed.errors import DictionaryError
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.sdv_metadata import Metadata


def one_column(**column: Any) -> dict[str, Any]:
    return {"tables": {"t": {"columns": {"x": column}}}, "METADATA_SPEC_VERSION": "V2"}


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_shipped_schemas_keep_what_sdv_can_hold(disease: str) -> None:
    schema = load_dictionary(disease).schema
    again = Metadata.from_sdv(Metadata.from_schema(schema).to_dict(), survivals=schema.survivals).schema
    assert again.names == schema.names
    assert again.survivals == schema.survivals
    for before, after in zip(schema.columns, again.columns, strict=True):
        assert (before.levels, before.lower, before.upper) == (after.levels, after.lower, after.upper)
        assert before.has_levels == after.has_levels
        assert (before.missing == "never") == (after.missing == "never")


def test_a_saved_file_is_read_again(tmp_path: Path) -> None:
    metadata = Metadata.from_schema(load_dictionary("scd").schema)
    metadata.save(tmp_path / "m.json")
    assert (
        Metadata.load(tmp_path / "m.json").to_dict()["tables"]["scd"]
        == Metadata.from_sdv(metadata.to_dict()).to_dict()["tables"]["scd"]
    )


def test_the_older_single_table_form_is_read() -> None:
    old = {
        "METADATA_SPEC_VERSION": "SINGLE_TABLE_V1",
        "primary_key": "id",
        "columns": {
            "id": {"sdtype": "text"},
            "hb": {"sdtype": "numerical", "range_min": 2, "range_max": 20, "decimal_places": 1},
            "dead": {"sdtype": "boolean", "range_is_nullable": False},
            "days": {"sdtype": "numerical", "range_min": 1, "range_max": 99, "decimal_places": 0},
        },
    }
    schema = Metadata.from_sdv(old, survivals=[Survival("os", "days", "dead")]).schema
    assert [column.kind for column in schema.columns] == ["id", "continuous", "flag", "count"]
    assert schema["dead"].missing == "never"
    assert schema.primary_survival is not None


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (one_column(sdtype="numerical"), "range_min"),
        (one_column(sdtype="categorical"), "range_values"),
        (one_column(sdtype="datetime"), "datetime"),
        ({"tables": {}}, "0 tables"),
        ({"tables": {"t": {"columns": {}}}}, "no columns"),
    ],
)
def test_what_sdv_would_detect_from_rows_must_be_declared(source: dict[str, Any], named: str) -> None:
    with pytest.raises(DictionaryError, match=named):
        Metadata.from_sdv(source)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(DictionaryError, match="JSON"):
        Metadata.load(tmp_path / "m.json")


def test_sdv_itself_accepts_the_result() -> None:
    schema = Schema(
        "toy",
        (
            Column("patient_id", "id", missing="never"),
            Column("hb", "continuous", lower=2, upper=20, decimals=1),
            Column("npm1", "flag"),
            Column("ecog", "ordinal", levels=("0", "1", "2"), missing="never"),
        ),
    )
    sdv = Metadata.from_schema(schema).to_sdv()
    assert json.loads(json.dumps(sdv.to_dict()))["tables"]["toy"]["primary_key"] == "patient_id"
    assert Metadata.from_sdv(sdv).schema.names == schema.names
