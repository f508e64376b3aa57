"""The public codes that exchange formats use: LOINC numbers, UCUM units, OMOP concepts, a disease's diagnosis.

Only codes with two independent sources stand here. A code that is not known is not written: the column's own name is,
and nothing is invented.
"""

import re
from collections.abc import Mapping, Sequence

from synthfed.tables.schema import Column, Schema

# Another method, the same quantity in the same unit: LDH by another substrate; blasts counted by hand.
SAME_ANALYTE: Mapping[str, str] = {"14804-9": "2532-0", "709-6": "26446-5"}

# OMOP standard concepts of LOINC numbers, checked against a second source.
LOINC_CONCEPTS: Mapping[str, int] = {"718-7": 3000963, "6690-2": 3000905, "777-3": 3024929}

# Concepts of the OMOP vocabulary that public conversions of hospital records agree on.
SEX_CONCEPTS: Mapping[int, str] = {8507: "male", 8532: "female"}
OPERATOR_CONCEPTS: Mapping[int, str] = {4171756: "<", 4171754: "<=", 4171755: ">=", 4172704: ">"}
ANSWER_CONCEPTS: Mapping[int, str] = {4188539: "yes", 4188540: "no", 9191: "positive", 9189: "negative"}

# SNOMED CT (code, name) of a disease's diagnosis.
DIAGNOSES: Mapping[str, tuple[str, str]] = {"aml": ("91861009", "Acute myeloid leukemia")}

# A column whose level is the diagnosis more exactly, and the SNOMED CT code of each level that has a checked one.
DIAGNOSIS_LEVELS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "scd": ("genotype", {"HbSS": "127040003", "HbSC": "35434009"})
}

# Endpoints whose event is death, by their name in the dictionary.
DEATH_ENDPOINTS = ("os", "death")

AGE, SEX = "30525-0", "76689-9"  # LOINC numbers that tell which columns a person record fills

_LOINC = re.compile(r"(?:LOINC[ :|]*)?(\d{1,7}-\d)")
_TO_UCUM: Mapping[str, str] = {
    "10^9/L": "10*9/L",
    "10^12/L": "10*12/L",
    "years": "a",
    "months": "mo",
    "weeks": "wk",
    "days": "d",
    "mg/kg/day": "mg/kg/d",
    "mL/min/1.73 m2": "mL/min/{1.73_m2}",
    "fraction": "1",
}
_FROM_UCUM: Mapping[str, str] = {ucum: unit for unit, ucum in _TO_UCUM.items()}
_AS_THEY_ARE = frozenset(["g/dL", "g/L", "U/L", "%", "fL", "pg", "mg/dL", "mg/L", "ng/mL", "ug/L", "umol/L", "mmol/L"])
_AS_THEY_ARE |= frozenset(["cm/s", "m/s", "mg/g", "cm", "kg", "ukat/L", "nkat/L"])


def loincs_of(column: Column) -> tuple[str, ...]:
    """LOINC numbers that the dictionary gives a column."""
    return tuple(re.findall(r"LOINC (\d+-\d)", column.code))


def loinc_in(text: str) -> str | None:
    """The LOINC number that a text is, such as `718-7` or `LOINC:718-7`; one with a wrong check digit is none."""
    match = _LOINC.fullmatch(text.strip())
    return match[1] if match and is_loinc(match[1]) else None


def is_loinc(code: str) -> bool:
    """Whether the last digit is right (mod 10, every second digit doubled)."""
    number, _, check = code.partition("-")
    doubled = "".join(str(int(digit) * (2 if place % 2 == 0 else 1)) for place, digit in enumerate(number[::-1]))
    return str(-sum(map(int, doubled)) % 10) == check


def column_by_loinc(schema: Schema) -> dict[str, str]:
    """Column by LOINC number, equal analytes included; a number that two columns share is left out."""
    owners: dict[str, set[str]] = {}
    for column in schema.columns:
        for code in loincs_of(column):
            owners.setdefault(code, set()).add(column.name)
    known = {code: names.pop() for code, names in owners.items() if len(names) == 1}
    return {other: known[code] for other, code in SAME_ANALYTE.items() if code in known} | known


def column_with_loinc(schema: Schema, code: str) -> Column | None:
    """The column with this number."""
    name = column_by_loinc(schema).get(code)
    return None if name is None else schema[name]


def columns_of_persons(schema: Schema, *, sex: bool, age: bool, death: bool) -> tuple[str, ...]:
    """Columns that persons' own records give, by what these records hold."""
    columns = [column_with_loinc(schema, code) for code, here in ((SEX, sex), (AGE, age)) if here]
    endpoint = next((s for s in schema.survivals if s.name in DEATH_ENDPOINTS), None)
    times = (endpoint.time, endpoint.event) if endpoint is not None and death else ()
    return (*(column.name for column in columns if column is not None), *times)


def ucum_of(unit: str) -> str:
    """A dictionary's unit in UCUM; one that UCUM has no word for becomes an annotation, `{mutant/wild type}`."""
    if not unit:
        return "1"
    return _TO_UCUM.get(unit) or (unit if unit in _AS_THEY_ARE else f"{{{unit}}}")


def unit_spellings(units: Sequence[str]) -> list[str]:
    """Each unit as it stands and as the dictionaries would write it."""
    spellings = []
    for unit in units:
        annotation = re.fullmatch(r"\{(.*)\}", unit)
        plain = annotation[1] if annotation else re.sub(r"\{[^}]*\}", "", unit)
        spellings += [unit, _FROM_UCUM.get(unit) or _FROM_UCUM.get(plain, plain)]
    return list(dict.fromkeys(spellings))
