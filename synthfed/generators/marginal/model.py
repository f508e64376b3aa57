"""The fitted model: a few potentials per block, exact probabilities from them, and fast draws.

Blocks are drawn in order, each given its parents; the distribution is the softmax of one potential per parent. The
parents of a block lie in one clique of the blocks before it, so sums over the model run over small tables: marginals
are exact, and rows can be drawn exactly from what is left when some levels are forbidden.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.errors import ModelError
from synthfed.generators.base import Codes, Layout, Weights
from synthfed.generators.marginal.counting import Floats
from synthfed.generators.marginal.structure import Structure

BOUND = 30.0  # potentials lie in [-BOUND, 0]: exp(-30) = 1e-13
PREFIX = "tree."
_STRUCTURE, _FOCUS = PREFIX + "structure", PREFIX + "focus"
_CHUNK = 1 << 15  # rows drawn at a time: the comparison with cumulated shares stays small

Allowed = Mapping[int, npt.NDArray[np.bool_]]  # by block: which of its levels may be drawn


class ImpossibleCondition(ModelError):
    """No level of a block is allowed, or the allowed levels never occur together."""


@dataclass(frozen=True, slots=True)
class MarginalModel:
    """All that ships: structure and potentials, post-processing of noisy sums; no row, no count.

    Attributes:
        potentials: Per entry of `structure.order` and term (`Structure.terms`), one float64 (levels of the term's
            parents..., levels of the block); one (levels,) for a block without parents.
    """

    layout: Layout
    structure: Structure
    potentials: tuple[tuple[Floats, ...], ...]

    def to_weights(self) -> Weights:
        """Named float32 tensors, the structure among them."""
        rows = [(block, *found) for block, found in zip(self.structure.order, self.structure.parents, strict=True)]
        weights: Weights = {_STRUCTURE: _as_rows(rows)}
        if self.structure.focus:
            weights[_FOCUS] = _as_rows(self.structure.focus)
        for block, parts in zip(self.structure.order, self.potentials, strict=True):
            for index, part in enumerate(parts):
                weights[f"{PREFIX}{block}.{index}"] = part.astype(np.float32)
        return weights

    @classmethod
    def from_weights(cls, weights: Weights, layout: Layout) -> "MarginalModel":
        """Rebuild a model from `to_weights`.

        Raises:
            ModelError: A tensor is missing, has another shape, is not finite, or the structure is not one.
        """
        structure = _read_structure(weights, layout)
        potentials = []
        for place, (block, parents) in enumerate(zip(structure.order, structure.parents, strict=True)):
            parts = []
            for index, term in enumerate(structure.terms(place)):
                shape = (*(layout.widths[parents[one]] for one in term), layout.widths[block])
                name = f"{PREFIX}{block}.{index}"
                part = weights.get(name)
                if part is None or part.shape != shape or not np.isfinite(part).all():
                    found = "nothing" if part is None else f"shape {part.shape}"
                    raise ModelError(
                        f"weights {name!r}: found {found}, the model needs finite numbers of shape {shape}; were "
                        "pipeline and layout changed since these weights were made?"
                    )
                parts.append(part.astype(np.float64))
            potentials.append(tuple(parts))
        return cls(layout, structure, tuple(potentials))

    def conditional(self, place: int) -> Floats:
        """Shares of the block at `place` in the order given its parents: (levels of each parent..., its levels)."""
        return softmax(summed(self.potentials[place], self.structure.terms(place)))

    def sample(self, rows: int, seed: int, allowed: Allowed | None = None) -> Codes:
        """Draw rows; the same seed gives the same codes.

        Args:
            allowed: Levels that may occur, by block. Rows are drawn exactly from the model given that every named
                block has an allowed level.

        Raises:
            ImpossibleCondition: No row can meet `allowed`.
            ValueError: A mask does not have its block's width.
        """
        return self.sampler(allowed).draw(rows, seed)

    def sampler(self, allowed: Allowed | None = None) -> "Sampler":
        """What draws rows again and again; arguments and errors of `sample`."""
        tables = [self.conditional(place) for place in range(len(self.structure.order))]
        if allowed:
            tables = _conditioned(self, tables, allowed)
        return Sampler(self.layout, self.structure, tuple(map(_cumulated, tables)))


@dataclass(frozen=True, slots=True)
class Sampler:
    """A model made ready to draw.

    Attributes:
        cumulated: Per entry of `structure.order`, cumulated shares of all levels but the last, by cell of its parents:
            float64 (levels - 1, cells).
    """

    layout: Layout
    structure: Structure
    cumulated: tuple[Floats, ...]

    def draw(self, rows: int, seed: int) -> Codes:
        """Rows of the model; the same seed gives the same codes."""
        rng = np.random.default_rng([seed, 0x7EEE])
        codes = np.empty((rows, len(self.layout.widths)), dtype=np.int32)
        for start in range(0, rows, _CHUNK):
            part = np.empty((codes.shape[1], min(_CHUNK, rows - start)), dtype=np.int32)
            for place, block in enumerate(self.structure.order):
                index = np.zeros(part.shape[1], dtype=np.int64)
                for parent in self.structure.parents[place]:
                    index *= self.layout.widths[parent]
                    index += part[parent]
                draws, level = rng.random(part.shape[1]), part[block]
                level[:] = 0
                for reached in self.cumulated[place]:  # a draw's level is how many it reaches
                    level += draws >= reached[index]
            codes[start : start + _CHUNK] = part.T
        return codes


def marginal(model: MarginalModel, blocks: Sequence[int]) -> Floats:
    """Exact joint shares of some blocks, one axis each, in the order asked for.

    The latest block is summed over given its parents, again and again, until none is left.

    Raises:
        ValueError: A block is named twice.
    """
    order = model.structure.order
    place_of = {block: place for place, block in enumerate(order)}
    if len(set(blocks)) != len(blocks):
        raise ValueError(f"blocks {tuple(blocks)} name one of them twice")
    places = [place_of[block] for block in blocks]
    parents = [tuple(place_of[parent] for parent in found) for found in model.structure.parents]

    def joint(wanted: tuple[int, ...]) -> Floats:  # places, increasing
        if not wanted:
            return np.ones(())
        last = wanted[-1]
        wider = tuple(sorted({*wanted[:-1], *parents[last]}))
        given = model.conditional(last)
        axes = [parents[last].index(place) for place in wider if place in parents[last]]
        shape = [model.layout.widths[order[place]] if place in parents[last] else 1 for place in wider]
        whole = joint(wider)[..., None] * given.transpose(*axes, given.ndim - 1).reshape(*shape, given.shape[-1])
        found: Floats = whole.sum(axis=tuple(axis for axis, place in enumerate(wider) if place not in wanted))
        return found

    found = joint(tuple(sorted(places)))
    return found.transpose(tuple(sorted(places).index(place) for place in places))


def softmax(logits: Floats) -> Floats:
    """Along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    scaled: Floats = powers / powers.sum(-1, keepdims=True)
    return scaled


