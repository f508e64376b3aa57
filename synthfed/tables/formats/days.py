"""Turn the distinct dates of a source into day numbers; only differences of them ever enter a table."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from synthfed.errors import DataError
from synthfed.tables.elapsed import declared_dates
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.events import Days, Texts
from synthfed.tables.mapping_lines import TableMapping

_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)")
_ZONE = re.compile(r"[ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?$")


def read_days(words: Sequence[str], header: str, mapping: TableMapping, *, counts: Sequence[int], log: Log) -> Days:
    """Day numbers of distinct dates, NaN where there is none; what is no date is a problem with its number of rows.

    Args:
        header: Names the column in messages and under [dates] of the mapping.
        counts: Rows with each date.
    """
    texts = pd.Series([_COMPACT.sub(r"\1-\2-\3", _ZONE.sub("", word)) for word in words], dtype="object")
    dates = declared_dates(texts, header, mapping)
    if dates.unclear:
        log.problems.append((DataError, f"column {header!r}: {dates.unclear} of the mapping"))
    elif dates.unreadable.any():
        rows = int(np.asarray(counts)[dates.unreadable].sum())
        log.problems.append(
            (
                DataError,
                f"column {header!r}: {rows} rows hold no date in this order; write order on its line in [dates] of the "
                "mapping, correct them, or add their code to missing = [...]",
            )
        )
    for note, _ in dates.notes:
        log.findings.append(Finding("dates", header, 0, note))
    return dates.days


def days_of(texts: Texts, header: str, mapping: TableMapping, log: Log) -> Days:
    """Day numbers of a column of dates, by row."""
    counts = np.bincount(texts.codes, minlength=len(texts.words)).tolist()
    return read_days(texts.words, header, mapping, counts=counts, log=log)[texts.codes]
