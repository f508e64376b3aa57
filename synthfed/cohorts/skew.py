"""How patients are dealt to hospitals: simulated ones from alike to very different, a real table's to made-up sites.

| split       | hospitals                                                                                           |
|-------------|-----------------------------------------------------------------------------------------------------|
| `hospitals` | each draws its own patients: some years older, other analysers, other gaps, more severe cases       |
| `iid`       | one population dealt at random                                                                      |
| `quantity`  | the same, in sizes drawn from a Dirichlet distribution                                              |
| `label`     | each risk group or genotype is dealt by shares of its own (Dirichlet): hospitals see other diseases |
| `age`       | from the young to the old, with as much disorder as `skew` leaves                                   |

These are assumptions for trying federations on; no source publishes how hospitals differ.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from synthfed.cohorts.drawing import Codes, SiteEffects
from synthfed.errors import ConfigError, EmptySite, MissingColumn
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Schema

Split = Literal["hospitals", "iid", "quantity", "label", "age"]
SplitRule = Literal["random", "size", "age"]
SPLITS: tuple[Split, ...] = ("hospitals", "iid", "quantity", "label", "age")

# how much hospitals differ at skew 1, as standard deviations of SiteEffects' fields
_SPREAD = {"age_shift": 3.0, "lab_shift": 0.12, "missing_factor": 0.35, "severity": 0.2}
_LABELS = {"aml": "eln2022", "scd": "genotype"}


def site_effects(counts: Sequence[int], seed: int, skew: float) -> list[SiteEffects]:
    """Differences between hospitals that cancel over all patients."""
    rng = np.random.default_rng([seed, 2])
    weights = np.array(counts) / sum(counts)
    drawn = {}
    for name, spread in _SPREAD.items():
        values = rng.normal(size=len(counts)).clip(-1.6, 1.6)
        drawn[name] = skew * spread * (values - values @ weights)
    return [
        SiteEffects(
            age_shift=float(drawn["age_shift"][i]),
            lab_shift=float(drawn["lab_shift"][i]),
            missing_factor=float(np.exp(drawn["missing_factor"][i])),
            severity=float(drawn["severity"][i]),
        )
        for i in range(len(counts))
    ]


def label_columns(disease: str) -> tuple[str, str]:
    """The columns that dealing looks at."""
    return _LABELS[disease], "age_years"


def deal(
    table: pd.DataFrame,
    names: Sequence[str],
    counts: Sequence[int],
    *,
    disease: str,
    split: Split,
    skew: float,
    seed: int,
) -> dict[str, Codes]:
    """Row positions of one simulated population by hospital; every row goes to one of them.

    Args:
        counts: Wanted sizes, kept by `iid` and `age`; `quantity` and `label` draw their own around these shares.
        skew: 1 is clearly different hospitals; 0 makes every split `iid`.

    Raises:
        ConfigError: `split` is `hospitals`, whose patients are drawn and not dealt.
        EmptySite: A hospital got no patient.
    """
    rng = np.random.default_rng([seed, 4])
    order = rng.permutation(len(table))
    shares = np.array(counts) / sum(counts)
    if split == "hospitals":
        raise ConfigError("split 'hospitals' draws each hospital's patients; there is nothing to deal")
    if split == "age" and skew > 0:
        age = table["age_years"].to_numpy(dtype=float)[order]
        order = order[np.argsort(age / age.std() + rng.normal(size=len(order)) / skew, kind="stable")]
    if split == "label" and skew > 0:
        labels = table[_LABELS[disease]].astype("object").fillna("").to_numpy()[order]
        parts: list[list[int]] = [[] for _ in names]
        for label in sorted(set(labels)):
            rows = order[labels == label]
            ends = np.round(len(rows) * np.cumsum(rng.dirichlet(len(names) * shares / skew))).astype(int)
            for part, piece in zip(parts, np.split(rows, ends[:-1]), strict=True):
                part.extend(piece.tolist())
        dealt = [np.array(sorted(part), dtype=np.int64) for part in parts]
    else:
        if split == "quantity" and skew > 0:
            shares = rng.dirichlet(len(names) * shares / skew)
        ends = np.round(len(table) * np.cumsum(shares)).astype(int)
        dealt = [np.sort(piece) for piece in np.split(order, ends[:-1])]
    empty = [name for name, rows in zip(names, dealt, strict=True) if not len(rows)]
    if empty:
        raise EmptySite(f"split {split!r} leaves {', '.join(empty)} empty; raise patients, lower skew or change seed")
    return dict(zip(names, dealt, strict=True))


def site_counts(patients: int, names: Sequence[str], shares: Sequence[float] | None) -> list[int]:
    """Whole patients per site by largest remainder."""
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"sites are {list(names)}; they need different names, at least one")
    parts = np.ones(len(names)) if shares is None else np.array(shares, dtype=float)
    if len(parts) != len(names) or (parts <= 0).any():
        raise ConfigError(f"shares {list(parts)} need one positive number for each of {len(names)} sites")
    exact = patients * parts / parts.sum()
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: patients - counts.sum()]:
        counts[i] += 1
    if counts.min() < 1:
        raise EmptySite(f"{patients} patients leave site {names[int(counts.argmin())]!r} empty; raise patients")
    return [int(count) for count in counts]


def unrecorded_columns(
    schema: Schema, rules: RuleSet, names: Sequence[str], columns: int, seed: int
) -> dict[str, tuple[str, ...]]:
    """Columns that a hospital does not record: numbers that may be missing and that no hard rule needs."""
    needed = {column for rule in rules.hard if rule.kind != "range" for column in rule.columns}
    free = [c.name for c in schema.modelled if c.is_number and c.missing == "possible" and c.name not in needed]
    if columns > len(free):
        raise ConfigError(f"unrecorded is {columns}; only {len(free)} columns can be left out: {', '.join(free)}")
    rng = np.random.default_rng([seed, 5])
    return {name: tuple(str(c) for c in rng.choice(free, columns, replace=False)) for name in names[1:] if columns}


def made_up_sites(table: pd.DataFrame, sites: int, rule: SplitRule, seed: int) -> dict[str, Codes]:
    """Row positions of made-up sites; who is held out was decided before."""
    if len(table) < sites:
        raise EmptySite(f"{len(table)} rows cannot be split into {sites} sites; give more rows or fewer sites")
    order = np.random.default_rng(seed).permutation(len(table))
    parts = np.ones(sites) if rule != "size" else 1.0 / np.arange(1, sites + 1)
    if rule == "age":
        if "age_years" not in table.columns:
            raise MissingColumn("split_rule 'age' needs the column 'age_years'; choose 'random' or 'size'")
        ages = table["age_years"].to_numpy(dtype=float, na_value=np.inf)
        order = order[np.argsort(ages[order], kind="stable")]
    ends = np.round(len(table) * np.cumsum(parts) / parts.sum()).astype(int)
    starts = np.concatenate([[0], ends[:-1]])
    return {f"site_{i + 1}": np.sort(order[start:end]) for i, (start, end) in enumerate(zip(starts, ends, strict=True))}
