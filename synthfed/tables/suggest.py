"""Draft a mapping file for a table, so that a person only has to confirm and complete it.

A line is active only where a header, a form's label or the dictionary leaves no choice. Everything else is a comment
below a `# CONFIRM` that lists the choices; as long as it stays a comment, reading stops and asks for it. The
draft holds headers, units, levels and a form's own choices, never what a cell says.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from synthfed.tables.cells import decimal_mark, read_levels
from synthfed.tables.dates import looks_like_dates, read_dates
from synthfed.tables.dictionary import Dictionary, header_key, header_meanings, loose_key
from synthfed.tables.drafting import known_columns
from synthfed.tables.files import read_frame
from synthfed.tables.formats.castor_reading import castor_columns, is_castor
from synthfed.tables.local_cells import codes_in_header
from synthfed.tables.numbers import is_unclear
from synthfed.tables.redcap import RedcapDictionary
from synthfed.tables.schema import Column
from synthfed.tables.suggest_sources import source_lines
from synthfed.tables.units import find_conversion, unit_choices

_IGNORE = "ignore = []  # headers that must not be read"
_MOST_STRANGE = 20  # headers without a proposal that are asked about one by one
_IN_BRACKETS = re.compile(r"\s*[(\[]([^()\[\]]+)[)\]]\s*$")


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a header may stand for."""

    column: Column | None
    certain: bool
    near: tuple[str, ...] = ()


def suggest_mapping(
    path: Path,
    dictionary: Dictionary,
    *,
    redcap: RedcapDictionary | None,
    form: str = "",
    wanted: Sequence[str] = (),
) -> str:
    """The text of a mapping file for a table.

    Args:
        redcap: The project's data dictionary where the table is a REDCap export, and `form` its file name.
        wanted: The dictionary's columns that a pipeline needs; those that no header names get a proposal, too.
    """
    frame = read_frame(path)
    words = _words(dictionary)
    participant, administrative = castor_columns(frame) if is_castor(frame) else ("", ())
    frame = frame.drop(columns=[*administrative, *([participant] if participant else [])])
    dates = [name for name in frame.columns if looks_like_dates(frame[name])]
    lines = [
        f"# Mapping of {path.name}: a draft. What stands below each # CONFIRM is for a person to decide:",
        "# take the # away where the line is right, correct it where it is not, then run synthfed check again.",
        "",
    ]
    if participant:
        lines.append(f"# A Castor export: {participant} is the patient; what Castor adds itself is left out.")
    lines += list(_file_lines(frame, dates, redcap, form))
    columns: dict[str, list[str]] = {}
    strange: list[str] = []
    others = {str(name): _label(str(name), redcap) for name in frame.columns if name not in dates}
    certain = {column for name, label in others.items() if (column := _named(name, label, words))}
    taken: dict[str, str] = {}
    proposed: set[str] = set()
    for name, label in others.items():
        open_words = {word: column for word, column in words.items() if column not in certain}
        meaning = _meaning(_named(name, label, words), name, label, dictionary, open_words)
        columns[name] = list(_column_lines(name, frame[name], meaning, dictionary, redcap, taken))
        strange += [name] if meaning.column is None and not meaning.near and columns[name] else []
        proposed |= set(meaning.near) if meaning.column is None else set()
    if len(strange) > _MOST_STRANGE:
        doubt = f"that these {len(strange)} headers, which resemble no column of the dictionary, need not be read"
        place = lines.index(_IGNORE)
        lines[place : place + 1] = _ask(doubt, f"ignore = [{', '.join(map(_quoted, strange))}]")
        columns = {name: drafted for name, drafted in columns.items() if name not in strange}
    differences = _difference_lines(dates, dictionary)
    open_columns = _without_source(wanted, dictionary, {*taken, *proposed}, has_dates=bool(differences))
    top, composed = source_lines(open_columns, taken, dictionary, redcap)
    lines += [*top, "", "[columns]", *(line for drafted in columns.values() for line in drafted)]
    lines += ["", "[dates]", *(line for name in dates for line in _date_lines(str(name), frame[name]))]
    lines += ["", "[differences]", *differences]
    lines += ["", "[compose]", *composed] if composed else []
    return "\n".join(lines) + "\n"


def _file_lines(
    frame: pd.DataFrame,
    dates: Sequence[str],
    redcap: RedcapDictionary | None,
    form: str,
) -> Iterator[str]:
    others = [frame[name] for name in frame.columns if name not in dates]
    mark = decimal_mark(others)
    if mark is not None:
        yield f'decimal = "{mark}"'
    elif any(is_unclear(texts).any() for texts in others):
        yield from _ask("the decimal mark, the comma or the point", 'decimal = ","')
    yield "missing = []  # codes for missing beside the usual words, such as [-99]"
    yield _IGNORE
    if redcap is not None:
        yield f"redcap_dictionary = {_quoted(form)}"


