"""Which tables of cells a release is scored on: chosen from the dictionary and the synthetic table, both public.

Numbers are cut at the synthetic table's own quantiles, so that every cell holds enough patients to stand out from the
noise. Pairs that a hard rule ties together are never asked by default: rules are enforced on every synthetic row, so
such a pair looks right whatever the generator learned.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from synthfed.errors import ConfigError
from synthfed.evaluation.counted.count import cells_of
from synthfed.evaluation.counted.statistics import residuals
from synthfed.evaluation.counted.tables import MOST_PAIRS, Axis, Block, CountPlan, CountTable
from synthfed.evaluation.genomics import KNOWN_PAIRS
from synthfed.evaluation.rows import Floats, Rows
from synthfed.pipeline import EvaluationSettings
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Column, Schema, Survival

BINS = 10  # cells of a number on its own
COARSE = 5  # cells of a column in a pair
INTERVALS = 10  # of a survival curve, one more beyond the horizon; with 20 the noise of 400 patients' curves is wider
GROUP_INTERVALS = 5
MOST_KNOWN = 8  # pairs from the literature, where the pipeline declares none

# Of the budget mu^2, shared out again where a block has nothing to ask. Judgement: a curve needs less noise than a
# column, of which there are many and whose scores are averaged.
SHARES: tuple[tuple[Block, float], ...] = (
    ("columns", 0.40),
    ("pairs", 0.20),
    ("survival", 0.25),
    ("groups", 0.10),
    ("rules", 0.05),
)


def plan(synthetic: Rows, schema: Schema, settings: EvaluationSettings, rules: RuleSet) -> CountPlan:
    """Choose what to count; the same table and settings give the same plan, and no patient's row is looked at.

    Args:
        synthetic: The released table.
        rules: Soft rules are counted; hard ones say which pairs tell nothing.

    Raises:
        ConfigError: A declared pair or group is no column of the run.
    """
    asked: dict[Block, list[tuple[str, tuple[Axis, ...]]]] = {
        "columns": [(column.name, (_axis(column, synthetic, BINS),)) for column in _single(synthetic, schema)],
        "pairs": [
            (f"{one.name} x {two.name}", (_axis(one, synthetic, COARSE), _axis(two, synthetic, COARSE)))
            for one, two in _pairs(synthetic, schema, settings.pairs, rules)
        ],
        "survival": [
            (endpoint.name, _follow_up(endpoint, synthetic, INTERVALS)) for endpoint in _followed(synthetic, schema)
        ],
        "groups": _groups(synthetic, schema, settings.groups),
        "rules": [(rule.id, (Axis(rule.id, "rule"),)) for rule in rules.rules if not rule.hard],
    }
    whole = sum(share for block, share in SHARES if asked[block])
    tables = [
        CountTable(name, block, axes, share / whole / len(asked[block]))
        for block, share in SHARES
        for name, axes in asked[block]
    ]
    return CountPlan(tuple(tables))


def _single(synthetic: Rows, schema: Schema) -> list[Column]:
    """Columns counted on their own: derived ones follow from the others, survival has a table of its own."""
    followed = {name for endpoint in _followed(synthetic, schema) for name in (endpoint.time, endpoint.event)}
    return [column for column in synthetic.shape.columns if not column.derived and column.name not in followed]


def _followed(synthetic: Rows, schema: Schema) -> list[Survival]:
    """Endpoints whose time and event are columns of the run."""
    numbers = {column.name for column in synthetic.shape.numbers}
    levels = {column.name for column in synthetic.shape.levels}
    return [endpoint for endpoint in schema.survivals if endpoint.time in numbers and endpoint.event in levels]


def _axis(column: Column, synthetic: Rows, most: int) -> Axis:
    """At most `most` cells of about equally many synthetic rows, or the most frequent levels and one for the rest."""
    if column.is_number:
        return Axis(column.name, "number", edges=_quantiles(synthetic.number(column.name), most))
    if most >= BINS or len(column.levels) <= most:
        return Axis(column.name, "level", cells=tuple(range(len(column.levels))))
    often = np.bincount(synthetic.level(column.name) + 1, minlength=len(column.levels) + 1)[1:]
    kept = sorted(np.argsort(-often, kind="stable")[: most - 1].tolist())
    return Axis(
        column.name,
        "level",
        cells=tuple(kept.index(code) if code in kept else most - 1 for code in range(len(column.levels))),
    )


def _quantiles(values: Floats, cells: int) -> tuple[float, ...]:
    seen = values[~np.isnan(values)]
    if not len(seen):
        return ()
    edges = np.quantile(seen, np.arange(1, cells) / cells, method="nearest")
    return tuple(float(edge) for edge in np.unique(edges))


def _follow_up(endpoint: Survival, synthetic: Rows, intervals: int) -> tuple[Axis, Axis]:
    """Time in intervals of about equally many ends of follow-up, with one beyond the horizon, and the event."""
    days = synthetic.number(endpoint.time)
    inside = _quantiles(np.where(days < endpoint.horizon_days, days, np.nan), intervals)
    edges = (*(edge for edge in inside if 0 < edge < endpoint.horizon_days), float(endpoint.horizon_days))
    return Axis(endpoint.time, "number", edges=edges), Axis(endpoint.event, "level", cells=(0, 1))


def _groups(synthetic: Rows, schema: Schema, groups: Sequence[str]) -> list[tuple[str, tuple[Axis, ...]]]:
    """The primary endpoint by each declared group."""
    endpoint = schema.primary_survival
    if endpoint is None or endpoint not in _followed(synthetic, schema):
        return []
    return [
        (
            f"{endpoint.name} by {name}",
            (_axis(_named(name, synthetic), synthetic, BINS), *_follow_up(endpoint, synthetic, GROUP_INTERVALS)),
        )
        for name in groups
        if _named(name, synthetic).has_levels
    ]


def _named(name: str, synthetic: Rows) -> Column:
    found = next((column for column in synthetic.shape.columns if column.name == name), None)
    if found is None:
        raise ConfigError(f"[evaluation] names {name!r}, which is no column of this run; add it to cohort.columns")
    return found


def _pairs(
    synthetic: Rows, schema: Schema, declared: Sequence[tuple[str, str]], rules: RuleSet
) -> list[tuple[Column, Column]]:
    """The declared pairs; else some that the literature names, then those that depend most in the synthetic table."""
    if declared:
        return [(_named(one, synthetic), _named(two, synthetic)) for one, two in declared]
    columns = [column for column in synthetic.shape.columns if not column.derived]
    names = [column.name for column in columns]
    tied = _tied(schema, rules)
    known = [pair for pair in KNOWN_PAIRS if set(pair) <= set(names) and frozenset(pair) not in tied][:MOST_KNOWN]
    chosen = {frozenset(pair): (names.index(pair[0]), names.index(pair[1])) for pair in known}
    strength = _dependence([_axis(column, synthetic, COARSE) for column in columns], synthetic)
    strongest = sorted(combinations(range(len(columns)), 2), key=lambda pair: -strength[pair])
    for i, j in strongest:
        pair = frozenset((names[i], names[j]))
        if len(chosen) == MOST_PAIRS:
            break
        if pair not in tied and strength[i, j] > 0:
            chosen.setdefault(pair, (i, j))
    return [(columns[i], columns[j]) for i, j in chosen.values()]


def _tied(schema: Schema, rules: RuleSet) -> set[frozenset[str]]:
    """Pairs whose look does not depend on what was learned: tied by a hard rule, or the two halves of an endpoint."""
    pairs: Iterable[Iterable[str]] = [
        *((endpoint.time, endpoint.event) for endpoint in schema.survivals),
        *(pair for rule in rules.hard if rule.derives is None for pair in combinations(rule.columns, 2)),
    ]
    return {frozenset(pair) for pair in pairs}


def _dependence(axes: Sequence[Axis], synthetic: Rows) -> npt.NDArray[np.float64]:
    """Sum over cells of (p_ab - p_a p_b / p)^2 for every pair of columns: what noise on counts lets one see."""
    codes = [cells_of(axis, synthetic) for axis in axes]
    onehot = [
        np.eye(axis.size)[np.maximum(code, 0)] * (code >= 0)[:, None] for axis, code in zip(axes, codes, strict=True)
    ]
    strength = np.zeros((len(axes), len(axes)))
    rows = max(len(synthetic), 1)
    for i, j in combinations(range(len(axes)), 2):
        joint: Floats = onehot[i].T @ onehot[j] / rows
        strength[i, j] = strength[j, i] = (residuals(joint) ** 2).sum()
    return strength
