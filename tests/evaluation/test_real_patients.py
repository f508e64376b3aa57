"""Halves of a real table in each other's place. Rows stay where they lie; absent on most machines."""

from pathlib import Path

import numpy as np
import pytest

from synthfed.evaluation.evaluate import evaluate
from synthfed.pipeline import Pipeline
from synthfed.tables.rules import RuleSet

TABLE = Path(__file__).resolve().parents[3] / "shared/data/beataml/beataml_adult_newly_diagnosed.csv"
pytestmark = pytest.mark.skipif(not TABLE.is_file(), reason="the Beat AML table is not on this machine")


def test_real_patients_in_each_other_s_place_fail_nothing_but_are_few():
    from synthfed.tables.dictionary import load_dictionary
    from synthfed.tables.reading import read_frame, type_table

    pipeline, dictionary = Pipeline.load("aml"), load_dictionary("aml")
    columns = pipeline.cohort.columns
    raw = read_frame(TABLE)
    table, _ = type_table(raw, dictionary, columns, origin="table", extra=["wave"], on_out_of_range="missing")
    rules = RuleSet.load(dictionary.folder, dictionary.schema).restrict(columns)
    table, _ = rules.blank(rules.derive(table))
    order = np.random.default_rng(0).permutation(len(table))
    card = evaluate(
        table.iloc[order[319:]],
        schema=dictionary.schema.select(columns),
        rules=rules,
        train=table.iloc[order[:213]],
        holdout=table.iloc[order[213:319]],
        settings=pipeline.evaluation,
        seed=0,
        privacy={},
    )
    comparing = [m for m in card.metrics if m.rows_used == "train" and m.role == "deciding"]
    assert not [m.id for m in comparing if m.light == "red"]
    assert {card.lights[q] for q in ("faithful", "useful", "private")} == {"grey"}
    assert card["survival.km_area"].light == "grey"
