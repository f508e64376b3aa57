"""Find the day of the diagnosis, day 0 of every other date, among a source's conditions.

The mapping declares the codes that are the diagnosis. Without it, a code that is known for the disease counts, or the
only code that there is; anything else is a question with the choices.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.errors import DataError
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.codes import DIAGNOSES
from synthfed.tables.formats.events import Codes, Days
from synthfed.tables.formats.shown import patients_of, shown_names
from synthfed.tables.mapping_lines import TableMapping


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions of many patients, one per row.

    Attributes:
        patient: Position of the patient; -1 where it is not there.
        code: Position in `codes`.
        day: Day number; NaN where not given.
        codes: Spellings of each distinct condition, the shown one first.
    """

    patient: Codes
    code: Codes
    day: Days
    codes: tuple[tuple[str, ...], ...]

    def counts(self) -> npt.NDArray[np.int_]:
        """Patients with each code."""
        return patients_of(np.where(self.patient >= 0, self.code, -1), self.patient, len(self.codes))


def diagnosis_days(
    conditions: Conditions, patients: int, dictionary: Dictionary, mapping: TableMapping, *, where: str, log: Log
) -> Days:
    """The first day of the diagnosis by patient, NaN where there is none.

    Args:
        where: Names the source in messages.
    """
    result = np.full(patients, np.nan)
    if not len(conditions.patient):
        return result
    matches = diagnosis_codes(conditions, dictionary, mapping)
    if not matches.any():
        shown = shown_names([next(iter(words), "") for words in conditions.codes], conditions.counts())
        log.problems.append(
            (
                DataError,
                f"{where} does not tell which condition is the diagnosis ({shown}); write diagnosis = [codes] under "
                "[timing] in the mapping",
            )
        )
        return result
    rows = matches[conditions.code] & (conditions.patient >= 0) & ~np.isnan(conditions.day)
    np.fmin.at(result, conditions.patient[rows], conditions.day[rows])
    without = int(np.isnan(result).sum())
    if without:
        log.findings.append(Finding("no_diagnosis", where, without, "persons without a date of diagnosis"))
    return result


def diagnosis_codes(conditions: Conditions, dictionary: Dictionary, mapping: TableMapping) -> npt.NDArray[np.bool_]:
    """Which of the codes are the diagnosis; none where that is not known."""
    spelled = [[word.casefold() for word in words] for words in conditions.codes]
    wanted = [code.casefold() for code in mapping.timing.diagnosis]
    if not wanted:
        known, _ = DIAGNOSES.get(dictionary.schema.disease, ("", ""))
        wanted = [code for code in (known, dictionary.schema.disease.casefold()) if code]
        if len(spelled) == 1:
            return np.ones(1, dtype=bool)
    return np.array([any(_is(word, code) for word in words for code in wanted) for words in spelled], dtype=bool)


def _is(word: str, code: str) -> bool:
    """Whether a condition's code is the one declared; `C92.0*` stands for every code that begins so."""
    return word.startswith(code[:-1]) if code.endswith("*") else word == code
