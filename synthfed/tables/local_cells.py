"""Turn one column of a hospital's own making into texts that the dictionary reads without doubt.

Numbers come out in the dictionary's unit with a decimal point, levels by their names, missing cells empty. Whatever
was done to a cell becomes a finding; whatever cannot be decided becomes a problem that lists the choices and names the
mapping line that settles it. Neither ever holds what a cell says.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import pandas as pd

from synthfed.errors import DataError, UnknownLevel
from synthfed.tables.cells import (
    MISSING_CODES,
    MISSING_WORDS,
    Mark,
    Mask,
    decimal_mark,
    read_levels,
)
from synthfed.tables.findings import Finding, Log, name_rows
from synthfed.tables.mapping_lines import ColumnLine
from synthfed.tables.numbers import Numbers, by_text, is_unclear, plain_number, read_exact
from synthfed.tables.redcap import Field
from synthfed.tables.schema import Column
from synthfed.tables.units import Conversion, find_conversion, unit_line

_CODE_PAIR = re.compile(r"(\d+)\s*=\s*([^,;]+)")
_DIGITS = tuple("0123456789")
_MANY = 10  # values from which their middle tells something about the unit


def recode_number(
    texts: pd.Series,
    column: Column,
    line: ColumnLine,
    *,
    header: str,
    field: Field | None,
    file_mark: Mark | None,
    missing: frozenset[str],
    log: Log,
) -> pd.Series:
    """Numbers in the dictionary's unit, as texts.

    Args:
        header: The column's name in the file, for messages.
        field: What the REDCap dictionary says about it.
        file_mark: The decimal mark that the file declares or proves elsewhere.
        missing: Cells that mean missing, in lower case.
    """
    where = f"column {header!r} ({column.name})"
    conversion = _conversion(column, line, header, field, where, log)
    mark = line.decimal or file_mark or decimal_mark([texts])
    unclear = is_unclear(texts)
    if mark is None and unclear.any():
        log.problems.append(
            (
                DataError,
                f"{where}: {name_rows(unclear)} hold a mark followed by three digits, one or one thousand; "
                'write decimal = "," or decimal = "." at the top of the mapping or on its line in [columns]',
            )
        )
        return _blank(texts)
    if conversion is None:
        return _blank(texts)
    numbers = read_exact(
        texts,
        mark or ".",
        missing=missing,
        is_possible=lambda value: _inside(value * conversion.factor, column),
        percent=column.unit == "%",
    )
    if numbers.unreadable.any():
        log.problems.append(
            (
                DataError,
                f"{where}: {name_rows(numbers.unreadable)} hold something that is no number with the decimal mark "
                f"{mark or '.'!r}; correct them, add them to missing = [...] or change decimal",
            )
        )
        return _blank(texts)
    _check_thousands(texts, column, numbers, conversion, where, log)
    _check_magnitude(numbers, column, conversion, line, where, log)
    _note_numbers(numbers, column, conversion, field, log)
    shown = ["" if value is None else number_text(conversion.apply(value)) for value in numbers.distinct]
    return pd.Series(np.array([*shown, ""], dtype=object)[numbers.places], dtype="object")


def recode_level(
    texts: pd.Series,
    column: Column,
    line: ColumnLine,
    *,
    header: str,
    field: Field | None,
    is_time_event: bool,
    missing: frozenset[str],
    log: Log,
) -> pd.Series:
    """Levels by name, as texts.

    Args:
        is_time_event: Whether the flag ends a survival time; its digits are never taken as they stand.
    """
    where = f"column {header!r} ({column.name})"
    codes = dict(line.codes) or _codes_of_choices(column, field, where, log)
    if codes is None:
        return _blank(texts)
    words = pd.Series(by_text(texts, lambda text: plain_number(text.casefold())), dtype="object")
    gone = np.asarray(words.isin(missing), dtype=bool)
    if codes:
        said = codes_in_header(header, column)
        contrary = [code for code, level in codes.items() if said.get(code) not in (None, level)]
        if contrary:
            log.problems.append(
                (UnknownLevel, f"{where}: codes say otherwise than the header for {', '.join(contrary)}; correct codes")
            )
        values, unreadable = _by_codes(words, codes, missing | set(field.missing if field else ()))
        shown = ", ".join(f"{code} = {level}" for code, level in codes.items())
        if any(code != level for code, level in codes.items()):
            log.findings.append(Finding("codes", column.name, 0, f"codes read as {shown}"))
    else:
        digits = np.asarray(words.isin(_DIGITS), dtype=bool) & ~gone
        if digits.any() and header != column.name and (column.kind == "category" or is_time_event):
            log.problems.append((UnknownLevel, f"{where}: {name_rows(digits)} hold codes; {codes_line(column)}"))
            return _blank(texts)
        cells = read_levels(texts.where(~gone, ""), column)
        values, unreadable = cells.values, cells.unreadable
        if (pd.notna(values) & np.asarray(texts != values, dtype=bool)).any():
            log.findings.append(Finding("codes", column.name, 0, "other spellings, read by the dictionary's synonyms"))
    if unreadable.any():
        log.problems.append(
            (
                UnknownLevel,
                f"{where}: {name_rows(unreadable)} hold a code or word without meaning; {codes_line(column)}",
            )
        )
        return _blank(texts)
    blank = np.asarray(pd.isna(values), dtype=bool)
    _note_coded(column, blank & ~np.asarray(words.isin(MISSING_WORDS), dtype=bool), log)
    return pd.Series(np.where(blank, "", values), dtype="object")


def codes_in_header(header: str, column: Column) -> dict[str, str | None]:
    """Codes that a header explains, as in `Sex (1=m, 2=f)`, with the level where the dictionary knows the word."""
    pairs = _CODE_PAIR.findall(header)
    words = pd.Series([word.strip(" )]") for _, word in pairs], dtype="object")
    levels = read_levels(words, column).values if pairs else ()
    return {code: None if level is None else str(level) for (code, _), level in zip(pairs, levels, strict=True)}


def recode_id(texts: pd.Series, missing: frozenset[str]) -> pd.Series:
    """Identifiers as they stand; missing ones empty."""
    return texts.where(~texts.str.casefold().isin(missing | MISSING_WORDS), "")


def _conversion(
    column: Column, line: ColumnLine, header: str, field: Field | None, where: str, log: Log
) -> Conversion | None:
    """The declared way to the dictionary's unit; without a declaration only what leaves no choice."""
    noted = find_conversion(column, field.note) if field is not None and field.note else None
    if line.unit is not None:
        declared = find_conversion(column, line.unit)
        if declared is not None and noted is not None and declared.factor != noted.factor:
            log.problems.append(
                (
                    DataError,
                    f"{where}: the mapping says {declared.unit!r}, the REDCap field note {noted.unit!r}; correct one",
                )
            )
        return declared
    if noted is not None:
        return noted
    if not column.units or header == column.name:
        return Conversion(column.unit, Decimal(1), None)
    log.problems.append(
        (DataError, f"{where}: its unit is not said; {unit_line(column)} on its line in [columns] of the mapping")
    )
    return None


