"""A model of the smoke pipeline that saw no patient: it draws every level now and then, and is made at once."""

import numpy as np

import synthfed as sf
from synthfed.generators.base import Layout, Weights
from synthfed.generators.marginal import NoisyTables, count, fit, shot, workload_of
from synthfed.generators.registry import make_generator
from synthfed.run.training import Trained
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.transform import Transformer, public_transformer


def untrained(kind: str) -> sf.Synthesizer:
    """First weights of a network, or a tree of random codes, with the ELN group derived by rule."""
    columns = (*sf.Pipeline.load("smoke").cohort.columns, "karyotype_known", "eln2022")
    pipeline = sf.Pipeline.load("smoke").replace(generator__kind=kind, cohort__columns=columns)
    schema = load_dictionary("aml").schema.select(columns)
    transformer = public_transformer(schema)
    if kind == "marginal":
        released = _tree(transformer)
    else:
        generator = make_generator(pipeline.generator)
        weights = generator.init(Layout(transformer.names, transformer.widths), seed=7)
        released = generator.release(weights, generator.start(weights))
    synth = sf.Synthesizer(pipeline)
    synth._trained = Trained(pipeline, schema, transformer, released, ledger={"events": [], "sites": []})
    return synth


def _tree(transformer: Transformer) -> Weights:
    layout = Layout(transformer.names, transformer.widths)
    workload = workload_of(transformer.schema, transformer, ())
    tables = shot(layout, workload, mu=5.0, sites=1)
    codes = np.random.default_rng(7).integers(0, layout.widths, (2000, len(layout.widths))).astype(np.int32)
    counts = count(codes, layout, tables).astype(np.float64)
    return fit(layout, workload, (NoisyTables(tables, counts, 1),), patients=2000).to_weights()
