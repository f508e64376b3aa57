"""Small stand-ins: a generator that learns column means, an encoder of two blocks, a pipeline of few rounds."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flwr.app import Message

from synthfed.errors import TrainingError
from synthfed.federation import records
from synthfed.generators.base import Codes, Layout, Plan, ServerState, Stint, Weights
from synthfed.generators.plan import round_events
from synthfed.pipeline import Pipeline
from synthfed.privacy.mechanisms import NoiseStream

LAYOUT = Layout(("sex", "stage"), (3, 4))


@dataclass
class MeanGenerator:
    """Weights are block means; a stint moves them halfway to the site's, with noise; the server adds the mean move."""

    kind: str = "mean"
    fail: Callable[[int], None] | None = None
    stints: list[int] = field(default_factory=list)

    def init(self, layout: Layout, *, seed: int) -> Weights:
        start = np.linspace(0, 1, layout.total_width, dtype=np.float32)
        return {"means": start, "scale": np.full((2, 2), seed / 10, np.float32)}

    def stint(
        self, weights: Weights, layout: Layout, codes: Codes, plan: Plan, *, round_index: int, noise_key: bytes
    ) -> Stint:
        self.stints.append(round_index)
        if self.fail is not None:
            self.fail(round_index)
        shares = np.concatenate(
            [np.bincount(codes[:, b], minlength=w) / plan.expected_batch for b, w in enumerate(layout.widths)]
        )
        noise = 0.001 * NoiseStream(noise_key).normal(len(shares))
        change = {
            "means": (0.5 * (shares - weights["means"]) + noise).astype(np.float32),
            "scale": np.full((2, 2), 0.01 * len(codes), np.float32),
        }
        return Stint(change, round_events(plan, round_index), local_loss=float(np.abs(shares).sum()))

    def start(self, weights: Weights) -> ServerState:
        return ServerState({"sum": np.zeros_like(weights["means"], dtype=np.float64)}, 0)

    def apply(
        self,
        weights: Weights,
        state: ServerState,
        mean_change: Weights,
        layout: Layout,
        plan: Plan,
        *,
        round_index: int,
        seed: int,
    ) -> tuple[Weights, ServerState]:
        if state.step != round_index:
            raise TrainingError("the state belongs to another round")
        moved = {name: weights[name] + mean_change[name] for name in weights}
        return moved, ServerState({"sum": state.tensors["sum"] + mean_change["means"]}, state.step + 1)

    def release(self, weights: Weights, state: ServerState) -> Weights:
        return {"means": weights["means"]}

    def sample(self, released: Weights, layout: Layout, *, rows: int, seed: int) -> Codes:
        return np.zeros((rows, len(layout.names)), np.int32)


class TwoBlocks:
    """What `run_in_process` needs of a transformer."""

    names = LAYOUT.names
    widths = LAYOUT.widths

    def digest(self) -> str:
        return hashlib.sha256(b"two blocks").hexdigest()


def small_pipeline(**changes: object) -> Pipeline:
    """Three rounds at full batch."""
    pipeline = Pipeline.parse(
        {
            "title": "fake",
            "disease": "aml",
            "cohort": {"columns": ["age_years", "sex"], "min_rows": 5},
            "generator": {"kind": "tvae", "start": "cold"},
            "privacy": {"epsilon": 5.0, "expected_patients": 100},
            "federation": {"rounds": 3, "local_steps": 2, "deadline_s": 5.0},
        },
        origin="test",
    )
    return pipeline.replace(**changes) if changes else pipeline


def unequal_sites(names: tuple[str, ...] = ("lyon", "milano", "berlin", "oslo")) -> dict[str, Codes]:
    """Codes of sites of 10, 23, 36, ... rows, each with its own distribution."""
    rng = np.random.default_rng(3)
    return {
        name: np.stack([rng.integers(0, w - number % 2, 10 + 13 * number) for w in LAYOUT.widths], axis=1).astype(
            np.int32
        )
        for number, name in enumerate(names)
    }


def alter(message: Message, kind: type, **changes: Any) -> None:
    """Change fields of a message on its way, as whoever carries it could."""
    record = records.to_record(replace(records.from_record(message.content, kind), **changes))
    for name, part in record.items():
        message.content[name] = part


def is_kind(message: Message, kind: Any) -> bool:
    """Whether a message on its way is one of a kind."""
    return message.has_content() and records.kind_of(message.content) == kind.KIND
