"""synthfed itself: any kind on one table, or federated over four sites of 40, 30, 20 and 10 % with local noise.

The path of `synthfed run`: the same plan, encoder, counting rounds and training, with default settings; federated runs
go through the apps, messages and secure sums of a deployment, in one process. Noise follows from the seed here, which a
run on patients refuses.
"""

import math
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SHARES = (0.4, 0.3, 0.2, 0.1)


def prepare(job: dict[str, Any]) -> None:
    import synthfed.federation.in_process
    import synthfed.run.drawing
    import synthfed.run.training  # noqa: F401

    if job["kind"] != "marginal":  # counts need no torch
        import torch

        torch.set_num_threads(1)


def fit(job: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    from synthfed.cohorts.sites import Cohort
    from synthfed.pipeline import Pipeline
    from synthfed.run.drawing import draw_table
    from synthfed.run.training import train, train_one_site
    from synthfed.tables.dictionary import load_dictionary
    from synthfed.tables.rules import RuleSet
    from synthfed.tables.schema import Schema

    schema = Schema.from_dict(job["schema"])
    rules = RuleSet(schema, ())
    if job["rules"] is not None:
        dictionary = load_dictionary(job["rules"])
        rules = RuleSet.load(dictionary.folder, dictionary.schema).restrict(schema.names)
    pipeline = Pipeline.parse(
        {
            "title": "beside other tools",
            "disease": job["rules"] or "aml",  # names a dictionary; columns and rules are the job's
            "seed": job["seed"],
            "cohort": {"columns": list(schema.names), "min_rows": 1},
            "generator": {"kind": job["kind"]},
            "privacy": {
                "epsilon": float("inf") if job["epsilon"] is None else job["epsilon"],
                "delta": job["delta"],
                "expected_patients": job["patients"],
                "randomness": "seeded",
            },
            "evaluation": {"targets": job["targets"], "groups": job["groups"]},
        },
        origin="benchmark",
    )
    if job["passes"] is not None:
        steps = job["passes"] * math.ceil(len(rows) / pipeline.generator.open_batch)
        pipeline = pipeline.replace(federation__rounds=math.ceil(steps / pipeline.federation.local_steps))
    parts = [rows]
    if job["sites"] > 1:
        cuts = [0, *(np.cumsum(SHARES[:-1]) * len(rows)).astype(int), len(rows)]
        parts = [rows.iloc[first:last] for first, last in pairwise(cuts)]
    sites = {f"site-{number}": schema.cast(part.reset_index(drop=True)) for number, part in enumerate(parts)}
    sites = {name: rules.derive(part) for name, part in sites.items()}
    cohort = Cohort(schema, rules, sites, {}, simulated=True, origin="benchmark", reports={})
    if len(sites) == 1:
        trained = train_one_site(pipeline, cohort)
    else:
        with tempfile.TemporaryDirectory() as work:
            trained = train(pipeline, cohort, work=Path(work))
    return draw_table(trained, rules, rows=job["rows"], seed=job["seed"])
