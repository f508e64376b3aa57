"""Read the distinct values of one analyte: numbers into the dictionary's unit, words into its levels.

The unit stands beside each value, so that a column may arrive in several units at once; each is converted by the
dictionary and counted. What a column's own words are (`own_words`) needs no unit: it is in the dictionary's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import DataError, UnknownLevel
from synthfed.tables.cells import MISSING_WORDS, Mark, Mask, decimal_mark, read_levels
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.codes import unit_spellings
from synthfed.tables.formats.events import Value
from synthfed.tables.local_cells import codes_line, number_text
from synthfed.tables.mapping_lines import ColumnLine
from synthfed.tables.numbers import is_unclear, plain_number, read_exact
from synthfed.tables.schema import Column
from synthfed.tables.units import Conversion, find_conversion, unit_line

Counts = npt.NDArray[np.int_]


@dataclass(frozen=True, slots=True)
class Reading:
    """Values as the dictionary writes them.

    Attributes:
        texts: Position in `words` by value; -1 where it is missing.
        words: The texts.
    """

    texts: npt.NDArray[np.int64]
    words: tuple[str, ...]


def read_amounts(
    values: Sequence[Value],
    counts: Counts,
    column: Column,
    line: ColumnLine,
    *,
    own_words: bool,
    mark: Mark | None,
    missing: frozenset[str],
    is_shown: Mask,
    log: Log,
) -> Reading | None:
    """Numbers in the column's unit.

    Args:
        counts: Rows with each value.
        mark: Declared decimal mark of numbers that are written as text.
        missing: Cells that mean missing, in lower case.
        is_shown: Values that enough patients share for their unit to be named in a message.

    Returns:
        None where a problem was logged.
    """
    where = f"{column.name!r}"
    texts = [value.number or next(iter(value.words), "") for value in values]
    written = pd.Series([t for t, value in zip(texts, values, strict=True) if not value.number], dtype="object")
    mark = mark or decimal_mark([written]) or "."
    if not line.decimal and not own_words and is_unclear(written).any() and decimal_mark([written]) is None:
        log.problems.append(
            (
                DataError,
                f"column {where}: numbers written as text hold a mark followed by three digits, one or one thousand; "
                'write decimal = "," or decimal = "." on its line in [columns] of the mapping',
            )
        )
        return None
    conversions = _conversions(values, column, line, own_words, log)
    given = np.array([t.casefold() not in MISSING_WORDS and t.casefold() not in missing for t in texts], dtype=bool)
    unknown = np.array([c is None for c in conversions], dtype=bool) & given
    if unknown.any():
        log.problems.append((DataError, _unit_problem(values, counts, column, unknown, is_shown)))
        return None
    words: dict[str, int] = {}
    result = np.full(len(values), -1, dtype=np.int64)
    unreadable = coded = censored = 0
    converted: dict[Conversion, int] = {}
    numeric = np.array([bool(value.number) for value in values], dtype=bool)
    for conversion, point in _sorted_pairs(conversions, numeric):
        group = np.array([c == conversion for c in conversions], dtype=bool) & given & (numeric == point)
        if not group.any():
            continue
        numbers = read_exact(
            pd.Series([texts[i] for i in np.flatnonzero(group)], dtype="object"),
            "." if point else mark,
            missing=missing,
            is_possible=lambda value, factor=conversion.factor: _inside(value * factor, column),  # type: ignore[misc]
            percent=column.unit == "%",
        )
        rows = counts[group]
        unreadable += int(rows[numbers.unreadable].sum())
        coded += int(rows[numbers.coded].sum())
        censored += int(rows[numbers.censored].sum())
        for place, value in zip(np.flatnonzero(group), numbers.values, strict=True):
            if value is not None:
                result[place] = words.setdefault(number_text(conversion.apply(value)), len(words))
        converted[conversion] = converted.get(conversion, 0) + int(rows.sum())
    for conversion, rows_of in converted.items():
        _note_conversion(column, conversion, rows_of, log)
    if unreadable:
        log.problems.append(
            (
                DataError,
                f"column {where}: {unreadable} values are no numbers with the decimal mark {mark!r}; correct them, or "
                "write missing = [...] or decimal on its line in [columns] of the mapping",
            )
        )
        return None
    if coded:
        log.findings.append(Finding("missing_code", column.name, coded, "codes for missing, read as missing"))
    if censored:
        note = "written as a limit such as <0.5; the limit is taken as the value"
        log.findings.append(Finding("censored", column.name, censored, note))
    return Reading(result, tuple(words))


def read_words(
    values: Sequence[Value],
    counts: Counts,
    column: Column,
    line: ColumnLine,
    *,
    own_words: bool,
    is_time_event: bool,
    missing: frozenset[str],
    log: Log,
) -> Reading | None:
    """Levels by name: the first of a value's words that is one.

    Args:
        is_time_event: Whether the flag ends a survival time; its digits are never taken as they stand.

    Returns:
        None where a problem was logged.
    """
    choices = [tuple(w for w in (*value.words, value.number) if w) for value in values]
    if line.codes:
        result, words, unreadable = _by_codes(choices, column, line, missing)
    else:
        digits = np.array([bool(c) and all(w.isdigit() and len(w) == 1 for w in c) for c in choices], dtype=bool)
        if digits.any() and not own_words and (column.kind == "category" or is_time_event):
            log.problems.append(
                (
                    UnknownLevel,
                    f"column {column.name!r}: {int(counts[digits].sum())} values are codes; {codes_line(column)}",
                )
            )
            return None
        result, words, unreadable = _by_dictionary(choices, column, missing)
    if unreadable.any():
        log.problems.append(
            (
                UnknownLevel,
                f"column {column.name!r}: {int(counts[unreadable].sum())} values are a code or word without meaning; "
                f"{codes_line(column)}",
            )
        )
        return None
    gone = (result < 0) & np.array([bool(c) for c in choices], dtype=bool)
    if gone.any():
        note = "codes for missing, read as missing"
        log.findings.append(Finding("missing_code", column.name, int(counts[gone].sum()), note))
    return Reading(result, words)


def _by_codes(
    choices: Sequence[tuple[str, ...]], column: Column, line: ColumnLine, missing: frozenset[str]
) -> tuple[npt.NDArray[np.int64], tuple[str, ...], Mask]:
    result = np.full(len(choices), -1, dtype=np.int64)
    unreadable = np.zeros(len(choices), dtype=bool)
    for place, words in enumerate(choices):
        plain = [plain_number(word.casefold()) for word in words]
        level = next((line.codes[word] for word in plain if word in line.codes), None)
        if level is not None:
            result[place] = column.levels.index(level)
        else:
            unreadable[place] = bool(plain) and not any(word in missing or word in MISSING_WORDS for word in plain)
    return result, column.levels, unreadable


def _by_dictionary(
    choices: Sequence[tuple[str, ...]], column: Column, missing: frozenset[str]
) -> tuple[npt.NDArray[np.int64], tuple[str, ...], Mask]:
    distinct = list(dict.fromkeys(word for words in choices for word in words))
    strict = read_levels(pd.Series(distinct, dtype="object"), column)
    levels = dict(zip(distinct, strict.values, strict=True))
    strange = dict(zip(distinct, strict.unreadable, strict=True))
    result = np.full(len(choices), -1, dtype=np.int64)
    unreadable = np.zeros(len(choices), dtype=bool)
    for place, words in enumerate(choices):
        kept = [word for word in words if plain_number(word.casefold()) not in missing]
        found = [levels[word] for word in kept if levels[word] is not None]
        level = next((one for one in found if one != column.other), next(iter(found), None))
        if level is not None:
            result[place] = column.levels.index(str(level))
        else:
            unreadable[place] = bool(kept) and all(strange[word] for word in kept)
    return result, column.levels, unreadable


def _conversions(
    values: Sequence[Value], column: Column, line: ColumnLine, own_words: bool, log: Log
) -> list[Conversion | None]:
    """How each value becomes one in the column's unit; None where its unit is not known."""
    declared = None if line.unit is None else find_conversion(column, line.unit)
    identity = Conversion(column.unit, Decimal(1), None)
    known: dict[tuple[str, ...], Conversion | None] = {}
    assumed = False
    for units in {value.units for value in values}:
        found = (find_conversion(column, unit) for unit in unit_spellings(units))
        conversion = next((c for c in found if c is not None), None)
        if conversion is None and declared is not None:
            conversion = declared
            assumed = True
        if conversion is None and (own_words or not column.unit) and not any(units):
            conversion = identity
        if conversion is None and not column.unit and set(units) <= {"1", ""}:
            conversion = identity
        known[units] = conversion
    if assumed and declared is not None:
        note = f"values without a unit that the dictionary knows are read in {declared.unit}, as the mapping says"
        log.findings.append(Finding("unit", column.name, 0, note))
    return [known[value.units] for value in values]


