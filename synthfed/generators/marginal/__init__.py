"""A tree of small noisy tables around the survival token: one secure sum or two, then everything is post-processing."""

from synthfed.generators.marginal.counting import (
    CountTable,
    NoisyTables,
    PackedTable,
    ScoreTable,
    Table,
    cells_of,
    count,
    mu_squared,
    touched_cells,
)
from synthfed.generators.marginal.engine import fit
from synthfed.generators.marginal.model import ImpossibleCondition, MarginalModel
from synthfed.generators.marginal.workload import (
    REMEASURE_SHARE,
    Workload,
    remeasure,
    remeasure_cells_at_most,
    shot,
    workload_of,
)

__all__ = [
    "REMEASURE_SHARE",
    "CountTable",
    "ImpossibleCondition",
    "MarginalModel",
    "NoisyTables",
    "PackedTable",
    "ScoreTable",
    "Table",
    "Workload",
    "cells_of",
    "count",
    "fit",
    "mu_squared",
    "remeasure",
    "remeasure_cells_at_most",
    "shot",
    "touched_cells",
    "workload_of",
]