def _check_thousands(
    texts: pd.Series, column: Column, numbers: Numbers, conversion: Conversion, where: str, log: Log
) -> None:
    """A whole-number column in its own unit has no thousandths: then the mark groups thousands."""
    if column.kind != "count" or conversion.factor != 1:
        return
    parts = numbers.where(lambda value: value != value.to_integral_value())
    if parts.any() and (suspicious := parts & is_unclear(texts)).any():
        log.problems.append(
            (
                DataError,
                f"{where}: {name_rows(suspicious)} hold thousandths in a column of whole numbers; the mark looks like "
                'one for thousands: write the other decimal = "," or "." on its line in [columns]',
            )
        )


def _check_magnitude(
    numbers: Numbers,
    column: Column,
    conversion: Conversion,
    line: ColumnLine,
    where: str,
    log: Log,
) -> None:
    """Refuse values that only make sense in another unit, compared with the dictionary's public cell edges."""
    if line.checked or not column.units:
        return
    floats = np.array([np.nan if value is None else float(value) for value in numbers.distinct], dtype=np.float64)
    known = floats[numbers.places]
    known = known[~np.isnan(known)]
    if not len(known):
        return
    others = [find_conversion(column, unit) for unit in (column.unit, *(name for name, _ in column.units))]
    likely = ""
    if column.unit == "%" and conversion.factor == 1 and (known > 0).any() and not (known > 1).any():
        likely = "fraction"
    elif len(known) >= _MANY and len(column.knots) >= 2:
        first, last = column.knots[0], column.knots[-1]
        middle = float(np.median(known))
        if not first <= middle * float(conversion.factor) <= last:
            fitting = [c.unit for c in others if c is not None and first <= middle * float(c.factor) <= last]
            likely = " or ".join(f'"{unit}"' for unit in fitting)
    if likely:
        log.problems.append(
            (
                DataError,
                f"{where}: read as {conversion.unit!r} the values lie where published ones do not, but {likely} would "
                "fit; correct unit on its line in [columns], or write checked = true there if it is right",
            )
        )


