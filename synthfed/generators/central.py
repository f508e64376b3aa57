"""Training on one table, without a federation: the same stints and the same steps at one site.

Used for `Synthesizer.fit(DataFrame)` and as the reference that a federation is compared with.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace

from synthfed.errors import TrainingError
from synthfed.generators.base import Codes, Generator, Layout, Plan, Weights
from synthfed.privacy.events import PrivacyEvent

Progress = Callable[[int, int], None]  # (rounds done, rounds)


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
) -> tuple[Weights, tuple[PrivacyEvent, ...]]:
    """Train on one table and return the tensors that ship and what they cost.

    With noise off (epsilon = inf) all rounds become one long stint, so that the site's Adam keeps its moments.

    Args:
        plan: Made for one site; `plan.sites` must be 1, or the divisor would be another site's.
        noise_key: 32 secret bytes. An adversary who has them can subtract the noise.

    Raises:
        TrainingError: The plan is for several sites, or training became NaN.
    """
    if plan.sites != 1:
        raise TrainingError(f"the plan is for {plan.sites} sites; training on one table needs make_plan(..., sites=1)")
    if plan.noise_multiplier == 0.0:
        plan = replace(plan, rounds=1, local_steps=plan.total_steps)
    weights = generator.init(layout, seed=seed)
    state = generator.start(weights)
    events: list[PrivacyEvent] = []
    for index in range(plan.rounds):
        key = stint_key(noise_key, index)
        stint = generator.stint(weights, layout, codes, plan, round_index=index, noise_key=key)
        events += stint.events
        weights, state = generator.apply(weights, state, stint.change, layout, plan, round_index=index, seed=seed)
        if progress is not None:
            progress(index + 1, plan.rounds)
    return generator.release(weights, state), tuple(events)
