"""Draft a dictionary for a disease that synthfed does not know, from a table's headers or a form and public knowledge.

A dictionary is shared between hospitals and shapes everything that is released, so nothing in a draft is taken from
what patients' cells say: names, labels, units, levels and bounds come from `datasets/known_columns.toml`, from the
headers, or from a form's own choices and ranges. Of the cells only the kind is looked at: numbers, yes or no, dates,
few words or many. Where public knowledge ends, a line is left as a comment below `# CONFIRM`; a dictionary with such a
gap is refused when it is loaded, so no run starts before a person has filled it from knowledge.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from synthfed.errors import UnreadableFile
from synthfed.resources import shipped
from synthfed.tables.cells import decimal_mark, read_levels, read_numbers
from synthfed.tables.dates import looks_like_dates
from synthfed.tables.dictionary import Dictionary, header_key, header_meanings, load_dictionary, loose_key
from synthfed.tables.schema import Column, Survival
from synthfed.tables.units import find_conversion

_IN_BRACKETS = re.compile(r"\s*[(\[]([^()\[\]]+)[)\]]\s*$")
_PERSONAL = re.compile(
    r"(first|last|sur|full|family)? ?name|vorname|nachname|initials|address|street|zip|postcode|plz|phone|e?mail|ssn"
    r"|insurance.*|mrn|medical record.*|birth.*|dob|geburts.*|date of birth|comments?|notes?|remarks?|bemerkung(en)?"
    r"|kommentar|free ?text|ward|physician|doctor|hospital|centre|center|site|clinic"
)
_WORDS_OF_A_CATEGORY = 40  # more different words are taken for free text

Shape = Literal["dates", "whole", "decimal", "yes or no", "words", "text", "empty"]


@dataclass(slots=True)
class Draft:
    """A dictionary in the making.

    Attributes:
        entries: The text of each `[[column]]`.
        names: Their names, the patient's id included.
        ignored: Headers that are not read, with the reason.
        survivals: Endpoints whose two columns are there.
        rules: The text of each `[[rule]]`.
        open: Columns that a person must complete before the dictionary loads.
    """

    entries: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    survivals: list[Survival] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def add(self, name: str, lines: Sequence[str], *, is_open: bool = False) -> None:
        """Add a column; a name that is taken gets a number."""
        unique, number = name, 2
        while unique in self.names:
            unique, number = f"{name}_{number}", number + 1
        self.names.append(unique)
        self.entries.append("\n".join(["[[column]]", f"name = {quoted(unique)}", *lines]))
        self.open += [unique] if is_open else []


def known_columns() -> Dictionary:
    """Columns that many diseases' tables share, with public bounds, units and codes."""
    return load_dictionary(shipped("datasets") / "known_columns.toml")


def draft_from_table(frame: pd.DataFrame) -> Draft:
    """Draft a dictionary for a table of texts.

    Raises:
        UnreadableFile: The first line seems to hold a patient's values instead of names.
    """
    known, draft = known_columns(), Draft()
    meanings = {loose_key(key): name for key, name in header_meanings(known.schema).items()}
    _check_header_line([str(name) for name in frame.columns])
    for header in map(str, frame.columns):
        texts, bare = frame[header], _IN_BRACKETS.sub("", header)
        shape = shape_of(texts)
        name = meanings.get(loose_key(header_key(header))) or meanings.get(loose_key(header_key(bare)))
        column = known.schema[name] if name is not None and name not in draft.names else None
        if column is not None and column.kind == "id":
            draft.add(column.name, [*_fixed(column), *_alias(header, column.name)])
        elif shape == "dates":
            draft.ignored.append(
                (header, "dates; only their differences enter a table, see [differences] in a mapping")
            )
        elif _PERSONAL.fullmatch(loose_key(header_key(bare))):
            draft.ignored.append((header, "identifies, names a place or is free text"))
        elif column is not None and _fits(column, shape, texts):
            _add_known(draft, column, header, texts)
        elif shape == "text":
            draft.ignored.append((header, "too many different words for a category"))
        else:
            _add_unknown(draft, header, shape)
    draft.survivals = [s for s in known.schema.survivals if {s.time, s.event} <= set(draft.names)]
    return draft


def _check_header_line(headers: Sequence[str]) -> None:
    """Without a header line the first patient's values would become names: do not repeat them."""
    values = sum(
        re.fullmatch(r"[<>-]?\d+([.,]\d+)*%?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", header) is not None for header in headers
    )
    if values * 4 > len(headers):
        raise UnreadableFile(
            f"{values} of {len(headers)} names in the first line are numbers or dates; the first line must hold the "
            "column names: add it and draft again"
        )


