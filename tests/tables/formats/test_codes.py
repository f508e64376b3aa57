"""Codes are public and right: check digits, units that come back, one column per number."""

import pytest

from synthfed.tables.formats.codes import (
    LOINC_CONCEPTS,
    SAME_ANALYTE,
    column_by_loinc,
    is_loinc,
    loinc_in,
    ucum_of,
    unit_spellings,
)
from synthfed.tables.schema import Column, Schema
from synthfed.tables.units import find_conversion
from tests.tables.formats.simulated import dictionary


def test_every_loinc_number_here_has_its_check_digit() -> None:
    assert all(map(is_loinc, [*SAME_ANALYTE, *SAME_ANALYTE.values(), *LOINC_CONCEPTS]))
    assert not is_loinc("4576-9")  # wrong ones circulate
    assert loinc_in("LOINC:718-7") == loinc_in("718-7") == "718-7"
    assert loinc_in("718-8") is loinc_in("C92.0") is None


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_every_unit_of_a_dictionary_comes_back_from_ucum(disease: str) -> None:
    for column in dictionary(disease).schema.columns:
        if not column.is_number or not column.unit:
            continue
        for unit in (column.unit, *(name for name, _ in column.units)):
            found = [find_conversion(column, spelled) for spelled in unit_spellings((ucum_of(unit),))]
            expected = find_conversion(column, unit)
            assert expected is not None
            assert next(c.factor for c in found if c is not None) == expected.factor, (column.name, unit)


def test_a_number_that_two_columns_share_names_neither() -> None:
    columns = tuple(Column(name, "flag", code="LOINC 718-7") for name in ("a", "b"))
    assert column_by_loinc(Schema("x", columns)) == {}
