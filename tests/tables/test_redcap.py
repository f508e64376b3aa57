"""A REDCap data dictionary is understood, and its branching logic says what was asked."""

from pathlib import Path

import pandas as pd
import pytest

from synthfed.errors import UnreadableFile
from synthfed.tables.branching import BranchingError, parse_branching
from synthfed.tables.redcap import RedcapDictionary, load_redcap
from tests.tables.messify import write_redcap_dictionary


@pytest.fixture
def form(tmp_path: Path) -> RedcapDictionary:
    write_redcap_dictionary(tmp_path / "form.csv")
    return load_redcap(tmp_path / "form.csv")


def test_fields_keep_type_choices_units_and_ranges(form: RedcapDictionary) -> None:
    vital, hb = form.fields["vital"], form.fields["hb"]
    assert (vital.kind, vital.choices, vital.missing) == ("radio", (("1", "Alive"), ("2", "Dead")), ("-997",))
    assert (hb.note, hb.minimum, hb.maximum) == ("mmol/L", "1", "12")
    assert form.fields["dx_date"].identifier
    assert form.fields["comment"].is_free_text


def test_boxes_belong_to_their_checkbox(form: RedcapDictionary) -> None:
    owner = form.owner("mut___TP53")
    assert owner is not None
    assert (owner[0].name, owner[1]) == ("mut", "tp53")
    assert form.owner("mut") is None
    assert form.owner("mut___unheard") is None
    assert form.owner("hb") == (form.fields["hb"], None)


@pytest.mark.parametrize("header", ["redcap_data_access_group", "demographics_complete", "redcap_event_name"])
def test_columns_that_the_export_adds_are_known(form: RedcapDictionary, header: str) -> None:
    assert form.is_administrative(header)
    assert not form.is_administrative("hb")


def test_another_table_is_no_dictionary(tmp_path: Path) -> None:
    (tmp_path / "form.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UnreadableFile, match="branching"):
        load_redcap(tmp_path / "form.csv")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("[done] = '1'", [True, False, False]),
        ('[done]="1" or [age] >= 60', [True, True, False]),
        ("[done] <> '1' and [age] >= 60", [False, True, False]),
        ("[mut(TP53)] = '1'", [False, True, False]),
        ("not ([done] = '1' or [done] = '0')", [False, False, True]),
        ("[done] = ''", [False, False, True]),
    ],
)
def test_conditions_hold_for_the_rows_they_mean(condition: str, holds: list[bool]) -> None:
    table = pd.DataFrame(
        {"done": ["1", "0", ""], "age": ["18", "60", ""], "mut___tp53": ["0", "1", "0"]}, dtype="object"
    )
    assert parse_branching(condition).holds(lambda name: table[name]).tolist() == holds


@pytest.mark.parametrize(
    "condition", ["sum([a])", "[a]", "[a] = [b]", "([a] = '1'", "[a] > 'x'", "[a] = '1' [b] = '2'", ""]
)
def test_conditions_beyond_comparisons_are_refused(condition: str) -> None:
    with pytest.raises(BranchingError):
        parse_branching(condition)
