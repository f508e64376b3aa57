"""ELN 2022 and 2017 by known answers: one patient per line of each table, the options, and what is unknown."""

import pandas as pd
import pytest

from synthfed.errors import DictionaryError
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.eln import MR_GENES
from synthfed.tables.rules import RuleSet

DICTIONARY = load_dictionary("aml")
COLUMNS = (
    "karyotype_known", "class_fusion", "complex_karyotype", "monosomal_karyotype", "minus5_5q", "mono7",
    "mono17_17p_abn17p", "NPM1", "FLT3_ITD", "FLT3_ITD_allelic_ratio", "CEBPA", "CEBPA_bzip", "TP53", *MR_GENES,
    "eln2022", "eln2017",
)  # fmt: skip
RULES = RuleSet.load(DICTIONARY.folder, DICTIONARY.schema).restrict(COLUMNS)
WILD = dict.fromkeys(COLUMNS[:-2], 0) | {
    "karyotype_known": 1,
    "class_fusion": "none",
    "CEBPA": "wt",
    "FLT3_ITD_allelic_ratio": None,
}
UNREAD = {
    "karyotype_known": 0, "class_fusion": None, "complex_karyotype": None, "monosomal_karyotype": None,
    "minus5_5q": None, "mono7": None, "mono17_17p_abn17p": None,
}  # fmt: skip
NO_PANEL = {**dict.fromkeys(MR_GENES), "TP53": None, "CEBPA": None}


def group(rules: RuleSet = RULES, column: str = "eln2022", **patient: object) -> object:
    table = rules.schema.cast(pd.DataFrame([WILD | patient]))
    found = rules.derive(table)[column].iloc[0]
    return None if pd.isna(found) else found


def read_as(function: str, **options: str) -> RuleSet:
    entry = {
        "id": "H30", "kind": "derived", "class": "hard", "columns": [function], "function": function,
        "source": "ELN", "note": "option",
    }  # fmt: skip
    return RuleSet.parse({"rule": [entry | options]}, DICTIONARY.schema.select(COLUMNS))


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
    strict = read_as("eln2022", mr_gene_with_npm1_itd="adverse")
    assert group(strict, NPM1=1, FLT3_ITD=1, SRSF2=1) == "adverse"
    assert group(strict, NPM1=1, FLT3_ITD=1) == "intermediate"
    assert group(strict, NPM1=1, SRSF2=1) == "favorable"


def test_what_stands_for_cebpa_in_bzip_is_an_option() -> None:
    strict = read_as("eln2022", cebpa_proxy="bzip")
    assert group(strict, CEBPA="mono", CEBPA_bzip=1) == "favorable"
    assert group(strict, CEBPA="bi", CEBPA_bzip=0) == "intermediate"
    assert group(CEBPA="mono", CEBPA_bzip=1) == "intermediate"


@pytest.mark.parametrize("option", ["mr_gene_with_npm1_itd", "cebpa_proxy", "itd_without_ratio"])
def test_an_unknown_reading_is_refused(option: str) -> None:
    with pytest.raises(DictionaryError, match=f"{option} is one of"):
        read_as("eln2022", **{option: "maybe"})


HIGH, LOW = {"FLT3_ITD": 1, "FLT3_ITD_allelic_ratio": 0.5}, {"FLT3_ITD": 1, "FLT3_ITD_allelic_ratio": 0.49}


@pytest.mark.parametrize(
    ("patient", "wanted"),
    [
        ({"class_fusion": "t_15_17"}, "apl"),
        ({"class_fusion": "t_8_21"} | HIGH, "favorable"),
        ({"class_fusion": "kmt2a_other"}, "adverse"),
        ({"monosomal_karyotype": 1, "NPM1": 1}, "adverse"),
        ({"TP53": 1}, "adverse"),
        ({"CEBPA": "bi", "ASXL1": 1}, "favorable"),
        ({"NPM1": 1}, "favorable"),
        ({"NPM1": 1, "RUNX1": 1}, "favorable"),
        ({"NPM1": 1} | LOW, "favorable"),
        ({"NPM1": 1} | HIGH, "intermediate"),
        ({"NPM1": 1, "ASXL1": 1} | HIGH, "intermediate"),
        ({"NPM1": 1, "FLT3_ITD": 1}, None),
        ({"class_fusion": "t_9_11"} | HIGH, "intermediate"),
        (HIGH, "adverse"),
        (LOW, "intermediate"),
        ({"FLT3_ITD": 1}, None),
        ({"FLT3_ITD": 1, "RUNX1": 1}, "adverse"),
        ({"RUNX1": 1}, "adverse"),
        ({"SRSF2": 1}, "intermediate"),
        ({}, "intermediate"),
        (UNREAD | {"NPM1": 1}, None),
        (NO_PANEL, None),
        (NO_PANEL | HIGH, "adverse"),
    ],
)
def test_the_first_line_of_2017_that_applies_decides(patient: dict[str, object], wanted: str | None) -> None:
    assert group(column="eln2017", **patient) == wanted


def test_an_unknown_ratio_can_be_read_as_low_or_high() -> None:
    low, high = (read_as("eln2017", itd_without_ratio=how) for how in ("low", "high"))
    assert group(low, "eln2017", FLT3_ITD=1) == "intermediate"
    assert group(low, "eln2017", FLT3_ITD=1, NPM1=1) == "favorable"
    assert group(high, "eln2017", FLT3_ITD=1) == "adverse"
    assert group(high, "eln2017", FLT3_ITD=1, NPM1=1) == "intermediate"
    strict = read_as("eln2017", mr_gene_with_npm1_itd="adverse")
    assert group(strict, "eln2017", NPM1=1, ASXL1=1, **HIGH) == "adverse"
