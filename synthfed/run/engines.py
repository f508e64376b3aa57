"""The network's table beside the tree's, for the report: drawn, scored and held against the noisy totals alike."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from synthfed.run.drawing import draw_table
from synthfed.run.training import Trained

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.evaluation.scorecard import Scorecard
    from synthfed.generators.start import Begun, Finished
    from synthfed.report.engines import CountRow, ScoreRow


def compare_engines(trained: Trained, card: "Scorecard", cohort: "Cohort", *, real_rows: bool) -> dict[str, Any] | None:
    """The report's entry `engines`; None where there is no tree beside the network.

    Args:
        card: The scores of the network's table.
        real_rows: Whether the tree's table may be scored against the cohort's rows, as the network's was. What follows
            from that stays where the rows are; the rest is post-processing.
    """
    from synthfed.report.engines import engines_block

    finished = trained.finished
    if finished is None or finished.begun is None:
        return None
    return engines_block(
        trained.pipeline.generator.kind,
        kept=finished.kept,
        judged=finished.judged,
        counts=list(_counts(trained, finished, finished.begun)),
        scores=list(_scores(trained, finished.begun, card, cohort)) if real_rows else [],
        real_patients=not cohort.simulated,
    )


def _counts(trained: Trained, finished: "Finished", begun: "Begun") -> Iterator["CountRow"]:
    """Network, tree and shuffled columns against each kind of noisy totals."""
    from synthfed.generators.registry import make_generator
    from synthfed.generators.start import draws_of
    from synthfed.generators.yardstick import FITTED, KINDS, Yardstick, shuffled
    from synthfed.report.engines import CountRow

    stick, seed = Yardstick.of(begun.rounds, begun.model, begun.workload), trained.pipeline.release.seed
    network = draws_of(make_generator(trained.pipeline.generator), finished.released, stick.layout)
    by_network, by_tree, by_chance = (
        stick.expected(draw, seed=seed) for draw in (network, begun.model.sample, shuffled(begun.model.sample))
    )
    for kind in KINDS:
        gap = stick.compare(by_network, by_tree, (kind,))
        if gap.cells:
            floor = stick.compare(by_network, by_chance, (kind,)).other
            yield CountRow(kind, gap.cells, gap.one, gap.other, floor, gap.error, learned=kind in FITTED)


def _scores(trained: Trained, begun: "Begun", card: "Scorecard", cohort: "Cohort") -> Iterator["ScoreRow"]:
    """The deciding scores of the network's table, and of as many rows of the tree from the same seed."""
    from synthfed.evaluation.evaluate import evaluate
    from synthfed.report.engines import COMPARED, ScoreRow

    pipeline = trained.pipeline.replace(generator={"kind": "marginal"})
    tree = replace(trained, pipeline=pipeline, released=begun.model.to_weights(), finished=None)
    other = evaluate(
        draw_table(tree, cohort.rules, rows=pipeline.release.rows, seed=pipeline.release.seed),
        schema=trained.schema,
        rules=cohort.rules,
        train=cohort.train,
        holdout=cohort.holdout,
        settings=pipeline.evaluation,
        seed=pipeline.seed,
        privacy=trained.ledger,
        likeness_only=True,
    )
    found = {metric.id: metric.value for metric in other.metrics}
    for stem in COMPARED:
        for metric in card.metrics:
            if metric.id == stem or metric.id.startswith(f"{stem}."):
                yield ScoreRow(
                    metric.id,
                    metric.label,
                    metric.direction,
                    metric.value,
                    found.get(metric.id),
                    metric.floor,
                    metric.ceiling,
                    metric.low,
                    metric.high,
                )
