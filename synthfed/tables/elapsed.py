"""Columns that are the days between two dates of a hospital's table; the dates themselves are not kept."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import DataError
from synthfed.tables.dates import Dates, read_dates
from synthfed.tables.dictionary import header_key
from synthfed.tables.findings import Finding, Log, name_rows
from synthfed.tables.mapping_lines import DateLine, TableMapping


def add_differences(
    mapping: TableMapping, written: Mapping[str, pd.Series], columns: dict[str, pd.Series], log: Log
) -> None:
    """Add the columns that the mapping declares as differences, as texts of whole days.

    Args:
        written: Cells as the file holds them, by header key.
        columns: Cells in the dictionary's words; a column that is there already must agree with its dates.
    """
    read = {header: _days(header, mapping, written, log) for header in mapping.dates if header_key(header) in written}
    for name, line in mapping.differences.items():
        start, end = read.get(line.start), read.get(line.end)
        if start is None or end is None:
            continue
        days = end - start
        if (days < 0).any():
            log.problems.append(
                (
                    DataError,
                    f"{line.end!r} lies before {line.start!r} in {name_rows(days < 0)}; check order in [dates], "
                    "or which of the two is from and which is to",
                )
            )
            continue
        known = ~np.isnan(days)
        texts = pd.Series([str(int(d)) if k else "" for d, k in zip(days, known, strict=True)], dtype="object")
        note = f"days from {line.start!r} to {line.end!r}; the dates themselves are not kept"
        log.findings.append(Finding("difference", name, int(known.sum()), note))
        columns[name] = _agreeing(name, columns.get(name), texts, log)


def _agreeing(name: str, given: pd.Series | None, computed: pd.Series, log: Log) -> pd.Series:
    """A column that the file holds beside its dates must agree with them."""
    if given is None:
        return computed
    differ = np.asarray((given != computed) & (given != "") & (computed != ""), dtype=bool)
    if differ.any():
        log.problems.append(
            (
                DataError,
                f"column {name!r} differs from the difference of its dates in {name_rows(differ)}; correct them",
            )
        )
    return given.where(given != "", computed)


def declared_dates(texts: pd.Series, header: str, mapping: TableMapping) -> Dates:
    """Dates as the mapping's line under [dates] says, or as they prove themselves where it has none."""
    line = next((d for name, d in mapping.dates.items() if header_key(name) == header_key(header)), DateLine())
    return read_dates(
        texts,
        order=line.order,
        two_digit_years_from=line.two_digit_years_from,
        serials=line.serials,
        missing=frozenset((*mapping.missing, *line.missing)),
    )


def _days(
    header: str, mapping: TableMapping, written: Mapping[str, pd.Series], log: Log
) -> npt.NDArray[np.float64] | None:
    dates = declared_dates(written[header_key(header)], header, mapping)
    if dates.unclear:
        log.problems.append((DataError, f"column {header!r}: {dates.unclear}"))
        return None
    if dates.unreadable.any():
        log.problems.append(
            (
                DataError,
                f"column {header!r}: {name_rows(dates.unreadable)} hold no date in this order; check order on its line "
                "in [dates], correct the cells or add their code to missing = [...]",
            )
        )
        return None
    log.findings.extend(Finding("dates", header, count, note) for note, count in dates.notes)
    return dates.days
