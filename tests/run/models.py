"""An untrained model of the smoke pipeline: it draws every level now and then, and no patient is needed to make it."""

import synthfed as sf
from synthfed.generators.base import Layout
from synthfed.generators.registry import make_generator
from synthfed.run.training import Trained
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.transform import public_transformer


def untrained(kind: str) -> sf.Synthesizer:
    """First weights of a generator, with the ELN group derived by rule."""
    columns = (*sf.Pipeline.load("smoke").cohort.columns, "karyotype_known", "eln2022")
    pipeline = sf.Pipeline.load("smoke").replace(generator__kind=kind, cohort__columns=columns)
    schema = load_dictionary("aml").schema.select(columns)
    transformer = public_transformer(schema)
    generator = make_generator(pipeline.generator)
    weights = generator.init(Layout(transformer.names, transformer.widths), seed=7)
    released = generator.release(weights, generator.start(weights))
    synth = sf.Synthesizer(pipeline)
    synth._trained = Trained(pipeline, schema, transformer, released, ledger={"events": [], "sites": []})
    return synth
