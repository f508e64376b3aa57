"""Write synthetic patients as the AML table of the SYNTHEMA registry: its 144 names, its types, nothing else.

Names, types and labels are facts of the registry's public schema (`datasets/aml/synthema.toml`). An earlier validator
of the registry infers types from the file: a float needs a decimal point, and a column of whole numbers is refused
when some of its cells are empty. Floats are written with a point here; whole-number columns that are partly empty are
named in the losses, and `synthema-complete` leaves the patients behind their empty cells out.
"""

import csv
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd

from synthfed.errors import ConfigError
from synthfed.resources import shipped
from synthfed.tables.dictionary import Dictionary, header_key, header_meanings
from synthfed.tables.schema import Column

FILE = "synthema_aml.csv"
_ANOMALY = "anomaly chr "


@dataclass(frozen=True, slots=True)
class SynthemaSchema:
    """The registry's AML table.

    Attributes:
        groups: Names of each group (clinical, karyotype, mutations) with their types, in order.
        empty: Names whose content is not public or is free text.
        unassigned: Levels that a label there does not have.
        levels: The registry's text for a level, by name; other levels are written as they are.
        flags: By category of the dictionary and flag of the registry, the levels that make the flag 1.
        unclear: By category and level, the flags of which one may be 1.
        chromosomes: By flag of the dictionary, the chromosomes it touches.
        fusions: By category and level, the chromosomes it touches.
    """

    groups: Mapping[str, Mapping[str, str]]
    empty: frozenset[str]
    unassigned: frozenset[str]
    levels: Mapping[str, Mapping[str, str]]
    flags: Mapping[str, Mapping[str, tuple[str, ...]]]
    unclear: Mapping[str, Mapping[str, tuple[str, ...]]]
    chromosomes: Mapping[str, tuple[str, ...]]
    fusions: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def types(self) -> Mapping[str, str]:
        """All names with their types: `string`, `category`, `int` or `float`."""
        return {name: kind for group in self.groups.values() for name, kind in group.items()}


@cache
def synthema_schema() -> SynthemaSchema:
    """The schema that is shipped with the AML dictionary."""
    raw = tomllib.loads((shipped("datasets") / "aml" / "synthema.toml").read_text(encoding="utf-8"))

    def tuples(table: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, dict[str, tuple[str, ...]]]:
        return {name: {key: tuple(values) for key, values in inner.items()} for name, inner in table.items()}

    touched = raw["chromosomes"]
    return SynthemaSchema(
        groups={group: raw[group] for group in ("clinical", "karyotype", "mutations")},
        empty=frozenset(raw["empty"]),
        unassigned=frozenset(raw["unassigned"]),
        levels=raw["levels"],
        flags=tuples(raw["flags"]),
        unclear=tuples(raw["unclear"]),
        chromosomes={name: tuple(value) for name, value in touched.items() if isinstance(value, list)},
        fusions=tuples({name: value for name, value in touched.items() if isinstance(value, dict)}),
    )


def write_synthema(
    table: pd.DataFrame, dictionary: Dictionary, *, delimiter: Literal[",", ";"] = ",", complete: bool = False
) -> Mapping[str, bytes]:
    """`synthema_aml.csv`: 144 columns, decimal point, missing = empty.

    Args:
        complete: Leave out patients with an empty cell in a whole-number column that others fill.

    Raises:
        ConfigError: The table is not of the AML dictionary.
    """
    columns = _columns(table, dictionary)
    kept = _complete(columns) if complete else np.ones(len(table), dtype=bool)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(texts[kept] for texts in columns.values()), strict=True))
    return {FILE: buffer.getvalue().encode()}


def synthema_losses(table: pd.DataFrame, dictionary: Dictionary, *, complete: bool = False) -> tuple[str, ...]:
    """What the registry's schema cannot say of this table."""
    schema, known = synthema_schema(), dictionary.schema
    meanings = header_meanings(known)
    placed = {meanings[header_key(name)] for name in schema.types if header_key(name) in meanings} | schema.flags.keys()
    lines = []
    nowhere = [name for name in table.columns if name not in placed and known[name].kind != "id"]
    if nowhere:
        lines.append(f"no column for {', '.join(nowhere)}")
    for category, flags in schema.flags.items():
        if category not in table or any(flag in table for flag in flags):
            continue
        merged = [f"{' and '.join(levels)} are both {flag}" for flag, levels in flags.items() if len(levels) > 1]
        merged += [
            f"{level} may be {' or '.join(parts)}, which are left empty"
            for level, parts in schema.unclear.get(category, {}).items()
        ]
        told = {level for levels in flags.values() for level in levels} | schema.unclear.get(category, {}).keys()
        rest = [level for level in known[category].levels if level not in told]
        merged += [f"{' and '.join(rest)} are both 0"] if len(rest) > 1 else []
        lines.append(f"{category} becomes flags: {'; '.join(merged)}")
    lines += [
        f"{name}: {', '.join(gone)} is no group of the registry and left empty"
        for name in table.columns
        if name in placed and (gone := sorted(schema.unassigned & set(known[name].levels)))
    ]
    derived = [name for name in schema.types if name.startswith(_ANOMALY) and meanings.get(name) not in table]
    if derived:
        lines.append(
            f"{_ANOMALY}N ({len(derived)} columns) is 1 where a lesion of the table touches chromosome N, else 0: "
            "other lesions are unknown"
        )
    columns = _columns(table, dictionary)
    gaps = [name for name, kind in schema.types.items() if kind in ("int", "category") and _has_gaps(columns[name])]
    if gaps and complete:
        dropped = int((~_complete(columns)).sum())
        lines.append(f"{dropped} synthetic patients with an empty cell in a whole-number column are left out")
    elif gaps:
        lines.append(
            f"{len(gaps)} whole-number columns have empty cells ({', '.join(gaps[:3])}, ...): an earlier validator of "
            "the registry refuses them; --format synthema-complete leaves those patients out"
        )
    return tuple(lines)


