"""Train, draw and score every kind on the same patients; finished cells are kept and not run again."""

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from synthfed.errors import BudgetRefused, ConfigError, DataError, LedgerBroken, SynthfedError
from synthfed.pipeline import Pipeline
from synthfed.run.comparing.comparison import Cell, Comparison, Measure, Score
from synthfed.run.comparing.cost import NOT_COUNTED, both_epsilons, cost_of_comparison, planned_events, require_room
from synthfed.run.comparing.keeping import Kept, Scored, keep_in
from synthfed.run.comparing.kinds import DEFAULT_KINDS, Planned, plan_cells
from synthfed.run.progress import Progress, Silent
from synthfed.run.training import LedgerHome, train

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.evaluation.scorecard import Scorecard

# what is compared, in the order of the table; `useful.tstr` stands for one row per target
_DECIDING = ("faithful.association", "survival.cox", "useful.tstr")
_ROWS = (
    *_DECIDING,
    "faithful.shapes",
    "faithful.pairs",
    "survival.km_area",
    "survival.km_worst",
    "private.membership",
)
_NO_FLOOR = ("faithful.shapes", "private.membership")  # shuffled columns keep their shapes: their score is no floor


def compare(
    pipeline: Pipeline | str | Path,
    cohort: "Cohort",
    *,
    name: str | None = None,
    kinds: Sequence[str] = DEFAULT_KINDS,
    epsilons: Sequence[float] | None = None,
    seeds: int = 2,
    out: Path | None = None,
    resume: bool = False,
    replace: bool = False,
    spend: bool = False,
    ledgers: LedgerHome | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run every kind at every budget with every seed through the federation, and score it against the hold-out.

    Patients, split, columns, rows drawn and the randomness of the scores are the same for all; only the generator's
    settings, the budget and the seeds of weights, simulated noise and sampling differ.

    Example: `print(compare("aml", load_cohort("aml"), kinds=["marginal", "tvae"], epsilons=[3, 10]).table())`

    Args:
        name: What to call the pipeline in files and tables; its own name, or its disease, by default.
        kinds: Names in `KINDS`.
        epsilons: Budgets of one run each; the pipeline's own by default.
        seeds: How many runs per kind and budget: the pipeline's seed and the next ones.
        out: Keep finished cells there; without it nothing is kept.
        resume: Go on with the comparison in `out`; kinds, budgets and seeds may be more than before.
        replace: Forget the comparison in `out` and start anew.
        spend: Real patients: agree to what it costs them, which is more than one run.
        ledgers: Where the sites' ledgers outlast the runs; real patients need one.

    Raises:
        ConfigError: Real patients without `spend` or `ledgers`, or an unknown kind.
        BudgetRefused: All runs together would exceed the ledgers' limit; nothing was trained.
        DataError: The cohort does not fit the pipeline.
        DossierError: `out` holds another comparison, or one and neither `resume` nor `replace` is set.
    """
    settings = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
    budgets = tuple(float(epsilon) for epsilon in epsilons or (settings.privacy.epsilon,))
    say = progress or Silent()
    cohort = cohort.select(settings.cohort.columns)
    planned = tuple(plan_cells(settings, kinds, budgets, seeds))
    say.stage("cohort", f"{len(cohort.sites)} sites: {cohort.origin}")
    with keep_in(out, settings, cohort, resume=resume, replace=replace) as kept:
        before = {cell: scored for cell in planned if (scored := kept.finished(cell)) is not None}
        if not cohort.simulated:
            fresh = [cell for cell in planned if cell not in before and not kept.has_begun(cell)]
            _agree(fresh, cohort, ledgers, spend=spend, say=say)
        kept.begin()
        done: list[Scored] = []
        for number, cell in enumerate(planned, start=1):
            where = f"epsilon {cell.epsilon:g}, seed {cell.seed} ({number} of {len(planned)})"
            if cell in before:
                say.stage(cell.kind, f"{where}: kept from before")
                done.append(before[cell])
                continue
            say.stage(cell.kind, where)
            done.append(_run(cell, cohort, kept, settings, resume=resume, say=say, ledgers=ledgers))
            ran, _ = done[-1]
            say.stage("", f"failed: {ran.failure}" if ran.failure else f"trained in {ran.seconds:.0f} s")
    rows = {row.id: row for _, measures in done for row in measures}
    return Comparison(
        name=name or (settings.disease if isinstance(pipeline, Pipeline) else Path(pipeline).stem),
        title=settings.title,
        digest=settings.digest(),
        version=version("synthfed"),
        origin=cohort.origin,
        simulated=cohort.simulated,
        sites=len(cohort.sites),
        delta=settings.privacy.delta,
        kinds=tuple(kinds),
        epsilons=budgets,
        seeds=tuple(settings.seed + index for index in range(seeds)),
        measures=tuple(sorted(rows.values(), key=lambda row: _ROWS.index(_row_of(row.id) or ""))),
        cells=tuple(cell for cell, _ in done),
    )


def _agree(
    fresh: Sequence[Planned],
    cohort: "Cohort",
    ledgers: LedgerHome | None,
    *,
    spend: bool,
    say: Progress,
) -> None:
    """Say what real patients would pay, and go on only if that was agreed to and the ledgers have room for it."""
    cost = cost_of_comparison(fresh, cohort)
    if not spend:
        raise ConfigError(
            f"these are real patients, and this comparison is {cost}; agree with --spend, ask for fewer --kinds, "
            f"--epsilon or --seeds, or leave --data out to compare on simulated patients. {NOT_COUNTED}"
        )
    if ledgers is None:
        raise ConfigError("comparing on real patients needs lasting ledgers: give ledgers=ledger_home(source, limit)")
    require_room(fresh, cost, ledgers, cohort)
    say.stage("cost", str(cost))
    say.stage("", NOT_COUNTED)


def _run(
    cell: Planned,
    cohort: "Cohort",
    kept: Kept,
    settings: Pipeline,
    *,
    resume: bool,
    say: Progress,
    ledgers: LedgerHome | None,
) -> Scored:
    """One cell. A fault of the patients or their ledgers stops the comparison; any other is the kind's result."""
    from synthfed.run.drawing import draw_table

    work = kept.work(cell)
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    started = time.monotonic()
    try:
        trained = train(cell.pipeline, cohort, work=work, resume=resume, progress=say, ledgers=ledgers)
        seconds = time.monotonic() - started
        release = cell.pipeline.release
        table = draw_table(trained, cohort.rules, rows=release.rows, seed=release.seed)
    except (DataError, BudgetRefused, LedgerBroken):
        raise
    except SynthfedError as error:
        kept.abandon(cell)
        return Cell(cell.kind, cell.epsilon, cell.seed, failure=first_sentence(str(error))), ()
    from synthfed.evaluation.evaluate import evaluate

    card = evaluate(
        table,
        schema=trained.schema,
        rules=cohort.rules,
        train=cohort.train,
        holdout=cohort.holdout,
        settings=settings.evaluation,
        seed=settings.seed,  # not the cell's, so that all meet the same fresh patients
        privacy=trained.ledger,
    )
    scores, measures = _read(card)
    epsilon, epsilon_local = both_epsilons(planned_events(cell, cohort), settings.privacy.delta)
    ran = Cell(
        kind=cell.kind,
        epsilon=cell.epsilon,
        seed=cell.seed,
        scores=scores,
        epsilon_spent=epsilon,
        epsilon_local=epsilon_local,
        rounds=trained.rounds,
        seconds=seconds,
        bytes_moved=trained.bytes_up + trained.bytes_down,
        spent_over_runs=trained.spent_over_runs,
    )
    kept.finish(cell, (ran, measures))
    return ran, measures


def _read(card: "Scorecard") -> tuple[dict[str, Score], tuple[Measure, ...]]:
    """The scores that a comparison shows, with the rows they are in."""
    wanted = [metric for metric in card.metrics if _row_of(metric.id)]
    scores = {m.id: Score(m.value, None if m.id in _NO_FLOOR else m.floor, m.ceiling, m.low, m.high) for m in wanted}
    measures = tuple(Measure(m.id, m.label, m.direction, _row_of(m.id) in _DECIDING) for m in wanted)
    return scores, measures


def _row_of(metric: str) -> str | None:
    """Which of `_ROWS` a metric is; None for one that is not shown."""
    row = "useful.tstr" if metric.startswith("useful.tstr.") else metric
    return row if row in _ROWS else None


def first_sentence(message: str) -> str:
    """A message up to its first full stop, semicolon or line end: what went wrong, without the advice."""
    import re

    return re.split(r"[.;](?=\s)|\n", message, maxsplit=1)[0].strip()
