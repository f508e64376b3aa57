"""SDV: GaussianCopula, TVAE and CTGAN with their own encoders and default settings."""

import warnings
from typing import Any

import pandas as pd


def prepare(job: dict[str, Any]) -> None:
    import sdv.single_table  # noqa: F401
    import torch

    torch.set_num_threads(1)


def fit(job: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    import torch
    from sdv import single_table
    from sdv.metadata import Metadata

    warnings.simplefilter("ignore")
    torch.manual_seed(job["seed"])
    kinds = {one["name"]: {"sdtype": "categorical" if one["levels"] else "numerical"} for one in job["columns"]}
    metadata = Metadata.load_from_dict({"tables": {"patients": {"columns": kinds}}})
    model = getattr(single_table, job["kind"])(metadata)
    model.fit({"patients": rows})
    drawn = model.sample(job["rows"])
    return drawn["patients"] if isinstance(drawn, dict) else drawn
