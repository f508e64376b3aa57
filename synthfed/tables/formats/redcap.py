"""Write synthetic patients for a REDCap project: the 18-column data dictionary and data that its import takes.

Fields have the columns' names in lower case, units stand in the field note, bounds are the validation range, levels
are the choices, and a column that only exists beside another carries that as branching logic where the rules say so.
The form's name says that the patients are synthetic.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from synthfed.errors import ConfigError
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.mapping import mapping_text
from synthfed.tables.mapping_lines import ColumnLine, TableMapping
from synthfed.tables.rule_kinds import Structural
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Column, Schema
from synthfed.tables.writing import cell_texts, table_columns

DICTIONARY, DATA, MAPPING = "redcap_dictionary.csv", "redcap_data.csv", "redcap_data.mapping.toml"
FORM = "synthetic_patients"
HEADERS = (
    *("Variable / Field Name", "Form Name", "Section Header", "Field Type", "Field Label"),
    *("Choices, Calculations, OR Slider Labels", "Field Note", "Text Validation Type OR Show Slider Number"),
    *("Text Validation Min", "Text Validation Max", "Identifier?", "Branching Logic (Show field only if...)"),
    *("Required Field?", "Custom Alignment", "Question Number (surveys only)", "Matrix Group Name"),
    *("Matrix Ranking?", "Field Annotation"),
)
_FEW = 6  # choices that are shown as buttons; more are a list
_RECORD = "record_id"


def write_redcap(table: pd.DataFrame, dictionary: Dictionary) -> Mapping[str, bytes]:
    """The data dictionary, the data, and the mapping file with which synthfed reads both back.

    Raises:
        ConfigError: A level or name that REDCap cannot hold.
    """
    columns = table_columns(table, dictionary.schema)
    identity = next((column for column in columns if column.kind == "id"), None)
    record = _RECORD if identity is None else field_name(identity.name)
    ids = (
        [f"SYNTHETIC-{i}" for i in range(1, len(table) + 1)]
        if identity is None
        else cell_texts(table[identity.name], identity)
    )
    others = [column for column in columns if column.kind != "id"]
    names = [record, *(field_name(column.name) for column in others)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"REDCap knows no upper case: columns would share the fields {twice}; rename one of each")
    branching = _branching(dictionary, dictionary.schema.select(table.columns))
    rows = [_field(record, "Patient", kind="text")]
    rows += [_row(column, before, branching.get(column.name, "")) for column, before in _with_previous(others)]
    data = [ids, *(_codes(table[column.name], column) for column in others), ["2"] * len(table)]
    return {
        DICTIONARY: _csv(HEADERS, rows),
        DATA: _csv([*names, f"{FORM}_complete"], zip(*data, strict=True)),
        MAPPING: _mapping(others, identity).encode(),
    }


def redcap_losses(table: pd.DataFrame, dictionary: Dictionary) -> tuple[str, ...]:
    """A project holds every cell."""
    return ()


def field_name(name: str) -> str:
    """A column's name as REDCap allows it: lower case, digits and `_`, a letter first."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")
    return plain if plain[:1].isalpha() else f"v_{plain}"


def choices(column: Column) -> dict[str, str]:
    """Code by level: the level itself where all are whole numbers, else 1, 2, 3 ..."""
    if all(re.fullmatch(r"\d+", level) for level in column.levels):
        return {level: level for level in column.levels}
    return {level: str(code) for code, level in enumerate(column.levels, start=1)}


def _mapping(columns: Sequence[Column], identity: Column | None) -> str:
    lines = {
        field_name(column.name): ColumnLine(
            column=column.name, unit=column.unit if column.units else None, checked=bool(column.units)
        )
        for column in (*columns, *([] if identity is None else [identity]))
    }
    mapping = TableMapping(
        decimal=".", redcap_dictionary=DICTIONARY, columns=lines, ignore=() if identity is not None else (_RECORD,)
    )
    return mapping_text(mapping, title="How synthfed reads this export back; REDCap needs the two CSV files only.")


def _with_previous(columns: Sequence[Column]) -> list[tuple[Column, str]]:
    """Each column with the group of the one before it."""
    return list(zip(columns, ["", *(column.group for column in columns)][: len(columns)], strict=True))


def _row(column: Column, group_before: str, branching: str) -> Sequence[str]:
    section = "" if column.group == group_before else column.group
    shared = {"section": section, "branching": branching, "annotation": column.code}
    name, label = field_name(column.name), column.label or column.name
    if column.kind == "flag":
        return _field(name, label, kind="yesno", **shared)
    if column.has_levels:
        if any("|" in level for level in column.levels):
            raise ConfigError(
                f"column {column.name!r} has a level with '|', which separates REDCap's choices; rename it"
            )
        listed = " | ".join(f"{code}, {level}" for level, code in choices(column).items())
        kind = "radio" if len(column.levels) <= _FEW else "dropdown"
        return _field(name, label, kind=kind, choices=listed, **shared)
    whole = column.kind == "count"
    return _field(
        name,
        label,
        kind="text",
        note=column.unit,
        validation="integer" if whole else "number",
        low=f"{column.lower:g}",
        high=f"{column.upper:g}",
        **shared,
    )


def _field(
    name: str,
    label: str,
    *,
    kind: str,
    section: str = "",
    choices: str = "",
    note: str = "",
    validation: str = "",
    low: str = "",
    high: str = "",
    branching: str = "",
    annotation: str = "",
) -> Sequence[str]:
    """One line of the data dictionary, in the order of its headers."""
    asked = (name, FORM, section, kind, label, choices, note, validation, low, high, "", branching)
    return (*asked, "", "", "", "", "", annotation)


def _codes(values: pd.Series, column: Column) -> Sequence[str]:
    if not column.has_levels or column.kind == "flag":
        return cell_texts(values, column)
    codes = choices(column)
    return [codes.get(str(value), "") for value in values.astype("object")]


def _branching(dictionary: Dictionary, schema: Schema) -> dict[str, str]:
    """By column, the one condition under which it exists, where a rule says so in words that REDCap knows."""
    if not (dictionary.folder / "rules.toml").is_file():
        return {}
    rules = RuleSet.load(dictionary.folder, dictionary.schema).restrict(schema.names)
    found: dict[str, list[str]] = {}
    for body in (rule.body for rule in rules.hard if isinstance(rule.body, Structural)):
        for child in body.children:
            found.setdefault(child, []).append(_condition(body, schema))
    return {child: conditions[0] for child, conditions in found.items() if len(conditions) == 1}


def _condition(body: Structural, schema: Schema) -> str:
    """`[parent] = 'code' or ...`; empty where the rule needs more than one column or other comparisons."""
    demands = [demand for alternative in body.when.alternatives for demand in alternative]
    if len(demands) != 1 or demands[0].values is None or not schema[demands[0].column].has_levels:
        return ""
    parent = schema[demands[0].column]
    levels = [parent.levels[int(value)] for value in demands[0].values]
    codes = levels if parent.kind == "flag" else [choices(parent)[level] for level in levels]
    return " or ".join(f"[{field_name(parent.name)}] = '{code}'" for code in codes)


def _csv(header: Sequence[str], rows: object) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)  # type: ignore[arg-type]  # any iterable of rows
    return buffer.getvalue().encode()
