"""Read the mapping file that a data manager writes beside a table: `NAME.mapping.toml` for `NAME.csv`.

A mapping says in public words what the table's own dialect means: which column is which, in which unit, with which
codes, which dates give which time. It holds no patient's value. It is checked against the dictionary before the table
is opened. `datasets/TABLES.md` explains its keys with a complete example.
"""

import json
import tomllib
from pathlib import Path

from pydantic import ValidationError

from synthfed.errors import MappingError
from synthfed.tables.branching import ALWAYS, BranchingError, parse_branching
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.mapping_lines import ColumnLine, ComposeLine, TableMapping
from synthfed.tables.schema import Schema
from synthfed.tables.units import find_conversion, unit_line

SUFFIX = ".mapping.toml"


def mapping_path(table: Path) -> Path:
    """Where the mapping of a table lies."""
    return table.with_name((table.name if table.is_dir() else table.stem) + SUFFIX)


def load_mapping(path: Path, dictionary: Dictionary, *, shared: bool = False) -> TableMapping:
    """Read a mapping file and check it against the dictionary.

    Args:
        shared: Whether several names may give one column, as the codes of one analyte do where a source has one row
            per value.

    Raises:
        MappingError: The file is missing, is no TOML, has an unknown key, or says what the dictionary rules out. All
            problems in one message.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MappingError(f"mapping {path} cannot be read: {type(error).__name__}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"mapping {path} is not valid TOML: {error}") from error
    try:
        mapping = TableMapping.model_validate(raw)
    except ValidationError as error:
        raise MappingError(_explain(error, path.name)) from error
    problems = _contradictions(mapping, dictionary, shared=shared)
    if problems:
        raise MappingError("\n".join([f"{path.name}: {len(problems)} problems", *(f"  {text}" for text in problems)]))
    return mapping


def mapping_text(mapping: TableMapping, *, title: str) -> str:
    """A mapping as a file that `load_mapping` reads back, under a line of comment."""
    import tomli_w

    content = mapping.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content["columns"] = {
        header: line["column"] if set(line) == {"column"} else line
        for header, line in content.get("columns", {}).items()
    }
    return f"# {title}\n\n{tomli_w.dumps(content)}"


def _contradictions(mapping: TableMapping, dictionary: Dictionary, *, shared: bool) -> list[str]:
    return [
        *(p for header, line in mapping.columns.items() for p in _line_problems(header, line, dictionary)),
        *_difference_problems(mapping, dictionary),
        *(p for name, line in mapping.compose.items() for p in _composed_problems(name, line, dictionary.schema)),
        *_not_recorded_problems(mapping, dictionary.schema),
        *(() if shared else _shared_targets(mapping)),
    ]


def _line_problems(header: str, line: ColumnLine, dictionary: Dictionary) -> list[str]:
    schema = dictionary.schema
    if line.column not in schema:
        return [f"[columns] {header!r}: column {line.column!r} is not in the {schema.disease!r} dictionary"]
    column, where = schema[line.column], f"[columns] {header!r}"
    problems = []
    if line.unit is not None and not column.is_number:
        problems.append(f"{where}: {column.name!r} has levels and no unit; remove unit")
    elif line.unit is not None and find_conversion(column, line.unit) is None:
        problems.append(f"{where}: unit {line.unit!r} is not known for {column.name!r}; {unit_line(column)}")
    if line.codes and not column.has_levels:
        problems.append(f"{where}: {column.name!r} has no levels; remove codes")
    strange = sorted(set(line.codes.values()) - set(column.levels)) if column.has_levels else []
    if strange:
        problems.append(f"{where}: codes lead to {strange}; levels of {column.name!r} are {', '.join(column.levels)}")
    if line.known_when not in (None, ALWAYS):
        try:
            parse_branching(str(line.known_when))
        except BranchingError as error:
            problems.append(f"{where}: known_when: {error}")
    return problems


def _difference_problems(mapping: TableMapping, dictionary: Dictionary) -> list[str]:
    problems = []
    for name, line in mapping.differences.items():
        where = f"[differences] {name}"
        if name not in dictionary.schema:
            problems.append(f"{where}: not in the {dictionary.schema.disease!r} dictionary")
        elif dictionary.schema[name].unit != "days":
            problems.append(f"{where}: is not in days; only columns in days are differences of dates")
        problems += [
            f"{where}: {header!r} has no line in [dates]"
            for header in (line.start, line.end)
            if header not in mapping.dates
        ]
    return problems


def _shared_targets(mapping: TableMapping) -> list[str]:
    owners: dict[str, list[str]] = {}
    for header, line in mapping.columns.items():
        owners.setdefault(line.column, []).append(header)
    merged = {name: line.first_known for name, line in mapping.compose.items()}
    strays = [
        f"[columns] {header!r} gives {mapping.columns[header].column!r}, but is a part of [compose.{name}]; keep one"
        for name, headers in merged.items()
        for header in headers
        if header in mapping.columns and mapping.columns[header].column != name
    ]
    return strays + [
        f"[columns] {headers} all give {name!r}; keep one, or write first_known = {json.dumps(headers)} in "
        f"[compose.{name}]"
        for name, headers in owners.items()
        if len(headers) > 1 and not set(headers) <= set(merged.get(name, ()))
    ]


def _composed_problems(name: str, line: ComposeLine, schema: Schema) -> list[str]:
    where = f"[compose.{name}]"
    if name not in schema:
        return [f"{where}: not in the {schema.disease!r} dictionary"]
    column, problems = schema[name], []
    if column.derived or column.kind == "id":
        problems.append(f"{where}: is {'computed by a rule' if column.derived else 'the patient'}; leave it out")
    if (line.any_of or line.known_in) and column.kind != "flag":
        problems.append(f"{where}: any and known give flags; {name!r} is a {column.kind}: use levels or first_known")
    if line.levels and column.kind not in ("category", "ordinal"):
        problems.append(f"{where}: levels give a category; {name!r} is a {column.kind}")
    elif line.levels:
        strange = sorted({*line.levels.values(), line.otherwise or column.levels[0]} - set(column.levels))
        if strange:
            problems.append(f"{where}: parts lead to {strange}; levels of {name!r} are {', '.join(column.levels)}")
    for part in line.parts:
        if part.startswith("["):
            try:
                parse_branching(part)
            except BranchingError as error:
                problems.append(f"{where}: {error}")
            if line.known_in or line.first_known:
                problems.append(f"{where}: {part!r} is a condition; known and first_known take columns")
    return problems


def _not_recorded_problems(mapping: TableMapping, schema: Schema) -> list[str]:
    given = {line.column for line in mapping.columns.values()} | mapping.differences.keys() | mapping.compose.keys()
    problems = []
    for name in mapping.not_recorded:
        where = f"not_recorded: {name!r}"
        if name not in schema:
            problems.append(f"{where} is not in the {schema.disease!r} dictionary")
        elif name in given:
            problems.append(f"{where} has a line in this mapping, too; keep one of the two")
        elif schema[name].missing == "never":
            problems.append(
                f"{where} must be known for every patient (missing = 'never'): compose it from other columns in "
                f"[compose.{name}], or leave it out of the pipeline"
            )
    return problems


def _explain(error: ValidationError, origin: str) -> str:
    lines = [f"{origin}:"]
    for issue in error.errors():
        where = ".".join(str(part) for part in issue["loc"]) or "the file"
        hint = {"extra_forbidden": "unknown key; see datasets/TABLES.md"}.get(issue["type"], issue["msg"])
        lines.append(f"  {where}: {hint}")
    return "\n".join(lines)
