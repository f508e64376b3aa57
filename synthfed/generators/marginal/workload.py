"""Which tables are counted and how the budget is split among them: public, from schema and layout alone.

A first round (`shot`) counts every column, every column by the centre (the survival token), every column by the
centre's groups (event or not), every column by every other outcome, and every pair of columns. What comes back, noisy
sums, decides which pairs are worth a second look (`remeasure`): that is post-processing and costs nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from synthfed.errors import UnknownColumn
from synthfed.generators.base import Layout
from synthfed.generators.marginal.axes import Axis, axes_of
from synthfed.generators.marginal.counting import CountTable, Groups, NoisyTables
from synthfed.generators.marginal.evidence import gather
from synthfed.generators.marginal.structure import choose_structure, denoise, edges_of

if TYPE_CHECKING:  # types only: a site's key messages load no tables
    from synthfed.tables.schema import Schema
    from synthfed.tables.transform import Transformer

REMEASURE_SHARE = 0.2  # of the mu^2 of both rounds: what to give `remeasure`
# Parts of the first round's mu^2, shared equally by the tables of a kind.
_SHARES = {"one way": 0.2, "centre": 0.25, "groups": 0.3, "outcome": 0.1, "pair": 0.15}


@dataclass(frozen=True, slots=True)
class Workload:
    """What matters in a table, by public knowledge.

    Attributes:
        centre: The survival token's block: a parent of every other block. None: a plain tree.
        outcomes: Blocks of other declared targets.
        forced: Pairs that the tree must join: declared structure.
        axes: What is known about the levels of every block; left out: nothing.
    """

    centre: int | None
    outcomes: tuple[int, ...] = ()
    forced: tuple[tuple[int, int], ...] = ()
    axes: tuple[Axis, ...] = ()

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
    forced: Sequence[tuple[str, str]] = (),
) -> Workload:
    """Derive the workload of a run from public declarations.

    Args:
        targets: Columns that the pipeline predicts; a survival endpoint's columns stand for its token.
        forced: Pairs of column names that belong together.

    Raises:
        UnknownColumn: A target or a forced column is not coded.
    """
    block_of = {name: index for index, block in enumerate(transformer.blocks) for name in block.columns}
    unknown = sorted({*targets, *(name for pair in forced for name in pair)} - set(block_of))
    if unknown:
        raise UnknownColumn(f"columns {unknown} are not coded, so no table can hold them; coded: {', '.join(block_of)}")
    endpoint = schema.primary_survival
    centre = None
    if endpoint is not None and endpoint.name in transformer.names:
        centre = transformer.names.index(endpoint.name)
    outcomes = sorted({block_of[name] for name in targets} - {centre})
    pairs = sorted({(min(a, b), max(a, b)) for a, b in ((block_of[x], block_of[y]) for x, y in forced) if a != b})
    return Workload(centre, tuple(outcomes), tuple(pairs), axes_of(transformer))


def shot(layout: Layout, workload: Workload, *, mu: float, sites: int) -> tuple[CountTable, ...]:
    """The first round's tables: `mu_squared` of them is `mu ** 2`.

    Args:
        mu: What the round may cost one patient (Gaussian differential privacy); infinity for no noise.
        sites: How many sites answer; each adds the noise that its own patients need, so the tables do not depend on it.

    Raises:
        ValueError: `mu` is not positive, or there is no site.
    """
    if not mu > 0 or sites < 1:
        raise ValueError(f"mu is {mu}, sites {sites}; both must be positive")
    blocks = range(len(layout.widths))
    centre = workload.centre
    columns = [block for block in blocks if block != centre]
    kinds: dict[str, list[CountTable]] = {"one way": [CountTable((block,), 0.0) for block in blocks]}
    if centre is not None:
        kinds["centre"] = [_pair(centre, block) for block in columns]
        groups = workload.axes_for(layout)[centre].groups
        if max(groups) > 0:
            kinds["groups"] = [_pair(centre, block, groups) for block in columns]
    pairs = list(combinations(columns, 2))
    kinds["outcome"] = [_pair(a, b) for a, b in pairs if {a, b} & set(workload.outcomes)]
    kinds["pair"] = [_pair(a, b) for a, b in pairs if not {a, b} & set(workload.outcomes)]
    return _with_noise({kind: tables for kind, tables in kinds.items() if tables}, mu)


def remeasure(layout: Layout, workload: Workload, first: NoisyTables, *, mu: float) -> tuple[CountTable, ...]:
    """The second round's tables: the pairs that the tree joins, chosen from noisy sums only.

    Raises:
        ValueError: `mu` is not positive.
    """
    if not mu > 0:
        raise ValueError(f"mu is {mu}; it must be positive")
    evidence = gather(layout, [first], patients=None)
    joints = denoise(evidence, workload.axes_for(layout), workload.centre)
    structure = choose_structure(evidence, joints, workload.centre, workload.forced)
    tables = [_pair(a, b) for a, b in edges_of(structure, workload.centre)]
    return _with_noise({"pair": tables}, mu) if tables else ()


def remeasure_cells_at_most(layout: Layout, workload: Workload) -> int:
    """The most cells that `remeasure` can ask for, whatever was measured: the length that travels."""
    columns = [block for block in range(len(layout.widths)) if block != workload.centre]
    sizes = sorted((layout.widths[a] * layout.widths[b] for a, b in combinations(columns, 2)), reverse=True)
    return sum(sizes[: max(len(columns) - 1, 0)])


def _pair(one: int, other: int, groups_of_one: Groups = ()) -> CountTable:
    if not groups_of_one:
        return CountTable((min(one, other), max(one, other)), 0.0)
    groups = (groups_of_one, ()) if one < other else ((), groups_of_one)
    return CountTable((min(one, other), max(one, other)), 0.0, groups)


def _with_noise(kinds: dict[str, list[CountTable]], mu: float) -> tuple[CountTable, ...]:
    """Give every kind its part of mu^2, what absent kinds leave included, and every table of a kind the same noise."""
    whole = sum(_SHARES[kind] for kind in kinds)
    return tuple(
        CountTable(
            table.blocks,
            0.0 if math.isinf(mu) else math.sqrt(len(tables) * whole / _SHARES[kind]) / mu,
            table.groups,
        )
        for kind, tables in kinds.items()
        for table in tables
    )
