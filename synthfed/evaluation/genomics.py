"""Do mutations occur as often, and together, as in the patients? Flags of the genomic groups of the dictionary.

Frequencies, log odds ratios of all pairs with their intervals (co-occurrence above 0, mutual exclusivity below), the
number of alterations per patient, and pairs that the literature names. Goals are set against what fresh patients
reach: "every frequency within one point" is below sampling noise at 700 patients.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from synthfed.evaluation.anchors import Anchored, judged
from synthfed.evaluation.association import concordance
from synthfed.evaluation.rows import Floats, Rows
from synthfed.evaluation.scorecard import Direction, Metric, Role
from synthfed.evaluation.thresholds import MINIMUM_COLUMN_ROWS, MINIMUM_GENOMIC_PAIRS

GROUPS = ("mutation", "karyotype", "genetics")
LEAST_PREVALENCE = 0.02
LEAST_EXPECTED = 5.0  # rows in each cell of a pair's two-way table
STRONG = 3.0  # |log odds ratio| over its standard error
BURDEN_CELLS = 7  # 0 to 5, 6 or more
_Z = 1.959964

# +1: occur together, -1: exclude each other, by the names of the shipped dictionaries. AML: Papaemmanuil et al. 2016,
# doi 10.1056/NEJMoa1516192; Metzeler et al. 2016, doi 10.1182/blood-2016-01-693879.
KNOWN_PAIRS: Mapping[tuple[str, str], int] = {
    ("NPM1", "DNMT3A"): 1,
    ("NPM1", "FLT3_ITD"): 1,
    ("DNMT3A", "FLT3_ITD"): 1,
    ("TP53", "complex_karyotype"): 1,
    ("ASXL1", "SRSF2"): 1,
    ("ASXL1", "RUNX1"): 1,
    ("NPM1", "RUNX1"): -1,
    ("NPM1", "TP53"): -1,
    ("NPM1", "ASXL1"): -1,
    ("FLT3_ITD", "TP53"): -1,
    ("TET2", "IDH1"): -1,
    ("TET2", "IDH2"): -1,
    ("IDH1", "IDH2"): -1,
}


@dataclass(frozen=True, slots=True)
class OddsRatios:
    """All pairs of flags: symmetric matrices (flags, flags), .5 added to every cell (Haldane 1956).

    Attributes:
        log: Log odds ratio; above 0 they occur together, below 0 they exclude each other.
        error: Its standard error; the 95 % interval is log +- 1.96 error.
        expected: Share of rows expected in the smallest cell were the flags independent, among jointly observed rows.
        joint: Share of rows where both are observed.
    """

    log: Floats
    error: Floats
    expected: Floats
    joint: Floats


def odds_ratios(flags: Floats) -> OddsRatios:
    """Every pair at once from 0/1/NaN (rows, flags)."""
    yes, no = (flags == 1).astype(np.float64), (flags == 0).astype(np.float64)
    cells = [yes.T @ yes, yes.T @ no, no.T @ yes, no.T @ no]
    joint = np.asarray(sum(cells))
    margins = np.maximum(joint, 1.0)
    first, second = (cells[0] + cells[1]) / margins, (cells[0] + cells[2]) / margins
    smallest = np.minimum(first, 1 - first) * np.minimum(second, 1 - second)
    both, left, right, none = (cell + 0.5 for cell in cells)
    return OddsRatios(
        log=np.log(both * none / (left * right)),
        error=np.sqrt(1 / both + 1 / left + 1 / right + 1 / none),
        expected=smallest * joint / max(len(flags), 1),
        joint=joint / max(len(flags), 1),
    )


class GenomicScore:
    """All size-matched genomic scores of a candidate at once.

    Attributes:
        names: Flags with a prevalence of at least 2 % (and at most 98 %) in the training rows.
        pairs: Pairs large enough to be measured at the candidate's size, as indices into `names`.
        known: Which of `KNOWN_PAIRS` are among `names`, with the published sign.
    """

    def __init__(self, train: Rows, *, candidate_rows: int) -> None:
        self.names: list[str] = []
        for column in train.shape.levels:
            if column.kind != "flag" or column.group not in GROUPS or column.derived:
                continue
            values = train.number(column.name)
            seen = values[~np.isnan(values)]
            if len(seen) and LEAST_PREVALENCE <= seen.mean() <= 1 - LEAST_PREVALENCE:
                self.names.append(column.name)
        expected = odds_ratios(self.flags(train)).expected * candidate_rows
        self.pairs = np.array(
            [pair for pair in combinations(range(len(self.names)), 2) if expected[pair] >= LEAST_EXPECTED],
            dtype=np.int64,
        ).reshape(-1, 2)
        self.known = [
            (self.names.index(first), self.names.index(second), sign)
            for (first, second), sign in KNOWN_PAIRS.items()
            if first in self.names and second in self.names
        ]

    def flags(self, rows: Rows) -> Floats:
        """0/1/NaN (rows, names)."""
        return np.column_stack([rows.number(name) for name in self.names] or [np.empty((len(rows), 0))])

    def frequencies(self, rows: Rows) -> Floats:
        """float64 (names,): share of rows with each flag among those where it is known; 0 where none is."""
        return _frequencies(self.flags(rows))

    def __call__(self, reference: Rows, candidate: Rows) -> dict[str, float]:
        there, here = self.flags(reference), self.flags(candidate)
        real, fake = odds_ratios(there), odds_ratios(here)
        place = (self.pairs[:, 0], self.pairs[:, 1])
        known, drawn = real.log[place], fake.log[place]
        strong = np.abs(known) > STRONG * real.error[place]
        kept = (np.sign(known) == np.sign(drawn))[strong]
        published = [np.sign(fake.log[i, j]) == sign for i, j, sign in self.known]
        return {
            "frequency": float(np.max(np.abs(_frequencies(there) - _frequencies(here)), initial=0.0)),
            "cooccurrence": concordance(known, drawn),
            "odds_overlap": _overlap(known, real.error[place], drawn, fake.error[place]),
            "strong_pairs": float(kept.mean()) if len(kept) else math.nan,
            "known_pairs": float(np.mean(published)) if published else math.nan,
            "burden": 0.5 * float(np.abs(_burden(there) - _burden(here)).sum()),
        }


def _frequencies(flags: Floats) -> Floats:
    """Share of the observed; 0 where nothing is."""
    seen = (~np.isnan(flags)).sum(axis=0)
    return np.asarray((flags == 1).sum(axis=0) / np.maximum(seen, 1))


def _burden(flags: Floats) -> Floats:
    """Share of rows with 0, 1, ... 6 or more flags set; an unknown flag counts as not set."""
    found = np.minimum((flags == 1).sum(axis=1), BURDEN_CELLS - 1)
    return np.bincount(found, minlength=BURDEN_CELLS) / max(len(flags), 1)


def _overlap(first: Floats, first_error: Floats, second: Floats, second_error: Floats) -> float:
    """Mean overlap of 95 % intervals (Karr et al. 2006, doi 10.1198/000313006X124640)."""
    if not len(first):
        return math.nan
    width_1, width_2 = 2 * _Z * first_error, 2 * _Z * second_error
    high = np.minimum(first + width_1 / 2, second + width_2 / 2)
    low = np.maximum(first - width_1 / 2, second - width_2 / 2)
    shared = np.maximum(high - low, 0.0)
    return float((0.5 * (shared / width_1 + shared / width_2)).mean())


def genomic_metrics(score: GenomicScore, scores: Mapping[str, Anchored], *, holdout: int) -> list[Metric]:
    """`genomics.frequency` decides, `genomics.cooccurrence` where measurable; the rest is information."""
    few = "" if holdout >= MINIMUM_COLUMN_ROWS else f"needs {MINIMUM_COLUMN_ROWS} hold-out rows, found {holdout}"
    too_few_pairs = few or (
        ""
        if len(score.pairs) >= MINIMUM_GENOMIC_PAIRS
        else f"needs {MINIMUM_GENOMIC_PAIRS} pairs of alterations with {LEAST_EXPECTED:g} expected rows in each cell, "
        f"found {len(score.pairs)}"
    )
    wanted: tuple[tuple[str, Role, Direction, str, str], ...] = (
        ("frequency", "deciding", "lower", "largest difference of an alteration's frequency", few),
        ("cooccurrence", "if_measurable", "higher", "concordance of alterations' log odds ratios", too_few_pairs),
        ("odds_overlap", "info", "higher", "overlap of the odds ratios' 95 % intervals", too_few_pairs),
        ("strong_pairs", "info", "higher", "plain pairs of alterations with the same sign", few),
        ("known_pairs", "info", "higher", "published pairs of alterations with the published sign", few),
        ("burden", "info", "lower", "difference in the number of alterations per patient", few),
    )
    counted = {"alterations": len(score.names), "pairs": len(score.pairs), "published": len(score.known)}
    metrics = []
    for name, role, direction, label, reason in wanted:
        found = scores.get(name)
        if role == "info" and (found is None or math.isnan(found.value)):
            continue
        matched = {"matched": found.rows} if found is not None else {}
        metrics.append(
            judged(
                f"genomics.{name}",
                found,
                threshold=f"genomics.{name}",
                question="faithful",
                role=role,
                label=label,
                direction=direction,
                too_small=reason,
                n={**counted, **matched},
            )
        )
    return metrics
