"""Convert numbers between the units that a dictionary declares, exactly where the factor is a power of ten.

A unit is known by its column: `g/L` is grams for haemoglobin and giga for a cell count. A spelling counts whatever its
case, spaces, the letter for micro, the way the power is written, and whether it is UCUM (`10*3/mm3`) or a laboratory's
own (`K/uL`, `IU/L`, `cells/cmm`, `gm/dL`); a unit that the column does not list is unknown, and nothing is converted
without one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from synthfed.tables.schema import Column

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def _spelled(units: Mapping[str, str]) -> dict[str, str]:
    return {word: unit for unit, words in units.items() for word in words.split()}


# How laboratories write the same unit, above the stroke, below it, and as a whole.
_OVER = {"": "1"} | _spelled(
    {"1": "cell cells zellen # n", "u": "iu ui ie ei [iu] units einheiten", "g": "gm", "ug": "mcg"}
    | {"umol": "micromol mcmol", "ukat": "mckat", "10^9": "giga gpt", "10^12": "tera tpt"}
)
_UNDER = _spelled({"ul": "mcl microl mm3 mm^3 mm*3 cmm cumm cu.mm", "l": "liter litre ltr", "dl": "100ml", "s": "sec"})
_WHOLE = _spelled(
    {"%": "percent prozent pct", "days": "d day tage", "months": "mo month monate", "years": "a y yr yrs year jahre"}
    | {"fraction": "ratio anteil", "g/dl": "g%"}
)
# cells in a microlitre as cells in a litre
_COUNTS = {"1": "10^6"} | _spelled({"10^9": "10^3 k thou tsd tsd.", "10^12": "10^6 m mio mio."})


@dataclass(frozen=True, slots=True)
class Conversion:
    """The way from a local unit to the column's.

    Attributes:
        unit: The local unit, as the dictionary spells it.
        factor: What a local value is multiplied with.
        decimals: Digits kept, or None where the product is exact and kept whole.
    """

    unit: str
    factor: Decimal
    decimals: int | None

    def apply(self, value: Decimal) -> Decimal:
        """Convert one value."""
        product = value * self.factor
        if self.decimals is None:
            return product
        return product.quantize(Decimal(1).scaleb(-self.decimals), rounding=ROUND_HALF_EVEN)


def find_conversion(column: Column, unit: str) -> Conversion | None:
    """How `unit` becomes the column's own unit, or None where the dictionary does not know it for this column."""
    key = unit_key(unit)
    alike = [(name, factor) for name, factor in ((column.unit, 1.0), *column.units) if unit_key(name) == key]
    if not alike:
        return None
    name, factor = next((pair for pair in alike if pair[0].casefold() == unit.casefold()), alike[0])
    if name == column.unit:
        return Conversion(name, Decimal(1), None)
    exact = Decimal(repr(factor))
    power_of_ten = exact.normalize().as_tuple().digits == (1,)
    return Conversion(name, exact, None if power_of_ten else column.decimals)


def unit_choices(column: Column) -> tuple[str, ...]:
    """Units in which the column may be given, its own first."""
    return tuple(dict.fromkeys((column.unit, *(name for name, _ in column.units))))


def unit_line(column: Column) -> str:
    """What a person writes to settle a unit."""
    choices = " or ".join(f'"{unit}"' for unit in unit_choices(column))
    return f"write unit = {choices}"


def unit_key(unit: str) -> str:
    """Reduce a unit to what is compared: plain and UCUM spellings of one unit have one key."""
    key = re.sub("[⁰¹²³⁴-⁹]+", lambda power: "^" + power[0].translate(_SUPERSCRIPTS), unit).casefold()
    key = re.sub(r"\{[^}]*\}", "", key).replace(" ", "").replace("µ", "u").replace("μ", "u").replace("×", "x")
    key = re.sub(r"^[x*]?10(\^|\*\*?|e)(?=\d)", "10^", key)
    over, slash, under = key.partition("/")
    over, under = _OVER.get(over, over), _UNDER.get(under, under)
    if under == "ul" and over in _COUNTS:
        over, under = _COUNTS[over], "l"
    elif under in ("nl", "pl") and over == "1":
        over, under = {"nl": "10^9", "pl": "10^12"}[under], "l"
    key = f"{over}/{under}" if slash else over
    return _WHOLE.get(key, key)