_Texts = np.ndarray[tuple[int, ...], np.dtype[np.object_]]


def _columns(table: pd.DataFrame, dictionary: Dictionary) -> dict[str, _Texts]:
    """The text of every cell, by the registry's names in their order."""
    schema = synthema_schema()
    if dictionary.schema.disease != "aml":
        raise ConfigError(
            f"format synthema is the registry's AML table; this table is of {dictionary.schema.disease!r}: choose csv, "
            "parquet or another format"
        )
    meanings = header_meanings(dictionary.schema)
    blank = np.full(len(table), "", dtype=object)
    columns: dict[str, _Texts] = {}
    for name, kind in schema.types.items():
        source = meanings.get(header_key(name), "")
        if name in schema.empty:
            columns[name] = blank
        elif source in table:
            columns[name] = _texts(table[source], dictionary.schema[source], name, kind)
        elif name.startswith(_ANOMALY):
            columns[name] = _anomaly(table, name.removeprefix(_ANOMALY))
        elif name == "ID":
            columns[name] = np.array([f"SYNTHETIC-{i}" for i in range(1, len(table) + 1)], dtype=object)
        else:
            columns[name] = _flag(table, name)
    return columns


def _texts(values: pd.Series, column: Column, name: str, kind: str) -> _Texts:
    missing = values.isna().to_numpy(dtype=bool)
    schema = synthema_schema()
    if column.has_levels and column.kind != "flag":
        told = schema.levels.get(name, {})
        texts = {level: told.get(level, level) for level in column.levels}
        texts |= {level: "" for level in texts if level in schema.unassigned}
        if kind == "float":
            texts = {level: f"{float(text):.1f}" for level, text in texts.items()}
        return np.array([texts.get(str(value), "") for value in values.astype("object")], dtype=object)
    if column.kind == "id":
        return np.where(missing, "", values.astype("object").to_numpy())
    numbers = values.astype("Float64").to_numpy(dtype=np.float64, na_value=0.0)
    decimals = 0 if kind in ("int", "category") else max(column.decimals, 1)
    shown = np.array([f"{number:.{decimals}f}" for number in np.round(numbers, decimals) + 0.0], dtype=object)
    return np.where(missing, "", shown)


def _flag(table: pd.DataFrame, name: str) -> _Texts:
    """A flag that the dictionary keeps as a level of a category."""
    schema = synthema_schema()
    for category, flags in schema.flags.items():
        unclear = schema.unclear.get(category, {})
        if category in table and (name in flags or any(name in parts for parts in unclear.values())):
            levels = table[category].astype("object")
            texts = np.where(levels.isin(flags.get(name, ())), "1", "0").astype(object)
            open_ = levels.isna() | levels.isin([level for level, parts in unclear.items() if name in parts])
            return np.where(open_.to_numpy(dtype=bool), "", texts)
    return np.full(len(table), "", dtype=object)


def _anomaly(table: pd.DataFrame, chromosome: str) -> _Texts:
    """1 where a lesion touches the chromosome, empty where none of the table's lesions is known."""
    schema = synthema_schema()
    touches, known = np.zeros(len(table), dtype=bool), np.zeros(len(table), dtype=bool)
    for flag, chromosomes in schema.chromosomes.items():
        if flag in table:
            known |= table[flag].notna().to_numpy(dtype=bool)
            if chromosome in chromosomes:
                touches |= (table[flag] == 1).fillna(False).to_numpy(dtype=bool)
    for category, by_level in schema.fusions.items():
        if category in table:
            levels = [level for level, chromosomes in by_level.items() if chromosome in chromosomes]
            touches |= table[category].isin(levels).to_numpy(dtype=bool)
    return np.where(touches, "1", np.where(known, "0", "")).astype(object)


def _has_gaps(texts: _Texts) -> bool:
    return bool((texts == "").any() and (texts != "").any())


def _complete(columns: Mapping[str, _Texts]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Patients without an empty cell in a whole-number column that some fill."""
    types = synthema_schema().types
    gaps = [texts for name, texts in columns.items() if types[name] in ("int", "category") and _has_gaps(texts)]
    rows = len(next(iter(columns.values())))
    return np.all([texts != "" for texts in gaps], axis=0) if gaps else np.ones(rows, dtype=bool)
