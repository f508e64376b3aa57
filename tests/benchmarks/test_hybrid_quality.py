"""How good the networks are when they start from the tree of noisy tables, and whether DP-SGD after that adds anything.

Run with `python -m pytest -m benchmarks tests/benchmarks/test_hybrid_quality.py -s`, one table with `-k flchain`.
Tables are those of `tables`, metrics those of `scores`; a seed is a split, the noise of one run at one site, and a
network. Settings are the defaults, the same on every table.

The second test splits a budget: all of it for the tables; 70 % for the tables and the rest left unspent; the rest spent
on DP-SGD from the warm weights, before and after calibration. Training has earned its place where its rows are better
than those of the first line. On the tables looked at they are not: they are as good as "unspent" or a little better,
and `tvae` loses that little again in calibration, which `ctgan` needs.

The third test holds the choice between start and trained network (`generators.start`) against what it cannot see: the
same counts without noise. Of 14 runs looked at on flchain and Beat AML, all that ship as trained were closer to the
exact counts than their start; of the 7 that ship as they started, training had brought 4 further away and 1 closer.
"""

import math
import time
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest

from synthfed.generators.base import Layout, Plan, Weights
from synthfed.generators.central import stint_key
from synthfed.generators.ctgan import Ctgan
from synthfed.generators.marginal import (
    REMEASURE_SHARE,
    MarginalModel,
    NoisyTables,
    Workload,
    count,
    fit,
    remeasure,
    shot,
    workload_of,
)
from synthfed.generators.marginal import Table as NoisyTable
from synthfed.generators.start import Begun, draws_of, finish
from synthfed.generators.tvae import Tvae
from synthfed.generators.warm_start import calibrate, distil
from synthfed.generators.yardstick import KINDS, Floats, Yardstick
from synthfed.pipeline import CtganSettings, TvaeSettings
from tests.benchmarks.scores import score
from tests.benchmarks.tables import ROWS, TABLES, Table
from tests.benchmarks.test_marginal_quality import MU, make_model

pytestmark = pytest.mark.benchmarks

SEEDS = 3
TABLES_SHARE = 0.7  # of mu^2, where the rest is for DP-SGD
Scores = dict[str, list[dict[str, float]]]


def _generator(kind: str, **settings: float) -> Tvae | Ctgan:
    if kind == "tvae":
        return Tvae(TvaeSettings(kind="tvae").model_copy(update=settings))
    return Ctgan(CtganSettings(kind="ctgan").model_copy(update=settings))


def _layout(table: Table) -> Layout:
    return Layout(table.transformer.names, table.transformer.widths)


def _workload(table: Table) -> Workload:
    patients = round(len(table.train), -2)
    return workload_of(table.schema, table.transformer, table.targets, patients=patients)


def _of_tree(table: Table, model: MarginalModel, seed: int) -> dict[str, float]:
    return _of_codes(table, model.sample(ROWS, seed), seed)


def _of_network(table: Table, generator: Tvae | Ctgan, released: Weights, seed: int) -> dict[str, float]:
    return _of_codes(table, generator.sample(released, _layout(table), rows=ROWS, seed=seed), seed)


def _of_codes(table: Table, codes: np.ndarray, seed: int) -> dict[str, float]:
    rows: pd.DataFrame = table.transformer.decode(codes, np.random.default_rng(seed))
    return score(table, rows)


def _released(generator: Tvae | Ctgan, weights: Weights) -> Weights:
    return generator.release(weights, generator.start(weights))


def _plan(table: Table, mu: float, steps: int) -> Plan:
    return Plan(
        rounds=steps,
        local_steps=1,
        sample_rate=1.0,
        clip_norm=1.0,
        noise_multiplier=math.sqrt(steps) / mu,
        expected_batch=float(len(table.train)),
        sites=1,
    )