def _unit_problem(values: Sequence[Value], counts: Counts, column: Column, unknown: Mask, is_shown: Mask) -> str:
    """What is known about values whose unit is not; a unit that few patients have is not repeated."""
    rows = int(counts[unknown].sum())
    without = int(sum(counts[i] for i in np.flatnonzero(unknown).tolist() if not any(values[i].units)))
    names = sorted({values[i].units[0] for i in np.flatnonzero(unknown & is_shown).tolist() if any(values[i].units)})
    parts = [f"{without} without a unit"] if without else []
    if rows > without:
        said = f" ({', '.join(map(repr, names))})" if names else ""
        parts.append(f"{rows - without} in a unit that the dictionary does not know{said}")
    return f"column {column.name!r}: {' and '.join(parts)}; {unit_line(column)} on its line in [columns] of the mapping"


def _note_conversion(column: Column, conversion: Conversion, rows: int, log: Log) -> None:
    if conversion.factor != 1:
        note = f"converted from {conversion.unit} to {column.unit}, x {conversion.factor.normalize():f}"
        log.findings.append(Finding("converted", column.name, rows, note))
    elif conversion.unit != column.unit:
        log.findings.append(Finding("converted", column.name, rows, f"{conversion.unit} is {column.unit}"))
    if conversion.decimals is not None:
        note = f"rounded to the dictionary's decimals ({conversion.decimals}) after the conversion"
        log.findings.append(Finding("rounded", column.name, rows, note))


def _sorted_pairs(conversions: Sequence[Conversion | None], numeric: Mask) -> list[tuple[Conversion, bool]]:
    """Each conversion with numbers and with numbers written as text, in an order that does not depend on hashes."""
    known = sorted({c for c in conversions if c is not None}, key=lambda c: (c.factor, c.unit))
    return [(conversion, point) for conversion in known for point in sorted(set(numeric.tolist()), reverse=True)]


def _inside(value: Decimal, column: Column) -> bool:
    return column.lower is not None and column.upper is not None and column.lower <= value <= column.upper
