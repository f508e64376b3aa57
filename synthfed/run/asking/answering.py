"""Ask a cohort's sites: one plan, a few secure sums, one list of answers."""

import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthfed.errors import ConfigError
from synthfed.pipeline import Pipeline
from synthfed.run.asking.figures import Answer, read_answers
from synthfed.run.asking.language import describe, read_question
from synthfed.run.asking.planning import Planned, make_plan
from synthfed.run.training import LedgerHome
from synthfed.secagg.analytics import Query
from synthfed.tables.arrays import site_rows

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.tables.schema import Schema

_MANY = 20
_DRAWING = 1e-14  # total variation of one number per (1 + standard deviation): `NoiseStream.rounded_gaussian`
UNIT = "one patient at one site: all its rows there, merged into one"
ADJACENCY = "add or remove one patient"
INTERVALS = (
    "An interval holds, in 95 of 100 draws of the noise, the figure that all rows together give. "
    "It does not say how well these patients stand for others."
)
BOTH = "All rows were asked, so patients who train and patients held out pay alike."
CLIPPED = "Values outside the dictionary's bounds count at the bounds; levels and edges are the dictionary's."
MANY = "{count} questions share one epsilon: ask fewer, or spend more (--epsilon), and the intervals get narrower."
DRAWN = "Drawing the noise in double precision may add up to {more:.0e} to delta."
WITHHELD = (
    "Counts below {smallest} are withheld here only: the sites and the server see all sums, "
    "and a withheld count can follow from others by subtraction."
)


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers, what they cost and what must be said with them.

    Attributes:
        noise_for: The epsilon that the noise was drawn for; None where there was none.
        epsilon: What this plan cost one patient of each population; None where no epsilon covers the answers.
        spent_over_runs: Largest epsilon that a site's ledger holds over all its runs; None where none is charged.
        bytes_up, bytes_down: From and to all sites together.
    """

    answers: tuple[Answer, ...]
    origin: str
    sites: int
    noise_for: float | None
    epsilon: float | None
    delta: float
    spent_over_runs: float | None
    rounds: int
    bytes_up: int
    bytes_down: int
    words: tuple[str, ...]


def plan_questions(texts: Iterable[str], schema: "Schema", *, exact: bool) -> Planned:
    """Read the questions against the columns; none at all describe every column.

    Raises:
        ConfigError: A question is not understood or does not fit the dictionary.
    """
    askings = [asking for text in texts for asking in read_question(text, schema)]
    return make_plan(askings or describe(schema), schema, exact=exact)


def ask_cohort(
    pipeline: Pipeline,
    cohort: "Cohort",
    texts: Iterable[str],
    *,
    exact: bool = False,
    epsilon: float = 1.0,
    smallest_count: int = 10,
    ledgers: LedgerHome | None = None,
) -> Answered:
    """Answer questions over the rows of all sites, those held out included.

    Each site adds its own noise before its vector is hidden, so `epsilon` holds against everybody, the other sites
    included. Sites charge their ledgers before anything leaves them.

    Args:
        exact: Without noise. The caller has made sure that every site allows it.
        epsilon: What the plan may cost one patient, at the pipeline's delta.
        smallest_count: Counts below it are withheld.
        ledgers: Where the sites' ledgers outlast this question; real patients need one.

    Raises:
        ConfigError: A question is not understood.
        TooFewSites, BudgetRefused: Before any row is touched.
    """
    from synthfed.federation.questions import AskNoise, ask_in_process

    if not 0 < epsilon < math.inf:
        raise ConfigError(f"epsilon is {epsilon}; wanted a positive, finite number (--exact asks without noise)")
    planned = plan_questions(texts, cohort.schema, exact=exact)
    delta = pipeline.privacy.delta
    seeded = pipeline.privacy.seeded(simulated=cohort.simulated)
    tables = {site: site_rows([rows, cohort.holdouts[site]], cohort.schema) for site, rows in cohort.sites.items()}
    with tempfile.TemporaryDirectory(prefix="synthfed-ask-") as work:
        asked = ask_in_process(
            planned.plan,
            tables,
            work=Path(work),
            simulated=cohort.simulated,
            noise=None if exact else AskNoise(epsilon, delta),
            site_home=ledgers.folder if ledgers else None,
            epsilon_limit=ledgers.epsilon_limit if ledgers else None,
            seed=pipeline.seed if seeded and cohort.simulated else None,
        )
    return Answered(
        answers=read_answers(
            planned,
            asked.query,
            cohort.schema,
            stddevs=None if exact else asked.stddevs[0],
            smallest_count=smallest_count,
        ),
        origin=cohort.origin,
        sites=len(tables),
        noise_for=None if exact else epsilon,
        epsilon=None if exact or (seeded and cohort.simulated) else epsilon,
        delta=delta,
        spent_over_runs=spent_at_most(asked.ledgers)
        if ledgers and not exact
        else None,  # exact answers are in no ledger
        rounds=asked.rounds,
        bytes_up=asked.bytes_up,
        bytes_down=asked.bytes_down,
        words=(
            *asked.words,
            *words_of_answers(
                planned,
                None if exact else asked.stddevs[0],
                epsilon=None if exact else epsilon,
                smallest_count=smallest_count,
            ),
        ),
    )


def words_of_answers(
    planned: Planned, stddevs: npt.NDArray[np.float64] | None, *, epsilon: float | None, smallest_count: int
) -> tuple[str, ...]:
    """The sentences that go with the figures of a plan; without noise, `stddevs` and `epsilon` are None."""
    noise = () if stddevs is None or epsilon is None else _of_noise(planned, stddevs, epsilon)
    return (*noise, CLIPPED, WITHHELD.format(smallest=smallest_count))


def spent_at_most(ledgers: Mapping[str, Mapping[str, Any]]) -> float:
    """Largest epsilon that a site's ledger export holds over all its runs."""
    return max(float(export["epsilon_spent"]) for export in ledgers.values())


def _of_noise(planned: Planned, stddevs: npt.NDArray[np.float64], epsilon: float) -> tuple[str, ...]:
    questions = len(planned.plan.questions)
    many = (MANY.format(count=questions),) if questions >= _MANY else ()
    # each number that one patient touches adds its own share; the noise of one site is narrower than that of the sum
    touched, at = 0.0, 0
    for part in Query(planned.plan).all_parts():
        touched += _DRAWING * (1 + float(stddevs[at])) * (1 if part.one_of else part.cells)
        at += part.cells
    return (BOTH, INTERVALS, *many, DRAWN.format(more=touched * (1 + math.exp(epsilon))))
