"""A training run: noisy counts if the plan has any, then DP-SGD stints, and what the coordinator makes of each sum.

At a site: histograms on a public grid, where the encoder needs them; counts of the tables that the coordinator names;
or one private stint from the weights that it sends. The site checks that what it is asked costs what the manifest says,
and adds all the noise that its own patients need; where the run shares its noise, a share of it, and a stint is the
clipped gradient sum of one step. At the coordinator everything is post-processing of sums.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from synthfed.errors import ModelError
from synthfed.federation import wire
from synthfed.federation.manifest import Manifest, ManifestError
from synthfed.federation.refused import Refused
from synthfed.federation.work import Contribution, Standing
from synthfed.generators import counted
from synthfed.generators.base import Codes, Generator, ServerState, Weights, flatten
from synthfed.generators.marginal import NoisyTables
from synthfed.generators.plan import noised_step
from synthfed.generators.shared import MOST_ROWS, mean_gradient, step_change
from synthfed.generators.start import Begun, Finished, begin, finish
from synthfed.secagg import ring
from synthfed.secagg.ring import Ring

if TYPE_CHECKING:  # a site's key messages load no tables
    import pandas as pd

    from synthfed.tables.coding import Coding
    from synthfed.tables.transform import Transformer

_WEIGHT, _STATE, _COUNTS, _SITES, _ENCODER = "weights/", "state/", "counts/", "counted/", "encoder"
_START = "start/"  # what would ship if the network that starts from counts were not trained
_MOST_COUNT = 2**25  # a site's noised count; 50 of them cannot wrap modulo 2**32


class SiteRows(Protocol):
    """A site's training rows; they stay there."""

    def codes(self, encoder: "Transformer | None") -> Codes:
        """The rows, coded by an encoder made from noisy histograms, or, given None, by the run's public one.

        Raises:
            Refused: `data`: the encoder is not one of this site's dictionary.
        """
        ...

    def histograms(self) -> npt.NDArray[np.int64]:
        """Exact counts on the run's public grid."""
        ...


@dataclass(frozen=True, slots=True)
class CodedRows:
    """Rows that were coded before, by the public encoder."""

    rows: Codes

    def codes(self, encoder: "Transformer | None") -> Codes:
        if encoder is not None:
            raise Refused("data")
        return self.rows

    def histograms(self) -> npt.NDArray[np.int64]:
        raise Refused("data")


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows as a typed table, with the coding that this site's own dictionary gives."""

    coding: "Coding"
    table: "pd.DataFrame"
    _coded: dict[str, Codes] = field(default_factory=dict, compare=False, repr=False)  # a run asks every round

    def codes(self, encoder: "Transformer | None") -> Codes:
        if encoder is not None and not self.coding.admits(encoder):
            raise Refused("data")
        used = encoder or self.coding.template
        name = used.digest()
        if name not in self._coded:
            self._coded.clear()
            self._coded[name] = used.encode(self.table)
        return self._coded[name]

    def histograms(self) -> npt.NDArray[np.int64]:
        return self.coding.grid.count(self.table)


