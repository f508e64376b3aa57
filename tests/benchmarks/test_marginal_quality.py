"""How good the tree of noisy tables is, beside the real rows, an equal-size real sample and shuffled columns.

Run with `python -m pytest -m benchmarks tests/benchmarks/test_marginal_quality.py -s`, one table with `-k flchain`.
Every number is a mean over seeds; a seed is a split, and the noise of one run on all training rows at one site: what a
federation gets when its sites share the noise. delta = 1e-5, patients are declared to the nearest hundred. Tables are
those of `tables`, scores those of `scores`; defaults are the same on every table.
"""

import math

import numpy as np
import pytest

from synthfed.generators.base import Layout
from synthfed.generators.marginal import (
    REMEASURE_SHARE,
    MarginalModel,
    NoisyTables,
    count,
    fit,
    remeasure,
    shot,
    workload_of,
)
from synthfed.generators.marginal import (
    Table as NoisyTable,
)
from tests.benchmarks.scores import likeness, score, shuffled
from tests.benchmarks.tables import ROWS, TABLES, Table

pytestmark = pytest.mark.benchmarks

MU = {1: 0.268, 3: 0.719, 10: 2.0, math.inf: math.inf}  # of Gaussian differential privacy at delta = 1e-5


def make_model(table: Table, mu: float, seed: int) -> MarginalModel:
    """Both rounds at one site. Noise from numpy: for measuring quality, never for patients."""
    layout = Layout(table.transformer.names, table.transformer.widths)
    codes = table.transformer.encode(table.train)
    patients = round(len(codes), -2)
    workload = workload_of(table.schema, table.transformer, table.targets, patients=patients)
    rng = np.random.default_rng([seed, 0 if math.isinf(mu) else int(1000 * mu)])

    def noised(tables: tuple[NoisyTable, ...]) -> NoisyTables:
        counts = count(codes, layout, tables).astype(np.float64)
        spread = np.concatenate([np.full(math.prod(one.shape(layout)), one.stddev) for one in tables])
        return NoisyTables(tables, counts + np.rint(rng.normal(size=len(counts)) * spread), 1)

    measured = [noised(shot(layout, workload, mu=mu * math.sqrt(1 - REMEASURE_SHARE), sites=1))]
    again = remeasure(layout, workload, measured[0], mu=mu * math.sqrt(REMEASURE_SHARE))
    return fit(layout, workload, [*measured, noised(again)], patients=patients)


@pytest.mark.parametrize("name", TABLES)
def test_what_privacy_costs(name: str) -> None:
    make, seeds = TABLES[name]
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        table = make(seed)
        found.setdefault("real rows", []).append(score(table, table.train))
        sample = table.fresh.iloc[: len(table.train)]
        found.setdefault(f"fresh rows, {len(sample)}", []).append(likeness(table, sample))
        found.setdefault("shuffled columns", []).append(score(table, shuffled(table.train, seed)))
        for epsilon, mu in MU.items():
            codes = make_model(table, mu, seed).sample(ROWS, seed)
            rows = table.transformer.decode(codes, np.random.default_rng(seed))
            found.setdefault(f"epsilon {epsilon:g}", []).append(score(table, rows))
    means = {who: {key: float(np.mean([one[key] for one in all_])) for key in all_[0]} for who, all_ in found.items()}
    print(f"\n{name}, {seeds} seeds")
    for who, mean in means.items():
        print(f"  {who:20}", "  ".join(f"{key} {value:.3f}" for key, value in mean.items()))
    assert means["epsilon 10"]["AUC"] > means["shuffled columns"]["AUC"] + 0.1
    assert means["epsilon 10"]["AUC"] > means["real rows"]["AUC"] - 0.05
    assert means["epsilon 10"]["KM"] < means["shuffled columns"]["KM"]
    if name == "flchain":
        assert means["epsilon 1"]["AUC"] > means["real rows"]["AUC"] - 0.03
        assert means["epsilon 1"]["TV2"] < means["shuffled columns"]["TV2"]