def summed(potentials: Sequence[Floats], terms: Sequence[tuple[int, ...]]) -> Floats:
    """Potentials of all terms as one table: (levels of each parent..., levels of the block)."""
    parents = len({axis for term in terms for axis in term})
    total = np.zeros((1,) * parents + potentials[0].shape[-1:])
    for potential, term in zip(potentials, terms, strict=True):
        total = total + np.expand_dims(potential, tuple(axis for axis in range(parents) if axis not in term))
    return total


def _cumulated(table: Floats) -> Floats:
    return np.ascontiguousarray(np.cumsum(table.reshape(-1, table.shape[-1]), axis=1)[:, :-1].T)


def _conditioned(model: MarginalModel, tables: Sequence[Floats], allowed: Allowed) -> list[Floats]:
    """The conditionals of the model given `allowed`: messages from the last block to the first."""
    order, parents = model.structure.order, model.structure.parents
    place_of = {block: place for place, block in enumerate(order)}
    weighed = list(tables)
    for block, mask in allowed.items():
        name, width = model.layout.names[block], model.layout.widths[block]
        if mask.shape != (width,):
            raise ValueError(f"block {name!r}: the mask has shape {mask.shape}, the block has {width} levels")
        weighed[place_of[block]] = weighed[place_of[block]] * mask
    for place in reversed(range(len(order))):
        message = weighed[place].sum(-1)
        if not parents[place]:
            if not message > 0:
                raise ImpossibleCondition("no row of the model has the allowed levels; allow more of them")
            weighed[place] = weighed[place] / message
            continue
        safe = np.where(message > 0, message, 1.0)  # a row of parents that never occurs: never drawn from
        weighed[place] = weighed[place] / safe[..., None]
        home = max(place_of[parent] for parent in parents[place])
        clique = (*parents[home], order[home])
        axes = [parents[place].index(block) for block in clique if block in parents[place]]
        shape = [model.layout.widths[block] if block in parents[place] else 1 for block in clique]
        weighed[home] = weighed[home] * message.transpose(axes).reshape(shape)
    return weighed


def _as_rows(sets: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    """One row per set of blocks, filled up with -1."""
    table = np.full((len(sets), max(map(len, sets), default=0)), -1.0, dtype=np.float32)
    for row, blocks in zip(table, sets, strict=True):
        row[: len(blocks)] = blocks
    return table


def _sets(table: npt.NDArray[np.float32]) -> tuple[tuple[int, ...], ...] | None:
    """Undo `_as_rows`; None where it is not such a table."""
    if table.ndim != 2 or not np.isfinite(table).all():
        return None
    return tuple(tuple(int(entry) for entry in row if entry >= 0) for row in table)


def _read_structure(weights: Weights, layout: Layout) -> Structure:
    listed = _sets(weights.get(_STRUCTURE, np.zeros(0, dtype=np.float32)))
    focus = _sets(weights.get(_FOCUS, np.zeros((0, 0), dtype=np.float32)))
    wrong = ModelError(f"weights {_STRUCTURE!r} are not an order of {len(layout.widths)} blocks with their parents")
    if listed is None or focus is None or not all(listed):
        raise wrong
    order, parents = tuple(row[0] for row in listed), tuple(row[1:] for row in listed)
    if sorted(order) != list(range(len(layout.widths))):
        raise wrong
    cliques: dict[int, set[int]] = {}
    for block, found in zip(order, parents, strict=True):
        if len(set(found)) != len(found) or not set(found) <= set(cliques):
            raise wrong
        if found and not any(set(found) <= cliques[parent] for parent in found):
            raise wrong
        cliques[block] = {block, *found}
    if not all(any(set(one) <= clique for clique in cliques.values()) for one in focus):
        raise ModelError(f"weights {_FOCUS!r} name blocks that the structure does not hold together")
    return Structure(order, parents, focus)