@dataclass(frozen=True, slots=True)
class TrainingWork:
    """One site's side. `load_rows` and `make_generator` are called once per round at most."""

    manifest: Manifest
    load_rows: Callable[[Manifest], SiteRows]
    make_generator: Callable[[Manifest], Generator]

    def contribute(self, round_index: int, broadcast: bytes, *, noise_key: bytes) -> Contribution:
        """Count, or train one stint. Who sees the vector learns at most what the round's events cost."""
        manifest = self.manifest
        if manifest.plan.encodes and round_index == 0:
            return self._count_histograms(noise_key)
        encoder, asked = _encoder_and_rest(broadcast) if manifest.plan.encodes else (None, broadcast)
        if round_index < len(manifest.plan.measures):
            return self._count(round_index, encoder, asked, noise_key)
        model = _model(asked, manifest)
        codes = _checked_codes(self.load_rows(manifest).codes(encoder), manifest)
        if manifest.plan.shared is not None:
            return self._sum_one_step(model, codes, round_index, noise_key)
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

    def _count_histograms(self, noise_key: bytes) -> Contribution:
        manifest = self.manifest
        counts = self.load_rows(manifest).histograms()
        if counts.size != manifest.step(0).size:
            raise Refused("data")
        plan, blocks = manifest.plan, manifest.fitted_blocks
        if plan.shared is not None:
            scaled = counted.shared_histograms(counts, plan, blocks=blocks, noise_key=noise_key)
            return Contribution(scaled.view(np.uint64), {})
        return _counts(counted.answer_histograms(counts, plan.measures[0], blocks=blocks, noise_key=noise_key))

    def _sum_one_step(
        self, model: npt.NDArray[np.float32], codes: Codes, round_index: int, noise_key: bytes
    ) -> Contribution:
        """One step's clipped gradients with this site's share of the noise: safe in the sum of all, not alone."""
        manifest = self.manifest
        if len(codes) > MOST_ROWS:
            raise Refused("data")
        step = self.make_generator(manifest).clipped_sum(
            manifest.weights(model),
            manifest.layout,
            codes,
            manifest.plan,
            round_index=round_index,
            noise_key=noise_key,
        )
        vector = noised_step(step.gradient, manifest.plan, round_index=round_index, noise_key=noise_key)
        return Contribution(vector.view(np.uint64), {"local_loss": step.local_loss})

    def _count(self, round_index: int, encoder: "Transformer | None", asked: bytes, noise_key: bytes) -> Contribution:
        manifest = self.manifest
        plan, layout, cells = manifest.plan, manifest.layout, manifest.step(round_index).size
        tables = counted.from_bytes(asked)
        codes = _checked_codes(self.load_rows(manifest).codes(encoder), manifest)
        if plan.shared is not None:
            scaled = counted.shared_answer(
                codes, layout, tables, plan, round_index=round_index, cells=cells, noise_key=noise_key
            )
            return Contribution(scaled.view(np.uint64), {})
        measure = plan.measures[round_index]
        return _counts(counted.answer(codes, layout, tables, measure, cells=cells, noise_key=noise_key))


