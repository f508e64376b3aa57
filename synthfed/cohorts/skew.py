"""How simulated patients are dealt to hospitals, from alike to very different.

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
from synthfed.errors import ConfigError, EmptySite

Split = Literal["hospitals", "iid", "quantity", "label", "age"]
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
