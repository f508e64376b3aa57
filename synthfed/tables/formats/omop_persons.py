"""Read OMOP's person table and the tables of persons' dates: birth, death, last contact."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import DataError
from synthfed.tables.dictionary import header_key
from synthfed.tables.findings import Finding, Log, name_rows
from synthfed.tables.formats.codes import SEX_CONCEPTS
from synthfed.tables.formats.days import days_of, read_days
from synthfed.tables.formats.events import Codes, Days, Texts
from synthfed.tables.formats.omop_tables import plain_code, read_columns
from synthfed.tables.formats.persons import sex_word
from synthfed.tables.mapping_lines import TableMapping

_UNKNOWN_SEX = frozenset(["u", "o", "unknown", "other", "not specified", "undifferentiated"])


@dataclass(frozen=True, slots=True)
class Persons:
    """The person table, one row per person."""

    ids: list[str]
    table: pd.DataFrame
    extra: pd.DataFrame

    @classmethod
    def read(cls, file: Path, extra: Sequence[str], log: Log) -> "Persons":
        names = ["person_id", "person_source_value", "gender_concept_id", "gender_source_value", "year_of_birth"]
        names += ["month_of_birth", "day_of_birth", "birth_datetime"]
        further = {header_key(name): name for name in extra if header_key(name) not in names}
        read = read_columns(file, [*names, *further], needed=["person_id"])
        table = pd.DataFrame({name: texts.series() for name, texts in read.items()})
        table["person_id"] = [plain_code(text) for text in table["person_id"]]
        if (table["person_id"] == "").any():
            rows = np.asarray(table["person_id"] == "", dtype=bool)
            log.problems.append((DataError, f"{file.name}: {name_rows(rows)} have no person_id; add it"))
        once = table.drop_duplicates()
        if len(once) < len(table):
            note = "identical rows of the person table were merged"
            log.findings.append(Finding("duplicate", "person", len(table) - len(once), note))
        again = np.asarray(once["person_id"].duplicated(keep=False) & (once["person_id"] != ""), dtype=bool)
        if again.any():
            rows = np.zeros(len(table), dtype=bool)
            rows[once.index[again]] = True
            log.problems.append(
                (DataError, f"{file.name}: {name_rows(rows)} share a person_id and differ; keep one row per person")
            )
        if not len(table):
            log.problems.append((DataError, f"{file.name} holds no person"))
        once = once.reset_index(drop=True)
        present = {key: name for key, name in further.items() if (once[key] != "").any()}
        return cls(once["person_id"].tolist(), once, once[list(present)].rename(columns=present))

    def positions(self, texts: Texts) -> Codes:
        """The person of each row; -1 where the person table has none."""
        place = {name: i for i, name in enumerate(self.ids)}
        return np.array([place.get(plain_code(word), -1) for word in texts.words], dtype=np.int32)[texts.codes]


def sexes_of(table: pd.DataFrame, log: Log) -> pd.Series:
    """Words for the sex: the source's own, else the concept's; contradicting ones are a problem."""
    words = []
    contrary = 0
    for own, concept in zip(table["gender_source_value"], table["gender_concept_id"], strict=True):
        standard = SEX_CONCEPTS.get(int(concept), "") if plain_code(concept).isdigit() else ""
        if own.casefold() in _UNKNOWN_SEX:
            own = ""
        contrary += bool(standard) and own.casefold() in ("m", "f", "male", "female") and own[0].lower() != standard[0]
        words.append(sex_word(own, standard))
    if contrary:
        log.problems.append(
            (
                DataError,
                f"person: gender_source_value and gender_concept_id contradict each other for {contrary} persons; "
                "correct one",
            )
        )
    return pd.Series(words, dtype="object")


def births_of(table: pd.DataFrame, mapping: TableMapping, log: Log) -> tuple[Days, npt.NDArray[np.bool_]]:
    """Days of birth, from the date or its parts; the first day of the year where only that is known."""
    parts = []
    for year, month, day in zip(table["year_of_birth"], table["month_of_birth"], table["day_of_birth"], strict=True):
        year, month, day = plain_code(year), plain_code(month), plain_code(day)
        parts.append(f"{year:>04}-{month or 1:>02}-{day or 1:>02}" if year.isdigit() else "")
    given = table["birth_datetime"]
    texts = given.where(given != "", pd.Series(parts, dtype="object"))
    codes, words = pd.factorize(texts)
    days = read_days(list(words), "birth_datetime", mapping, counts=np.bincount(codes).tolist(), log=log)
    coarse = np.asarray((given == "") & ((table["month_of_birth"] == "") | (table["day_of_birth"] == "")), dtype=bool)
    return days[codes], coarse


def extreme_day(
    file: Path | None, header: str, persons: Persons, mapping: TableMapping, log: Log, *, last: bool
) -> Days:
    """The first or last day per person in a table of dates; NaN where there is none."""
    result = np.full(len(persons.ids), np.nan)
    if file is None:
        return result
    read = read_columns(file, ["person_id", header], needed=["person_id", header])
    person, day = persons.positions(read["person_id"]), days_of(read[header], header, mapping, log)
    known = (person >= 0) & ~np.isnan(day)
    if last:
        np.fmax.at(result, person[known], day[known])
        return result
    np.fmin.at(result, person[known], day[known])
    several = known & (day != result[person])
    if several.any():
        count = len(np.unique(person[several]))
        log.problems.append(
            (DataError, f"{file.name}: {count} persons have several dates of death; keep one row per person")
        )
    return result
