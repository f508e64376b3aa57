"""A training run: noisy counts if the plan has any, then DP-SGD stints, and what the coordinator makes of each sum.

At a site: counts of the tables that the coordinator names, rounded and noised; or one private stint from the weights
that it sends. Either way the site checks that what it is asked costs what the manifest says, and adds all the noise
that its own patients need. At the coordinator everything is post-processing of sums.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.federation import wire
from synthfed.federation.manifest import Manifest
from synthfed.federation.refused import Refused
from synthfed.federation.work import Contribution, Standing
from synthfed.generators.base import Codes, Generator, ServerState, Weights, flatten
from synthfed.secagg import ring
from synthfed.secagg.ring import Ring

_WEIGHT, _STATE = "weights/", "state/"


@dataclass(frozen=True, slots=True)
class TrainingWork:
    """One site's side. `load_codes` and `make_generator` are called once per round at most."""

    manifest: Manifest
    load_codes: Callable[[Manifest], Codes]
    make_generator: Callable[[Manifest], Generator]

    def contribute(self, round_index: int, broadcast: bytes, *, noise_key: bytes) -> Contribution:
        """Train one stint; see `work.SiteWork`. Who sees the vector learns at most what the round's events cost."""
        manifest = self.manifest
        model = _model(broadcast, manifest)
        codes = _checked_codes(self.load_codes(manifest), manifest)
        stint = self.make_generator(manifest).stint(
            manifest.weights(model),
            manifest.layout,
            codes,
            manifest.plan,
            round_index=round_index,
            noise_key=noise_key,
        )
        if stint.events != manifest.round_events(round_index):
            raise Refused("training")
        bound = manifest.step(round_index).bound
        assert bound is not None  # training rounds encode
        vector = ring.encode(flatten(stint.change), bound=bound, weight=_weight(manifest))
        return Contribution(
            vector.values, {"local_loss": stint.local_loss, "clipped_fraction": vector.clipped_fraction}
        )


@dataclass(frozen=True, slots=True)
class TrainingCourse:
    """The coordinator's side."""

    manifest: Manifest
    generator: Generator

    def start(self) -> Standing:
        weights = self.generator.init(self.manifest.layout, seed=self.manifest.seed)
        return _stand(weights, self.generator.start(weights))

    def broadcast(self, standing: Standing, round_index: int) -> bytes:
        """float32, little-endian, in the generator's tensor order."""
        weights, _ = stood(standing)
        return flatten(weights).astype("<f4").tobytes()

    def after(self, standing: Standing, round_index: int, total: Ring, *, counted: int) -> Standing:
        # Uniform weights 1/N: generators divide by the public expected batch, so the plain mean is the pooled one.
        manifest = self.manifest
        mean = self._mean(total, round_index, counted / len(manifest.sites)).astype(np.float32)
        weights, state = self.generator.apply(
            *stood(standing),
            manifest.weights(mean),
            manifest.layout,
            manifest.plan,
            round_index=round_index,
            seed=manifest.seed,
        )
        return _stand(weights, state)

    def size_of(self, total: Ring, round_index: int) -> float:
        """Euclidean norm of the summed change."""
        return float(np.linalg.norm(self._mean(total, round_index, 1.0)))

    def released(self, standing: Standing) -> Weights:
        """The tensors that ship."""
        return self.generator.release(*stood(standing))

    def _mean(self, total: Ring, round_index: int, total_weight: float) -> npt.NDArray[np.float64]:
        bound = self.manifest.step(round_index).bound
        assert bound is not None  # training rounds encode
        return ring.decode_sum(total, bound=bound, total_weight=total_weight)


def stood(standing: Standing) -> tuple[Weights, ServerState]:
    """Weights and generator state between two rounds."""
    weights = {name.removeprefix(_WEIGHT): array for name, array in standing.items() if name.startswith(_WEIGHT)}
    tensors = {name.removeprefix(_STATE): array for name, array in standing.items() if name.startswith(_STATE)}
    return weights, ServerState(tensors, int(standing["step"]))


def _stand(weights: Weights, state: ServerState) -> Standing:
    arrays = {_WEIGHT + name: array for name, array in weights.items()}
    arrays |= {_STATE + name: np.asarray(array) for name, array in state.tensors.items()}
    return {**arrays, "step": np.asarray(state.step)}


def _checked_codes(codes: Codes, manifest: Manifest) -> Codes:
    widths = np.asarray(manifest.layout.widths)
    fits = codes.ndim == 2 and codes.shape[1] == len(widths) and bool(np.all((codes >= 0) & (codes < widths)))
    if not fits or len(codes) < manifest.parse_pipeline().cohort.min_rows:
        raise Refused("data")
    return codes


def _weight(manifest: Manifest) -> float:
    """Uniform: generators divide by the public expected batch, so the plain mean is the pooled one."""
    return 1.0 / len(manifest.sites)


def _model(raw: bytes, manifest: Manifest) -> npt.NDArray[np.float32]:
    if len(raw) != 4 * manifest.size:
        raise wire.BadMessage(f"the model has {len(raw)} bytes; this run's tensors need {4 * manifest.size}")
    return np.frombuffer(raw, dtype="<f4").astype(np.float32)
