"""Read the text of one column's cells as numbers, flags, levels or ids.

Every reader works on the distinct texts of a column and returns the values with masks of what went wrong, so that the
caller can name rows and never has to name a patient's value. Nothing here guesses from other patients: the only thing
taken from the whole file is which sign is the decimal mark.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.tables.schema import Column

Mark = Literal[".", ","]
Mask = npt.NDArray[np.bool_]

MISSING_WORDS = frozenset(
    ["", "na", "n/a", "n.a.", "nan", "<na>", "nat", "null", "(null)", "none", "nd", "n.d.", "nk", "unk", "unknown"]
    + ["missing", "missing (not done)", "?", "-", "."]
    + [f"##user_missing_{code}##" for code in range(95, 100)]  # Castor
)
# Registry codes for "missing"; as numbers they count only where the public bounds rule them out.
# REDCap: -991 missing, -992 not asked, -993, -994 pending, -996 refused, -997 unknown. Castor: -95 to -99.
MISSING_CODES = frozenset([-9, -99, -999, 99, 999, 9999, -991, -992, -993, -994, -996, -997, -95, -96, -97, -98])

_YES = ["1", "yes", "y", "true", "ja", "j", "oui", "si", "sí", "sì", "pos", "pos.", "positive", "positiv", "mutated"]
_YES += ["present", "detected", "mutiert", "vorhanden"]
_NO = ["0", "no", "n", "false", "nein", "non", "nee", "neg", "neg.", "negative", "negativ", "wt", "wildtype"]
_NO += ["wild type", "wild-type", "wildtyp", "absent", "not detected", "nicht vorhanden"]
FLAG_WORDS = dict.fromkeys(_YES, "1") | dict.fromkeys(_NO, "0")

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?")
_THOUSANDS = {
    ".": re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?"),
    ",": re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?"),
}
_DECIMALS = {mark: re.compile(rf"[<>≤≥]?=?\s*[-+]?\d*\{mark}(\d{{1,2}}|\d{{4,}})\s*%?") for mark in ".,"}


@dataclass(frozen=True, slots=True)
class Cells:
    """One column, read.

    Attributes:
        values: float64 with NaN for numbers; else texts, None where missing.
        unreadable: Cells that are neither a value nor a missing token.
        censored: Cells such as `<0.5`, read as their bound.
    """

    values: npt.NDArray[Any]
    unreadable: Mask
    censored: Mask


def as_text(column: pd.Series) -> pd.Series:
    """Cells as stripped text, missing ones as the empty text; whatever the column's dtype.

    Each distinct cell is turned into text once, and equal cells share it.
    """
    if pd.api.types.is_bool_dtype(column.dtype):
        column = column.astype("Int64")
    if column.dtype == "object" and pd.api.types.infer_dtype(column, skipna=True) != "string":
        cells = column.to_numpy()  # 1, 1.0 and True are equal, and written differently
        texts = [_text(None if gone else cell) for cell, gone in zip(cells, column.isna(), strict=True)]
        return pd.Series(texts, index=column.index, dtype="object")
    places, distinct = pd.factorize(column)
    cells = pd.Series(distinct).astype("object").to_numpy()
    known = np.array([*map(_text, cells), ""], dtype=object)
    if column.dtype == "object" and (known[:-1] == cells).all() and (places >= 0).all():
        return column
    return pd.Series(known[places], index=column.index, dtype="object")


def _text(cell: object) -> str:
    return "" if cell is None else " ".join(str(cell).split())


def decimal_mark(columns: Iterable[pd.Series]) -> Mark | None:
    """The mark that numbers of these columns certainly use, or None where nothing tells or both appear.

    A mark followed by exactly three digits may be a thousands mark and tells nothing.
    """
    seen: set[Mark] = set()
    for column in columns:
        for text in column.unique():
            for mark in (".", ","):
                if _DECIMALS[mark].fullmatch(text):
                    seen.add(mark)
    return seen.pop() if len(seen) == 1 else None


def read_numbers(texts: pd.Series, column: Column, mark: Mark) -> Cells:
    """Numbers in the column's unit; codes for missing outside the bounds are missing."""

    def parse(text: str) -> tuple[float, bool, bool]:  # value, unreadable, censored
        if text.casefold() in MISSING_WORDS:
            return np.nan, False, False
        plain = text.rstrip("% ") if column.unit == "%" else text
        censored = plain[:1] in "<>≤≥"
        value = _to_float(plain.lstrip("<>≤≥= "), mark)
        if value is None:
            return np.nan, True, False
        if value in MISSING_CODES and _outside(value, column):
            return np.nan, False, False
        return value, False, censored

    return Cells(*_per_text(texts, parse, np.float64))


def read_levels(texts: pd.Series, column: Column) -> Cells:
    """Levels by name, synonym or, for flags, yes and no; a level's name wins over a missing token."""
    meanings = {level.casefold(): level for level in column.levels}
    if column.kind == "flag":
        meanings = FLAG_WORDS | meanings
    meanings |= dict(column.synonyms)

    def parse(text: str) -> tuple[str | None, bool, bool]:
        word = re.sub(r"^([-+]?\d+)\.0*$", r"\1", text.casefold())  # 1.0 in a spreadsheet is 1
        if word in meanings:
            return meanings[word], False, False
        if word in MISSING_WORDS or (re.fullmatch(r"-?\d{1,4}", word) and int(word) in MISSING_CODES):
            return None, False, False
        return (column.other, False, False) if column.other else (None, True, False)

    return Cells(*_per_text(texts, parse))


def read_ids(texts: pd.Series) -> Cells:
    """Identifiers, as they stand."""
    values = texts.to_numpy(dtype=object, copy=True)
    values[values == ""] = None
    nowhere = np.zeros(len(texts), dtype=bool)
    return Cells(values, nowhere, nowhere)


def _to_float(text: str, mark: Mark) -> float | None:
    if _THOUSANDS[mark].fullmatch(text):
        text = text.replace("," if mark == "." else ".", "")
    text = text.replace(mark, ".") if mark == "," and "." not in text else text
    return float(text) if _NUMBER.fullmatch(text.casefold()) else None


def _outside(value: float, column: Column) -> bool:
    return not (column.lower is not None and column.upper is not None and column.lower <= value <= column.upper)


def _per_text(
    texts: pd.Series, parse: Callable[[str], tuple[Any, bool, bool]], dtype: type[Any] = object
) -> tuple[npt.NDArray[Any], Mask, Mask]:
    """Read each distinct text once: values, unreadable, censored."""
    places, distinct = pd.factorize(texts)
    values = np.empty(len(distinct), dtype=dtype)
    unreadable, censored = np.zeros(len(distinct), dtype=bool), np.zeros(len(distinct), dtype=bool)
    for index, text in enumerate(distinct):
        values[index], unreadable[index], censored[index] = parse(text)
    return values[places], unreadable[places], censored[places]
