"""Read the mapping file that a data manager writes beside a table: `NAME.mapping.toml` for `NAME.csv`.

A mapping says in public words what the table's own dialect means: which column is which, in which unit, with which
codes, which dates give which time. It holds no patient's value. It is checked against the dictionary before the table
is opened. `datasets/README.md` explains its keys with a complete example.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from synthfed.errors import MappingError
from synthfed.tables.branching import ALWAYS, BranchingError, parse_branching
from synthfed.tables.cells import Mark
from synthfed.tables.dates import Order
from synthfed.tables.dictionary import Dictionary, header_key
from synthfed.tables.numbers import plain_number
from synthfed.tables.schema import Column
from synthfed.tables.units import find_conversion, unit_choices

SUFFIX = ".mapping.toml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnLine(_Part):
    """What one column of the file is.

    Attributes:
        column: The dictionary's column.
        unit: The unit in the file.
        codes: The level behind each code; other cells are refused then.
        missing: Further cells that mean missing.
        decimal: The decimal mark of this column.
        known_when: When the cell is an answer, as in `[panel_done] = '1'`, or `always`; else it is missing.
        checked: The person has looked at a column that looks as if it were in another unit.
    """

    column: str
    unit: str | None = None
    codes: Mapping[str, str] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    decimal: Mark | None = None
    known_when: str | None = None
    checked: bool = False

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @field_validator("codes", mode="before")
    @classmethod
    def _levels_are_texts(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {str(code).casefold(): str(level) if isinstance(level, int) else level for code, level in value.items()}

    @field_validator("missing", mode="before")
    @classmethod
    def _missing_are_texts(cls, value: Any) -> Any:
        return _texts(value)


class DateLine(_Part):
    """How one column of dates is written.

    Attributes:
        order: `dmy`, `mdy` or `ymd`; left out, the column must prove it.
        two_digit_years_from: First of the hundred years that two digits can mean.
        serials: Whether five bare digits are a spreadsheet's day numbers.
        missing: Further cells that mean missing.
    """

    order: Order | None = None
    two_digit_years_from: int | None = Field(default=None, ge=1850, le=2050)
    serials: bool = False
    missing: tuple[str, ...] = ()

    @field_validator("missing", mode="before")
    @classmethod
    def _missing_are_texts(cls, value: Any) -> Any:
        return _texts(value)


class DifferenceLine(_Part):
    """Days from one date column to another."""

    start: str = Field(alias="from")
    end: str = Field(alias="to")


class TableMapping(_Part):
    """A mapping file.

    Attributes:
        decimal: The decimal mark of the whole file.
        missing: Cells that mean missing in every column.
        ignore: Headers that are not to be read.
        redcap_dictionary: File name of the REDCap data dictionary beside the table.
        columns: What each column of the file is.
        dates: Columns that hold dates; they enter the table only as differences.
        differences: The dictionary's columns that are differences of two dates, in days.
    """

    decimal: Mark | None = None
    missing: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    redcap_dictionary: str | None = None
    columns: Mapping[str, ColumnLine] = Field(default_factory=dict)
    dates: Mapping[str, DateLine] = Field(default_factory=dict)
    differences: Mapping[str, DifferenceLine] = Field(default_factory=dict)

    @field_validator("missing", mode="before")
    @classmethod
    def _missing_are_texts(cls, value: Any) -> Any:
        return _texts(value)

    @model_validator(mode="after")
    def _headers_are_said_once(self) -> "TableMapping":
        places: dict[str, str] = {}
        for section, headers in (("columns", self.columns), ("dates", self.dates), ("ignore", self.ignore)):
            for header in headers:
                key = header_key(header)
                if key in places:
                    raise ValueError(f"{header!r} is in [{places[key]}] and in [{section}]; keep one line")
                places[key] = section
        return self


def mapping_path(table: Path) -> Path:
    """Where the mapping of a table lies."""
    return table.with_name(table.stem + SUFFIX)


def load_mapping(path: Path, dictionary: Dictionary) -> TableMapping:
    """Read a mapping file and check it against the dictionary.

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
    problems = [
        *(p for header, line in mapping.columns.items() for p in _line_problems(header, line, dictionary)),
        *_difference_problems(mapping, dictionary),
        *_shared_targets(mapping),
    ]
    if problems:
        raise MappingError("\n".join([f"{path.name}: {len(problems)} problems", *(f"  {text}" for text in problems)]))
    return mapping


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


def unit_line(column: Column) -> str:
    """What a person writes to settle a unit."""
    choices = " or ".join(f'"{unit}"' for unit in unit_choices(column))
    return f"write unit = {choices}"


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
    return [f"[columns] {headers} all give {name!r}; keep one" for name, headers in owners.items() if len(headers) > 1]


def _texts(value: Any) -> Any:
    """Missing codes may be written as numbers or texts."""
    if not isinstance(value, list):
        return value
    return tuple(plain_number(str(item).casefold()) if isinstance(item, int | float | str) else item for item in value)


def _explain(error: ValidationError, origin: str) -> str:
    lines = [f"{origin}:"]
    for issue in error.errors():
        where = ".".join(str(part) for part in issue["loc"]) or "the file"
        hint = {"extra_forbidden": "unknown key; see datasets/README.md"}.get(issue["type"], issue["msg"])
        lines.append(f"  {where}: {hint}")
    return "\n".join(lines)