@dataclass(frozen=True, slots=True)
class TrainingCourse:
    """The coordinator's side.

    Attributes:
        coding: How rows become codes; needed where the plan counts histograms.
    """

    manifest: Manifest
    generator: Generator
    coding: "Coding | None" = None
    _finished: dict[bytes, Finished] = field(default_factory=dict, compare=False, repr=False)  # asked for twice

    def start(self) -> Standing:
        if self.manifest.plan.measures:
            return {}
        weights = self.generator.init(self.manifest.layout, seed=self.manifest.seed)
        return _stand(weights, self.generator.start(weights))

    def broadcast(self, standing: Standing, round_index: int) -> bytes:
        """Tables to count as JSON; or float32 weights, little-endian, in the generator's tensor order.

        Where histograms made the encoder, it goes in front. They themselves are asked for by an empty broadcast.
        """
        plan = self.manifest.plan
        if plan.encodes and round_index == 0:
            return b""
        front = _framed_encoder(standing) if plan.encodes else b""
        if round_index < len(plan.measures):
            return front + counted.to_bytes(self.manifest.counting().tables(self._known(standing)))
        weights, _ = stood(standing)
        return front + flatten(weights).astype("<f4").tobytes()

    def after(self, standing: Standing, round_index: int, total: Ring, *, counted: int) -> Standing:
        manifest = self.manifest
        if manifest.plan.encodes and round_index == 0:
            return self._after_histograms(total, counted)
        if round_index < len(manifest.plan.measures):
            return self._after_counts(standing, round_index, total, counted)
        weights, state = stood(standing)
        if manifest.plan.shared is not None:
            mean = mean_gradient(total.view(np.int64), manifest.plan, counted=counted)
            change = step_change(weights, manifest.trained, mean)
        else:
            # Uniform weights 1/N: generators divide by the public expected batch, so the plain mean is the pooled one.
            change = manifest.weights(self._mean(total, round_index, counted / len(manifest.sites)).astype(np.float32))
        weights, state = self.generator.apply(
            weights,
            state,
            change,
            manifest.layout,
            manifest.plan,
            round_index=round_index - len(manifest.plan.measures),
            seed=manifest.seed,
        )
        return {**_counts_of(standing), **_stand(weights, state)}

    def _after_histograms(self, total: Ring, sites: int) -> Standing:
        """Make the encoder: post-processing of noisy counts."""
        if self.coding is None:
            raise ManifestError("this run counts histograms; its coordinator needs the coding that they are for")
        plan, blocks = self.manifest.plan, self.manifest.fitted_blocks
        counts, stddev = counted.noisy_histograms(_signed(total), plan, blocks=blocks, counted=sites)
        made = self.coding.fit(counts, stddev=stddev)
        return {_ENCODER: np.frombuffer(made.to_json().encode(), np.uint8)}

    def _after_counts(self, standing: Standing, round_index: int, total: Ring, sites: int) -> Standing:
        """Keep the sum; after the last one, fit the tree and start the generator from it."""
        manifest = self.manifest
        after = {
            **standing,
            f"{_COUNTS}{round_index}": _signed(total),
            f"{_SITES}{round_index}": np.asarray(sites),
        }
        if round_index + 1 < len(manifest.plan.measures):
            return after
        model = manifest.counting().model(self._known(after))
        weights = begin(self.generator, model, manifest.layout, manifest.tables_asked(), seed=manifest.seed)
        state = self.generator.start(weights)
        if manifest.plan.rounds:
            after |= {_START + name: array for name, array in self.generator.release(weights, state).items()}
        return {**after, **_stand(weights, state)}

    def _known(self, standing: Standing) -> list[NoisyTables]:
        counting, known = self.manifest.counting(), list[NoisyTables]()
        for index in range(len(self.manifest.plan.measures)):
            if f"{_COUNTS}{index}" in standing:
                total, sites = standing[f"{_COUNTS}{index}"], int(standing[f"{_SITES}{index}"])
                known.append(counting.noisy(known, total.astype(np.int64), counted=sites))
        return known

    def encoder(self, standing: Standing) -> "Transformer | None":
        """The encoder that histograms made; None where it is the public one."""
        return _encoder_and_rest(_framed_encoder(standing))[0] if _ENCODER in standing else None

    def size_of(self, total: Ring, round_index: int) -> float:
        """Norm of the mean change or, with shared noise, gradient; of counts, a number is no such thing: 0."""
        if round_index < len(self.manifest.plan.measures):
            return 0.0
        if self.manifest.plan.shared is not None:
            mean = mean_gradient(total.view(np.int64), self.manifest.plan, counted=len(self.manifest.sites))
            return float(np.linalg.norm(mean))
        return float(np.linalg.norm(self._mean(total, round_index, 1.0)))

    def released(self, standing: Standing) -> Weights:
        """The tensors that ship."""
        finished = self.finished(standing)
        return self.generator.release(*stood(standing)) if finished is None else finished.released

    def finished(self, standing: Standing) -> Finished | None:
        """What a network that started from counts ships, and how it compares with its start; None for other kinds."""
        manifest = self.manifest
        if not manifest.plan.measures or self.generator.kind == "marginal":
            return None
        trained = self.generator.release(*stood(standing))
        name = flatten(trained).tobytes()
        if name not in self._finished:
            known = self._known(standing)
            start = {key.removeprefix(_START): array for key, array in standing.items() if key.startswith(_START)}
            begun = Begun(tuple(known), manifest.counting().model(known), manifest.tables_asked(), start or trained)
            self._finished[name] = finish(
                self.generator, trained, begun, manifest.layout, manifest.plan, seed=manifest.seed
            )
        return self._finished[name]

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


def _counts(counts: npt.NDArray[np.int64]) -> Contribution:
    """Noised counts in the ring.

    Raises:
        Refused: `data`: noise far beyond any useful run, or no hospital's number of patients.
    """
    if np.abs(counts).max() >= _MOST_COUNT:
        raise Refused("data")
    return Contribution(counts.astype(np.int32).view(np.uint32), {})


def _signed(total: Ring) -> npt.NDArray[np.signedinteger[Any]]:
    """Entries of either ring as the signed integers that they stand for."""
    return total.view(np.int64 if total.dtype == np.uint64 else np.int32)


def _counts_of(standing: Standing) -> Standing:
    return {name: array for name, array in standing.items() if name.startswith((_COUNTS, _SITES, _ENCODER, _START))}


def _framed_encoder(standing: Standing) -> bytes:
    raw = standing[_ENCODER].tobytes()
    return len(raw).to_bytes(8, "little") + raw


def _encoder_and_rest(broadcast: bytes) -> tuple["Transformer", bytes]:
    from synthfed.tables.transform import Transformer

    end = 8 + int.from_bytes(broadcast[:8], "little")
    try:
        return Transformer.from_json(broadcast[8:end].decode()), broadcast[end:]
    except (ModelError, ValueError) as error:
        raise wire.BadMessage("no encoder came before what is asked") from error


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
