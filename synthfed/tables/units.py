"""Convert numbers between the units that a dictionary declares, exactly where the factor is a power of ten.

A unit is known by its column: `g/L` is grams for haemoglobin and giga for a cell count. A spelling counts whatever its
case, spaces, the letter for micro and the way the power is written; a unit that the column does not list is unknown,
and nothing is converted without one.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import numpy.typing as npt

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

    def apply(self, values: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
        """Convert `Decimal` values; None stays None."""
        step = None if self.decimals is None else Decimal(1).scaleb(-self.decimals)
        converted = np.empty(len(values), dtype=object)
        for place, value in enumerate(values):
            product = None if value is None else value * self.factor
            converted[place] = (
                product if product is None or step is None else product.quantize(step, rounding=ROUND_HALF_EVEN)
            )
        return converted


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


def unit_key(unit: str) -> str:
    """Reduce a unit to what is compared."""
    key = re.sub("[⁰¹²³⁴-⁹]+", lambda power: "^" + power[0].translate(_SUPERSCRIPTS), unit).casefold()
    key = key.replace(" ", "").replace("µ", "u").replace("μ", "u").replace("×", "x")
    key = re.sub(r"^x?10(\^|\*\*?|e)(?=\d)", "10^", key)
    key = "1" + key if key.startswith("/") else key
    return {"percent": "%", "prozent": "%", "d": "days", "y": "years"}.get(key, key)
