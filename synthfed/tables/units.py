"""Convert numbers between the units that a dictionary declares, exactly where the factor is a power of ten.

A unit is known by its column: `g/L` is grams for haemoglobin and giga for a cell count. A spelling counts whatever its
case, spaces, the letter for micro and the way the power is written; a unit that the column does not list is unknown,
and nothing is converted without one.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from synthfed.tables.schema import Column

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


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
    if key == unit_key(column.unit):
        return Conversion(column.unit, Decimal(1), None)
    for name, factor in column.units:
        if key == unit_key(name):
            exact = Decimal(repr(factor))
            power_of_ten = exact.normalize().as_tuple().digits == (1,)
            return Conversion(name, exact, None if power_of_ten else column.decimals)
    return None


def unit_choices(column: Column) -> tuple[str, ...]:
    """Units in which the column may be given, its own first."""
    return tuple(dict.fromkeys((column.unit, *(name for name, _ in column.units))))


def unit_line(column: Column) -> str:
    """What a person writes to settle a unit."""
    choices = " or ".join(f'"{unit}"' for unit in unit_choices(column))
    return f"write unit = {choices}"


def unit_key(unit: str) -> str:
    """Reduce a unit to what is compared."""
    key = re.sub("[⁰¹²³⁴-⁹]+", lambda power: "^" + power[0].translate(_SUPERSCRIPTS), unit).casefold()
    key = key.replace(" ", "").replace("µ", "u").replace("μ", "u").replace("×", "x")
    key = re.sub(r"^x?10(\^|\*\*?|e)(?=\d)", "10^", key)
    key = "1" + key if key.startswith("/") else key
    return {"percent": "%", "prozent": "%", "d": "days", "y": "years"}.get(key, key)
