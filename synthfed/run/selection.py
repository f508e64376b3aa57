"""Draw synthetic patients of a chosen kind: those who fulfil a condition, or equally many of every level.

Patients are drawn as always, rules and derived columns included, and kept or thrown away afterwards, so this works
for every generator. It looks at synthetic rows only: post-processing of the released model, which costs no privacy
and adds none. The rarer a group was among the real patients, the less the model could learn about it; a large table
of a rare group does not change that.

The seed fixes an endless stream of patients and the selection takes the first that fit, so a longer table starts
with the rows of a shorter one and no batch size matters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthfed.errors import SynthfedError
from synthfed.run.drawing import DrawProgress, number_rows, stream
from synthfed.run.training import Trained
from synthfed.tables.where import ConditionError, Where, parse_where

if TYPE_CHECKING:
    from synthfed.tables.conditions import Mask
    from synthfed.tables.rules import RuleSet

DRAWS_AT_LEAST = 1_000_000  # drawn before a request is called too rare, unless it is hopeless earlier
DRAWS_PER_ROW = 100


class TooRare(SynthfedError):
    """Patients of the wanted kind hardly ever come out of the model."""


@dataclass(slots=True)
class _Quota:
    """How many rows of one kind are wanted and how many were kept."""

    kind: str
    wanted: int
    level: str | None = None
    kept: int = 0


def draw_selected(
    trained: Trained,
    rules: "RuleSet",
    *,
    rows: int,
    seed: int,
    where: str | None = None,
    balance: str | None = None,
    progress: DrawProgress | None = None,
    most: int | None = None,
) -> pd.DataFrame:
    """Draw patients until `rows` of the wanted kind are found.

    Args:
        where: A condition as `tables.where` reads it; also on derived columns.
        balance: A column with levels; each level that `where` does not rule out gets equally many rows, the first
            levels one more where they do not divide `rows`. Rows without a value are left out.
        progress: Told after every piece.
        most: Patients drawn before giving up; by default `DRAWS_AT_LEAST` plus `DRAWS_PER_ROW` per wanted row.

    Raises:
        ConditionError: The condition or the column does not fit the model's schema.
        TooRare: The request would need more than `most` draws; the message says how often the kind appeared.
    """
    condition = None if where is None else parse_where(where, trained.schema)
    quotas = _quotas(trained, condition, balance, rows)
    limit = DRAWS_AT_LEAST + DRAWS_PER_ROW * rows if most is None else most
    kept: list[pd.DataFrame] = []
    drawn = 0
    for piece in stream(trained, rules, seed=seed):
        drawn += len(piece)
        fits = np.ones(len(piece), dtype=bool) if condition is None else condition.holds(piece)
        kept.append(piece[_chosen(piece, fits, quotas, balance)])
        found = sum(quota.kept for quota in quotas)
        if progress is not None:
            progress(found, drawn)
        if found == rows:
            break
        _refuse_hopeless(quotas, drawn, limit, where, balance)
    return number_rows(pd.concat(kept, ignore_index=True), trained.schema)


def _quotas(trained: Trained, condition: Where | None, balance: str | None, rows: int) -> list[_Quota]:
    if balance is None:
        return [_Quota("these patients", rows)]
    if balance not in trained.schema or not trained.schema[balance].has_levels:
        levelled = [column.name for column in trained.schema.columns if column.has_levels]
        raise ConditionError(f"balance = {balance!r} is not a column with levels; such are: {', '.join(levelled)}")
    levels = condition.levels_left(balance) if condition else trained.schema[balance].levels
    if not levels:
        raise ConditionError(f"the condition rules out every level of {balance!r}; loosen it")
    share, extra = divmod(rows, len(levels))
    return [
        _Quota(f"patients with {balance} = {level!r}", share + (place < extra), level)
        for place, level in enumerate(levels)
    ]


def _chosen(piece: pd.DataFrame, fits: "Mask", quotas: list[_Quota], balance: str | None) -> "Mask":
    """The first rows that fit and whose quota is open; counts them."""
    chosen = np.zeros(len(piece), dtype=bool)
    for quota, rows in _kinds(piece, fits, quotas, balance):
        first = np.flatnonzero(rows)[: quota.wanted - quota.kept]
        chosen[first] = True
        quota.kept += len(first)
    return chosen


def _kinds(
    piece: pd.DataFrame, fits: "Mask", quotas: list[_Quota], balance: str | None
) -> Iterator[tuple[_Quota, "Mask"]]:
    if balance is None:
        yield quotas[0], fits
        return
    texts = piece[balance].astype("string")
    for quota in quotas:
        yield quota, fits & np.asarray((texts == quota.level).fillna(False), dtype=bool)


def _refuse_hopeless(quotas: list[_Quota], drawn: int, limit: int, where: str | None, balance: str | None) -> None:
    """Stop at the limit, or as soon as even a rate three deviations above the seen one would not fill a quota."""
    for quota in quotas:
        if quota.kept == quota.wanted:
            continue
        at_best = (quota.kept + 3 + 3 * np.sqrt(quota.kept + 1)) / drawn * limit
        if drawn < limit and at_best >= quota.wanted:
            continue
        seen = "never appear" if quota.kept == 0 else f"are {quota.kept} ({quota.kept / drawn:.2g} of all)"
        condition = f" where {where}" if where else ""
        step = "loosen the condition" if where else "choose another column"
        if balance and quota.level is not None:
            step = f"leave the level out with the condition `{balance} != '{quota.level}'`"
        fewer = f"ask for at most {quota.kept} of them, or " if quota.kept else ""
        raise TooRare(
            f"{quota.kind}{condition} {seen} among {drawn:,} drawn synthetic patients; {quota.wanted:,} were wanted "
            f"from at most {limit:,} draws: {fewer}{step}"
        )
