"""mostlyai-engine: TabularARGN with default settings, with and without differential privacy.

It takes neither bounds nor levels: with a budget it buys them by its `value_protection`, for an epsilon of 1 by
default. Where the whole budget is below 2 that would leave nothing to train with, so there half of it is given.
"""

import tempfile
from typing import Any

import pandas as pd


def prepare(job: dict[str, Any]) -> None:
    import torch
    from mostlyai import engine  # noqa: F401

    torch.set_num_threads(1)


def fit(job: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    from mostlyai.engine import TabularARGN
    from mostlyai.engine.domain import DifferentialPrivacyConfig

    privacy = None
    if job["epsilon"] is not None:
        values = min(1.0, job["epsilon"] / 2)
        privacy = DifferentialPrivacyConfig(
            max_epsilon=job["epsilon"], delta=job["delta"], value_protection_epsilon=values
        )
    levels = {one["name"]: "TABULAR_CATEGORICAL" for one in job["columns"] if one["levels"]}
    with tempfile.TemporaryDirectory() as folder:
        model = TabularARGN(
            differential_privacy=privacy,
            tgt_encoding_types=levels,
            random_state=job["seed"],
            device="cpu",
            workspace_dir=folder,
        )
        return model.fit(rows).sample(job["rows"])
