"""Draw patients whose derived groups are the ones that the generator meant.

The generator draws a patient with a guide, say a risk group, beside everything else (`tables.guides`); the rule then
computes the group from the other columns, and often disagrees, because the generator knows each gene beside the group
but not the rule. Such patients are drawn again among those with the same guide and the same survival, until rule and
guide agree: so both how common a group is and how it fares stay as they were learned, and its genes come to fit it.

It looks at synthetic rows only: post-processing of the released model, which costs no privacy.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.tables.blocks import encode_block
from synthfed.tables.guides import guide_blocks
from synthfed.tables.transform import Transformer

Codes = npt.NDArray[np.int32]
Sample = Callable[[int, int], Codes]  # (rows, seed) -> codes
Finish = Callable[[Codes, int], pd.DataFrame]  # (codes, seed) -> table with every rule applied

ATTEMPTS = 5
_CANDIDATES = 3  # per patient still wanted, in the first attempt; later as many as the last one's yield asks for
_MOST_PER_PATIENT = 40
_MOST = 50_000  # candidates in one attempt


def draw_guided(sample: Sample, finish: Finish, transformer: Transformer, *, rows: int, seed: int) -> pd.DataFrame:
    """Draw `rows` patients, replacing those whose guides disagree with their rules.

    After `ATTEMPTS` a disagreeing patient stays: its rules hold as in every row, and its group is what they say.
    Without a guide this is one draw and nothing else.
    """
    guides = guide_blocks(transformer)
    codes = sample(rows, seed)
    table = finish(codes, seed)
    if not guides:
        return table
    strata = _Strata(transformer, guides)
    wanted = strata.of(codes)
    open_rows = np.flatnonzero(~_agrees(table, codes, transformer, guides))
    each = float(_CANDIDATES)
    chosen: list[pd.DataFrame] = []
    places: list[npt.NDArray[np.intp]] = []
    for attempt in range(1, ATTEMPTS + 1):
        if not len(open_rows):
            break
        draw = int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0])
        count = min(round(each * len(open_rows)), _MOST)
        candidates = sample(count, draw)
        candidates = candidates[_useful(strata.of(candidates), wanted[open_rows], round(each))]
        if not len(candidates):
            continue
        drawn = finish(candidates, draw)
        fits = np.flatnonzero(_agrees(drawn, candidates, transformer, guides))
        filled, by = _pair(wanted[open_rows], strata.of(candidates[fits]))
        chosen.append(drawn.iloc[fits[by]])
        places.append(open_rows[filled])
        each = float(np.clip(1.5 * count / max(len(filled), 1), _CANDIDATES, _MOST_PER_PATIENT))
        open_rows = np.delete(open_rows, filled)
    if not chosen:
        return table
    replaced = np.concatenate(places)
    kept = np.setdiff1d(np.arange(rows), replaced)
    order = np.argsort(np.concatenate([kept, replaced]), kind="stable")
    return pd.concat([table.iloc[kept], *chosen], ignore_index=True).iloc[order].reset_index(drop=True)


def _agrees(
    table: pd.DataFrame, codes: Codes, transformer: Transformer, guides: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Rows whose derived groups are their guides."""
    same = np.ones(len(codes), dtype=bool)
    for place in guides:
        same &= encode_block(transformer.blocks[place], transformer.schema, table) == codes[:, place]
    return same


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

    def of(self, codes: Codes) -> npt.NDArray[np.int64]:
        """int64 (rows,): one number per stratum."""
        return np.asarray(np.ravel_multi_index(tuple(codes[:, self._places].T), self._widths), dtype=np.int64)


def _useful(strata: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], each: int) -> npt.NDArray[np.bool_]:
    """Candidates of wanted strata, of each at most `each` times as many as wanted: the rest is not decoded."""
    kinds, counts = np.unique(wanted, return_counts=True)
    place = np.minimum(np.searchsorted(kinds, strata), len(kinds) - 1)
    most = np.where(kinds[place] == strata, each * counts[place], 0)
    return np.asarray(_rank(strata) < most)


def _pair(
    wanted: npt.NDArray[np.int64], offered: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Pairs (place in `wanted`, place in `offered`) of one stratum each, every place at most once."""
    left = pd.DataFrame({"stratum": wanted, "rank": _rank(wanted), "wanted": np.arange(len(wanted))})
    right = pd.DataFrame({"stratum": offered, "rank": _rank(offered), "offered": np.arange(len(offered))})
    both = left.merge(right, on=["stratum", "rank"])
    return both["wanted"].to_numpy(dtype=np.intp), both["offered"].to_numpy(dtype=np.intp)


def _rank(strata: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many earlier rows share a row's stratum."""
    return np.asarray(pd.Series(strata).groupby(strata).cumcount(), dtype=np.int64)