def _label(header: str, redcap: RedcapDictionary | None) -> str:
    """What a form shows beside the field or the box behind an exported column."""
    owner = redcap.owner(header) if redcap is not None else None
    if owner is None:
        return ""
    field, box = owner
    return field.label if box is None else dict(field.choices).get(box, "")


def _is_left_out(header: str, meaning: _Meaning, dictionary: Dictionary, redcap: RedcapDictionary | None) -> bool:
    """Whether reading leaves the column out by itself."""
    key = header_key(header)
    if key in {header_key(name) for name in dictionary.ignored}:
        return True
    if redcap is None:
        return False
    owner = redcap.owner(header)
    if redcap.is_administrative(header) or (owner is not None and owner[0].is_free_text):
        return True
    asks_yes_or_no = owner is not None and owner[0].is_yes_or_no and key in redcap.asked_fields()
    return not meaning.certain and (asks_yes_or_no or (owner is not None and owner[0].identifier))


def _column_lines(
    header: str,
    texts: pd.Series,
    meaning: _Meaning,
    dictionary: Dictionary,
    redcap: RedcapDictionary | None,
    taken: dict[str, str],
) -> Iterator[str]:
    if _is_left_out(header, meaning, dictionary, redcap):
        return
    owner = redcap.owner(header) if redcap is not None else None
    if meaning.column is None or meaning.column.name in taken:
        choices = " or ".join(_quoted(name) for name in meaning.near) or '"..."'
        yield from _ask("the column, or put it in ignore", f"{_quoted(header)} = {choices}")
        return
    column, asks = meaning.column, [] if meaning.certain else ["the column"]
    taken[column.name] = header
    parts = [f"column = {_quoted(column.name)}"]
    note = owner[0].note if owner is not None else ""
    unit, unit_asked = _unit(header, column, note)
    if unit:
        parts.append(f"unit = {_quoted(unit)}")
    if unit_asked:
        asks.append(f"the unit ({' or '.join(map(_quoted, unit_choices(column)))})")
    is_coded_by_form = owner is not None and owner[0].kind != "text"
    if column.has_levels and not is_coded_by_form and _needs_codes(header, texts, column, dictionary):
        parts.append(f"codes = {{ {_codes(header, column)} }}")
        asks.append(f"the codes (levels: {', '.join(column.levels)})")
    value = _quoted(column.name) if len(parts) == 1 else f"{{ {', '.join(parts)} }}"
    line = f"{_quoted(header)} = {value}"
    yield from _ask(" and ".join(asks), line) if asks else [line]


def _named(header: str, label: str, words: Mapping[str, str]) -> str:
    """The column that a header, without its bracket, or a form's label names outright; empty where none does."""
    keys = (loose_key(header_key(name)) for name in (header, _IN_BRACKETS.sub("", header), label))
    return next((words[key] for key in keys if key and key in words), "")


def _meaning(named: str, header: str, label: str, dictionary: Dictionary, open_words: Mapping[str, str]) -> _Meaning:
    """The column that a header names, or the nearest of those that no other header names."""
    if named:
        return _Meaning(dictionary.schema[named], certain=True)
    names = [name for name in (header, _IN_BRACKETS.sub("", header), label) if name]
    bare = {_letters(word): column for word, column in open_words.items() if len(_letters(word)) > 1}
    near = [bare[_letters(name)] for name in names if _letters(name) in bare]
    ordered = {_in_order(word): column for word, column in open_words.items()}
    for name in names if not near else ():
        near += [ordered[hit] for hit in difflib.get_close_matches(_in_order(name), ordered, n=2, cutoff=0.72)]
    near += [] if near else [name for name in _usual(names) if name in open_words.values()]
    near = list(dict.fromkeys(near))
    if len(near) == 1:
        return _Meaning(dictionary.schema[near[0]], certain=False)
    return _Meaning(None, certain=False, near=tuple(near[:3]))


def _usual(names: Sequence[str]) -> list[str]:
    """Columns that tables of any disease call so, in several languages."""
    words = _usual_words()
    return [words[key] for name in names if (key := loose_key(header_key(name))) in words]


@cache
def _usual_words() -> Mapping[str, str]:
    return {loose_key(key): name for key, name in header_meanings(known_columns().schema).items()}


