"""From a trained model to a table that obeys its dictionary, and to its scores."""

from typing import TYPE_CHECKING

import pandas as pd

from synthfed.errors import SynthfedError
from synthfed.run.training import Trained

if TYPE_CHECKING:
    from synthfed.evaluation.scorecard import Scorecard
    from synthfed.tables.rules import RuleSet
    from synthfed.tables.schema import Schema


def draw_table(trained: Trained, rules: "RuleSet", *, rows: int, seed: int) -> pd.DataFrame:
    """Sample, decode and enforce the hard rules: post-processing of the released model, so it costs no privacy.

    Raises:
        SynthfedError: A hard rule still fails somewhere, which would be a fault of the rule set.
    """
    import numpy as np

    from synthfed.generators.base import Layout
    from synthfed.generators.registry import make_generator

    generator = make_generator(trained.pipeline.generator)
    layout = Layout(trained.transformer.names, trained.transformer.widths)
    codes = generator.sample(trained.released, layout, rows=rows, seed=seed)
    decoded = trained.transformer.decode(codes, np.random.default_rng(seed))
    table = trained.schema.cast(_number_rows(rules.enforce(decoded), trained.schema))
    broken = rules.check(table)
    failing = [rule.id for rule in rules.rules if rule.hard and broken[rule.id].any()]
    if failing:
        raise SynthfedError(f"hard rules {failing} fail after enforcing them: two rules contradict each other")
    return table


def _number_rows(table: pd.DataFrame, schema: "Schema") -> pd.DataFrame:
    width = len(str(len(table)))
    names = pd.array([f"SYN{number:0{width}d}" for number in range(1, len(table) + 1)], dtype="string")
    return table.assign(**{column.name: names for column in schema.columns if column.kind == "id"})


def score_table(
    trained: Trained,
    table: pd.DataFrame,
    rules: "RuleSet",
    *,
    train: pd.DataFrame | None,
    holdout: pd.DataFrame | None,
) -> "Scorecard":
    """Score a table; without real rows only what needs none is measured."""
    from synthfed.evaluation.evaluate import evaluate

    return evaluate(
        table,
        schema=trained.schema,
        rules=rules,
        train=train,
        holdout=holdout,
        settings=trained.pipeline.evaluation,
        seed=trained.pipeline.seed,
        privacy=trained.ledger,
    )
