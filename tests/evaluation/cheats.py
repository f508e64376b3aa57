"""A small simulated cohort with dependence, missing values and survival, and generators that cheat on it.

Fast and independent of the shipped simulators, so that a test of a metric tests the metric. No patient.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthfed.evaluation.evaluate import evaluate
from synthfed.evaluation.scorecard import Scorecard
from synthfed.pipeline import EvaluationSettings
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Column, Schema, Survival

SCHEMA = Schema(
    disease="toy",
    title="Toy leukaemia",
    columns=(
        Column("patient_id", "id", missing="never"),
        Column("age_years", "continuous", "Age", "years", 18, 100, decimals=1, missing="never"),
        Column("sex", "category", "Sex", levels=("male", "female")),
        Column("wbc", "continuous", "WBC", "10^9/L", 0.1, 500, scale="log", decimals=1),
        Column("hb", "continuous", "Haemoglobin", "g/dL", 3, 18, decimals=1),
        Column("ldh", "count", "LDH", "U/L", 50, 20000, scale="log"),
        Column("blasts", "count", "Blasts", "%", 0, 100),
        Column("NPM1", "flag", "NPM1"),
        Column("FLT3", "flag", "FLT3-ITD"),
        Column("ratio", "continuous", "FLT3-ITD ratio", "", 0.01, 50, scale="log", decimals=2, missing="structural"),
        Column("TP53", "flag", "TP53", sensitive=True),
        Column("complex", "flag", "Complex karyotype"),
        Column("risk", "category", "Risk", levels=("low", "middle", "high"), derived=False),
        Column("response", "category", "Response", levels=("CR", "CRi", "none"), known_at="outcome"),
        Column("os_days", "count", "Follow-up", "days", 1, 4000, known_at="outcome"),
        Column("os_event", "flag", "Death", known_at="outcome", sensitive=True),
    ),
    survivals=(Survival("os", "os_days", "os_event", "Overall survival", 1826.0, primary=True),),
)

RULES_TOML = {
    "rule": [
        {
            "id": "T1",
            "class": "hard",
            "kind": "structural",
            "when": {"FLT3": 1},
            "columns": ["ratio"],
            "note": "An allelic ratio exists only with the mutation.",
            "source": "by definition",
        },
        {
            "id": "T2",
            "class": "soft",
            "kind": "range",
            "columns": ["blasts"],
            "lower": 20,
            "upper": 100,
            "note": "Mostly 20 % or more.",
            "source": "test",
        },
    ]
}
RULES = RuleSet.parse(RULES_TOML, SCHEMA)
SETTINGS = EvaluationSettings(
    targets=("os_event", "NPM1", "risk"), groups=("risk",), quasi_identifiers=("age_years", "sex")
)
PRIVACY = {
    "populations": {"train": {"epsilon": 3.0, "delta": 1e-5}},
    "guarantee": "epsilon-delta differential privacy per patient",
}


def simulate(rows: int, seed: int) -> pd.DataFrame:
    """Correlated columns; risk drives blood counts, mutations, response and survival."""
    rng = np.random.default_rng(seed)
    age = np.clip(rng.normal(62, 14, rows), 18, 98).round(1)
    bad = rng.normal(0, 1, rows) + (age - 62) / 20
    tp53 = (rng.random(rows) < 1 / (1 + np.exp(2.4 - 1.4 * bad))).astype(float)
    npm1 = (rng.random(rows) < 1 / (1 + np.exp(0.4 + 1.2 * bad + 2 * tp53))).astype(float)
    flt3 = (rng.random(rows) < np.where(npm1 > 0, 0.5, 0.15)).astype(float)
    complex_ = (rng.random(rows) < np.where(tp53 > 0, 0.7, 0.06)).astype(float)
    wbc = np.clip(np.exp(rng.normal(2.2 + 1.0 * flt3 + 0.4 * npm1, 1.0)), 0.1, 450).round(1)
    ldh = np.clip(np.exp(5.3 + 0.3 * np.log(wbc) + rng.normal(0, 0.4, rows)), 60, 19000).round()
    hb = np.clip(rng.normal(9.3 - 0.3 * bad, 1.5), 3, 17).round(1)
    blasts = np.clip(np.round(100 * rng.beta(3 + 2 * npm1, 2, rows)), 5, 100)
    score = bad + 1.2 * tp53 + complex_ - npm1 + 0.5 * flt3
    risk = np.digitize(score, [-0.5, 1.0])
    response = (rng.random(rows) < 1 / (1 + np.exp(1.2 - 0.9 * score))) * 2
    response = np.where((response == 0) & (rng.random(rows) < 0.1), 1, response)
    death = rng.exponential(1000 * np.exp(-0.75 * score))
    censor = rng.uniform(600, 3600, rows)
    days = np.clip(np.ceil(np.minimum(death, censor)), 1, 3999)
    event = (death <= censor).astype(float)
    ratio = np.where(flt3 > 0, np.clip(np.exp(rng.normal(-0.5, 0.8, rows)), 0.02, 40).round(2), np.nan)

    def blank(values: np.ndarray, share: float) -> np.ndarray:
        return np.where(rng.random(rows) < share, np.nan, values)

    unsequenced = rng.random(rows) < 0.06
    table = pd.DataFrame(
        {
            "patient_id": [f"P{i}" for i in range(rows)],
            "age_years": age,
            "sex": rng.choice(["male", "female"], rows),
            "wbc": blank(wbc, 0.1),
            "hb": blank(hb, 0.2),
            "ldh": blank(ldh, 0.4),
            "blasts": blank(blasts, 0.1),
            "NPM1": npm1,
            "FLT3": flt3,
            "ratio": blank(ratio, 0.2),
            "TP53": np.where(unsequenced, np.nan, tp53),
            "complex": np.where(unsequenced, np.nan, complex_),
            "risk": np.array(["low", "middle", "high"])[risk],
            "response": np.where(rng.random(rows) < 0.2, None, np.array(["CR", "CRi", "none"])[response.astype(int)]),
            "os_days": days,
            "os_event": event,
        }
    )
    return SCHEMA.cast(table)


@dataclass(frozen=True)
class Tables:
    train: pd.DataFrame
    holdout: pd.DataFrame
    fresh: pd.DataFrame  # a perfect synthetic table


def tables(*, train: int = 1200, holdout: int = 400, fresh: int = 1200, seed: int = 1) -> Tables:
    whole = simulate(train + holdout + fresh, seed)
    parts = whole.iloc[:train], whole.iloc[train : train + holdout], whole.iloc[train + holdout :]
    return Tables(*(part.reset_index(drop=True) for part in parts))


def jittered(table: pd.DataFrame, share: float, seed: int = 2) -> pd.DataFrame:
    """Copies whose numbers are moved by `share` of themselves."""
    rng = np.random.default_rng(seed)
    out = table.copy()
    for column in SCHEMA.columns:
        if column.is_number:
            values = out[column.name].to_numpy(dtype=float, na_value=np.nan) * (1 + rng.normal(0, share, len(out)))
            values = np.clip(np.round(values, column.decimals), column.lower, column.upper)
            out[column.name] = values
    return SCHEMA.cast(out)


def partly_verbatim(fresh: pd.DataFrame, train: pd.DataFrame, share: float, seed: int = 3) -> pd.DataFrame:
    """A perfect table in which a share of rows is real."""
    rows = round(share * len(fresh))
    stolen = train.sample(rows, random_state=seed)
    return pd.concat([fresh.iloc[rows:], stolen], ignore_index=True)


def shuffled(table: pd.DataFrame, seed: int = 4) -> pd.DataFrame:
    """Every column permuted on its own."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: table[name].array.take(rng.permutation(len(table))) for name in table.columns})