def _letters(text: str) -> str:
    """Letters and digits only: `t(15;17)` and `t_15_17` are alike."""
    return re.sub(r"[\W_]", "", text.casefold())


def _in_order(text: str) -> str:
    """Its words, sorted: `Karyotyp normal` is near `normal_karyotype`, and not `karyotype_known`."""
    return " ".join(sorted(re.split(r"[\W_]+", text.casefold())))


def _words(dictionary: Dictionary) -> dict[str, str]:
    """Column by name, alias or label; a label that two columns share names neither."""
    strict = {loose_key(key): name for key, name in header_meanings(dictionary.schema).items()}
    labels: dict[str, list[str]] = {}
    for column in dictionary.schema.columns:
        labels.setdefault(loose_key(header_key(column.label)), []).append(column.name)
    return {key: names[0] for key, names in labels.items() if key and len(names) == 1} | strict


def _unit(header: str, column: Column, note: str) -> tuple[str, bool]:
    """The unit that the header or the form names, and whether a person must settle it."""
    if not column.units or header == column.name:
        return "", False
    if note and find_conversion(column, note) is not None:
        return "", False  # read from the form itself
    bracket = _IN_BRACKETS.search(header)
    named = find_conversion(column, bracket[1]) if bracket else None
    return (named.unit, False) if named is not None else (column.unit, True)


def _needs_codes(header: str, texts: pd.Series, column: Column, dictionary: Dictionary) -> bool:
    if bool(read_levels(texts, column).unreadable.any()):
        return True
    is_event = column.name in {endpoint.event for endpoint in dictionary.schema.survivals}
    digits = np.asarray(texts.str.fullmatch(r"\d(\.0*)?"), dtype=bool)
    return header != column.name and bool(digits.any()) and (column.kind == "category" or is_event)


def _codes(header: str, column: Column) -> str:
    """Codes as the header explains them, each with its level where the dictionary knows the word."""
    said = codes_in_header(header, column)
    if not said:
        return f"CODE = {' or '.join(map(_quoted, column.levels))}"
    return ", ".join(f"{code} = {_quoted(level or '...')}" for code, level in said.items())


def _date_lines(header: str, texts: pd.Series) -> Iterator[str]:
    proven = [
        order
        for order in ("dmy", "mdy")
        if not read_dates(
            texts, order=order, two_digit_years_from=1950, serials=True, missing=frozenset()
        ).unreadable.any()
    ]
    undeclared = read_dates(texts, order=None, two_digit_years_from=1950, serials=True, missing=frozenset())
    keys: list[str] = []
    asks: list[str] = []
    if undeclared.unclear:
        keys.append('order = "dmy"')
        asks.append('the order ("dmy" or "mdy" or "ymd")')
    elif len(proven) == 1:
        keys.append(f'order = "{proven[0]}"')
    short = read_dates(texts, order="dmy", two_digit_years_from=None, serials=True, missing=frozenset()).unclear
    if short:
        keys.append("two_digit_years_from = 1950")
        asks.append("the first of the hundred years that two digits mean")
    if read_dates(texts, order="dmy", two_digit_years_from=1950, serials=False, missing=frozenset()).unclear:
        keys.append("serials = true")
        asks.append("that five bare digits are days since 1899-12-30")
    line = f"{_quoted(header)} = {{ {', '.join(keys)} }}" if keys else f"{_quoted(header)} = {{}}"
    yield from _ask(" and ".join(asks), line) if asks else [line]


def _difference_lines(dates: Sequence[str], dictionary: Dictionary) -> list[str]:
    survival = dictionary.schema.primary_survival
    if len(dates) < 2 or survival is None or dictionary.schema[survival.time].unit != "days":
        return []
    line = f"{survival.time} = {{ from = {_quoted(dates[0])}, to = {_quoted(dates[-1])} }}"
    return _ask(f"which dates begin and end it; dates here: {', '.join(map(_quoted, dates))}", line)


def _without_source(wanted: Sequence[str], dictionary: Dictionary, sourced: set[str], *, has_dates: bool) -> list[str]:
    """Wanted columns that the draft has no source for; derived ones and the patient's id need none."""
    survival = dictionary.schema.primary_survival
    from_dates = {survival.time} if has_dates and survival is not None else set()
    columns = [dictionary.schema[name] for name in wanted]
    return [
        column.name
        for column in columns
        if not column.derived and column.kind != "id" and column.name not in sourced | from_dates
    ]


def _ask(doubt: str, line: str) -> list[str]:
    """A line that stays a comment until a person has settled the doubt."""
    return [f"# CONFIRM {doubt}", f"# {line}"]


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False)