def _note_numbers(numbers: Numbers, column: Column, conversion: Conversion, field: Field | None, log: Log) -> None:
    known = numbers.where(lambda value: True)
    if conversion.factor != 1:
        note = f"converted from {conversion.unit} to {column.unit}, x {conversion.factor.normalize():f}"
        log.findings.append(Finding("converted", column.name, int(known.sum()), note))
    elif conversion.unit != column.unit:
        note = f"{conversion.unit} is {column.unit}"
        log.findings.append(Finding("converted", column.name, int(known.sum()), note))
    if conversion.decimals is not None:
        note = f"rounded to the dictionary's decimals ({conversion.decimals}) after the conversion"
        log.findings.append(Finding("rounded", column.name, int(known.sum()), note))
    if numbers.grouped.any():
        note = "written with marks between thousands"
        log.findings.append(Finding("thousands", column.name, int(numbers.grouped.sum()), note))
    if numbers.censored.any():
        note = "written as a limit such as <0.5; the limit is taken as the value"
        log.findings.append(Finding("censored", column.name, int(numbers.censored.sum()), note))
    _note_coded(column, numbers.coded, log)
    if field is not None:
        outside = numbers.where(lambda value: not _in_form_range(value, field))
        if outside.any():
            note = "outside the range that the form itself declares"
            log.findings.append(Finding("form_range", column.name, int(outside.sum()), note))


def _note_coded(column: Column, coded: Mask, log: Log) -> None:
    if coded.any():
        log.findings.append(
            Finding("missing_code", column.name, int(coded.sum()), "codes for missing, read as missing")
        )


def _in_form_range(value: Decimal, field: Field) -> bool:
    number = re.compile(r"-?\d+(\.\d+)?")
    low, high = (Decimal(t) if number.fullmatch(t) else None for t in (field.minimum, field.maximum))
    return (low is None or value >= low) and (high is None or value <= high)


def _codes_of_choices(column: Column, field: Field | None, where: str, log: Log) -> dict[str, str] | None:
    """Codes of a REDCap field by the labels of its choices; None when a label has no meaning here."""
    if field is None or field.kind not in ("radio", "dropdown", "yesno", "truefalse", "checkbox"):
        return {}
    if field.kind in ("yesno", "truefalse", "checkbox"):
        return {"0": "0", "1": "1"} if column.kind == "flag" else {}
    labels = pd.Series([label for _, label in field.choices], dtype="object")
    cells = read_levels(labels, column)
    unknown = [label for label, bad in zip(labels, cells.values, strict=True) if bad is None]
    if unknown:
        log.problems.append(
            (
                UnknownLevel,
                f"{where}: the form's choices {', '.join(map(repr, unknown))} are none of the levels "
                f"{', '.join(column.levels)}; {codes_line(column)}",
            )
        )
        return None
    return {code.casefold(): str(level) for (code, _), level in zip(field.choices, cells.values, strict=True)}


def _by_codes(
    words: pd.Series, codes: Mapping[str, str], missing: frozenset[str]
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.object_]], Mask]:
    """Only what is declared: a code, a missing token, a missing word, a negative registry code."""
    places, distinct = pd.factorize(words)
    values = np.empty(len(distinct), dtype=object)
    unreadable = np.zeros(len(distinct), dtype=bool)
    for index, word in enumerate(distinct):
        values[index] = codes.get(word)
        registry = re.fullmatch(r"-\d{1,3}", word) is not None and int(word) in MISSING_CODES
        unreadable[index] = not (word in codes or word in missing or word in MISSING_WORDS or registry)
    return values[places], unreadable[places]


def codes_line(column: Column) -> str:
    """What a person writes to settle codes."""
    levels = " or ".join(f'"{level}"' for level in column.levels)
    flags = " (1 = yes, 0 = no)" if column.kind == "flag" else ""
    return (
        f"write codes = {{ CODE = {levels} }}{flags} on its line in [columns], and codes for missing in missing = [...]"
    )


def number_text(value: Decimal) -> str:
    """A decimal point, and never exactly three digits after it, which could be thousands."""
    text = f"{value.normalize():f}"
    return text + "0" if re.fullmatch(r"-?\d+\.\d{3}", text) else text


def _inside(value: Decimal, column: Column) -> bool:
    return column.lower is not None and column.upper is not None and column.lower <= value <= column.upper


def _blank(texts: pd.Series) -> pd.Series:
    return pd.Series([""] * len(texts), dtype="object")
