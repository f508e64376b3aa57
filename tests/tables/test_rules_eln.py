"""ELN 2022 by known answers: one patient per line of the table, and what is unknown."""

import pandas as pd
import pytest

from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.eln import MR_GENES
from synthfed.tables.rules import RuleSet

DICTIONARY = load_dictionary("aml")
COLUMNS = (
    "karyotype_known", "class_fusion", "complex_karyotype", "monosomal_karyotype", "minus5_5q", "mono7",
    "mono17_17p_abn17p", "NPM1", "FLT3_ITD", "CEBPA", "TP53", *MR_GENES, "eln2022",
)  # fmt: skip
RULES = RuleSet.load(DICTIONARY.folder, DICTIONARY.schema).restrict(COLUMNS)
WILD = {name: 0 for name in COLUMNS if name not in ("class_fusion", "CEBPA", "eln2022")} | {
    "karyotype_known": 1,
    "class_fusion": "none",
    "CEBPA": "wt",
}
UNREAD = {
    "karyotype_known": 0, "class_fusion": None, "complex_karyotype": None, "monosomal_karyotype": None,
    "minus5_5q": None, "mono7": None, "mono17_17p_abn17p": None,
}  # fmt: skip
NO_PANEL = {**dict.fromkeys(MR_GENES), "TP53": None, "CEBPA": None}


def group(rules: RuleSet = RULES, **patient: object) -> object:
    table = rules.schema.cast(pd.DataFrame([WILD | patient]))
    found = rules.derive(table)["eln2022"].iloc[0]
    return None if pd.isna(found) else found


@pytest.mark.parametrize(
    ("patient", "wanted"),
    [
        ({"class_fusion": "t_15_17"}, "apl"),
        ({"class_fusion": "t_8_21", "FLT3_ITD": 1}, "favorable"),
        ({"class_fusion": "inv16_t16_16", "mono7": 1}, "favorable"),
        ({"class_fusion": "inv3_t3_3"}, "adverse"),
        ({"class_fusion": "kmt2a_other"}, "adverse"),
        ({"class_fusion": "other_adverse", "NPM1": 1}, "adverse"),
        ({"complex_karyotype": 1, "NPM1": 1}, "adverse"),
        ({"monosomal_karyotype": 1}, "adverse"),
        ({"minus5_5q": 1, "CEBPA": "bi"}, "adverse"),
        ({"mono17_17p_abn17p": 1}, "adverse"),
        ({"TP53": 1, "NPM1": 1}, "adverse"),
        ({"CEBPA": "bi", "RUNX1": 1}, "favorable"),
        ({"CEBPA": "mono"}, "intermediate"),
        ({"NPM1": 1}, "favorable"),
        ({"NPM1": 1, "ASXL1": 1}, "favorable"),
        ({"NPM1": 1, "FLT3_ITD": 1}, "intermediate"),
        ({"NPM1": 1, "FLT3_ITD": 1, "SRSF2": 1}, "intermediate"),
        ({"class_fusion": "t_9_11", "RUNX1": 1}, "intermediate"),
        ({"ZRSR2": 1}, "adverse"),
        ({"FLT3_ITD": 1}, "intermediate"),
        ({}, "intermediate"),
        (UNREAD, None),
        (UNREAD | {"NPM1": 1}, None),
        (UNREAD | {"TP53": 1}, "adverse"),
        (UNREAD | {"class_fusion": "t_8_21"}, "favorable"),
        (NO_PANEL, None),
        (NO_PANEL | {"NPM1": 1}, "favorable"),
        (NO_PANEL | {"RUNX1": 1}, "adverse"),
        ({"STAG2": None}, None),
        ({"NPM1": 1, "FLT3_ITD": None}, None),
    ],
)
def test_the_first_line_that_applies_decides(patient: dict[str, object], wanted: str | None) -> None:
    assert group(**patient) == wanted


def test_the_footnote_on_mr_genes_is_an_option() -> None:
    entry = {
        "id": "H30", "kind": "derived", "class": "hard", "columns": ["eln2022"], "function": "eln2022",
        "mr_gene_with_npm1_itd": "adverse", "source": "ELN 2022", "note": "option",
    }  # fmt: skip
    strict = RuleSet.parse({"rule": [entry]}, DICTIONARY.schema.select(COLUMNS))
    assert group(strict, NPM1=1, FLT3_ITD=1, SRSF2=1) == "adverse"
    assert group(strict, NPM1=1, FLT3_ITD=1) == "intermediate"
    assert group(strict, NPM1=1, SRSF2=1) == "favorable"
