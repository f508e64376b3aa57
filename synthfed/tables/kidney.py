"""Estimated glomerular filtration rate from creatinine, age, sex and, in children, height.

Adults from 18 years: CKD-EPI 2021 without race (Inker et al., N Engl J Med 2021;385:1737, doi:10.1056/NEJMoa2102953):
142 * min(S/k, 1)^a * max(S/k, 1)^-1.200 * 0.9938^age * 1.012 [women], k = 0.7 and a = -0.241 in women, 0.9 and -0.302
in men, S in mg/dL. Children: the bedside Schwartz formula, 0.413 * height / S with the height in cm (Schwartz et al.,
J Am Soc Nephrol 2009;20:629, doi:10.1681/ASN.2008030287). Both in mL/min/1.73 m2.
"""

import numpy as np

from synthfed.tables.conditions import Grid, Values
from synthfed.tables.schema import Schema

EGFR_NEEDED = ("creatinine_mg_dl", "age_years", "sex")
EGFR_OPTIONAL = ("height_cm",)
ADULT_FROM = 18.0


def egfr(grid: Grid, schema: Schema) -> Values:
    """The rate of every row, NaN where something needed is missing; children need `height_cm`."""
    creatinine, age = grid["creatinine_mg_dl"], grid["age_years"]
    levels = schema["sex"].levels
    female = grid["sex"] == levels.index("female")
    relative = creatinine / np.where(female, 0.7, 0.9)
    adult = 142.0 * np.minimum(relative, 1.0) ** np.where(female, -0.241, -0.302)
    adult = adult * np.maximum(relative, 1.0) ** -1.200 * 0.9938**age * np.where(female, 1.012, 1.0)
    child = 0.413 * grid["height_cm"] / creatinine if "height_cm" in grid else np.full(len(age), np.nan)
    rate = np.where(age >= ADULT_FROM, adult, child)
    return np.where(np.isnan(age) | np.isnan(grid["sex"]), np.nan, rate)
