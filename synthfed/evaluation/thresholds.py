"""All thresholds in one table, with where they come from.

`judgement` means: chosen by us, checked against fresh patients and cheats, not fitted to them. A kind says on which
scale a threshold is set: `value` as it stands; `anchored` as a share of the way from shuffled columns to fresh
patients; `gap` as a distance below what fresh patients reach; `band` as a multiple of the end of their 95 % band;
`ratio` as a share of what they reach.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["value", "anchored", "gap", "band", "ratio"]


@dataclass(frozen=True, slots=True)
class Threshold:
    green: float
    amber: float
    kind: Kind = "value"
    origin: str = "judgement"


_ANCHORED = "judgement, as a share of the way from shuffled columns to fresh patients (.8, .4)"
_GAP = "judgement, as the distance to what fresh patients reach (.02, .05)"
_REIDENTIFICATION = (
    "lower bound of the residual risk: .09 is the re-identification probability of EMA Policy 0070 and Health Canada, "
    "used by analogy; .05 is judgement"
)

THRESHOLDS: Mapping[str, Threshold] = {
    "valid.structure": Threshold(1.0, 0.999),
    "valid.hard_rules": Threshold(0.0, 0.001, origin="true by definition: no record may break a hard rule"),
    "valid.soft_rules": Threshold(0.02, 0.05),
    "valid.duplicates": Threshold(0.005, 0.02),
    "faithful.association": Threshold(0.8, 0.4, "anchored", _ANCHORED),
    "faithful.shapes": Threshold(0.02, 0.05, "gap", _GAP),
    "faithful.missing": Threshold(0.05, 0.10),
    "faithful.levels": Threshold(1.0, 0.95),
    "faithful.coverage": Threshold(0.9, 0.7, "ratio", "judgement, as a share of what fresh patients reach (.9, .7)"),
    "useful.tstr": Threshold(0.9, 0.75),
    "survival.km_area": Threshold(0.03, 0.06),
    "survival.km_worst": Threshold(0.08, 0.15),
    "survival.cox": Threshold(0.6, 0.4, origin="judgement; interval overlap after Karr et al. 2006"),
    "survival.cox_worst": Threshold(0.6, 0.4, origin="judgement, as survival.cox"),
    "survival.uno_c": Threshold(0.02, 0.05),
    "genomics.frequency": Threshold(1.0, 2.0, "band", "judgement: inside fresh patients' band, or twice its end"),
    "genomics.cooccurrence": Threshold(0.8, 0.4, "anchored", _ANCHORED),
    "private.exact": Threshold(0.0005, 0.005),
    "private.near_copy": Threshold(0.01, 0.03),
    "private.dcr": Threshold(0.01, 0.0, origin="judgement: permutation p below .01 is amber, never red alone"),
    "private.membership": Threshold(0.02, 0.05, origin="judgement, on TPR minus FPR, with an exact permutation p"),
    "private.membership_rare": Threshold(0.02, 0.05, origin="judgement, as private.membership"),
    "private.unique_value": Threshold(0.02, 0.10, origin="judgement, on the lower bound of the excess"),
    "private.singling_out": Threshold(0.05, 0.09, origin=_REIDENTIFICATION),
    "private.linkability": Threshold(0.05, 0.09, origin=_REIDENTIFICATION),
    "private.attribute": Threshold(0.10, 0.20, origin="judgement, where the permutation p is below .05"),
    "guaranteed.epsilon": Threshold(1.0, 10.0, origin="tiers of Ponomareva et al. 2023, arXiv 2303.00654"),
}

# Fewest hold-out rows or events for which a score is attempted; below, the metric is not measurable.
MINIMUM_ASSOCIATION_ROWS = 100
MINIMUM_COLUMN_ROWS = 50
MINIMUM_COVERAGE_ROWS = 50
MINIMUM_SOFT_RULE_ROWS = 50
MINIMUM_KM_EVENTS = 30
MINIMUM_GROUP_ROWS = 30
MINIMUM_GROUP_EVENTS = 10
MINIMUM_GENOMIC_PAIRS = 20
MINIMUM_TSTR_ROWS = 100
MINIMUM_TSTR_CLASS = 20
MINIMUM_SKILL_GROUP_ROWS = 50
MINIMUM_NONMEMBERS = 20
MINIMUM_COPY_ROWS = 50
MINIMUM_UNIQUE_VALUES = 50
MINIMUM_ATTACKED_ROWS = 50  # patients of the hold-out that an attack is tried on as control
MINIMUM_SECRET_ROWS = 10  # patients on either side of a guessed secret, in training rows and hold-out alike
STRONG_ODDS = 3.0  # |log odds ratio| over its standard error, noise included, of a plain pair
WIDEST_FREQUENCY_BAND = 0.10  # by which fresh patients' frequencies may differ before noise says nothing of a table's
MINIMUM_GAIN_ROWS = 50  # held-out patients of one site, to say what it gains from the federation
MINIMUM_GAIN_EVENTS = 10
EVENTS_PER_COX_TERM = 10  # Peduzzi et al. 1995, doi 10.1016/0895-4356(95)00048-8
