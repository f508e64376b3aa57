"""Draw patients whose derived groups are the ones that the generator meant.

The generator draws a patient with a guide, say a risk group, beside everything else (`tables.guides`); the rule then
computes the group from the other columns, and often disagrees, because the generator knows each gene beside the group
but not the rule. Such patients are drawn again among those with the same guide and the same survival, until rule and
guide agree: so both how common a group is and how it fares stay as they were learned, and its genes come to fit it.

Most of that happens among codes, which is quick: what the rule will say of a patient follows from few columns, and few
combinations of them are common (`Foresight`). Patients are decoded once, when their group is expected to be right, and
looked at again then.

It looks at synthetic rows only: post-processing of the released model, which costs no privacy.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.tables.blocks import encode_block
from synthfed.tables.guides import guide_blocks
from synthfed.tables.rules import RuleSet
from synthfed.tables.transform import Transformer

Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Sample = Callable[[int, int], Codes]  # (rows, seed) -> codes
Finish = Callable[[Codes, int], pd.DataFrame]  # (codes, seed) -> table with every rule applied

ATTEMPTS = 3  # at finding others, and then again for patients whose groups were not foreseen
_FEW = 1000  # a further attempt is not made for one patient in so many
_CANDIDATES = 3  # per patient still wanted, in the first attempt; later as many as the last one's yield asks for
_MOST_PER_PATIENT = 40
_MOST = 50_000  # candidates in one attempt
_REMEMBERED = 1_000_000  # combinations whose groups are kept: some ten megabytes


@dataclass(frozen=True, slots=True)
class Guided:
    """Patients, and how many of them had to be drawn again.

    Attributes:
        again: Patients whose group would not have been the guide's.
        unmet: Those for whom no other was found: their group is what their rule says.
    """

    table: pd.DataFrame
    again: int = 0
    unmet: int = 0


class Foresight:
    """Which drawn patients the rules will put into the groups that their guides say, without decoding all of each.

    A group follows from its rule's columns, from what other rules make of these, and so on. Each combination of their
    codes is decoded, put right and grouped once. That is a forecast: within a cell a number may fall on either side of
    a bound, and enforcing exchanges values between rows.
    """

    def __init__(self, transformer: Transformer, rules: RuleSet) -> None:
        self._guides = guide_blocks(transformer)
        named = {name for place in self._guides for name in transformer.blocks[place].columns}
        columns = _followed_back(named, rules.restrict(transformer.schema.names))
        learned = [place for place in range(len(transformer.blocks)) if place not in self._guides]
        self._places = [place for place in learned if columns & set(transformer.blocks[place].columns)]
        self._part = Transformer(transformer.schema, tuple(transformer.blocks[place] for place in self._places))
        self._whole, self._rules = transformer, rules
        # Equal combinations have equal prints. That two others share one is next to impossible, and would be found out.
        factors = np.random.default_rng(0).integers(0, 2**64, len(self._places), dtype=np.uint64)
        self._factors = factors | np.uint64(1)
        self._prints = np.empty(0, dtype=np.uint64)
        self._groups = np.empty((0, len(self._guides)), dtype=np.int32)

    def __call__(self, codes: Codes) -> Mask:
        """Rows whose derived groups will be their guides, as far as can be foreseen."""
        prints = codes[:, self._places].astype(np.uint64) @ self._factors
        distinct, first, back = np.unique(prints, return_index=True, return_inverse=True)
        self._learn(distinct, codes[first])
        groups = self._groups[np.searchsorted(self._prints, distinct)]
        return np.asarray((groups[back] == codes[:, self._guides]).all(axis=1))

    def _learn(self, prints: npt.NDArray[np.uint64], codes: Codes) -> None:
        new = ~np.isin(prints, self._prints, assume_unique=True)
        if not new.any():
            return
        if len(self._prints) > _REMEMBERED:
            self._prints, self._groups = self._prints[:0], self._groups[:0]
            new[:] = True
        drawn = self._part.decode(codes[new][:, self._places], np.random.default_rng(0))
        table = self._rules.enforce(drawn, exchange=False)
        found = _grouped(table, self._whole, self._guides)
        prints, groups = np.append(self._prints, prints[new]), np.append(self._groups, found, axis=0)
        order = np.argsort(prints)
        self._prints, self._groups = prints[order], groups[order]


def _followed_back(columns: set[str], rules: RuleSet) -> set[str]:
    """The columns and all that they follow from by hard rules."""
    found = set(columns)
    while True:
        reached = {
            name
            for rule in rules.hard
            if found & set(rule.body.writes)
            for name in (*rule.body.reads, *rule.body.writes)
        }
        if reached <= found:
            return found
        found |= reached


def draw_guided(
    sample: Sample, finish: Finish, transformer: Transformer, foresee: Callable[[Codes], Mask], *, rows: int, seed: int
) -> Guided:
    """Draw `rows` patients, replacing those whose guides disagree with their rules.

    After all attempts a disagreeing patient stays: its rules hold as in every row, and its group is what they say.
    Without a guide this is one draw and nothing else.

    Args:
        foresee: Which codes will agree, as well as can be said before they are finished (`Foresight`).
    """
    guides = guide_blocks(transformer)
    codes = sample(rows, seed)
    if not guides:
        return Guided(finish(codes, seed))
    search = _Search(sample, foresee, _Strata(transformer, guides), seed)
    wrong = ~foresee(codes)
    again = wrong.copy()
    codes = codes.copy()
    for _ in _while_many(wrong):
        found, others = search.instead_of(codes, np.flatnonzero(wrong))
        codes[found], wrong[found] = others, False
    table = finish(codes, seed)
    wrong = ~_agree(table, codes, transformer, guides)
    again |= wrong
    mended: list[pd.DataFrame] = []
    places: list[npt.NDArray[np.intp]] = []
    for attempt in _while_many(wrong):
        found, others = search.instead_of(codes, np.flatnonzero(wrong))
        if len(found):
            drawn = finish(others, _derived(seed, attempt))
            fits = _agree(drawn, others, transformer, guides)
            mended.append(drawn[fits])
            places.append(found[fits])
            wrong[found[fits]] = False
    return Guided(_with_rows(table, places, mended), int(again.sum()), int(wrong.sum()))


def _while_many(wrong: Mask) -> Iterator[int]:
    """Count attempts from 1 as long as another one is worth it."""
    for attempt in range(1, ATTEMPTS + 1):
        if int(wrong.sum()) * _FEW > len(wrong):
            yield attempt


class _Search:
    """Finds other patients of the same stratum whose groups are foreseen to be right."""

    def __init__(self, sample: Sample, foresee: Callable[[Codes], Mask], strata: "_Strata", seed: int) -> None:
        self._sample, self._foresee, self._strata, self._seed = sample, foresee, strata, seed
        self._each = float(_CANDIDATES)
        self._draws = 0

    def instead_of(self, codes: Codes, places: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], Codes]:
        """For some of the places, increasing, others to put there."""
        self._draws += 1
        wanted = self._strata.of(codes[places])
        count = min(round(self._each * len(places)), _MOST)
        drawn = self._sample(count, _derived(self._seed, self._draws))
        drawn = drawn[np.isin(self._strata.of(drawn), wanted)]
        drawn = drawn[self._foresee(drawn)]
        filled, by = _pair(wanted, self._strata.of(drawn))
        self._each = float(np.clip(1.5 * count / max(len(filled), 1), _CANDIDATES, _MOST_PER_PATIENT))
        return places[filled], drawn[by]


class _Strata:
    """Patients who may stand for each other: the same guides and the same code of the primary endpoint."""

    def __init__(self, transformer: Transformer, guides: tuple[int, ...]) -> None:
        primary = transformer.schema.primary_survival
        centre = [
            place
            for place, block in enumerate(transformer.blocks)
            if primary is not None and block.kind == "survival" and primary.time in block.columns
        ]
        self._places = [*guides, *centre]
        self._widths = [transformer.widths[place] for place in self._places]

    def of(self, codes: Codes) -> Ints:
        """int64 (rows,): one number per stratum."""
        return np.asarray(np.ravel_multi_index(tuple(codes[:, self._places].T), self._widths), dtype=np.int64)


def _agree(table: pd.DataFrame, codes: Codes, transformer: Transformer, guides: tuple[int, ...]) -> Mask:
    """Rows whose derived groups are their guides."""
    return np.asarray((_grouped(table, transformer, guides) == codes[:, guides]).all(axis=1))


def _grouped(table: pd.DataFrame, transformer: Transformer, guides: tuple[int, ...]) -> Codes:
    """The guides' codes of what the rules derived: (rows, guides)."""
    return np.stack(
        [encode_block(transformer.blocks[place], transformer.schema, table) for place in guides], axis=1
    ).astype(np.int32)


def _pair(wanted: Ints, offered: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Pairs (place in `wanted`, place in `offered`) of one stratum each, every place at most once."""
    most = max(len(wanted), len(offered), 1)
    _, left, right = np.intersect1d(
        wanted * most + _rank(wanted), offered * most + _rank(offered), assume_unique=True, return_indices=True
    )
    order = np.argsort(left)
    return left[order], right[order]


def _rank(strata: Ints) -> Ints:
    """How many earlier rows share a row's stratum."""
    order = np.argsort(strata, kind="stable")
    ordered = strata[order]
    rank = np.empty(len(strata), dtype=np.int64)
    rank[order] = np.arange(len(strata)) - np.searchsorted(ordered, ordered)
    return rank


def _with_rows(
    table: pd.DataFrame, places: Sequence[npt.NDArray[np.intp]], rows: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """The table with other rows in some places."""
    if not rows:
        return table
    order = np.arange(len(table))
    replaced = np.concatenate(places)
    order[replaced] = len(table) + np.arange(len(replaced))
    return pd.concat([table, *rows], ignore_index=True).iloc[order].reset_index(drop=True)


def _derived(seed: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
