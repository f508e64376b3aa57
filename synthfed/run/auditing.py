"""Try to refute the claimed epsilon: canaries through the run's own counting rounds, with the run's own settings.

A thousand invented patients, each in or out by a coin, are counted and noised at one site exactly as patients are. An
auditor who sees that site's noised counts, as all others together might, and knows every canary guesses who was in
(`privacy.audit_epsilon`). Nobody real takes part, so the audit costs nothing and may be released. What it cannot see is
said with it: DP-SGD steps are not audited here, nor are histograms of the encoder, and no audit shows more than its
own ceiling.
"""

import math
import os
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from synthfed.evaluation.scorecard import Metric
from synthfed.generators.base import Codes, Layout
from synthfed.generators.central import stint_key
from synthfed.generators.counted import Counting, answer
from synthfed.generators.marginal import CountTable, NoisyTables, Table, count, touched_cells
from synthfed.generators.plan import make_plan, run_coding, run_workload
from synthfed.pipeline import Pipeline
from synthfed.privacy.audit_epsilon import EpsilonAudit, audit_scores
from synthfed.privacy.mechanisms import NoiseStream, seeded_key
from synthfed.tables.schema import Schema

CANARIES = 1000

Floats = npt.NDArray[np.float64]


def audit_counting(pipeline: Pipeline, schema: Schema, *, key: bytes, canaries: int = CANARIES) -> EpsilonAudit | None:
    """Run the counting rounds on canaries and turn what they give away into a lower bound on epsilon.

    Canaries fall into uniformly random cells, so that combinations no patient has are among them. The score of one is
    what a likelihood ratio would be were the others in with probability one half: each cell's distance from what is
    expected, over the noise's variance.

    Args:
        key: 32 bytes that coins and noise are drawn from; secret, but for simulated runs.

    Returns:
        None where there is nothing to audit: no counting round, or no budget.
    """
    if not (pipeline.privacy.enabled and pipeline.counts_first):
        return None
    plain = pipeline.alone()
    coding = run_coding(plain, schema, sites=1)
    plan = make_plan(plain, sites=1, coding=coding)
    layout = Layout(coding.template.names, coding.template.widths)
    counting = Counting(layout, run_workload(plain, coding.template), plan, pipeline.privacy.expected_patients)
    stream = NoiseStream(stint_key(key, -1))
    invented = (stream.uniform((canaries, len(layout.widths))) * np.array(layout.widths)).astype(np.int32)
    joined = stream.uniform(canaries) < 0.5
    scores = np.zeros(canaries)
    known: list[NoisyTables] = []
    first = int(plan.encodes)
    for index, measure in enumerate(plan.measures[first:]):
        tables, cells = counting.tables(known), counting.cells(index)
        noised = answer(invented[joined], layout, tables, measure, cells=cells, noise_key=stint_key(key, first + index))
        scores += _scores(invented, layout, tables, noised)
        known.append(counting.noisy(known, noised, counted=1))
    return audit_scores(scores, joined, claimed_epsilon=pipeline.privacy.epsilon, delta=pipeline.privacy.delta)


def _scores(invented: Codes, layout: Layout, tables: Sequence[Table], noised: npt.NDArray[np.int64]) -> Floats:
    """Inner product of each canary's cells with how far the counts are from expected, over the noise's variance."""
    expected = count(invented, layout, tables) / 2
    scores = np.zeros(len(invented))
    start = 0
    for table in tables:
        cells = slice(start, start := start + math.prod(table.shape(layout)))
        surprise = (noised[cells] - expected[cells]) / table.stddev**2
        if isinstance(table, CountTable):
            scores += surprise[touched_cells(invented, layout, table)]
        else:
            scores += [float(count(invented[i : i + 1], layout, [table]) @ surprise) for i in range(len(invented))]
    return scores


def audit_metric(pipeline: Pipeline, schema: Schema, *, seeded: bool) -> Metric | None:
    """`private.audit`: the lower bound beside the claim; red when it refutes it, grey when it never could.

    Args:
        seeded: The run's noise follows from its seed (simulated patients), and so does the audit's: the same run, the
            same report.
    """
    found = _seeded_audit(pipeline, schema) if seeded else audit_counting(pipeline, schema, key=os.urandom(32))
    return None if found is None else metric_of(found)


@lru_cache(maxsize=4)
def _seeded_audit(pipeline: Pipeline, schema: Schema) -> EpsilonAudit | None:
    return audit_counting(pipeline, schema, key=seeded_key(pipeline.seed, "audit"))


def metric_of(found: EpsilonAudit) -> Metric:
    """The audit as a metric that decides when it could have refuted the claim."""
    blind = found.ceiling <= found.claimed and not found.refuted
    reason = (
        f"{found.right} of {found.guesses} guesses about {found.canaries} invented patients were right; the claim is "
        f"{found.claimed:g}, and this audit of the counting rounds can show {found.ceiling:.1f} at most"
    )
    return Metric(
        id="private.audit",
        question="private",
        role="if_measurable",
        label="epsilon that an attack on the counting rounds proves",
        value=found.lower_bound,
        direction="lower",
        green=found.claimed,
        amber=found.claimed,
        threshold_origin="the claimed epsilon: a larger bound proves that it is false",
        light="red" if found.refuted else "grey" if blind else "green",
        reason=reason,
        n={"canaries": found.canaries, "guesses": found.guesses},
    )
