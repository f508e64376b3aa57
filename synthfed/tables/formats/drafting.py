"""Draft a mapping file for a source with one row per value, so that a person only has to confirm and complete it.

Everything that is to be decided is a comment below a `# CONFIRM`. The draft holds names of values and codes of
conditions that at least `SHOWN_FROM` patients share, never a value: a rarer name might be a slip that holds one.
"""

import difflib
import json
from collections.abc import Iterator, Sequence

import numpy as np

from synthfed.tables.dictionary import Dictionary, header_key, header_meanings, loose_key
from synthfed.tables.formats.choosing import WINDOW
from synthfed.tables.formats.codes import unit_spellings
from synthfed.tables.formats.events import Analyte, Survey
from synthfed.tables.formats.naming import Names, shown_name
from synthfed.tables.formats.shown import SHOWN_FROM, patients_of
from synthfed.tables.schema import Column
from synthfed.tables.suggest_sources import source_lines
from synthfed.tables.units import find_conversion, unit_choices

_NEAR = 0.7  # likeness of two names from which one is proposed for the other


def draft_long_mapping(name: str, survey: Survey, dictionary: Dictionary, *, wanted: Sequence[str] = ()) -> str:
    """The text of a mapping file.

    Args:
        name: The file or folder that it is for.
        wanted: Columns that a pipeline needs; those without a source get a proposal, too.
    """
    events = survey.events
    counts = patients_of(events.analyte, events.patient, len(events.analytes))
    headers, names = header_meanings(dictionary.schema), Names(dictionary.schema)
    given: dict[str, str] = dict.fromkeys(survey.from_persons, "the persons")
    columns: list[str] = []
    unknown: list[tuple[int, str]] = []
    rare = 0
    for place, analyte in enumerate(events.analytes):
        column = names.by_name(analyte) or names.by_code(analyte)
        if column is not None:
            given[column] = shown_name(analyte)
            columns += _unit_lines(survey, place, analyte, dictionary.schema[column])
        elif counts[place] >= SHOWN_FROM and shown_name(analyte):
            unknown.append((int(counts[place]), shown_name(analyte)))
        else:
            rare += 1
    proposed: set[str] = set()
    for _, spelled in sorted(unknown, key=lambda pair: (-pair[0], pair[1])):
        near = _near(spelled, headers, given)
        columns += _unknown_lines(spelled, near)
        proposed |= set(near)
    if rare:
        columns.append(f"# {rare} further names, each of fewer than {SHOWN_FROM} patients, are not shown")
    schema = dictionary.schema
    asked = [schema[c] for c in wanted if c in schema and not schema[c].derived and schema[c].kind != "id"]
    without = [column.name for column in asked if column.name not in given and column.name not in proposed]
    top, composed = source_lines(without, given, dictionary, None)
    lines = [
        f"# Mapping of {name}: a draft. What stands below each # CONFIRM is for a person to decide:",
        "# take the # away where the line is right, correct it where it is not, then run synthfed check again.",
        "",
        "missing = []  # codes for missing beside the usual words, such as [-99]",
        "ignore = []  # names of values that must not be read",
        *top,
        "",
        "[timing]",
        *_diagnosis_lines(survey),
        f"window_days = {list(WINDOW)}  # days around the diagnosis in which a value counts as baseline",
        "",
        "[columns]",
        *columns,
    ]
    lines += ["", "[compose]", *composed] if composed else []
    return "\n".join(lines) + "\n"


def _unit_lines(survey: Survey, place: int, analyte: Analyte, column: Column) -> Iterator[str]:
    """A question where values come in a unit that the dictionary does not know, or in none."""
    if not column.is_number or not column.unit or column.name in analyte.spellings:
        return
    events = survey.events
    rows = events.analyte == place
    codes = np.unique(events.value[rows])
    units = {events.values[code].units for code in codes.tolist()}
    if all(any(find_conversion(column, unit) for unit in unit_spellings(spelled)) for spelled in units):
        return
    yield f"# CONFIRM the unit of {column.name} where it is not said or not known"
    choices = " or ".join(json.dumps(unit, ensure_ascii=False) for unit in unit_choices(column))
    yield f"# {_quoted(shown_name(analyte))} = {{ column = {_quoted(column.name)}, unit = {choices} }}"


def _near(spelled: str, headers: dict[str, str], given: dict[str, str]) -> list[str]:
    """Columns with a similar name that nothing else gives."""
    hits = difflib.get_close_matches(loose_key(header_key(spelled)), headers, n=3, cutoff=_NEAR)
    return list(dict.fromkeys(headers[hit] for hit in hits if headers[hit] not in given))


def _unknown_lines(spelled: str, near: Sequence[str]) -> Iterator[str]:
    if near:
        yield f"# CONFIRM what {_quoted(spelled)} is"
        yield f"# {_quoted(spelled)} = {' or '.join(map(_quoted, near))}"
    else:
        yield f"# {_quoted(spelled)} is in no dictionary and left out"


def _diagnosis_lines(survey: Survey) -> Iterator[str]:
    shown = sorted(code for code, count in survey.conditions.items() if count >= SHOWN_FROM and code)
    if survey.diagnosis_is_known:
        return
    yield "# CONFIRM which codes are the diagnosis; its first record is day 0"
    yield f"# diagnosis = {json.dumps(shown, ensure_ascii=False)}"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False)
