"""Tell which column of the dictionary each of a source's values belongs to.

The mapping decides, else the source's own name for the value, else its LOINC number: a name is trusted over a code,
because public conversions hold wrong concepts. Only a LOINC number that the dictionary does not know outweighs a name
that is a mere alias: "WBC" counted in urine is not the white cells of the blood.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.tables.composing import headers_of_parts
from synthfed.tables.dictionary import header_key, header_meanings, loose_key
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.codes import column_by_loinc
from synthfed.tables.formats.events import Analyte, Events
from synthfed.tables.formats.shown import patients_of, shown_names
from synthfed.tables.mapping_lines import ColumnLine, TableMapping
from synthfed.tables.schema import Schema


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one analyte is.

    Attributes:
        line: How its values are written.
        own_words: It goes by the column's own name, so it speaks the dictionary's units and levels.
    """

    column: str
    line: ColumnLine
    own_words: bool


class Names:
    """The names and numbers by which a dictionary's columns are known."""

    def __init__(self, schema: Schema) -> None:
        self._headers, self._numbers = header_meanings(schema), column_by_loinc(schema)

    def by_name(self, analyte: Analyte) -> str | None:
        """The column that one of its own names means, unless its code rules that out."""
        keys = [header_key(name) for name in (*analyte.spellings, *analyte.loincs)]
        found = next((n for k in keys if (n := self._headers.get(k) or self._headers.get(loose_key(k)))), None)
        return None if analyte.loincs and self.by_code(analyte) is None and found not in analyte.spellings else found

    def by_code(self, analyte: Analyte) -> str | None:
        """The column that one of its LOINC numbers means."""
        return next((self._numbers[code] for code in analyte.loincs if code in self._numbers), None)


def name_analytes(events: Events, schema: Schema, mapping: TableMapping, log: Log) -> list[Meaning | None]:
    """What each analyte is; None for what is not to be read."""
    declared = {header_key(header): line for header, line in mapping.columns.items()}
    ignored = {header_key(header) for header in mapping.ignore}
    parts = headers_of_parts(mapping.compose)
    names = Names(schema)
    meanings: list[Meaning | None] = []
    used: set[str] = set()
    left_out = np.zeros(len(events.analytes), dtype=bool)
    for place, analyte in enumerate(events.analytes):
        keys = [header_key(name) for name in (*analyte.spellings, *analyte.loincs)]
        used |= set(keys)
        line = next((declared[key] for key in keys if key in declared), None)
        by_name, by_code = names.by_name(analyte), names.by_code(analyte)
        name = by_name or by_code
        if line is not None:
            meanings.append(Meaning(line.column, line, own_words=False))
        elif not ignored.isdisjoint(keys):
            meanings.append(None)
        elif name is not None:
            meanings.append(Meaning(name, ColumnLine(column=name), own_words=name in analyte.spellings))
            if by_name and by_code and by_name != by_code:
                note = f"its code means {by_code!r}; the source's own name counts"
                log.findings.append(Finding("code", name, 0, note))
            elif by_name is None:
                log.findings.append(Finding("renamed", name, 0, f"known by LOINC {', '.join(analyte.loincs)}"))
        else:
            meanings.append(None)
            left_out[place] = parts.isdisjoint(keys)
    for header in mapping.columns:
        if header_key(header) not in used:
            note = f"the mapping names {header!r}, of which there is no value"
            log.findings.append(Finding("unused", header, 0, note))
    _note_left_out(events, left_out, log)
    return meanings


def analytes_of(column: str, meanings: Sequence[Meaning | None]) -> list[tuple[Meaning, list[int]]]:
    """A column's analytes by the line that explains them."""
    groups: list[tuple[Meaning, list[int]]] = []
    for place, meaning in enumerate(meanings):
        if meaning is None or meaning.column != column:
            continue
        same = next((places for other, places in groups if other == meaning), None)
        if same is None:
            groups.append((meaning, [place]))
        else:
            same.append(place)
    return groups


def shown_name(analyte: Analyte) -> str:
    """What an analyte is called in messages, where it may be."""
    return next(iter((*analyte.spellings, *analyte.loincs)), "")


def _note_left_out(events: Events, left_out: npt.NDArray[np.bool_], log: Log) -> None:
    if not left_out.any() or not len(events):
        return
    rows = left_out[events.analyte]
    counts = patients_of(events.analyte[rows], events.patient[rows], len(left_out))
    kept = np.flatnonzero(left_out).tolist()
    shown = shown_names([shown_name(events.analytes[i]) for i in kept], counts[kept])
    note = f"not in the dictionary nor in the mapping, so left out: {shown}"
    log.findings.append(Finding("left_out", "other values", int(rows.sum()), note))
