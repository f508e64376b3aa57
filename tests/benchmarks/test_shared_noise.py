"""What sharing the noise buys: five sites with local noise, with shared noise, and one table of all patients.

Run with `python -m pytest -m benchmarks tests/benchmarks/test_shared_noise.py -s`, a part with `-k "flchain and tree"`.
Five sites of 35, 25, 20, 12 and 8 % of the patients; delta = 1e-5; means over seeds (split, noise), metrics as in
`scores`. Rounds are added up in the clear: that secure sums open the same integers is for the tests of
the federation. `pooled` is one site with all rows and shared noise of one share: what a federation cannot beat.

| row           | noise in the sum, over what one patient needs                                                 |
|---------------|-----------------------------------------------------------------------------------------------|
| pooled        | 1                                                                                             |
| shared, t = 0 | 1: five fifths; epsilon holds against outsiders and the server, if no site helps them         |
| shared, t = 2 | sqrt(5/3) = 1.29, the default of five sites: two of them may help the server                  |
| local         | sqrt(5) = 2.24: every site adds all of it; epsilon holds against all other sites              |
"""

import os

import numpy as np
import pytest

from synthfed.generators import counted
from synthfed.generators.base import Codes, Generator, Layout, Plan, Weights
from synthfed.generators.central import stint_key
from synthfed.generators.counted import Counting
from synthfed.generators.marginal import NoisyTables, workload_of
from synthfed.generators.plan import all_events, make_plan, noised_step
from synthfed.generators.registry import make_generator
from synthfed.generators.shared import mean_gradient, step_change, trained_tensors
from synthfed.generators.start import Begun, begin, finish
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import epsilon_alone, epsilon_of
from tests.benchmarks.scores import score
from tests.benchmarks.tables import ROWS, TABLES, Table

pytestmark = pytest.mark.benchmarks

SHARES = (0.35, 0.25, 0.2, 0.12, 0.08)
SEEDS = int(os.environ.get("SYNTHFED_BENCHMARK_SEEDS", "3"))
KINDS = {
    "tree": {"kind": "marginal"},
    "tvae": {"kind": "tvae", "start": "marginals"},
    "cold tvae": {"kind": "tvae", "start": "cold"},
    "cold ctgan": {"kind": "ctgan", "start": "cold"},
}
# In TV2, of means over few seeds. One seed of a cold network says little: on flchain at epsilon 3 AUC has a standard
# deviation of 0.04 between runs that differ in nothing but the draws. Over 12 seeds a cold tvae got TV2 .134, AUC .697
# pooled, .133 and .714 shared with t = 0, and .134 and .693 pooled with other noise: shared noise loses nothing.
SEED_NOISE = {"tree": 0.005, "tvae": 0.01, "cold tvae": 0.04, "cold ctgan": 0.04}
WAYS: dict[str, tuple[int, dict[str, object]]] = {  # sites, and the settings of [federation]
    "pooled": (1, {"noise": "shared"}),
    "shared, t = 0": (5, {"noise": "shared", "colluders": 0}),
    "shared, t = 2": (5, {"noise": "shared"}),
    "local": (5, {"noise": "local"}),
}


def _pipeline(table: Table, kind: str, epsilon: float, federation: dict[str, object]) -> Pipeline:
    return Pipeline.parse(
        {
            "title": "benchmark",
            "disease": "aml",
            "cohort": {"columns": ["age_years", "sex"]},
            "generator": KINDS[kind],
            "privacy": {"epsilon": epsilon, "delta": 1e-5, "expected_patients": round(len(table.train), -2)},
            "federation": {"rounds": 100, "local_steps": 1, **federation},
        },
        origin="benchmark",
    )


