"""Dates are read by a declared or proven order, or refused with the choices."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.tables.dates import Dates, read_dates


def read(*texts: str, **options: object) -> Dates:
    defaults: dict[str, object] = {
        "order": None,
        "two_digit_years_from": None,
        "serials": False,
        "missing": frozenset(),
    }
    return read_dates(pd.Series(texts, dtype="object"), **(defaults | options))  # type: ignore[arg-type]


def day(year: int, month: int, number: int) -> float:
    return float(date(year, month, number).toordinal())


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [
        ("2012-04-03", None, day(2012, 4, 3)),
        ("2012-04-03 00:00:00", None, day(2012, 4, 3)),
        ("2012/4/3", "dmy", day(2012, 4, 3)),
        ("03/04/2012", "dmy", day(2012, 4, 3)),
        ("03.04.2012", "mdy", day(2012, 3, 4)),
        ("3-4-12", "dmy", day(2012, 4, 3)),
        ("12-4-3", "ymd", day(2012, 4, 3)),
        ("40990", None, day(2012, 3, 22)),
        ("40990.0", None, day(2012, 3, 22)),
    ],
)
def test_a_date_in_its_declared_style(text: str, order: str | None, expected: float) -> None:
    dates = read(text, order=order, two_digit_years_from=1950, serials=True)
    assert dates.days.tolist() == [expected]
    assert not dates.unclear


def test_one_cell_can_prove_the_order_and_the_proof_is_noted() -> None:
    dates = read("03/04/2012", "25/04/2012")
    assert dates.days.tolist() == [day(2012, 4, 3), day(2012, 4, 25)]
    assert dates.notes == (("dates are day first, as these cells prove", 1),)


@pytest.mark.parametrize("texts", [("03/04/2012", "05/06/2012"), ("25/04/2012", "04/25/2012")])
def test_an_order_that_nothing_or_too_much_proves_is_asked_about(texts: tuple[str, ...]) -> None:
    assert '"dmy" (day first), "mdy" (month first)' in read(*texts).unclear


def test_equal_day_and_month_need_no_order() -> None:
    assert read("05/05/2012").days.tolist() == [day(2012, 5, 5)]


def test_two_digit_years_and_serials_are_never_assumed() -> None:
    assert "two_digit_years_from" in read("25/04/12").unclear
    assert "serials = true" in read("40990").unclear
    assert read("25/04/49", two_digit_years_from=1950).days.tolist() == [day(2049, 4, 25)]


@pytest.mark.parametrize("text", ["31/02/2012", "04/25/2012", "2985-01-01", "spring", "1/2", "3/4.2012", "01/01/0099"])
def test_what_is_no_date_in_this_order_is_unreadable(text: str) -> None:
    assert read(text, order="dmy").unreadable.tolist() == [True]


def test_missing_words_and_codes_are_missing() -> None:
    dates = read("", "-99", "n.d.", "gone", missing=frozenset(["gone"]))
    assert np.isnan(dates.days).all()
    assert not dates.unreadable.any()


@given(st.dates(date(1950, 1, 1), date(2049, 12, 31)), st.sampled_from(["dmy", "mdy", "ymd"]), st.sampled_from("-/."))
@settings(deadline=None, max_examples=80)
def test_every_written_date_is_read_back(written: date, order: str, mark: str) -> None:
    parts = {"d": f"{written.day}", "m": f"{written.month:02d}", "y": f"{written.year % 100:02d}"}
    text = mark.join(parts[letter] for letter in order)
    assert read(text, order=order, two_digit_years_from=1950).days.tolist() == [float(written.toordinal())]


def test_castors_dates_for_missing_are_missing() -> None:
    for text in ("01-01-2995", "01-01-2999", "2997-01-01", "##USER_MISSING_97##"):
        dates = read(text, order="dmy")
        assert not dates.unreadable.any()
        assert np.isnan(dates.days).all()
