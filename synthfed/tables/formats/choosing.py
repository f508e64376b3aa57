"""Choose one of several values that a patient has of one column.

A baseline value must lie inside a declared window around the diagnosis, and the nearest counts: the earlier of two that
are equally near, the first in the file of one day. After the diagnosis nothing says which of several different values
counts, so they stop the reading.
"""

import numpy as np
import numpy.typing as npt

from synthfed.errors import DataError
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.events import Codes, Days
from synthfed.tables.schema import Column

WINDOW = (-30, 14)  # days around the diagnosis in which a value counts as baseline, unless the mapping says otherwise


def choose(
    column: Column,
    patient: Codes,
    away: Days,
    value: npt.NDArray[np.int64],
    *,
    patients: int,
    window: tuple[int, int],
    log: Log,
) -> npt.NDArray[np.int64]:
    """The value of each patient; -1 where there is none.

    Args:
        patient, away, value: By row, in the order of the file: whose it is, days since the diagnosis (NaN where not
            known), and which value it is.
    """
    low, high = window
    if column.known_at == "baseline":
        inside = np.isnan(away) | ((away >= low) & (away <= high))
        if not inside.all():
            where = f"outside {low} to {high} days around the diagnosis"
            log.findings.append(Finding("window", column.name, int((~inside).sum()), f"{where}; left out"))
            if not inside.any():
                log.problems.append(
                    (
                        DataError,
                        f"column {column.name!r}: all {len(inside)} values lie {where}; check the date of the "
                        "diagnosis, or write window_days = [before, after] under [timing] in the mapping",
                    )
                )
        patient, away, value = patient[inside], away[inside], value[inside]
    order = np.lexsort((away > 0, np.nan_to_num(np.abs(away), nan=np.inf), patient))
    patient, away, value = patient[order], away[order], value[order]
    first = np.ones(len(patient), dtype=bool)
    first[1:] = patient[1:] != patient[:-1]
    chosen = np.full(patients, -1, dtype=np.int64)
    chosen[patient[first]] = value[first]
    differ = value != chosen[patient]
    if differ.any() and column.known_at == "baseline":
        nearest = np.full(patients, np.nan)
        nearest[patient[first]] = away[first]
        _settle(column, chosen, nearest, patient[differ], away[differ], window, log)
    elif differ.any():
        several = len(np.unique(patient[differ]))
        log.problems.append(
            (
                DataError,
                f"column {column.name!r}: {several} patients have several different values, and after the diagnosis "
                "nothing says which counts; keep one row per patient",
            )
        )
    return chosen


def _settle(
    column: Column,
    chosen: npt.NDArray[np.int64],
    nearest: Days,
    patient: Codes,
    away: Days,
    window: tuple[int, int],
    log: Log,
) -> None:
    """Note the patients with different values; without a date none of them counts.

    Args:
        nearest: Days since the diagnosis of the value chosen, by patient.
        patient, away: The rows whose value differs from the one chosen.
    """
    several = np.unique(patient)
    undated = np.isnan(nearest[several])
    if undated.all():
        log.problems.append(
            (
                DataError,
                f"column {column.name!r}: {len(several)} patients have several different values and no date of "
                "diagnosis to choose by; add the conditions, or write diagnosis = [codes] in [timing] of the mapping",
            )
        )
        return
    if undated.any():
        chosen[several[undated]] = -1
        note = "several different values and no date of diagnosis to choose by; left missing"
        log.findings.append(Finding("ambiguous", column.name, int(undated.sum()), note))
    note = f"several values from {window[0]} to {window[1]} days around the diagnosis; the nearest counts"
    log.findings.append(Finding("several", column.name, int((~undated).sum()), note))
    tied = len(np.unique(patient[away == nearest[patient]]))
    if tied:
        note = "different values on the nearest day; the first in the file counts"
        log.findings.append(Finding("ambiguous", column.name, tied, note))
