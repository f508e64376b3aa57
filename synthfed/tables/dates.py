"""Read dates as day numbers, of which only differences ever enter a table.

A year that comes first with four digits tells everything. `03/04/2012` does not: it is read by the order that the
mapping declares, or by the one that other cells of the column prove (a number above 12 is a day), and refused where
nothing proves it or cells prove both. Two-digit years and bare spreadsheet serial numbers are read only when declared.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.tables.cells import MISSING_CODES, MISSING_WORDS, Mask
from synthfed.tables.numbers import plain_number

Order = Literal["dmy", "mdy", "ymd"]

_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?Z?)?")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{1,2})")
_SERIAL = re.compile(r"\d{5}")
_CASTOR_MISSING = re.compile(r"0?1-0?1-299[5-9]|299[5-9]-01-01")  # Castor's dates for the reasons of being missing
_EPOCH = date(1899, 12, 30)  # spreadsheets count days from here
_YEARS = range(1900, 2101)
_ORDER_WORDS = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}


@dataclass(frozen=True, slots=True)
class Dates:
    """One column of dates.

    Attributes:
        days: Day numbers, NaN where missing or unreadable.
        unreadable: Cells that are no date in the order used, serial numbers and two-digit years that were not declared
            included.
        unclear: Why the column cannot be read at all, with the choices; empty when it can.
        notes: What was decided, and how many cells it concerns.
    """

    days: npt.NDArray[np.float64]
    unreadable: Mask
    unclear: str
    notes: tuple[tuple[str, int], ...]


def read_dates(
    texts: pd.Series,
    *,
    order: Order | None,
    two_digit_years_from: int | None,
    serials: bool,
    missing: frozenset[str],
) -> Dates:
    """Read one column of dates.

    Args:
        order: Declared order of cells whose year does not come first with four digits; None lets the column prove it.
        two_digit_years_from: First of the hundred years that a two-digit year can mean; None refuses them.
        serials: Whether five bare digits are days since 1899-12-30.
        missing: Cells that mean missing, in lower case.
    """
    places, distinct = pd.factorize(texts)
    counts = np.bincount(places, minlength=len(distinct)) if len(distinct) else np.zeros(0, dtype=int)
    parts = [_YEAR_LAST.fullmatch(text) for text in distinct]
    short = np.array([m is not None and len(m[4]) <= 2 for m in parts], dtype=bool)
    serial = np.array([_SERIAL.fullmatch(plain_number(text)) is not None for text in distinct], dtype=bool)
    notes: list[tuple[str, int]] = []
    used, unclear = order, ""
    if order is None:
        used, unclear, proofs = _prove_order(parts, counts)
        if used is not None and proofs:
            notes.append((f"dates are {_ORDER_WORDS[used]}, as these cells prove", proofs))
    if short.any() and two_digit_years_from is None and not unclear:
        unclear = (
            f"{int(counts[short].sum())} dates have years of two digits; "
            "write two_digit_years_from = 1950 (or another first year) on its line in [dates]"
        )
    if serial.any() and not serials and not unclear:
        unclear = (
            f"{int(counts[serial].sum())} cells are five bare digits; if they are a spreadsheet's day numbers, "
            "write serials = true on its line in [dates]"
        )
    if unclear:
        blank = np.zeros(len(texts), dtype=bool)
        return Dates(np.full(len(texts), np.nan), blank, unclear, ())
    known = [_is_missing(text, missing) for text in distinct]
    read = [
        None if gone else _read(text, used, two_digit_years_from) for text, gone in zip(distinct, known, strict=True)
    ]
    days = np.array([np.nan if day is None else float(day.toordinal()) for day in read], dtype=np.float64)
    bad = np.array([day is None and not gone for day, gone in zip(read, known, strict=True)], dtype=bool)
    if short.any():
        notes.append(
            (f"two-digit years lie in the hundred years from {two_digit_years_from}", int(counts[short].sum()))
        )
    if serial.any():
        notes.append(("bare numbers are days since 1899-12-30", int(counts[serial].sum())))
    return Dates(days[places], bad[places], "", tuple(notes))


def looks_like_dates(texts: pd.Series) -> bool:
    """Whether most cells that are not missing are written like dates."""
    present = [text for text in texts if not _is_missing(text, frozenset())]
    like = sum(1 for text in present if _YEAR_FIRST.fullmatch(text) or _YEAR_LAST.fullmatch(text))
    return like > len(present) / 2


def _prove_order(parts: list[re.Match[str] | None], counts: npt.NDArray[np.int_]) -> tuple[Order | None, str, int]:
    """The order that the cells prove, or why they prove none."""
    day_first = sum(int(n) for m, n in zip(parts, counts, strict=True) if m is not None and int(m[1]) > 12)
    month_first = sum(int(n) for m, n in zip(parts, counts, strict=True) if m is not None and int(m[3]) > 12)
    line = 'write order = "dmy" (day first), "mdy" (month first) or "ymd" (year first) on its line in [dates]'
    if day_first and month_first:
        return None, f"{day_first} dates can only be day first and {month_first} only month first; {line}", 0
    if day_first or month_first:
        return ("dmy" if day_first else "mdy"), "", day_first + month_first
    if any(m is not None and m[1] != m[3] for m in parts):
        return None, f"no date tells whether the day or the month comes first; {line}", 0
    return None, "", 0


def _is_missing(text: str, missing: frozenset[str]) -> bool:
    word = plain_number(text.casefold())
    if word in missing or word in MISSING_WORDS or _CASTOR_MISSING.fullmatch(word):
        return True
    return re.fullmatch(r"-?\d{1,4}", word) is not None and int(word) in MISSING_CODES


def _read(text: str, order: Order | None, first_year: int | None) -> date | None:
    if match := _YEAR_FIRST.fullmatch(text):
        return _date(int(match[1]), int(match[3]), int(match[4]))
    if match := _YEAR_LAST.fullmatch(text):
        one, two, last = match[1], match[3], match[4]
        if len(one if order == "ymd" else last) == 1 or (order == "ymd" and len(last) == 4):
            return None
        if order == "ymd":
            return _date(_full_year(one, first_year), int(two), int(last))
        day, month = (two, one) if order == "mdy" else (one, two)
        return _date(_full_year(last, first_year), int(month), int(day))
    if _SERIAL.fullmatch(plain_number(text)):
        day_of = _EPOCH + timedelta(days=int(plain_number(text)))
        return day_of if day_of.year in _YEARS else None
    return None


def _full_year(text: str, first_year: int | None) -> int:
    year = int(text)
    if len(text) == 4 or first_year is None:
        return year
    return first_year + (year - first_year) % 100


def _date(year: int, month: int, day: int) -> date | None:
    if year not in _YEARS:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None
