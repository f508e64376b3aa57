"""Training on one table, without a federation: the same stints and the same steps at one site.

Used for `Synthesizer.fit(DataFrame)` and as the reference that a federation is compared with.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from synthfed.errors import TrainingError
from synthfed.generators.base import Codes, Generator, Layout, Plan, Weights
from synthfed.generators.counted import (
    Counting,
    answer,
    answer_histograms,
    noisy_histograms,
    shared_answer,
    shared_histograms,
)
from synthfed.generators.marginal import NoisyTables
from synthfed.generators.plan import noised_step, round_events
from synthfed.generators.shared import mean_gradient, step_change, trained_tensors
from synthfed.generators.start import Begun, Finished, begin, finish
from synthfed.privacy.events import PrivacyEvent
from synthfed.tables.coding import Coding
from synthfed.tables.transform import Transformer

Progress = Callable[[int, int], None]  # (rounds done, rounds)


@dataclass(frozen=True, slots=True)
class Learned:
    """What training on one table leaves.

    Attributes:
        released: The tensors that ship.
        events: What they cost.
        finished: Of a network that started from a tree, that and how it compares; else None.
    """

    released: Weights
    events: tuple[PrivacyEvent, ...]
    finished: Finished | None = None


def stint_key(noise_key: bytes, round_index: int) -> bytes:
    """A fresh 32-byte key per round from the run's secret key, so that no noise is ever drawn twice."""
    return hmac.new(noise_key, b"synthfed stint %d" % round_index, hashlib.sha256).digest()


def train(
    generator: Generator,
    layout: Layout,
    codes: Codes,
    plan: Plan,
    seed: int,
    noise_key: bytes,
    progress: Progress | None = None,
    *,
    counting: Counting | None = None,
) -> Learned:
    """Train on one table.

    With noise off (epsilon = inf) all rounds become one long stint, so that the site's Adam keeps its moments.

    Args:
        plan: Made for one site; `plan.sites` must be 1, or the divisor would be another site's.
        noise_key: 32 secret bytes. An adversary who has them can subtract the noise.
        counting: The counting rounds, where the plan has any.

    Raises:
        TrainingError: The plan is for several sites, has counting rounds that are not given, or training became NaN.
    """
    if plan.sites != 1:
        raise TrainingError(f"the plan is for {plan.sites} sites; training on one table needs make_plan(..., sites=1)")
    if bool(plan.measures) != (counting is not None):
        raise TrainingError("a plan with counting rounds needs `counting`, and no other plan does")
    if plan.noise_multiplier == 0.0 and plan.rounds:
        plan = replace(plan, rounds=1, local_steps=plan.total_steps)
    events: list[PrivacyEvent] = []
    begun = None
    if counting is None:
        weights = generator.init(layout, seed=seed)
    else:
        known = _count(counting, codes, noise_key)
        events += [event for index in range(len(plan.measures)) for event in round_events(plan, index)]
        model = counting.model(known)
        weights = begin(generator, model, layout, counting.workload, seed=seed)
        if generator.kind != "marginal":
            first = generator.release(weights, generator.start(weights))
            begun = Begun(tuple(known), model, counting.workload, first)
    state = generator.start(weights)
    for trained in range(plan.rounds):
        index = len(plan.measures) + trained
        key = stint_key(noise_key, index)
        if plan.shared is not None:
            change = _shared_step(generator, weights, layout, codes, plan, round_index=index, noise_key=key)
            events += round_events(plan, index)
        else:
            stint = generator.stint(weights, layout, codes, plan, round_index=index, noise_key=key)
            change, events = stint.change, [*events, *stint.events]
        weights, state = generator.apply(weights, state, change, layout, plan, round_index=trained, seed=seed)
        if progress is not None:
            progress(trained + 1, plan.rounds)
    released = generator.release(weights, state)
    if begun is None:
        return Learned(released, tuple(events))
    finished = finish(generator, released, begun, layout, plan, seed=seed)
    return Learned(finished.released, tuple(events), finished)


def fit_encoder(coding: Coding, table: pd.DataFrame, plan: Plan, *, noise_key: bytes) -> Transformer:
    """The encoder of one table, from histograms noised as they would leave a site; the public one where none is fitted.

    What it costs is the first event of `train`'s.
    """
    if not plan.encodes:
        return coding.template
    exact, blocks, key = coding.grid.count(table), len(coding.grid.names), stint_key(noise_key, 0)
    if plan.shared is not None:
        counts = shared_histograms(exact, plan, blocks=blocks, noise_key=key)
    else:
        counts = answer_histograms(exact, plan.measures[0], blocks=blocks, noise_key=key)
    noisy, stddev = noisy_histograms(counts, plan, blocks=blocks, counted=1)
    return coding.fit(noisy, stddev=stddev)


def _shared_step(
    generator: Generator,
    weights: Weights,
    layout: Layout,
    codes: Codes,
    plan: Plan,
    *,
    round_index: int,
    noise_key: bytes,
) -> Weights:
    """One step as a federation of one site takes it, in the same whole numbers."""
    names = trained_tensors(generator.kind, weights)
    step = generator.clipped_sum(weights, layout, codes, plan, round_index=round_index, noise_key=noise_key)
    total = noised_step(step.gradient, plan, round_index=round_index, noise_key=noise_key)
    return step_change(weights, names, mean_gradient(total, plan, counted=1))


def _count(counting: Counting, codes: Codes, noise_key: bytes) -> list[NoisyTables]:
    """All counting rounds at one site, noised as they would leave it."""
    known: list[NoisyTables] = []
    layout, plan = counting.layout, counting.plan
    first = int(plan.encodes)  # histograms were counted before there were codes
    for index, measure in enumerate(plan.measures[first:]):
        tables, cells, key = counting.tables(known), counting.cells(index), stint_key(noise_key, first + index)
        if plan.shared is not None:
            counts = shared_answer(codes, layout, tables, plan, round_index=first + index, cells=cells, noise_key=key)
        else:
            counts = answer(codes, layout, tables, measure, cells=cells, noise_key=key)
        known.append(counting.noisy(known, counts, counted=1))
    return known
