"""Read numbers exactly as they are written, once it is said which sign is the decimal mark.

`tables.cells` reads files as they come and is lenient; here the mark is known, so everything that does not fit it is
refused: with a decimal comma `1.151` is 1151, `1.15` is nothing, and `10,3` is no number where the point was declared.
Values are `Decimal`, so that a later conversion by a power of ten loses nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.tables.cells import MISSING_CODES, MISSING_WORDS, Mark, Mask

_PLAIN = {
    ".": re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d{1,2})?"),
    ",": re.compile(r"[-+]?(\d+(,\d*)?|,\d+)(e[-+]?\d{1,2})?"),
}
_GROUPED = {
    ".": re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?"),
    ",": re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?"),
}
_LONGEST = 20  # letters of a number; a longer one is an accession number or a slip
_EITHER = re.compile(r"[<>≤≥=\s]*[-+]?[1-9]\d{0,2}[.,]\d{3}\s*%?")


@dataclass(frozen=True, slots=True)
class Numbers:
    """One column of exact numbers.

    Attributes:
        distinct: What each distinct cell says: a `Decimal`, or None where missing or unreadable.
        places: Which of them each row holds.
        unreadable: Cells that are neither a number nor a missing token.
        censored: Cells such as `<0.5`, read as their limit.
        coded: Cells that hold a number which stands for missing.
        grouped: Cells with thousands marks.
    """

    distinct: npt.NDArray[np.object_]
    places: npt.NDArray[np.intp]
    unreadable: Mask
    censored: Mask
    coded: Mask
    grouped: Mask

    @property
    def values(self) -> npt.NDArray[np.object_]:
        """The number of each row."""
        return self.distinct[self.places]

    def where(self, holds: Callable[[Decimal], bool]) -> Mask:
        """Rows whose number fulfils a condition, asked once for each distinct cell."""
        asked = np.array([value is not None and holds(value) for value in self.distinct], dtype=bool)
        return asked[self.places]


def is_unclear(texts: pd.Series) -> Mask:
    """Cells such as `1.151`, which are one thousand or one, depending on the decimal mark."""
    return by_text(texts, lambda text: _EITHER.fullmatch(text) is not None).astype(bool)


def read_exact(
    texts: pd.Series, mark: Mark, *, missing: frozenset[str], is_possible: Callable[[Decimal], bool], percent: bool
) -> Numbers:
    """Numbers with this decimal mark; the other mark may group thousands.

    Args:
        missing: Cells that mean missing, in lower case, whatever their value.
        is_possible: Whether a number can be a value of the column; registry codes for missing that cannot be one are
            missing.
        percent: Whether a `%` may follow.
    """

    def parse(text: str) -> tuple[Decimal | None, bool, bool, bool, bool]:
        word = text.casefold()
        if word in missing or plain_number(word) in missing:
            return None, False, False, True, False
        if word in MISSING_WORDS:
            return None, False, False, False, False
        body = text.rstrip("% ") if percent else text
        censored = body[:1] in "<>≤≥"
        body = body.lstrip("<>≤≥= ").casefold()
        grouped = _GROUPED[mark].fullmatch(body) is not None
        if grouped:
            body = body.replace("," if mark == "." else ".", "")
        if len(body) > _LONGEST or not _PLAIN[mark].fullmatch(body):
            return None, True, False, False, False
        value = Decimal(body.replace(",", "."))
        if not censored and value in MISSING_CODES and not is_possible(value):
            return None, False, False, True, False
        return value, False, censored, False, grouped

    places, cells = pd.factorize(texts)
    read = [parse(text) for text in cells]
    distinct = np.array([None, *(value for value, *_ in read)], dtype=object)[1:]
    masks = np.array([marks for _, *marks in read], dtype=bool).reshape(len(read), 4)
    return Numbers(distinct, places, *(masks[places, mark] for mark in range(4)))


def plain_number(text: str) -> str:
    """`1.0` as `1`: spreadsheets write whole codes with a point."""
    return re.sub(r"^([-+]?\d+)[.,]0*$", r"\1", text)


def by_text(texts: pd.Series, read: Callable[[str], Any]) -> npt.NDArray[np.object_]:
    """Read each distinct text once."""
    places, distinct = pd.factorize(texts)
    results = np.empty(len(distinct), dtype=object)
    for index, text in enumerate(distinct):
        results[index] = read(text)
    return results[places]
