"""What a mapping file says, line by line: values that are checked among themselves when the file is read.

`tables.mapping` reads the file and compares it with the dictionary; `datasets/TABLES.md` explains the keys.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from synthfed.tables.cells import Mark
from synthfed.tables.dates import Order
from synthfed.tables.dictionary import header_key
from synthfed.tables.numbers import plain_number


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


class ComposeLine(_Part):
    """How one column of the dictionary is put together from several of the file. Exactly one of the first four is set.

    A part is a header of the file, a column of the dictionary that the file gives, or a condition on the file's own
    cells such as `[Status] = '3'`.

    Attributes:
        any_of: A flag: 1 where a part is 1, 0 where all are 0.
        known_in: A flag: 1 where a part holds anything that does not mean missing, else 0.
        first_known: The first part that is filled, such as one of two laboratories.
        levels: A category: the level of the part that is 1.
        otherwise: The level where all parts are 0; without it the cell is missing.
        gaps: What a missing part does where no other decides: the cell is missing, or the part counts as no as long
            as another is known.
        conflict: What parts do that contradict each other, or the column itself where the file holds it, too: they
            stop the reading, the first counts (the column before its parts), or the cell is missing.
    """

    any_of: tuple[str, ...] = Field(default=(), alias="any")
    known_in: tuple[str, ...] = Field(default=(), alias="known")
    first_known: tuple[str, ...] = ()
    levels: Mapping[str, str] = Field(default_factory=dict)
    otherwise: str | None = None
    gaps: Literal["missing", "no"] = "missing"
    conflict: Literal["error", "first", "missing"] = "error"

    @property
    def parts(self) -> tuple[str, ...]:
        """What it is put together from, in order."""
        return (*self.any_of, *self.known_in, *self.first_known, *self.levels)

    @model_validator(mode="after")
    def _one_way(self) -> "ComposeLine":
        ways = {"any": self.any_of, "known": self.known_in, "first_known": self.first_known, "levels": self.levels}
        if sum(bool(way) for way in ways.values()) != 1:
            raise ValueError("needs exactly one of any, known, first_known or levels, with at least one part")
        if self.otherwise is not None and not self.levels:
            raise ValueError("otherwise goes with levels")
        return self


class TimingLine(_Part):
    """Which of several dated values counts, where a source has one row per value (OMOP, FHIR).

    Attributes:
        diagnosis: Codes of the condition whose first record is the diagnosis; `C92.0*` stands for all that begin so.
        window_days: First and last day around the diagnosis in which a value counts as baseline.
    """

    diagnosis: tuple[str, ...] = ()
    window_days: tuple[int, int] | None = None

    @field_validator("diagnosis", mode="before")
    @classmethod
    def _codes_are_texts(cls, value: Any) -> Any:
        return tuple(str(code) for code in value) if isinstance(value, list) else value

    @field_validator("window_days")
    @classmethod
    def _window_is_in_order(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError("window_days = [before, after] ends before it begins; days before are negative")
        return value


class TableMapping(_Part):
    """A mapping file.

    Attributes:
        decimal: The decimal mark of the whole file.
        missing: Cells that mean missing in every column.
        ignore: Headers that are not to be read.
        not_recorded: The dictionary's columns that this hospital does not record: missing in every row.
        redcap_dictionary: File name of the REDCap data dictionary beside the table.
        columns: What each column of the file is.
        dates: Columns that hold dates; they enter the table only as differences.
        differences: The dictionary's columns that are differences of two dates, in days.
        compose: The dictionary's columns that are put together from several.
        timing: Which of several dated values counts; for sources with one row per value.
    """

    decimal: Mark | None = None
    missing: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    not_recorded: tuple[str, ...] = ()
    redcap_dictionary: str | None = None
    columns: Mapping[str, ColumnLine] = Field(default_factory=dict)
    dates: Mapping[str, DateLine] = Field(default_factory=dict)
    differences: Mapping[str, DifferenceLine] = Field(default_factory=dict)
    compose: Mapping[str, ComposeLine] = Field(default_factory=dict)
    timing: TimingLine = Field(default_factory=TimingLine)

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


def _texts(value: Any) -> Any:
    """Missing codes may be written as numbers or texts."""
    if not isinstance(value, list):
        return value
    return tuple(plain_number(str(item).casefold()) if isinstance(item, int | float | str) else item for item in value)
