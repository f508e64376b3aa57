"""The shipped rule files: enough rules, each with a source, lawful on any table the dictionary allows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.pipeline import Pipeline
from synthfed.tables.conditions import to_series
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.reading import read_frame, type_table
from synthfed.tables.rules import RuleSet

BEAT_AML = Path(__file__).parents[3] / "shared" / "data" / "beataml" / "beataml_adult_newly_diagnosed.csv"


def shipped(disease: str) -> RuleSet:
    dictionary = load_dictionary(disease)
    return RuleSet.load(dictionary.folder, dictionary.schema).restrict(Pipeline.load(disease).cohort.columns)


@pytest.mark.parametrize(("disease", "fewest"), [("aml", 25), ("scd", 20)])
def test_each_disease_has_its_rules_and_each_rule_its_source(disease: str, fewest: int) -> None:
    rules = shipped(disease)
    assert len(rules.rules) >= fewest
    assert len(rules.hard) >= 12
    assert all(rule.source and rule.text.endswith(".") for rule in rules.rules)
    json.dumps([rule.columns for rule in rules.rules])


@pytest.mark.parametrize("disease", ["aml", "scd"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), blank=st.floats(0, 0.6))
def test_enforcing_settles_any_valid_table(disease: str, seed: int, blank: float) -> None:
    rules = shipped(disease)
    rng = np.random.default_rng(seed)
    rows = 60
    columns = {}
    for column in rules.schema.modelled:
        if column.is_number:
            assert column.lower is not None
            assert column.upper is not None
            values = rng.uniform(column.lower, column.upper, rows)
            values = np.clip(np.round(values, column.decimals), column.lower, column.upper)
            values = np.where(rng.random(rows) < 0.1, column.lower, values)
        else:
            values = rng.integers(0, len(column.levels), rows).astype(float)
        if column.missing != "never":
            values = np.where(rng.random(rows) < blank, np.nan, values)
        columns[column.name] = to_series(values, column, rules.schema, pd.RangeIndex(rows))
    once = rules.enforce(pd.DataFrame(columns))
    assert not rules.check(once)[[rule.id for rule in rules.hard]].any(axis=None)
    pd.testing.assert_frame_equal(rules.enforce(once), once)
    for column in rules.schema.modelled:
        if column.missing == "never":
            assert once[column.name].notna().all()


@pytest.mark.skipif(not BEAT_AML.exists(), reason="the real table is not at hand")
def test_the_derived_risk_group_agrees_with_the_one_published_beside_real_patients() -> None:
    dictionary = load_dictionary("aml")
    rules = shipped("aml")
    raw = read_frame(BEAT_AML)
    table, _ = type_table(raw, dictionary, list(rules.schema.names), origin="beat aml", extra=["wave"])
    derived = rules.derive(table)
    ours = derived["eln2022"].astype("object").fillna("missing").to_numpy()
    theirs = raw["eln2022"].replace("", "missing").to_numpy()
    assert (ours == theirs).mean() > 0.99
    assert rules.check(derived)[[rule.id for rule in rules.hard]].any(axis=1).mean() < 0.005
