"""Fill the columns that a person's own record gives: sex, age at diagnosis, survival.

A value that the source holds under the column's name counts before them; where the two contradict each other about a
death, reading stops.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import DataError
from synthfed.tables.cells import MISSING_WORDS
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.codes import AGE, DEATH_ENDPOINTS, SEX, column_with_loinc
from synthfed.tables.formats.events import Days, Patients
from synthfed.tables.schema import Schema

_UNIX_EPOCH = 719_163  # day number of 1970-01-01


def add_persons(table: dict[str, pd.Series], patients: Patients, schema: Schema, log: Log) -> None:
    """Add what the table lacks and the persons' records give."""
    _add_sex(table, patients, schema, log)
    _add_age(table, patients, schema, log)
    _add_survival(table, patients, schema, log)


def sex_word(word: str, fallback: str) -> str:
    """A source's own word for the sex, unless it is missing or only a digit; else the standard's."""
    own = word.casefold()
    return fallback if own in MISSING_WORDS or (own.isdigit() and fallback) else word


def _add_sex(table: dict[str, pd.Series], patients: Patients, schema: Schema, log: Log) -> None:
    column = column_with_loinc(schema, SEX)
    if column is not None and column.name not in table and (patients.sex != "").any():
        table[column.name] = patients.sex
        log.findings.append(Finding("person", column.name, 0, "from the person's record"))


def _add_age(table: dict[str, pd.Series], patients: Patients, schema: Schema, log: Log) -> None:
    column = column_with_loinc(schema, AGE)
    years = _years_between(patients.born, patients.diagnosed, column.decimals if column is not None else 0)
    known = ~np.isnan(years)
    if column is None or column.name in table or not known.any():
        return
    table[column.name] = pd.Series(
        [f"{age:.{column.decimals}f}" if ok else "" for age, ok in zip(years, known, strict=True)], dtype="object"
    )
    log.findings.append(Finding("person", column.name, int(known.sum()), "from birth to the diagnosis"))
    coarse = int((patients.year_only & known).sum())
    if coarse:
        note = "only the year of birth is known; up to a year too high"
        log.findings.append(Finding("rounded", column.name, coarse, note))


def _add_survival(table: dict[str, pd.Series], patients: Patients, schema: Schema, log: Log) -> None:
    endpoint = next((s for s in schema.survivals if s.name in DEATH_ENDPOINTS), None)
    if endpoint is None:
        return
    dead = ~np.isnan(patients.died)
    given = table.get(endpoint.event)
    alive = dead & np.asarray(given.isin(["0", "no"]), dtype=bool) if given is not None else np.zeros_like(dead)
    if alive.any():
        log.problems.append(
            (
                DataError,
                f"{int(alive.sum())} patients have a date of death while {endpoint.event!r} says that they live; "
                "correct one of them",
            )
        )
    days = np.where(dead, patients.died, patients.seen) - patients.diagnosed
    known = ~np.isnan(days)
    if endpoint.event in table or endpoint.time in table or not known.any():
        return
    early = int((days < 0).sum())
    if early:
        log.problems.append(
            (DataError, f"{early} patients died or were last seen before their diagnosis; correct the dates")
        )
    table[endpoint.time] = _texts([str(int(d)) if ok else "" for d, ok in zip(days, known, strict=True)])
    table[endpoint.event] = _texts([str(int(gone)) if ok else "" for gone, ok in zip(dead, known, strict=True)])
    note = "from the diagnosis to the date of death, else to the last contact"
    log.findings.append(Finding("difference", endpoint.time, int(known.sum()), note))


def _texts(cells: list[str]) -> pd.Series:
    return pd.Series(cells, dtype="object")


def _years_between(born: Days, then: Days, decimals: int) -> Days:
    """Completed years; with decimals, completed parts of an average year."""
    years = np.full(len(born), np.nan)
    known = ~np.isnan(born) & ~np.isnan(then)
    if decimals:
        parts = 10**decimals
        years[known] = np.floor((then - born)[known] / 365.25 * parts) / parts
        return years
    first, last = (pd.DatetimeIndex(_as_dates(days[known])) for days in (born, then))
    before = (last.month < first.month) | ((last.month == first.month) & (last.day < first.day))
    years[known] = last.year - first.year - before
    return years


def _as_dates(days: Days) -> npt.NDArray[np.datetime64]:
    return (days - _UNIX_EPOCH).astype(np.int64).astype("datetime64[D]")
