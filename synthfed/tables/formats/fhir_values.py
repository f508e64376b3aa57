"""Take an Observation's code and value apart: every kind of value[x] that can be a cell, and words for the others."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from synthfed.tables.formats.codes import is_loinc

LOINC_SYSTEM = "http://loinc.org"
UCUM_SYSTEM = "http://unitsofmeasure.org"

_UNREAD = frozenset(["valueRange", "valueSampledData", "valueTime", "valueDateTime", "valuePeriod", "valueAttachment"])
_UNREAD |= frozenset(["valueReference"])

Parts = tuple[str, tuple[str, ...], tuple[str, ...]]
"""The number, words and units of a `Value`."""


def analyte_of(code: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and local codes in the order given, and LOINC numbers."""
    codings = codings_of(code)
    loincs = tuple(c for system, c, _ in codings if system == LOINC_SYSTEM and "-" in c and is_loinc(c))
    local = [c for system, c, _ in codings if system != LOINC_SYSTEM]
    names = [*local, text_of(dict_in(code).get("text")), *(display for _, _, display in codings)]
    return tuple(dict.fromkeys(name for name in names if name)), loincs


def value_of(part: Mapping[str, Any]) -> tuple[Parts | None, str]:
    """The parts of a `Value`, None where there is none, or why it cannot be read."""
    if "valueQuantity" in part:
        return _quantity(dict_in(part["valueQuantity"])), ""
    for key in ("valueInteger", "valueDecimal"):
        if key in part:
            return (text_of(part[key]), (), ()), ""
    if "valueBoolean" in part:
        return ("", ("1" if part["valueBoolean"] is True else "0",), ()), ""
    if "valueCodeableConcept" in part:
        concept = dict_in(part["valueCodeableConcept"])
        codings = codings_of(concept)
        words = [*(c for _, c, _ in codings), *(d for _, _, d in codings), text_of(concept.get("text"))]
        return ("", tuple(dict.fromkeys(word for word in words if word)), ()), ""
    if "valueString" in part:
        text = text_of(part["valueString"])
        return ("", (text,) if text else (), ()), ""
    if "valueRatio" in part:
        return _ratio(dict_in(part["valueRatio"]))
    other = next((key for key in part if key in _UNREAD), "")
    return None, f"{other} is not read" if other else ""


def _quantity(quantity: Mapping[str, Any]) -> Parts | None:
    number = text_of(quantity.get("value"))
    if not number:
        return None
    units = tuple(dict.fromkeys(unit for key in ("code", "unit") if (unit := text_of(quantity.get(key)))))
    return f"{text_of(quantity.get('comparator'))}{_plain_decimal(number)}", (), units


def _ratio(ratio: Mapping[str, Any]) -> tuple[Parts | None, str]:
    parts = [text_of(dict_in(ratio.get(key)).get("value")) for key in ("numerator", "denominator")]
    try:
        above, below = (Decimal(part) for part in parts)
        return (f"{(above / below).quantize(Decimal('1e-9')).normalize():f}", (), ()), ""
    except (InvalidOperation, ZeroDivisionError):
        return None, "valueRatio without two numbers is not read"


def _plain_decimal(number: str) -> str:
    """JSON may write 1.2E1; anything else is left to the reader of numbers."""
    try:
        return f"{Decimal(number):f}" if "e" in number.casefold() else number
    except InvalidOperation:
        return number


def codings_of(concept: Any) -> list[tuple[str, str, str]]:
    """System, code and display of each coding of a CodeableConcept."""
    return [
        (text_of(coding.get("system")), text_of(coding.get("code")), text_of(coding.get("display")))
        for coding in dicts_in(dict_in(concept).get("coding"))
    ]


def dict_in(thing: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one where there is none."""
    return thing if isinstance(thing, dict) else {}


def dicts_in(thing: Any) -> list[Mapping[str, Any]]:
    """The JSON objects of a list."""
    return [one for one in thing if isinstance(one, dict)] if isinstance(thing, list) else []


def text_of(thing: Any) -> str:
    """A text with single spaces; empty where there is none."""
    return " ".join(thing.split()) if isinstance(thing, str) else ""
