"""A dictionary that contradicts itself never reaches a patient."""

from pathlib import Path

import pytest

from synthfed.errors import DictionaryError
from synthfed.pipeline import Pipeline
from synthfed.tables.dictionary import Dictionary, header_key, load_dictionary

SMALL = """
disease = "toy"
[[column]]
name = "age"
kind = "count"
bounds = [18, 100]
[[column]]
name = "sex"
kind = "category"
levels = ["male", "female"]
synonyms = { M = "male" }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "dictionary.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_shipped_pipeline_columns_are_all_declared(disease: str) -> None:
    pipeline = Pipeline.load(disease)
    schema = load_dictionary(disease).schema.select(pipeline.cohort.columns)
    assert set(schema.names) == set(pipeline.cohort.columns)
    assert schema.primary_survival is not None


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_every_shipped_column_says_what_it_is_and_where_its_numbers_come_from(disease: str) -> None:
    for column in load_dictionary(disease).schema.columns:
        assert column.label
        assert column.source
        assert not column.is_number or column.lower is not None


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_outcomes_are_marked_as_known_late(disease: str) -> None:
    schema = load_dictionary(disease).schema
    for endpoint in schema.survivals:
        assert schema[endpoint.time].known_at == "outcome"
        assert schema[endpoint.event].known_at == "outcome"


def test_aml_knows_the_names_of_the_synthema_schema() -> None:
    schema = load_dictionary("aml").schema
    headers = {header_key(name) for column in schema.columns for name in (column.name, *column.aliases)}
    for name in [
        "AGE",
        "SEX",
        "WBC",
        "PB BLASTS",
        "STATUS_OS",
        "Overall survival",
        "monoY",
        "MLL_REARRANGED",
        "ELN 2022",
    ]:
        assert header_key(name) in headers


def test_loading_by_path_gives_the_folder_of_its_rules(tmp_path: Path) -> None:
    dictionary = load_dictionary(write(tmp_path, SMALL))
    assert isinstance(dictionary, Dictionary)
    assert dictionary.folder == tmp_path
    assert dictionary.schema["sex"].synonyms == (("m", "male"),)


def test_names_declares_several_columns(tmp_path: Path) -> None:
    text = SMALL + '[[column]]\nnames = ["TP53", "KIT"]\nkind = "flag"\nlabel = "{name} mutated"\n'
    schema = load_dictionary(write(tmp_path, text)).schema
    assert schema.names[-2:] == ("TP53", "KIT")
    assert schema["KIT"].label == "KIT mutated"


@pytest.mark.parametrize(
    ("addition", "named"),
    [
        ('[[column]]\nname = "x"\nkind = "number"\n', "kind"),
        ('[[column]]\nname = "x"\n', "needs kind"),
        ('[[column]]\nname = "x"\nkind = "flag"\ncolour = 1\n', "colour"),
        ('[[column]]\nname = "x"\nkind = "count"\nbounds = [3]\n', "bounds"),
        ('[[column]]\nname = "x"\nkind = "count"\nbounds = [5, 3]\n', "bounds"),
        ('[[column]]\nname = "x"\nkind = "count"\nbounds = [0, 3]\nspikes = [9]\n', "spikes"),
        ('[[column]]\nname = "x"\nkind = "flag"\naliases = ["AGE"]\n', "means columns"),
        ('[[column]]\nname = "x"\nkind = "category"\nlevels = ["a", "b"]\nsynonyms = { q = "c" }\n', "synonyms"),
        ('[[column]]\nname = "x"\nkind = "category"\nlevels = ["a", "b"]\ncompose = { sex = "a" }\n', "compose"),
        (
            '[[column]]\nname = "x"\nkind = "category"\nlevels = ["a", "b"]\n'
            'compose_none = "a"\ncompose = { sex = "b" }\n',
            "not a flag",
        ),
        ('[[column]]\nname = "x"\nkind = "flag"\ncode = "LOINC 4576-9"\n', "check digit"),
        ('[[column]]\nkind = "flag"\n', "name"),
        ('[[survival]]\nname = "os"\ntime = "age"\nevent = "sex"\n', "flag"),
        ('[[survival]]\nname = "os"\ntime = "age"\n', "event"),
        ("[[survival]]\n[", "not valid TOML"),
    ],
)
def test_contradictions_are_refused_by_name(tmp_path: Path, addition: str, named: str) -> None:
    path = write(tmp_path, SMALL + addition)
    with pytest.raises(DictionaryError, match=named) as error:
        load_dictionary(path)
    assert str(path) in str(error.value)


def test_unknown_disease_lists_the_shipped_ones() -> None:
    with pytest.raises(DictionaryError, match="aml, scd"):
        load_dictionary("gout")
