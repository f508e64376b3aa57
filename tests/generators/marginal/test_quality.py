"""On a simulated cohort: what the model promises before anybody measures it at length."""

import numpy as np

from synthfed.cohorts.sites import load_cohort
from synthfed.generators.base import Layout
from synthfed.generators.marginal import fit, workload_of
from synthfed.generators.marginal.model import marginal
from synthfed.pipeline import Pipeline
from synthfed.tables.transform import public_transformer
from tests.generators.marginal.worlds import measure, shares


def test_epsilon_ten_keeps_what_shuffled_columns_lose() -> None:
    """Every column with the survival token, at mu = 2 (epsilon 10 at delta 1e-5)."""
    pipeline = Pipeline.load("aml")
    cohort = load_cohort("aml", patients=1500, seed=3, columns=pipeline.cohort.columns)
    transformer = public_transformer(cohort.schema)
    layout = Layout(transformer.names, transformer.widths)
    codes = transformer.encode(cohort.train)
    workload = workload_of(cohort.schema, transformer, pipeline.evaluation.targets, patients=1200)
    model = fit(layout, workload, measure(codes, workload, 2.0, layout=layout), patients=1200)
    centre = transformer.names.index("os")
    kept, lost = [], []
    for block in range(len(layout.widths)):
        if block != centre:
            joint = shares(codes, (centre, block), layout)
            kept.append(np.abs(marginal(model, (centre, block)) - joint).sum() / 2)
            lost.append(np.abs(np.outer(joint.sum(1), joint.sum(0)) - joint).sum() / 2)
    assert np.mean(kept) < np.mean(lost)
    response = transformer.names.index("induction_response")
    joint, mine = shares(codes, (centre, response), layout), marginal(model, (centre, response))
    independent = np.outer(joint.sum(1), joint.sum(0))
    assert np.abs(mine - joint).sum() < 0.6 * np.abs(independent - joint).sum()