def resampled(table: pd.DataFrame, seed: int = 6) -> pd.DataFrame:
    """Every column drawn on its own from the patients' values: no row is real, every number is."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({n: table[n].array.take(rng.integers(0, len(table), len(table))) for n in table.columns})


def between_neighbours(table: pd.DataFrame, seed: int = 7) -> pd.DataFrame:
    """SMOTE: numbers between a patient's and a near neighbour's, levels of one of the two."""
    rng = np.random.default_rng(seed)
    numbers = [c for c in SCHEMA.columns if c.is_number]
    values = table[[c.name for c in numbers]].to_numpy(dtype=float, na_value=np.nan)
    scaled = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
    coded = np.column_stack([table[c.name].astype("category").cat.codes for c in SCHEMA.columns if c.has_levels])
    space = np.hstack([np.nan_to_num(scaled), coded])
    distances = ((space[:, None] - space[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    partner = np.argsort(distances, axis=1)[np.arange(len(table)), rng.integers(0, 5, len(table))]
    share, other = rng.random((len(table), 1)), rng.random(len(table)) < 0.5
    mixed = np.where(np.isnan(values) | np.isnan(values[partner]), values, values + share * (values[partner] - values))
    out = table.copy()
    for column in SCHEMA.columns:
        if column.has_levels:
            out[column.name] = table[column.name].array.take(np.where(other, partner, np.arange(len(table))))
    for place, column in enumerate(numbers):
        out[column.name] = np.clip(np.round(mixed[:, place], column.decimals), column.lower, column.upper)
    return SCHEMA.cast(out)


def collapsed(table: pd.DataFrame, share: float = 0.5) -> pd.DataFrame:
    """Numbers pulled towards their median, as a generator does that fears outliers."""
    out = table.copy()
    for column in SCHEMA.columns:
        if column.is_number and column.known_at == "baseline":
            values = table[column.name].to_numpy(dtype=float, na_value=np.nan)
            out[column.name] = np.round(share * values + (1 - share) * np.nanmedian(values), column.decimals)
    return SCHEMA.cast(out)


def without_rare_levels(table: pd.DataFrame, share: float = 0.08) -> pd.DataFrame:
    """Levels below a share of the rows replaced by the commonest, as a generator does that fears rare patients."""
    out = table.copy()
    for column in SCHEMA.columns:
        if column.has_levels:
            shares = out[column.name].value_counts(normalize=True)
            rare = out[column.name].isin(shares.index[shares < share])
            out.loc[rare, column.name] = shares.index[0]
    return SCHEMA.cast(out)


def without_missing(table: pd.DataFrame) -> pd.DataFrame:
    """Every blank filled with a value of another patient, as a generator does that learned complete rows only."""
    out = table.copy()
    for column in SCHEMA.columns:
        values = out[column.name]
        blank = values.isna().to_numpy(dtype=bool)
        if blank.any() and column.missing != "structural":
            out[column.name] = values.where(~blank, values[~blank].sample(len(out), replace=True, random_state=8).array)
    return SCHEMA.cast(out)


def uniform(rows: int, seed: int = 9) -> pd.DataFrame:
    """Any value the dictionary allows, equally likely: knows no patient and says nothing."""
    rng = np.random.default_rng(seed)
    columns: dict[str, object] = {"patient_id": [f"U{i}" for i in range(rows)]}
    for column in SCHEMA.columns:
        if column.is_number:
            columns[column.name] = np.round(rng.uniform(column.lower, column.upper, rows), column.decimals)
        elif column.has_levels:
            levels = [0, 1] if column.kind == "flag" else list(column.levels)
            columns[column.name] = rng.choice(np.array(levels, dtype=object), rows)
    return RULES.enforce(SCHEMA.cast(pd.DataFrame(columns)))


def rule_breaking(table: pd.DataFrame, share: float = 0.01) -> pd.DataFrame:
    """A few rows with an allelic ratio but no mutation."""
    out = table.copy()
    rows = out.index[: max(1, round(share * len(out)))]
    out.loc[rows, "FLT3"] = 0
    out.loc[rows, "ratio"] = 0.5
    return out


def survival_permuted(table: pd.DataFrame, seed: int = 5) -> pd.DataFrame:
    """Follow-up times permuted inside event status: marginals and the overall curve stay as they were."""
    rng = np.random.default_rng(seed)
    out = table.copy()
    for event in (0, 1):
        rows = np.flatnonzero((out["os_event"] == event).to_numpy(dtype=bool, na_value=False))
        out.iloc[rows, out.columns.get_loc("os_days")] = out["os_days"].to_numpy()[rng.permutation(rows)]
    return out


def score(synthetic: pd.DataFrame, real: Tables, *, seed: int = 0, holdout: int | None = None, **changes) -> Scorecard:
    """Evaluate with the toy's schema, rules and settings."""
    held = real.holdout if holdout is None else real.holdout.iloc[:holdout]
    options = {"privacy": PRIVACY, "settings": SETTINGS, "train": real.train, "holdout": held} | changes
    return evaluate(synthetic, schema=SCHEMA, rules=RULES, seed=seed, **options)