def _trained(generator: Tvae | Ctgan, weights: Weights, table: Table, mu: float, steps: int, seed: int) -> Weights:
    """`steps` full-batch steps of DP-SGD that cost `mu`, one site, from warm weights."""
    layout, codes = _layout(table), table.transformer.encode(table.train)
    plan = _plan(table, mu, steps)
    state = generator.start(weights)
    for index in range(steps):
        key = stint_key(bytes([seed]) * 32, index)
        change = generator.stint(weights, layout, codes, plan, round_index=index, noise_key=key).change
        weights, state = generator.apply(weights, state, change, layout, plan, round_index=index, seed=seed)
    return generator.release(weights, state)


def _print_means(title: str, found: Scores) -> dict[str, dict[str, float]]:
    means = {who: {key: float(np.mean([one[key] for one in all_])) for key in all_[0]} for who, all_ in found.items()}
    print(f"\n{title}")
    for who, mean in means.items():
        print(f"  {who:44}", "  ".join(f"{key} {value:.3f}" for key, value in mean.items()))
    return means


@pytest.mark.parametrize("name", TABLES)
def test_networks_draw_as_well_as_the_tree(name: str) -> None:
    make, seeds = TABLES[name]
    found: Scores = defaultdict(list)
    for seed in range(min(seeds, SEEDS)):
        table = make(seed)
        found["real rows"].append({**score(table, table.train), "CPU s": 0.0})
        for epsilon in (1, 3, 10):
            model, workload = make_model(table, MU[epsilon], seed), _workload(table)
            found[f"epsilon {epsilon}, tree"].append({**_of_tree(table, model, seed), "CPU s": 0.0})
            for kind in ("tvae", "ctgan"):
                generator = _generator(kind)
                began = time.process_time()
                weights = distil(generator, model, _layout(table), workload=workload, seed=seed)
                seconds = time.process_time() - began
                scores = _of_network(table, generator, _released(generator, weights), seed)
                found[f"epsilon {epsilon}, {kind}"].append({**scores, "CPU s": seconds})
    means = _print_means(f"{name}, {min(seeds, SEEDS)} seeds", found)
    for epsilon in (1, 3, 10):
        tree = means[f"epsilon {epsilon}, tree"]
        for kind in ("tvae", "ctgan"):
            network = means[f"epsilon {epsilon}, {kind}"]
            assert network["TV2"] <= tree["TV2"] + 0.015
            assert network["AUC"] >= tree["AUC"] - 0.04
            assert network["KM"] <= tree["KM"] + 0.03


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("kind", ["tvae", "ctgan"])
def test_what_training_after_the_tables_adds(kind: str, name: str) -> None:
    """Printed as it is; asserted is only that calibration keeps training from doing harm."""
    make, seeds = TABLES[name]
    mu = MU[3]
    tries: dict[str, tuple[int, dict[str, float]]]
    if kind == "tvae":
        tries = {f"{n} steps": (n, {"server_rate": 1e-3, "server_ema": 0.9 if n > 10 else 0.5}) for n in (1, 10, 100)}
    else:
        tries = {"100 steps": (100, {"generator_rate": 1e-4})}
    found: Scores = defaultdict(list)
    for seed in range(min(seeds, SEEDS)):
        table = make(seed)
        layout, workload, generator = _layout(table), _workload(table), _generator(kind)
        whole = make_model(table, mu, seed)
        weights = distil(generator, whole, layout, workload=workload, seed=seed)
        found["all in tables"].append(_of_network(table, generator, _released(generator, weights), seed))
        model = make_model(table, mu * math.sqrt(TABLES_SHARE), seed)
        weights = distil(generator, model, layout, workload=workload, seed=seed)
        found["30 % unspent"].append(_of_network(table, generator, _released(generator, weights), seed))
        for label, (steps, settings) in tries.items():
            trainer = _generator(kind, **settings)
            released = _trained(trainer, weights, table, mu * math.sqrt(1 - TABLES_SHARE), steps, seed)
            found[f"30 % DP-SGD, {label}"].append(_of_network(table, trainer, released, seed))
            mended = calibrate(trainer, released, model, layout, workload=workload, seed=seed)
            found[f"30 % DP-SGD, {label}, calibrated"].append(_of_network(table, trainer, mended, seed))
    means = _print_means(f"{name}, {kind}, epsilon 3, {min(seeds, SEEDS)} seeds", found)
    for label in tries:
        assert means[f"30 % DP-SGD, {label}, calibrated"]["TV2"] <= means["30 % unspent"]["TV2"] + 0.01


