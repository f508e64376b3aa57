"""Read a hospital's table: file to text, headers to columns, text to typed cells, and every problem at once.

Three steps, each its own function, so that another format only has to bring its own first step:

1. `read_frame` turns a file into a table of texts (`tables.files`);
2. `type_table` finds the dictionary's columns behind the headers and types their cells (`tables.cells`);
3. the checks collect everything that does not fit the dictionary and raise it as one error.

A message names the file, the column, how many rows and the first row numbers, counted from 1 below the header. It
never holds what a cell says: an `ImportReport` and an error stay at the site, but logs travel.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from synthfed.errors import DataError, MissingColumn, OutOfRange, UnknownColumn, UnknownLevel
from synthfed.tables.cells import Cells, Mark, Mask, as_text, decimal_mark, read_ids, read_levels, read_numbers
from synthfed.tables.dictionary import Composed, Dictionary, header_key, header_meanings, loose_key
from synthfed.tables.files import read_frame
from synthfed.tables.findings import Finding, ImportReport, Log, name_rows
from synthfed.tables.numbers import is_unclear
from synthfed.tables.schema import Column, Schema

__all__ = ["Finding", "ImportReport", "read_frame", "type_table"]


def type_table(
    raw: pd.DataFrame,
    dictionary: Dictionary,
    columns: Sequence[str],
    *,
    origin: str,
    extra: Sequence[str] = (),
    on_out_of_range: Literal["error", "missing"] = "error",
) -> tuple[pd.DataFrame, ImportReport]:
    """Find `columns` in a table of texts (or of any values) and give them the dictionary's types.

    Derived columns are left out: rules compute them. An absent id column is left out, too.

    Args:
        origin: Names the table in messages.
        extra: Headers that may be there beside the dictionary's, such as the site's.
        on_out_of_range: Whether a number outside the public bounds is an error or becomes missing.

    Returns:
        The typed table with the rows in their order and a fresh index, and what was noticed.

    Raises:
        DataError: Everything that does not fit, in one message: as `UnknownColumn`, `MissingColumn`, `UnknownLevel` or
            `OutOfRange` when all problems are of that kind.
    """
    log = Log()
    schema = dictionary.schema.select(columns)
    found = _match_headers([str(name) for name in raw.columns], dictionary, extra, origin, log)
    texts = {name: as_text(raw.iloc[:, place]) for name, place in found.items() if _is_needed(name, schema, dictionary)}
    _note_unused(found, texts, schema, log)
    file_mark = decimal_mark(texts[c.name] for c in schema.columns if c.is_number and c.name in texts)
    typed: dict[str, pd.Series] = {}
    for column in schema.columns:
        if column.derived:
            continue
        if column.name in texts:
            values = _type_column(texts[column.name], column, file_mark, on_out_of_range, log)
        else:
            values = _type_absent(column, dictionary, texts, log)
        if values is not None:
            typed[column.name] = values.astype(schema.dtype(column.name), copy=False)
    log.raise_problems(origin)
    table = pd.DataFrame(typed, index=pd.RangeIndex(len(raw)), copy=False)
    return table, ImportReport(len(table), tuple(log.findings))


def _match_headers(
    headers: Sequence[str], dictionary: Dictionary, extra: Sequence[str], origin: str, log: Log
) -> dict[str, int]:
    """Which column of the file holds which column of the dictionary."""
    meanings = header_meanings(dictionary.schema)
    if not any(header_key(header) in meanings or loose_key(header_key(header)) in meanings for header in headers):
        # Without a header line the first patient's values would stand here: do not repeat them.
        raise UnknownColumn(
            f"{origin}: none of the {len(headers)} names in the first line is in the {dictionary.schema.disease!r} "
            "dictionary; the first line must hold the column names"
        )
    ignored = {header_key(name) for name in dictionary.ignored}
    tolerated = {header_key(name) for name in extra}
    found: dict[str, int] = {}
    for place, header in enumerate(headers):
        key = header_key(header)
        if key in tolerated:
            continue
        name = meanings.get(key) or meanings.get(loose_key(key))
        if name is not None and name in found:
            log.problems.append(
                (DataError, f"columns {headers[found[name]]!r} and {header!r} both mean {name!r}; remove one")
            )
        elif name is not None:
            found[name] = place
        elif key in ignored:
            log.findings.append(Finding("ignored", header, 0, "known to the dictionary as not to be read"))
        else:
            near = difflib.get_close_matches(key, meanings, n=3)
            hint = f"did you mean {' or '.join(dict.fromkeys(meanings[k] for k in near))}? " if near else ""
            log.problems.append(
                (
                    UnknownColumn,
                    f"column {header!r} is not in the {dictionary.schema.disease!r} dictionary; {hint}"
                    "remove it, add it to dictionary.toml, or say in a mapping file what it is: "
                    "`synthfed check --suggest-mapping` drafts one",
                )
            )
    return found


def _is_needed(name: str, schema: Schema, dictionary: Dictionary) -> bool:
    if name in schema:
        return not schema[name].derived
    return any(name == flag for c in dictionary.composed if c.column in schema for flag, _ in c.parts)


def _note_unused(found: Mapping[str, int], used: Mapping[str, pd.Series], schema: Schema, log: Log) -> None:
    for name in found:
        if name in schema and schema[name].derived:
            log.findings.append(Finding("derived", name, 0, "computed by rule; the file's column is not used"))
        elif name not in used:
            log.findings.append(Finding("dropped", name, 0, "in the dictionary, not selected by the pipeline"))


def _type_column(
    texts: pd.Series, column: Column, file_mark: Mark | None, on_out_of_range: str, log: Log
) -> pd.Series | None:
    cells = _read_cells(texts, column, file_mark)
    if cells.unreadable.any():
        log.problems.append(_unreadable_problem(column, cells.unreadable))
    if cells.censored.any():
        note = "written as a limit such as <0.5; the limit is taken as the value"
        log.findings.append(Finding("censored", column.name, int(cells.censored.sum()), note))
    values = cells.values
    if column.kind == "count":
        parts = (values != np.rint(values)) & ~np.isnan(values)
        if parts.any() and (parts := parts & is_unclear(texts)).any():
            log.problems.append(
                (
                    DataError,
                    f"column {column.name!r}: {name_rows(parts)} hold thousandths in a column of whole numbers; if the "
                    "mark stands between thousands, write decimal in a mapping file (datasets/TABLES.md)",
                )
            )
    if len(values) and cells.unreadable.sum() == 0 and bool(np.asarray(pd.isna(values)).all()):
        note = (
            "no row holds a value; a column that the hospital does not record belongs under not_recorded in its mapping"
        )
        log.findings.append(Finding("empty", column.name, 0, note))
    if column.is_number:
        values = _check_numbers(values, column, on_out_of_range, log)
    missing = np.asarray(pd.isna(values), dtype=bool) & ~cells.unreadable
    if column.missing == "never" and missing.any():
        log.problems.append(
            (
                DataError,
                f"column {column.name!r} is missing in {'all ' * bool(missing.all())}{name_rows(missing)}; it must be "
                "known: fill or drop these rows",
            )
        )
    if column.kind == "flag":
        return pd.Series(pd.arrays.IntegerArray((values == "1").astype(np.int64), pd.isna(values)))
    if column.kind == "count":
        return pd.Series(pd.arrays.IntegerArray(np.nan_to_num(values).astype(np.int64), np.isnan(values)))
    return pd.Series(values, dtype=None if column.is_number else "object")


def _read_cells(texts: pd.Series, column: Column, file_mark: Mark | None) -> Cells:
    if column.kind == "id":
        return read_ids(texts)
    if column.has_levels:
        return read_levels(texts, column)
    return read_numbers(texts, column, decimal_mark([texts]) or file_mark or ".")


def _check_numbers(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], column: Column, on_out_of_range: str, log: Log
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    lower, upper = column.lower, column.upper
    outside = (values < (-np.inf if lower is None else lower)) | (values > (np.inf if upper is None else upper))
    if outside.any() and on_out_of_range == "error":
        log.problems.append(
            (
                OutOfRange,
                f"column {column.name!r}: {name_rows(outside)} lie outside the public bounds [{lower:g}, {upper:g}] "
                f"{column.unit}: check the unit (a mapping file converts it), correct the rows or read with "
                "on_out_of_range = 'missing'",
            )
        )
    elif outside.any():
        values = np.where(outside, np.nan, values)
        log.findings.append(
            Finding("out_of_range", column.name, int(outside.sum()), "outside the public bounds; set missing")
        )
    if column.unit == "%" and (values > 0).any() and not (values > 1).any():
        note = "no value is above 1, so these may be fractions; the column is in %: check, and multiply by 100 if so"
        log.findings.append(Finding("unit", column.name, int((values > 0).sum()), note))
    if column.kind == "count":
        rounded = np.rint(values)
        moved = ~np.isnan(values) & (rounded != values)
        if moved.any():
            log.findings.append(
                Finding("rounded", column.name, int(moved.sum()), "not whole; rounded to a whole number")
            )
        values = rounded
    return values


def _unreadable_problem(column: Column, unreadable: Mask) -> tuple[type[DataError], str]:
    rows = name_rows(unreadable)
    if column.is_number:
        return DataError, f"column {column.name!r}: {rows} hold something that is not a number; write it like 12.5"
    return (
        UnknownLevel,
        f"column {column.name!r}: {rows} hold something else than the allowed levels {', '.join(column.levels)}: "
        "correct them, declare codes in a mapping file (datasets/TABLES.md) or add a synonym to dictionary.toml",
    )


def _type_absent(column: Column, dictionary: Dictionary, texts: Mapping[str, pd.Series], log: Log) -> pd.Series | None:
    recipe = next((c for c in dictionary.composed if c.column == column.name), None)
    if recipe is not None and any(flag in texts for flag, _ in recipe.parts):
        return _compose(recipe, dictionary.schema, texts, log)
    if column.kind == "id":
        log.findings.append(Finding("no_id", column.name, 0, "no id column; rows stand for patients"))
        return None
    headers = ", ".join(map(repr, (column.name, *column.aliases)))
    by_flags = f", or the flags {', '.join(flag for flag, _ in recipe.parts)}" if recipe is not None else ""
    log.problems.append(
        (
            MissingColumn,
            f"column {column.name!r} is missing; add it under one of the headers {headers}{by_flags}, or say in a "
            "mapping file where it comes from or that nobody records it: `synthfed check --suggest-mapping` drafts one",
        )
    )
    return None


def _compose(recipe: Composed, schema: Schema, texts: Mapping[str, pd.Series], log: Log) -> pd.Series:
    """A category from its flags: the first that is 1 decides, all missing is missing, else the none level."""
    present = [(flag, level) for flag, level in recipe.parts if flag in texts]
    length = len(texts[present[0][0]])
    values = np.full(length, None, dtype=object)
    known, several = np.zeros(length, dtype=bool), np.zeros(length, dtype=bool)
    for flag, level in present:
        cells = read_levels(texts[flag], schema[flag])
        if cells.unreadable.any():
            log.problems.append(_unreadable_problem(schema[flag], cells.unreadable))
        known |= cells.values != None  # noqa: E711  # element by element
        carries = cells.values == "1"
        free = np.asarray(pd.isna(values), dtype=bool)
        several |= carries & ~free & (values != level)
        values[carries & free] = level
    values[known & np.asarray(pd.isna(values), dtype=bool)] = recipe.none_level
    absent = [flag for flag, _ in recipe.parts if flag not in texts]
    note = f"from {', '.join(flag for flag, _ in present)}" + (
        f"; not in the file: {', '.join(absent)}" if absent else ""
    )
    log.findings.append(Finding("composed", recipe.column, int(known.sum()), note))
    if several.any():
        note = "more than one of its flags is 1; the first in the dictionary's order counts"
        log.findings.append(Finding("ambiguous", recipe.column, int(several.sum()), note))
    return pd.Series(values, dtype="object")
