"""What to look for between the event and each column, in a few numbers: trends, levels, flags, missing.

Where noise is strong, a table of counts by event drowns: an age of eight levels has sixteen noisy cells. Most of what
is to be learned is whether the event goes with age, and that is one number: the sum of (event - its share) times (age
- its mean). Shares and means come from noisy sums, so such sums are near nothing where nothing is to be found, and a
record that is like most others adds little: the vectors are short, and so the noise is small.
"""

from collections.abc import Sequence

import numpy as np

from synthfed.generators.marginal.axes import Axis
from synthfed.generators.marginal.counting import SCORE_UNIT, Floats, Groups, ScoreTable


def score_table(axes: Sequence[Axis], flags: Sequence[int], by: int, one_way: Sequence[Floats]) -> ScoreTable:
    """Every block's scores by whether the event of `by` came, without noise yet.

    Args:
        flags: Blocks of which only level 1 is looked at.
        by: A block with groups: 0 without event, 1 with it, others unknown.
        one_way: Estimated shares of each block's levels, from noisy sums.
    """
    blocks = tuple(block for block in range(len(axes)) if block != by)
    groups = np.asarray(axes[by].groups)
    events = float(one_way[by][groups == 1].sum() / max(one_way[by][groups <= 1].sum(), 1e-9))
    contrast = np.where(groups == 1, 1 - events, np.where(groups == 0, -events, 0.0)) / max(events, 1 - events)
    scores, usual = [], 0.0
    for block in blocks:
        rows = _whole(_rows(axes[block], block in flags), one_way[block], looked_at=2 if block in flags else None)
        usual += float((rows.astype(np.float64) ** 2 @ one_way[block]).sum())
        scores.append(tuple(tuple(int(score) for score in row) for row in rows))
    return ScoreTable(blocks, tuple(scores), by, _codes_of(contrast), max(round(usual), 1), 0.0)


def score_count(axes: Sequence[Axis], flags: Sequence[int], by: int) -> int:
    """How many sums `score_table` asks for: public beforehand."""
    return sum(len(_rows(axis, block in flags)) for block, axis in enumerate(axes) if block != by)


def _rows(axis: Axis, flag: bool) -> Floats:
    """Rows of scores per level: (rows, levels). A trend has a mean square of 1/3, a level or flag is 1 or 0."""
    size = len(axis.groups)
    if flag:
        return np.eye(size)[1:2]
    known = np.asarray(axis.groups) == 0
    if not (axis.places or size == 2) or known.sum() < 2:
        return np.eye(size)
    trend = np.zeros(size)
    steps = np.arange(known.sum()) - (known.sum() - 1) / 2
    trend[known] = steps / np.sqrt(3 * (steps**2).mean())
    return trend[None] if known.all() else np.stack([trend, ~known])


def _whole(rows: Floats, shares: Floats, *, looked_at: int | None) -> Floats:
    """Scores around their mean as whole numbers; levels from `looked_at` on say nothing."""
    seen = np.arange(len(shares)) < (len(shares) if looked_at is None else looked_at)
    means = rows[:, seen] @ shares[seen] / shares[seen].sum()
    whole: Floats = np.rint(SCORE_UNIT * (rows - means[:, None]) * seen)
    return whole


def _codes_of(contrast: Floats) -> Groups:
    return tuple(int(one) for one in np.rint(SCORE_UNIT * contrast))
