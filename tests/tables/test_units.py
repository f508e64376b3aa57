"""A unit is known by its column; conversions by powers of ten are exact and others rounded to the dictionary."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.units import find_conversion, unit_choices

AML = load_dictionary("aml").schema
SCD = load_dictionary("scd").schema


@pytest.mark.parametrize(
    ("column", "unit", "value", "expected"),
    [
        ("hb_g_dl", "g/L", "85", "8.5"),
        ("hb_g_dl", "G/l", "85", "8.5"),
        ("hb_g_dl", "mmol/L", "5.21", "8.4"),
        ("wbc_10e9_l", "/µL", "27200", "27.2"),
        ("wbc_10e9_l", "/ul", "27200", "27.2"),
        ("wbc_10e9_l", "G/L", "27.2", "27.2"),
        ("wbc_10e9_l", "10*3/uL", "27.2", "27.2"),
        ("wbc_10e9_l", "x10⁹/L", "27.2", "27.2"),
        ("platelets_10e9_l", "/nL", "43", "43"),
        ("ldh_u_l", "µkat/L", "4.07", "244"),
        ("bm_blasts_pct", "fraction", "0.995", "99.5"),
        ("bm_blasts_pct", "percent", "70", "70"),
        ("hb_g_dl", "gm/dL", "8.5", "8.5"),
        ("hb_g_dl", "g/100 mL", "8.5", "8.5"),
        ("hb_g_dl", "g%", "8.5", "8.5"),
        *[("wbc_10e9_l", unit, "27.2", "27.2") for unit in ("K/uL", "k/µl", "10*3/mm3", "10^3/mm³", "10E3/mcL")],
        *[("wbc_10e9_l", unit, "27.2", "27.2") for unit in ("Tsd./µl", "thou/cmm", "10*3/uL{cells}", "*10^9/l")],
        *[("wbc_10e9_l", unit, "27200", "27.2") for unit in ("cells/uL", "/mm3", "cells/cu.mm", "1/mm^3", "10^6/L")],
        *[("platelets_10e9_l", unit, "43", "43") for unit in ("Gpt/L", "Giga/L", "10e9/L", "1/nL")],
        *[("ldh_u_l", unit, "244", "244") for unit in ("IU/L", "UI/L", "[IU]/L", "IE/l", "units/liter")],
        ("ldh_u_l", "mckat/L", "4.07", "244"),
    ],
)
def test_a_value_in_another_unit_becomes_the_dictionarys(column: str, unit: str, value: str, expected: str) -> None:
    conversion = find_conversion(AML[column], unit)
    assert conversion is not None
    assert conversion.apply(Decimal(value)) == Decimal(expected)


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        *[("hb_g_dl", "g"), ("wbc_10e9_l", "g/dL"), ("sex", "g/L"), ("hb_g_dl", ""), ("hb_g_dl", "K/uL")],
        *[("wbc_10e9_l", "M/uL"), ("wbc_10e9_l", "mil/mm3"), ("wbc_10e9_l", "K/L"), ("ldh_u_l", "IU/mL")],
    ],
)
def test_a_unit_of_another_column_is_unknown(column: str, unit: str) -> None:
    assert find_conversion(AML[column], unit) is None


def test_a_spelling_is_never_two_units_of_one_column() -> None:
    for dictionary in ("aml", "scd"):
        for column in load_dictionary(dictionary).schema.columns:
            factors: dict[str, set[Decimal]] = {}
            for unit in unit_choices(column):
                conversion = find_conversion(column, unit)
                if conversion is not None:
                    declared = {column.unit: 1.0, **dict(column.units)}[unit]
                    factors.setdefault(unit, set()).update({conversion.factor, Decimal(repr(declared))})
            assert all(len(found) == 1 for found in factors.values()), column.name


@given(st.decimals(2, 20, places=1))
@settings(deadline=None, max_examples=60)
def test_haemoglobin_in_mmol_with_two_decimals_comes_back_exactly(value: Decimal) -> None:
    conversion = find_conversion(AML["hb_g_dl"], "mmol/L")
    assert conversion is not None
    written = round(value / Decimal("1.6114"), 2)
    assert conversion.apply(written) == value


def test_every_declared_unit_is_found_and_listed() -> None:
    for schema in (AML, SCD):
        for column in schema.columns:
            for unit in unit_choices(column):
                assert not column.is_number or find_conversion(column, unit) is not None
