"""smartnoise-synth: DP-CTGAN, PATE-CTGAN, MST and AIM with default settings.

Bounds and levels are handed over, so that nothing is spent on finding them and no level is read off the rows. Numbers
that span orders of magnitude are given as logarithms.
"""

import math
from typing import Any

import numpy as np
import pandas as pd


def prepare(job: dict[str, Any]) -> None:
    import snsynth  # noqa: F401
    import torch

    torch.set_num_threads(1)


def fit(job: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    import torch
    from snsynth import Synthesizer

    torch.manual_seed(job["seed"])
    logs = [one["name"] for one in job["columns"] if one["scale"] == "log"]
    rows = rows.assign(**{name: np.log(rows[name]) for name in logs})
    transformer = _transformer(job, rows, gan=job["kind"].endswith("ctgan"))
    model = Synthesizer.create(job["kind"], epsilon=float(job["epsilon"]), delta=job["delta"], verbose=False)
    model.fit(rows, transformer=transformer, preprocessor_eps=0.0)
    drawn = model.sample(job["rows"])
    return drawn.assign(**{name: np.exp(drawn[name].astype(float)) for name in logs})


def _transformer(job: dict[str, Any], rows: pd.DataFrame, *, gan: bool) -> Any:
    """Fitted to what is public alone: the bounds and levels, never the rows."""
    from snsynth.transform import BinTransformer, ChainTransformer, LabelTransformer, MinMaxTransformer, OneHotEncoder
    from snsynth.transform.table import TableTransformer

    parts = []
    longest = max(3, *(len(one["levels"]) + 1 for one in job["columns"]))
    public = {}
    for one in job["columns"]:
        if one["levels"]:
            values = [*one["levels"], *([None] if one["missing"] else [])]
            label = LabelTransformer(nullable=one["missing"])
            parts.append(ChainTransformer([label, OneHotEncoder()]) if gan else label)
        else:
            lower, upper = one["lower"], one["upper"]
            if one["scale"] == "log":
                lower, upper = math.log(lower), math.log(upper)
            kind = MinMaxTransformer if gan else BinTransformer
            parts.append(kind(lower=lower, upper=upper, nullable=one["missing"]))
            values = [lower, upper]
        public[one["name"]] = [values[place % len(values)] for place in range(longest)]
    transformer = TableTransformer(parts)
    transformer.fit(pd.DataFrame(public, columns=list(rows), dtype=object))
    return transformer
