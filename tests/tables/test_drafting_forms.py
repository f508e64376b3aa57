"""A form becomes a dictionary that reads the form's own raw export."""

from pathlib import Path

import pandas as pd
import pytest

from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.drafting import Draft
from synthfed.tables.drafting_files import rules_text, text_of
from synthfed.tables.drafting_forms import draft_from_form
from synthfed.tables.handover import read_handover
from synthfed.tables.reading import type_table
from synthfed.tables.redcap import load_redcap
from synthfed.tables.rules import RuleSet
from tests.tables.messify import simulated_patients, write_redcap

API_HEADERS = {
    "Variable / Field Name": "field_name",
    "Form Name": "form_name",
    "Section Header": "section_header",
    "Field Type": "field_type",
    "Field Label": "field_label",
    "Choices, Calculations, OR Slider Labels": "select_choices_or_calculations",
    "Field Note": "field_note",
    "Text Validation Type OR Show Slider Number": "text_validation_type_or_show_slider_number",
    "Text Validation Min": "text_validation_min",
    "Text Validation Max": "text_validation_max",
    "Identifier?": "identifier",
    "Branching Logic (Show field only if...)": "branching_logic",
}
VALIDATION = {"age_dx": "integer", **dict.fromkeys(("hb", "wbc", "plt", "ldh", "bm_bl", "pb_bl", "flt3_ar"), "number")}


@pytest.fixture(params=["as downloaded", "as the interface names them"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A form, its export, and what was drafted from the form."""
    write_redcap(simulated_patients(150), tmp_path)
    file = tmp_path / "milano_fields.csv"
    form = pd.read_csv(file, dtype=str, keep_default_na=False)
    kinds = "Text Validation Type OR Show Slider Number"
    form[kinds] = [VALIDATION.get(name, "") for name in form["Variable / Field Name"]]
    form.loc[form["Variable / Field Name"].isin(["dx_date", "last_contact"]), kinds] = "date_dmy"
    if request.param != "as downloaded":
        form = form.rename(columns=API_HEADERS)
    form.to_csv(file, index=False)
    draft = drafted(tmp_path)
    (tmp_path / "dictionary.toml").write_text(
        text_of(draft, disease="mine", origin=file.name, form=file.name), encoding="utf-8"
    )
    (tmp_path / "rules.toml").write_text(rules_text(draft), encoding="utf-8")
    return tmp_path


def drafted(folder: Path) -> Draft:
    return draft_from_form(load_redcap(folder / "milano_fields.csv"))


def test_fields_become_columns_and_the_rest_is_left_out(folder: Path) -> None:
    schema = load_dictionary(folder / "dictionary.toml").schema
    assert (schema["age_dx"].kind, schema["age_dx"].lower, schema["age_dx"].upper) == ("count", 18, 100)
    assert (schema["hb"].kind, schema["hb"].unit) == ("continuous", "mmol/L")
    assert schema["sex"].levels == ("male", "female")
    assert schema["aml_type"].levels == ("de_novo", "secondary", "therapy_related", "other")
    assert schema["npm1"].kind == schema["cyto_done"].kind == schema["mut_tp53"].kind == "flag"
    assert schema["mut_tp53"].aliases == ("mut___tp53",)
    left_out = {name for name, _ in drafted(folder).ignored}
    assert left_out == {"dx_date", "last_contact", "os_days", "comment"}
    assert drafted(folder).open == []


def test_branching_logic_becomes_rules(folder: Path) -> None:
    dictionary = load_dictionary(folder / "dictionary.toml")
    rules = RuleSet.load(folder, dictionary.schema)
    assert {("flt3_ar", "flt3_itd"), ("death_cause", "vital")} <= {
        (child, next(iter(rule.body.reads))) for rule in rules.hard for child in rule.body.writes
    }


def test_the_raw_export_is_read_with_the_drafted_dictionary(folder: Path) -> None:
    (folder / "milano.mapping.toml").write_text('redcap_dictionary = "milano_fields.csv"\n', encoding="utf-8")
    dictionary = load_dictionary(folder / "dictionary.toml")
    frame, _ = read_handover(folder / "milano.csv", dictionary)
    table, _ = type_table(frame, dictionary, list(dictionary.schema.names), origin="milano", on_out_of_range="missing")
    truth = simulated_patients(150)
    assert list(table["sex"]) == list(truth["sex"])
    assert table["npm1"].equals(truth["NPM1"].astype("Int64").rename("npm1"))
    assert table["mut_tp53"].equals(truth["TP53"].astype("Int64").rename("mut_tp53"))
    assert (table["vital"] == "dead").sum() == (truth["os_event"] == 1).sum()
