"""Filtration rates by known answers of the published equations."""

import pandas as pd
import pytest

from synthfed.tables.conditions import to_grid
from synthfed.tables.kidney import egfr
from synthfed.tables.schema import Column, Schema

SCHEMA = Schema(
    "toy",
    (
        Column("creatinine_mg_dl", "continuous", lower=0.1, upper=15, decimals=2),
        Column("age_years", "continuous", lower=0, upper=100, decimals=1),
        Column("sex", "category", levels=("male", "female")),
        Column("height_cm", "continuous", lower=40, upper=210, decimals=0),
    ),
)


@pytest.mark.parametrize(
    ("creatinine", "age", "sex", "height", "wanted"),
    [
        (1.0, 50.0, "male", None, 92),  # CKD-EPI 2021, as the National Kidney Foundation's calculator gives them
        (0.8, 60.0, "female", None, 84),
        (2.5, 70.0, "male", None, 27),
        (0.5, 25.0, "female", None, 133),
        (0.5, 8.0, "male", 120.0, 99),  # bedside Schwartz: 0.413 * 120 / 0.5
        (0.5, 8.0, "male", None, None),
        (None, 50.0, "male", None, None),
        (1.0, 50.0, None, None, None),
    ],
)
def test_the_rate_is_what_the_equations_say(
    creatinine: float | None, age: float, sex: str | None, height: float | None, wanted: int | None
) -> None:
    patient = {"creatinine_mg_dl": [creatinine], "age_years": [age], "sex": [sex], "height_cm": [height]}
    found = egfr(to_grid(SCHEMA.cast(pd.DataFrame(patient)), SCHEMA), SCHEMA)[0]
    assert (None if pd.isna(found) else round(found)) == wanted
