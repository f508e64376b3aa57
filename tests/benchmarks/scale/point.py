"""Measures one point of a scale in a process of its own: processor seconds of each step, peak memory, traffic.

Called as `python -m tests.benchmarks.scale.point FOLDER SETTING...`; prints one JSON object.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synthfed.cohorts.sites import read_cohort
from synthfed.pipeline import Pipeline
from synthfed.run.drawing import draw_table, score_table
from synthfed.run.training import train
from tests.benchmarks.scale.memory import peak_mib


def main(folder: Path, settings: list[str]) -> dict[str, float]:
    """The whole way of `folder`'s table through `folder`'s pipeline."""
    spent: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        spent[f"{name}_s"] = time.process_time() - start
        spent[f"{name}_mib"] = peak_mib()

    pipeline = Pipeline.load(str(folder / "pipeline.toml")).with_settings(settings)
    with step("read"):
        cohort = read_cohort(
            folder / "t.csv", dictionary=folder / "dictionary.toml", site_column="centre", split_key=bytes(32)
        )
    with step("train"):
        trained = train(pipeline, cohort, work=folder / "work")
    with step("draw"):
        table = draw_table(trained, cohort.rules, rows=pipeline.release.rows, seed=1)
    with step("score"):
        score_table(trained, table, cohort.rules, train=cohort.train, holdout=cohort.holdout)
    traffic = {"bytes_up": trained.bytes_up, "bytes_down": trained.bytes_down, "rounds": trained.rounds}
    weights = sum(tensor.size for tensor in trained.released.values())
    return {**spent, **traffic, "numbers": weights, "sites": len(cohort.sites), "patients": len(cohort.train)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))