def _begun(generator: Tvae | Ctgan, table: Table, mu: float, seed: int) -> tuple[Begun, Weights]:
    """Both rounds of counting at one site, the tree, and the network distilled from it with all its tensors."""
    layout, codes, workload = _layout(table), table.transformer.encode(table.train), _workload(table)
    rng = np.random.default_rng([seed, 5])

    def noised(tables: tuple[NoisyTable, ...]) -> NoisyTables:
        counts = count(codes, layout, tables).astype(np.float64)
        spread = np.concatenate([np.full(math.prod(one.shape(layout)), one.stddev) for one in tables])
        return NoisyTables(tables, counts + np.rint(rng.normal(size=len(counts)) * spread), 1)

    first = noised(shot(layout, workload, mu=mu * math.sqrt(1 - REMEASURE_SHARE), sites=1))
    rounds = (first, noised(remeasure(layout, workload, first, mu=mu * math.sqrt(REMEASURE_SHARE))))
    model = fit(layout, workload, rounds, patients=round(len(codes), -2))
    weights = distil(generator, model, layout, workload=workload, seed=seed)
    return Begun(rounds, model, workload, _released(generator, weights)), weights


def _distance(stick: Yardstick, expected: Floats, exact: Floats) -> float:
    """Summed squared distance to the exact counts, over the noise: what the noisy counts estimate."""
    return sum(float(((part.misfit(expected) - part.misfit(exact)) ** 2).sum()) for part in stick.parts)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("epsilon", [1, 3, 10])
@pytest.mark.parametrize("kind", ["tvae", "ctgan"])
def test_noisy_counts_choose_the_network_that_exact_counts_would(kind: str, epsilon: int, name: str) -> None:
    """A tenth of the budget for DP-SGD, as in the shipped pipelines; what ships is not clearly worse than its start."""
    make, seeds = TABLES[name]
    steps, share = 100, 0.1
    print(f"\n{name}, {kind}, epsilon {epsilon}: misfit of start and trained network; distance to the exact counts")
    for seed in range(min(seeds, SEEDS)):
        table = make(seed)
        layout, generator = _layout(table), _generator(kind)
        begun, weights = _begun(generator, table, MU[epsilon] * math.sqrt(1 - share), seed)
        mu = MU[epsilon] * math.sqrt(share)
        trained = _trained(generator, weights, table, mu, steps, seed)
        done = finish(generator, trained, begun, layout, _plan(table, mu, steps), seed=seed)
        assert done.judged is not None
        stick = Yardstick.of(begun.rounds, begun.model, begun.workload)
        exact = count(table.transformer.encode(table.train), layout, stick.tables).astype(np.float64)
        start, ships = (
            _distance(stick, stick.expected(draws_of(generator, one, layout), seed=seed), exact)
            for one in (begun.released, done.released)
        )
        for what, gap in (("held back", done.judged.held_back), ("learned", done.judged.learned)):
            print(f"  seed {seed} {what:9} {gap.one:.4f} -> {gap.other:.4f} (error {gap.error:.4f}), {gap.cells} cells")
        print(f"  seed {seed} ships {done.kept}: distance of the start {start:.1f}, of what ships {ships:.1f}")
        cells = stick.compare(exact, exact, KINDS).cells
        assert ships <= start + 0.002 * cells
