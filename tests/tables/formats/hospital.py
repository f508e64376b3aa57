"""Small OMOP tables as hospitals' databases export them, made up by hand."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from synthfed.errors import SynthfedError
from synthfed.tables.findings import Finding
from synthfed.tables.formats.omop_reading import read_omop
from synthfed.tables.mapping import load_mapping
from synthfed.tables.mapping_lines import TableMapping
from tests.tables.formats.simulated import dictionary

Row = tuple[object, ...]

PERSON = "person_id,gender_concept_id,gender_source_value,year_of_birth,month_of_birth,day_of_birth"
CONDITION = "person_id,condition_start_date,condition_source_value"
MEASUREMENT = (
    "person_id,measurement_concept_id,measurement_date,value_as_number,measurement_source_value,unit_source_value"
)
OBSERVATION = "person_id,observation_date,observation_source_value,value_as_string"
DEATH = "person_id,death_date"
PERIOD = "person_id,observation_period_end_date"


class Hospital:
    """A folder of tables; two persons with a diagnosis on 2015-03-10 unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.persons: list[Row] = [(1, 8507, "M", 1950, 6, 15), (2, 8532, "F", 1960, 1, 2)]
        self.conditions: list[Row] = [(1, "2015-03-10", "C92.0"), (2, "2015-03-10", "C92.0")]
        self.measurements: list[Row] = []
        self.observations: list[Row] = []
        self.mapping = ""

    def add(self, name: str, header: str, rows: Sequence[Row]) -> None:
        lines = [header, *(",".join(map(str, row)) for row in rows)]
        (self.folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def write(self) -> None:
        self.add("person", PERSON, self.persons)
        if self.conditions:
            self.add("condition_occurrence", CONDITION, self.conditions)
        self.add("measurement", MEASUREMENT, self.measurements)
        if self.observations:
            self.add("observation", OBSERVATION, self.observations)

    def read(self, *, extra: Sequence[str] = ()) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
        self.write()
        return self.read_again(extra=extra)

    def read_again(self, *, extra: Sequence[str] = ()) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
        mapping = TableMapping()
        if self.mapping:
            file = self.folder.with_name("hospital.mapping.toml")
            file.write_text(self.mapping, encoding="utf-8")
            mapping = load_mapping(file, dictionary("aml"), shared=True)
        return read_omop(self.folder, dictionary("aml"), mapping, extra=extra)

    def refusal(self) -> str:
        """The message with which it is refused."""
        try:
            self.read()
        except SynthfedError as error:
            return str(error)
        raise AssertionError("it was read")


def notes(findings: Sequence[Finding], column: str) -> str:
    """What was noted about a column."""
    return "; ".join(f"{f.kind}: {f.note} ({f.count})" for f in findings if f.column == column)
