"""The whole metric set on the columns of the shipped AML pipeline: fresh patients against shuffled ones."""

import numpy as np
import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.evaluation.evaluate import evaluate
from synthfed.evaluation.scorecard import Scorecard
from synthfed.pipeline import Pipeline

PIPELINE = Pipeline.load("aml")
COHORT = load_cohort("aml", patients=1500, seed=3, columns=PIPELINE.cohort.columns, holdout_fraction=0.05)
WHOLE = COHORT.train.sample(frac=1, random_state=0).reset_index(drop=True)
TRAIN, HOLDOUT, FRESH = WHOLE[:600], WHOLE[600:900], WHOLE[900:]


def _score(table) -> Scorecard:
    return evaluate(
        table.reset_index(drop=True),
        schema=COHORT.schema,
        rules=COHORT.rules,
        train=TRAIN,
        holdout=HOLDOUT,
        settings=PIPELINE.evaluation,
        seed=0,
        privacy={},
    )


def test_fresh_patients_are_red_nowhere():
    card = _score(FRESH)
    assert not [m.id for m in card.metrics if m.light == "red" and m.question != "guaranteed"]
    assert card["genomics.cooccurrence"].light == "green"
    assert card["genomics.known_pairs"].value == card["genomics.known_pairs"].ceiling == 1


def test_shuffled_columns_are_red():
    rng = np.random.default_rng(0)
    shuffled = FRESH.apply(lambda column: column.array.take(rng.permutation(len(column))))
    card = _score(COHORT.schema.cast(shuffled))
    assert card.lights["faithful"] == "red"
    assert card.lights["valid"] == "red"
    assert card["faithful.association"].light == "red"
    assert card["genomics.cooccurrence"].light == "red"


@pytest.mark.parametrize("metric", ["private.exact", "private.near_copy"])
def test_a_copy_is_red(metric):
    from synthfed.evaluation.copies import copy_metrics
    from synthfed.evaluation.rows import Shape, read_rows

    shape = Shape.of(COHORT.schema)
    train, holdout = read_rows(TRAIN, shape), read_rows(HOLDOUT, shape)
    found = {m.id: m for m in copy_metrics(train, holdout, train, seed=0)}
    assert found[metric].light == "red"