def shape_of(texts: pd.Series) -> Shape:
    """What the cells are written like; codes for missing aside."""
    flag, number = Column("x", "flag"), Column("x", "continuous", lower=-1e12, upper=1e12)
    cells = read_levels(texts, flag)
    present = np.asarray([value is not None for value in cells.values], dtype=bool) | cells.unreadable
    if not present.any():
        return "empty"
    if not cells.unreadable.any():
        return "yes or no"
    if looks_like_dates(texts):
        return "dates"
    numbers = read_numbers(texts, number, decimal_mark([texts]) or ".")
    if numbers.unreadable.sum() * 10 <= present.sum():
        known = numbers.values[~np.isnan(numbers.values)]
        return "whole" if len(known) and (known == np.rint(known)).all() else "decimal"
    return "words" if texts[present].nunique() <= _WORDS_OF_A_CATEGORY else "text"


def _fits(column: Column, shape: Shape, texts: pd.Series) -> bool:
    if column.is_number:
        return shape in ("whole", "decimal", "yes or no", "empty")
    if column.kind == "flag":
        return True  # other codes are declared in a mapping
    return shape != "decimal"


def _add_known(draft: Draft, column: Column, header: str, texts: pd.Series) -> None:
    bracket = _IN_BRACKETS.search(header)
    unit = find_conversion(column, bracket[1]) if bracket is not None and column.is_number else None
    lines = _fixed(column)
    if unit is not None and unit.factor != 1:
        lines.append(f"# The header says {unit.unit}: a mapping file converts it (synthfed check --suggest-mapping)")
        lines += _alias(_IN_BRACKETS.sub("", header), column.name)
    else:
        lines += _alias(header, column.name)
        if column.is_number and column.units and unit is None:
            lines.append(f"# CONFIRM that your table is in {column.unit}; else a mapping file converts it")
    if column.has_levels and bool(read_levels(texts, column).unreadable.any()):
        lines.append("# CONFIRM the codes: some cells are none of these levels; declare them in a mapping file")
    draft.add(column.name, lines)


def _fixed(column: Column) -> list[str]:
    """What public knowledge says of a known column."""
    lines = [f"kind = {quoted(column.kind)}", f"label = {quoted(column.label)}"]
    if column.unit:
        lines.append(f"unit = {quoted(column.unit)}")
    if column.is_number:
        lines.append(f"bounds = [{column.lower:g}, {column.upper:g}]  # CONFIRM: wide public limits, not your table's")
        lines += [f"scale = {quoted(column.scale)}"] if column.scale != "linear" else []
        lines += [f"decimals = {column.decimals}"] if column.decimals else []
    elif column.kind in ("category", "ordinal"):
        lines.append(f"levels = {listed(column.levels)}  # CONFIRM")
    lines += [f"missing = {quoted(column.missing)}"] if column.missing != "possible" else []
    lines += [f"known_at = {quoted(column.known_at)}"] if column.known_at != "baseline" else []
    lines.append(f"group = {quoted(column.group)}")
    lines += [f"units = {_inline(dict(column.units))}"] if column.units else []
    lines += [f"synonyms = {_inline(dict(column.synonyms))}"] if column.synonyms else []
    lines += [f"code = {quoted(column.code)}"] if column.code else []
    return lines


def _add_unknown(draft: Draft, header: str, shape: Shape) -> None:
    bracket = _IN_BRACKETS.search(header)
    bare = _IN_BRACKETS.sub("", header)
    lines = [f"label = {quoted(bare)}", *_alias(header, slug(bare))]
    if shape == "yes or no":
        draft.add(slug(bare), ['kind = "flag"  # CONFIRM: the cells read as yes and no', *lines])
    elif shape in ("whole", "decimal"):
        kind = ['kind = "count"'] if shape == "whole" else ['kind = "continuous"', "decimals = 1  # CONFIRM"]
        lines.append(f"unit = {quoted(bracket[1] if bracket else '')}  # CONFIRM")
        draft.add(slug(bare), [*kind, *lines, *open_bounds()], is_open=True)
    else:
        draft.add(slug(bare), ['kind = "category"', *lines, *open_levels()], is_open=True)


def open_bounds() -> list[str]:
    """The lines that stand where only a person can say the bounds."""
    return [
        "# CONFIRM the bounds, from knowledge and never from these patients: extremes tell who is among them",
        "# bounds = [lowest possible, highest possible]",
    ]


def open_levels() -> list[str]:
    """The lines that stand where only a person can say the levels."""
    return [
        "# CONFIRM the levels that exist, whoever is in the table; spellings go to synonyms = { spelling = level }",
        '# levels = ["...", "..."]',
    ]


def _alias(header: str, name: str) -> list[str]:
    if loose_key(header_key(header)) == loose_key(name):
        return []
    return [f"aliases = {listed([header])}"]


def slug(text: str) -> str:
    """A name for a column: letters of its own language, digits and `_`."""
    plain = re.sub(r"[^\w]+|_+", "_", text.casefold()).strip("_")
    return plain if plain and not plain[0].isdigit() else f"x_{plain}"


def quoted(text: str) -> str:
    """A TOML text: JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False)


def listed(texts: Sequence[str]) -> str:
    """A TOML list of texts."""
    return json.dumps(list(texts), ensure_ascii=False)


def _inline(table: Mapping[str, object]) -> str:
    return (
        "{ "
        + ", ".join(f"{quoted(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items())
        + " }"
    )
