"""From a trained model to a table that obeys its dictionary, and to its scores."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthfed.errors import SynthfedError
from synthfed.run.training import Trained

if TYPE_CHECKING:
    from synthfed.evaluation.scorecard import Metric, Scorecard
    from synthfed.generators.base import Codes
    from synthfed.run.guiding import Guided
    from synthfed.tables.rules import RuleSet
    from synthfed.tables.schema import Schema

LARGEST_DRAW = 50_000  # rows in one draw: a wide row takes some kilobytes while it is drawn
PIECE = 10_000  # rows of a stream's first piece, so that few are chosen quickly; later ones are of `LARGEST_DRAW`

MODEL_METRICS = ("valid.repairs", "private.audit")  # what `score_model` measures

DrawProgress = Callable[[int, int], None]  # (rows kept so far, patients drawn so far)


def draw_table(
    trained: Trained, rules: "RuleSet", *, rows: int, seed: int, progress: DrawProgress | None = None
) -> pd.DataFrame:
    """Sample, decode and enforce the hard rules: post-processing of the released model, so it costs no privacy.

    Up to `LARGEST_DRAW` rows are one draw; more are the first `rows` of the seed's `stream`, drawn
    piece by piece; `progress` is told after each.

    Raises:
        SynthfedError: A hard rule still fails somewhere, which would be a fault of the rule set.
    """
    if rows <= LARGEST_DRAW:
        return number_rows(patients_of(trained, rules)(rows, seed).table, trained.schema)
    pieces: list[pd.DataFrame] = []
    drawn = 0
    for piece in stream(trained, rules, seed=seed):
        pieces.append(piece.head(rows - drawn))
        drawn += len(piece)
        if progress is not None:
            progress(min(drawn, rows), drawn)
        if drawn >= rows:
            break
    return number_rows(pd.concat(pieces, ignore_index=True), trained.schema)


def stream(trained: Trained, rules: "RuleSet", *, seed: int) -> Iterator[pd.DataFrame]:
    """Endless synthetic patients without identity columns, piece by piece; the same seed, the same rows."""
    draw, index = patients_of(trained, rules), 0
    while True:
        state = np.random.SeedSequence([seed, index]).generate_state(2)
        yield draw(PIECE if index == 0 else LARGEST_DRAW, int(state[0]) << 32 | int(state[1])).table
        index += 1


def number_rows(table: pd.DataFrame, schema: "Schema") -> pd.DataFrame:
    """Give every row a synthetic identity and the table its dictionary's order and dtypes."""
    width = len(str(len(table)))
    names = pd.array([f"SYN{number:0{width}d}" for number in range(1, len(table) + 1)], dtype="string")
    return schema.cast(table.assign(**{column.name: names for column in schema.columns if column.kind == "id"}))


def patients_of(trained: Trained, rules: "RuleSet") -> Callable[[int, int], "Guided"]:
    """What draws synthetic patients without identity columns by (rows, seed), again and again.

    Raises:
        SynthfedError: When it draws and a hard rule still fails somewhere.
    """
    from synthfed.generators.base import Layout
    from synthfed.generators.registry import make_generator
    from synthfed.generators.start import draws_of
    from synthfed.run.guiding import Foresight, draw_guided

    layout = Layout(trained.transformer.names, trained.transformer.widths)
    sample = draws_of(make_generator(trained.pipeline.generator), trained.released, layout)
    foresee = Foresight(trained.transformer, rules)

    def finish(codes: "Codes", seed: int) -> pd.DataFrame:
        return rules.enforce(trained.transformer.decode(codes, np.random.default_rng(seed)))

    def draw(rows: int, seed: int) -> "Guided":
        drawn = draw_guided(sample, finish, trained.transformer, foresee, rows=rows, seed=seed)
        table = trained.schema.cast(drawn.table)
        broken = rules.check(table)
        failing = [rule.id for rule in rules.rules if rule.hard and broken[rule.id].any()]
        if failing:
            raise SynthfedError(f"hard rules {failing} fail after enforcing them: two rules contradict each other")
        return dataclasses.replace(drawn, table=table)

    return draw


def score_table(
    trained: Trained,
    table: pd.DataFrame,
    rules: "RuleSet",
    *,
    train: pd.DataFrame | None,
    holdout: pd.DataFrame | None,
    progress: Callable[[str], None] | None = None,
    of_model: "Sequence[Metric] | None" = None,
) -> "Scorecard":
    """Score a table, audit the claimed epsilon and say what the rules cost; real rows are optional.

    Args:
        progress: Told which kind of score begins.
        of_model: What `score_model` said before, so that two editions of a run give the same audit.
    """
    from synthfed.evaluation.evaluate import evaluate

    card = evaluate(
        table,
        schema=trained.schema,
        rules=rules,
        train=train,
        holdout=holdout,
        settings=trained.pipeline.evaluation,
        seed=trained.pipeline.seed,
        privacy=trained.ledger,
        progress=progress,
    )
    return dataclasses.replace(card, metrics=(*card.metrics, *(of_model or score_model(trained, rules))))


def score_model(trained: Trained, rules: "RuleSet") -> "tuple[Metric, ...]":
    """What enforcing the rules does to the model's draws, and the audit of its epsilon; no real row is looked at."""
    from synthfed.run.auditing import audit_metric
    from synthfed.run.repairing import measure_repairs, repair_metric

    repairs = repair_metric(measure_repairs(trained, rules, seed=trained.pipeline.release.seed))
    audit = audit_metric(trained.pipeline, trained.schema, seeded=bool(trained.ledger.get("seeded")))
    return (repairs,) if audit is None else (repairs, audit)
