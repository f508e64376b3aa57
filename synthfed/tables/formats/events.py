"""What formats with one row per value have in common: persons, and values with an analyte, a unit and a day.

OMOP measurements and FHIR observations are both read into this form, and `gathering` makes one row per patient of it.
Texts stay as the source wrote them; distinct ones are kept once, so that millions of rows are a few integers each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

Days = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Texts:
    """A column as positions in its distinct texts; the empty text where it is null."""

    codes: npt.NDArray[np.int32]
    words: tuple[str, ...]

    def series(self) -> pd.Series:
        """The cells as texts."""
        return pd.Series(np.array(self.words, dtype=object)[self.codes], dtype="object")


@dataclass(frozen=True, slots=True)
class Analyte:
    """What a value is a value of.

    Attributes:
        spellings: Names and local codes, the most trusted first.
        loincs: LOINC numbers, by code or by concept.
    """

    spellings: tuple[str, ...]
    loincs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """One distinct value.

    Attributes:
        number: As written, with a decimal point and `<` or `>` before it where it is a limit; empty when not given.
        words: Codes and names for levels, and numbers written as text; the most trusted first.
        units: Spellings of the unit, the most trusted first; empty when not given.
    """

    number: str = ""
    words: tuple[str, ...] = ()
    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Events:
    """Values of many patients.

    Attributes:
        patient: Position of the patient, by row.
        analyte: Position in `analytes`, by row.
        value: Position in `values`, by row.
        day: Day number, by row; NaN where not given.
    """

    patient: Codes
    analyte: Codes
    value: Codes
    day: Days
    analytes: tuple[Analyte, ...]
    values: tuple[Value, ...]

    def __len__(self) -> int:
        return len(self.patient)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a source holds before anything in it is given a meaning; for drafting a mapping.

    Attributes:
        conditions: Patients by code of a condition.
        diagnosis_is_known: Whether one of the codes is the diagnosis without being declared.
        from_persons: Columns that the persons' own records give.
    """

    events: Events
    conditions: Mapping[str, int]
    diagnosis_is_known: bool
    from_persons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Patients:
    """One entry per patient.

    Attributes:
        ids: What tells them apart.
        sex: Words for the sex, empty where not given.
        born: Day number of birth, NaN where not given.
        year_only: Whether only the year of birth is given; `born` is then its first day.
        diagnosed: Day number of the diagnosis, NaN where not given.
        died: Day number of death, NaN where none is given.
        seen: Day number of the last contact, NaN where not given.
        held: Columns that the source holds, even where no patient has a value.
        extra: Further columns that the caller asked for by name.
    """

    ids: pd.Series
    sex: pd.Series
    born: Days
    year_only: npt.NDArray[np.bool_]
    diagnosed: Days
    died: Days
    seen: Days
    held: frozenset[str] = frozenset()
    extra: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.ids)


def combinations(columns: Sequence[Codes]) -> tuple[Codes, npt.NDArray[np.int32]]:
    """Each row's codes as a position among the distinct rows of codes."""
    place = np.zeros(len(columns[0]), dtype=np.int64)
    size = 1
    for codes in columns:
        width = int(codes.max(initial=0)) + 1
        if width == 1:
            continue
        place, distinct = pd.factorize(place * width + codes)
        size = len(distinct)
    first = np.zeros(size, dtype=np.int64)
    first[place[::-1]] = np.arange(len(place) - 1, -1, -1)
    if not len(place):
        return place.astype(np.int32), np.zeros((0, len(columns)), dtype=np.int32)
    return place.astype(np.int32), np.stack([codes[first] for codes in columns], axis=1)


def pairs_of(first: Codes, second: Codes) -> tuple[Codes, list[tuple[int, int]]]:
    """Each row's pair of codes as a position among the distinct pairs."""
    place, rows = combinations([first, second])
    return place, [(int(a), int(b)) for a, b in rows]