def learn(table: Table, kind: str, epsilon: float, way: str, seed: int) -> tuple[Generator, Layout, Weights, Plan]:
    """All rounds of a run, their sums in the clear."""
    sites, federation = WAYS[way]
    pipeline = _pipeline(table, kind, epsilon, federation)
    layout = Layout(table.transformer.names, table.transformer.widths)
    plan, generator = make_plan(pipeline, sites=sites), make_generator(pipeline.generator)
    codes = table.transformer.encode(table.train)
    cuts = np.cumsum([round(share * len(codes)) for share in SHARES[:-1]]) if sites > 1 else []
    parts = np.split(codes, cuts)
    keys = [bytes([seed, number] * 16) for number in range(sites)]
    workload = workload_of(table.schema, table.transformer, table.targets, patients=pipeline.privacy.expected_patients)
    counting = Counting(layout, workload, plan, pipeline.privacy.expected_patients)
    known: list[NoisyTables] = []
    for index, measure in enumerate(plan.measures):
        tables, cells = counting.tables(known), counting.cells(index)
        total = np.zeros(cells, np.int64)
        for part, key in zip(parts, keys, strict=True):
            fresh = stint_key(key, index)
            if plan.shared is None:
                total += counted.answer(part, layout, tables, measure, cells=cells, noise_key=fresh)
            else:
                total += counted.shared_answer(
                    part, layout, tables, plan, round_index=index, cells=cells, noise_key=fresh
                )
        known.append(counting.noisy(known, total, counted=sites))
    model = counting.model(known) if known else None
    weights = begin(generator, model, layout, workload, seed=seed) if model else generator.init(layout, seed=seed)
    state = generator.start(weights)
    first = generator.release(weights, state)
    for trained in range(plan.rounds):
        index = len(plan.measures) + trained
        change = _change(generator, weights, layout, parts, plan, index, [stint_key(key, index) for key in keys])
        weights, state = generator.apply(weights, state, change, layout, plan, round_index=trained, seed=seed)
    released = generator.release(weights, state)
    if model and generator.kind != "marginal":
        begun = Begun(tuple(known), model, workload, first)
        released = finish(generator, released, begun, layout, plan, seed=seed).released
    return generator, layout, released, plan


def _change(
    generator: Generator,
    weights: Weights,
    layout: Layout,
    parts: list[Codes],
    plan: Plan,
    index: int,
    keys: list[bytes],
) -> Weights:
    if plan.shared is None:
        stints = [
            generator.stint(weights, layout, part, plan, round_index=index, noise_key=key).change
            for part, key in zip(parts, keys, strict=True)
        ]
        return {name: np.mean([change[name] for change in stints], axis=0, dtype=np.float64) for name in weights}
    total = 0
    for part, key in zip(parts, keys, strict=True):
        step = generator.clipped_sum(weights, layout, part, plan, round_index=index, noise_key=key)
        total = total + noised_step(step.gradient, plan, round_index=index, noise_key=key)
    mean = mean_gradient(total, plan, counted=len(parts))
    return step_change(weights, trained_tensors(generator.kind, weights), mean)


@pytest.mark.parametrize("name", ["flchain", "aml simulated"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [3.0, 10.0])
def test_what_sharing_the_noise_buys(name: str, kind: str, epsilon: float) -> None:
    make, _ = TABLES[name]
    found: dict[str, list[dict[str, float]]] = {}
    costs = {}
    for seed in range(SEEDS):
        table = make(seed)
        found.setdefault("real rows", []).append(score(table, table.train))
        for way in WAYS:
            generator, layout, released, plan = learn(table, kind, epsilon, way, seed)
            events = all_events(plan)
            costs[way] = (epsilon_of(events, 1e-5), epsilon_alone(events, 1e-5))
            codes = generator.sample(released, layout, rows=ROWS, seed=seed)
            rows = table.transformer.decode(codes, np.random.default_rng(seed))
            found.setdefault(way, []).append(score(table, rows))
    means = {who: {key: float(np.mean([one[key] for one in all_])) for key in all_[0]} for who, all_ in found.items()}
    print(f"\n{name}, {kind}, epsilon {epsilon:g}, {SEEDS} seeds")
    for who, mean in means.items():
        paid = "  epsilon {:.2f}, local {:.2f}".format(*costs[who]) if who in costs else ""
        print(f"  {who:14}", "  ".join(f"{key} {value:.3f}" for key, value in mean.items()), paid)
    assert abs(means["shared, t = 0"]["TV2"] - means["pooled"]["TV2"]) < SEED_NOISE[kind]
    assert means["shared, t = 0"]["TV2"] < means["local"]["TV2"] + SEED_NOISE[kind] / 2
