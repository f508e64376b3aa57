"""Which tables are counted and how the budget is split among them: public, from schema and layout alone.

A first round (`shot`) counts every column, every column by the centre (the survival token), every column by the
centre's groups (event or not), every column by every other outcome, every declared focus, and every pair of columns.
Many rare flags share a packed table by groups, by outcome and in pairs: a patient has few of them and pays for few.
What comes back, noisy sums, decides what is worth a second look (`remeasure`): that is post-processing and costs
nothing. The second round also asks in a few numbers how each column goes with the event (`scores`): they stand out of
noise that drowns a table.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from synthfed.errors import PipelineError, UnknownColumn
from synthfed.generators.base import Layout
from synthfed.generators.marginal.axes import Axis, axes_of
from synthfed.generators.marginal.by_centre import group_doubts
from synthfed.generators.marginal.counting import CountTable, Floats, Groups, NoisyTables, PackedTable, Table
from synthfed.generators.marginal.evidence import gather
from synthfed.generators.marginal.focus import MOST_CELLS, Blocks, parts_of, ring
from synthfed.generators.marginal.scores import score_count, score_table
from synthfed.generators.marginal.structure import choose_structure, denoise, edges_of, tops_of

if TYPE_CHECKING:  # types only: a site's key messages load no tables
    from synthfed.tables.schema import Schema
    from synthfed.tables.transform import Transformer

REMEASURE_SHARE = 0.3  # of the mu^2 of both rounds: what to give `remeasure`
# Parts of the first round's mu^2, shared equally by the tables of a kind. Looked at flchain, Beat AML and both
# simulators at epsilon 1 and 3: other splits that were tried moved no metric far beyond the seeds, except that less for
# groups loses AUC and less for the centre alone loses the survival curve. Of a focus: see README.md.
_SHARES = {
    "centre alone": 0.08,
    "one way": 0.12,
    "groups": 0.45,
    "centre": 0.1,
    "outcome": 0.08,
    "focus": 0.2,
    "pair": 0.17,
    "both": 0.06,
}
# Kinds that give their part to others where noise would drown them.
_OPTIONAL = frozenset(_SHARES) - {"centre alone", "one way", "focus"}
_USELESS = 0.1  # noise in a cell over patients at which such a kind keeps half its part
_PATIENTS = 1000  # where nobody declared them
# Of the second round's budget, where there is a centre with events and noise is strong; half of it where the noise of a
# sum over patients is `_SCORES_PAY`: with less, tables say more. Numbers are in README.md.
_SCORE_SHARE, _SCORES_PAY = 0.8, 0.006
_PARTS = 200  # of the rest of the second round's budget
_GROUP_WEIGHT = 8.0  # a column by the centre's groups serves every prediction, a pair of columns itself
_OUTCOME_WEIGHT = 2.0
_FOCUS_WEIGHT = 8.0
_FEWEST_FLAGS = 12  # fewer in one packed table cost about as much as a table each
# Of so many flags a record may have one at full weight. Looked at Beat AML and the simulated AML cohort: 5 and 14 do as
# well within the seeds.
_FLAGS_PER_CAP = 8
_CLEAR = 0.005  # plain tables' noise over patients below which what a cap hides would weigh more than what it saves


@dataclass(frozen=True, slots=True)
class Workload:
    """What matters in a table, by public knowledge.

    Attributes:
        centre: The survival token's block: a parent of every other block. None: a plain tree.
        outcomes: Blocks of other declared targets, what matters most first.
        focus: Sets of two to four blocks, each increasing, that are counted and kept together; they close no ring.
        axes: What is known about the levels of every block; left out: nothing.
        flags: Blocks that say whether something is there, and may be missing: counted together where they are many.
        patients: Declared number of patients; decides which kinds of tables can say anything through the noise.
    """

    centre: int | None
    outcomes: tuple[int, ...] = ()
    focus: tuple[Blocks, ...] = ()
    axes: tuple[Axis, ...] = ()
    patients: int | None = None
    flags: tuple[int, ...] = ()

    def axes_for(self, layout: Layout) -> tuple[Axis, ...]:
        """One axis per block.

        Raises:
            ValueError: The axes do not fit the layout.
        """
        axes = self.axes or tuple(Axis((0,) * width) for width in layout.widths)
        if tuple(len(axis.groups) for axis in axes) != layout.widths:
            raise ValueError("the workload's axes do not have the layout's levels; make both from one transformer")
        return axes


def workload_of(
    schema: "Schema",
    transformer: "Transformer",
    targets: Sequence[str],
    *,
    focus: Sequence[Sequence[str]] = (),
    patients: int | None = None,
) -> Workload:
    """Derive the workload of a run from public declarations.

    Args:
        targets: Columns that the pipeline predicts or compares by, what matters most first; a survival endpoint's
            columns stand for its token.
        focus: Columns that are kept together, two to four in each set; see `focus`.

    Raises:
        UnknownColumn: A target, or a column in focus, is not coded.
        PipelineError: A focus is of one block or has too many cells, or several of them close a ring.
    """
    block_of = {name: index for index, block in enumerate(transformer.blocks) for name in block.columns}
    unknown = sorted(set(targets) - set(block_of))
    if unknown:
        raise UnknownColumn(f"columns {unknown} are not coded, so no table can hold them; coded: {', '.join(block_of)}")
    endpoint = schema.primary_survival
    centre = None
    if endpoint is not None and endpoint.name in transformer.names:
        centre = transformer.names.index(endpoint.name)
    outcomes = [block for block in dict.fromkeys(block_of[name] for name in targets) if block != centre]
    flags = [
        index
        for index, block in enumerate(transformer.blocks)
        if block.kind == "levels" and block.has_missing and schema[block.columns[0]].kind == "flag"
    ]
    return Workload(
        centre,
        tuple(outcomes),
        _checked_focus(focus, block_of, transformer.widths),
        axes_of(transformer),
        patients,
        tuple(index for index in flags if index not in outcomes),
    )


def _checked_focus(
    focus: Sequence[Sequence[str]], block_of: Mapping[str, int], widths: Sequence[int]
) -> tuple[Blocks, ...]:
    if unknown := sorted({name for names in focus for name in names} - set(block_of)):
        raise UnknownColumn(
            f"generator.focus names {unknown}, which this run does not learn; it learns: {', '.join(block_of)}"
        )
    sets = [tuple(sorted({block_of[name] for name in names})) for names in focus]
    for names, blocks in zip(focus, sets, strict=True):
        shape = [widths[block] for block in blocks]
        if len(blocks) < 2:
            raise PipelineError(
                f"generator.focus names {list(names)}, which are coded as one: time and event of an endpoint stand for "
                "each other; name another column beside them"
            )
        if math.prod(shape) > MOST_CELLS:
            raise PipelineError(
                f"generator.focus names {list(names)}: {' x '.join(map(str, shape))} = {math.prod(shape)} cells, at "
                f"most {MOST_CELLS} can be kept together; leave a column out"
            )
    if closing := ring(sets):
        named = "; ".join(str(list(focus[sets.index(one)])) for one in closing)
        raise PipelineError(
            f"generator.focus closes a ring: {named}. No tree of tables holds all of these; leave one out, or name "
            "their columns as one focus"
        )
    return tuple(sorted(set(sets)))


def shot(layout: Layout, workload: Workload, *, mu: float, sites: float) -> tuple[Table, ...]:
    """The first round's tables: `mu_squared` of them is `mu ** 2`.

    Args:
        mu: What the round may cost one patient (Gaussian differential privacy); infinity for no noise.
        sites: How many sites answer, each with all the noise that its own patients need; where noise is shared, the
            variance of the sum's noise over that. Decides which kinds of tables would drown.

    Raises:
        ValueError: `mu` is not positive, or there is no site.
    """
    if not mu > 0 or sites < 1:
        raise ValueError(f"mu is {mu}, sites {sites}; both must be positive")
    blocks = range(len(layout.widths))
    centre = workload.centre
    columns = [block for block in blocks if block != centre]
    patients = (workload.patients or _PATIENTS) / math.sqrt(sites)
    packed = workload.flags if _pays_to_pack(workload, len(columns), mu, patients) else ()
    kinds: dict[str, list[Table]] = {"one way": [CountTable((block,), 0.0) for block in columns]}
    if centre is not None:
        kinds["centre alone"] = [CountTable((centre,), 0.0)]
        kinds["centre"] = [_pair(centre, block) for block in columns]
        groups = workload.axes_for(layout)[centre].groups
        if max(groups) > 0:
            kinds["groups"] = [_pair(centre, block, groups) for block in columns if block not in packed]
            if packed:
                kinds["groups"].append(_pack(packed, centre, groups))
    pairs = list(combinations(columns, 2))
    declared = set(_outcome_pairs(layout, workload))
    kinds["outcome"] = [_pair(a, b) for a, b in pairs if (a, b) in declared and not {a, b} & set(packed)]
    kinds["focus"] = [CountTable(blocks, 0.0) for blocks in workload.focus]
    if packed:
        kinds["outcome"] += [_pack(packed, outcome) for outcome in workload.outcomes]
        kinds["both"] = [_pack(packed, None)]
    kinds["pair"] = [_pair(a, b) for a, b in pairs if (a, b) not in declared and not {a, b} <= set(packed)]
    return _with_noise(
        {kind: tables for kind, tables in kinds.items() if tables},
        mu,
        patients,
    )


def remeasure(layout: Layout, workload: Workload, first: NoisyTables, *, mu: float) -> tuple[Table, ...]:
    """The second round's tables, and how much of the round each gets: read off noisy sums only.

    Sums of scores by the centre's event get the more of it, the stronger the noise. Candidates for the rest are the
    pairs that the tree joins, pairs with an outcome, and every column by the centre's groups: it is spent in small
    parts, each where it takes away most of what is still unknown (posterior variance).

    Raises:
        ValueError: `mu` is not positive.
    """
    if not mu > 0:
        raise ValueError(f"mu is {mu}; it must be positive")
    axes = workload.axes_for(layout)
    evidence = gather(layout, axes, [first], patients=None)
    joints = denoise(evidence, axes, workload.centre, workload.outcomes, workload.focus)
    tops = tops_of(layout, workload.centre, workload.outcomes)
    structure = choose_structure(evidence, joints, tops, workload.focus)
    tables: list[CountTable] = []
    doubts: list[Floats] = []
    for a, b in sorted({*edges_of(structure, tops), *_outcome_pairs(layout, workload)}):
        weight = _OUTCOME_WEIGHT if {a, b} & set(workload.outcomes) else 1.0
        tables.append(_pair(a, b))
        doubts.append(np.sqrt(weight) * joints.doubts[a, b])
    for blocks in parts_of(workload.focus):
        tables.append(CountTable(blocks, 0.0))
        doubts.append(np.sqrt(_FOCUS_WEIGHT) * joints.doubts[blocks])
    if workload.centre is not None and max(axes[workload.centre].groups) > 0:
        for block, doubt in sorted(group_doubts(evidence, workload.centre).items()):
            tables.append(_pair(workload.centre, block, axes[workload.centre].groups))
            doubts.append(_GROUP_WEIGHT * doubt)
    if math.isinf(mu):
        return tuple(tables)
    scored: tuple[Table, ...] = ()
    left = mu**2
    if workload.centre is not None and max(axes[workload.centre].groups) > 0:
        scores = score_table(axes, workload.flags, workload.centre, evidence.one_way)
        length = math.sqrt(scores.reach_squared)
        noise = length / scores.unit / mu * math.sqrt(first.spread) / (workload.patients or _PATIENTS)
        share = _SCORE_SHARE * noise / (noise + _SCORES_PAY)
        scored = (replace(scores, stddev=length / math.sqrt(share * left)),)
        left *= 1 - share
    parts = _spend([doubt / first.spread for doubt in doubts], left)
    return scored + tuple(
        CountTable(table.blocks, 1 / math.sqrt(part), table.groups)
        for table, part in zip(tables, parts, strict=True)
        if part > 0
    )


def remeasure_cells_at_most(layout: Layout, workload: Workload) -> int:
    """The most cells that `remeasure` can ask for, whatever was measured: the length that travels."""
    columns = [block for block in range(len(layout.widths)) if block != workload.centre]
    outcome = set(_outcome_pairs(layout, workload))
    others = (pair for pair in combinations(columns, 2) if pair not in outcome)
    sizes = sorted((layout.widths[a] * layout.widths[b] for a, b in others), reverse=True)
    joined = max(len(columns) - 1, 0) + sum(math.comb(len(blocks) - 1, 2) for blocks in workload.focus)
    edges = sum(sizes[:joined]) + sum(layout.widths[a] * layout.widths[b] for a, b in outcome)
    edges += sum(math.prod(layout.widths[block] for block in blocks) for blocks in parts_of(workload.focus))
    if workload.centre is None:
        return edges
    groups = max(workload.axes_for(layout)[workload.centre].groups) + 1
    scores = score_count(workload.axes_for(layout), workload.flags, workload.centre) if groups > 1 else 0
    return edges + groups * sum(layout.widths[block] for block in columns) + scores


def _outcome_pairs(layout: Layout, workload: Workload) -> list[tuple[int, int]]:
    columns = [block for block in range(len(layout.widths)) if block != workload.centre]
    return [pair for pair in combinations(columns, 2) if set(pair) & set(workload.outcomes)]


def _spend(doubts: Sequence[Floats], whole: float) -> list[float]:
    """Split mu^2 so that what stays unknown is least: each part to the table where it helps most."""
    spent = [0.0] * len(doubts)
    if not doubts:
        return spent
    step = whole / _PARTS
    gains = [_gain(doubt, 0.0, step) for doubt in doubts]
    for _ in range(_PARTS):
        best = int(np.argmax(gains))
        spent[best] += step
        gains[best] = _gain(doubts[best], spent[best], step)
    return spent


def _gain(doubt: Floats, spent: float, step: float) -> float:
    """How much posterior variance a further `step` of 1 / variance takes away."""
    return float((doubt / (1 + doubt * spent) - doubt / (1 + doubt * (spent + step))).sum())


def _pair(one: int, other: int, groups_of_one: Groups = ()) -> CountTable:
    if not groups_of_one:
        return CountTable((min(one, other), max(one, other)), 0.0)
    groups = (groups_of_one, ()) if one < other else ((), groups_of_one)
    return CountTable((min(one, other), max(one, other)), 0.0, groups)


def _pays_to_pack(workload: Workload, columns: int, mu: float, patients: float) -> bool:
    """Whether flags are counted together: where they are many, and a plain table each would be noisy."""
    noise = math.sqrt(columns / _SHARES["groups"]) / mu / patients
    return len(workload.flags) >= _FEWEST_FLAGS and noise > _CLEAR


def _pack(flags: tuple[int, ...], by: int | None, groups: Groups = ()) -> PackedTable:
    return PackedTable(flags, by, -(-len(flags) // _FLAGS_PER_CAP), 0.0, groups)


def _weight(table: Table) -> float:
    """The part of its kind's mu^2: least summed variance of all that is counted, at sqrt(reach^2 times blocks)."""
    return math.sqrt(table.cap * len(table.blocks)) if isinstance(table, PackedTable) else 1.0


def _with_noise(kinds: dict[str, list[Table]], mu: float, patients: float) -> tuple[Table, ...]:
    """Give every kind its part of mu^2 and every table of a kind the same noise, packed ones less.

    A kind that would drown in noise gives its share to the others.

    Args:
        patients: Of all sites, over sqrt(sites): noise of one site weighs so much in the sum.
    """
    shares, weights = {}, {kind: sum(map(_weight, tables)) for kind, tables in kinds.items()}
    for kind in kinds:
        noise = 0.0 if math.isinf(mu) else math.sqrt(weights[kind] / _SHARES[kind]) / mu / patients
        shares[kind] = _SHARES[kind] / (1 + (noise / _USELESS) ** 2 * (kind in _OPTIONAL))
    if math.isinf(mu):
        return tuple(table for tables in kinds.values() for table in tables)
    whole = sum(shares.values())
    return tuple(
        replace(
            table,
            stddev=math.sqrt(table.reach_squared * weights[kind] / _weight(table) * whole / shares[kind]) / mu,
        )
        for kind, tables in kinds.items()
        for table in tables
    )
