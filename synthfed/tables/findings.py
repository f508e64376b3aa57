"""What an import noticed and what stops it, collected so that a data manager sees everything at once.

Neither a finding nor a problem ever holds what a cell says.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from synthfed.errors import DataError

_PROBLEMS_SHOWN = 20
_ROWS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth knowing that did not stop the import.

    Attributes:
        kind: `dropped`, `ignored`, `derived`, `composed`, `ambiguous`, `censored`, `rounded`, `out_of_range`, `unit`,
            `no_id`, `duplicate`, `rule`; with a mapping also `unmapped`, `renamed`, `converted`, `thousands`, `codes`,
            `missing_code`, `dates`, `difference`, `not_asked`, `not_recorded`, `form_range`; where a source has one row
            per value also `format`, `left_out`, `code`, `unused`, `window`, `several`, `person`, `unknown_person`,
            `no_diagnosis`, `no_values`.
        column: The column, by its name in the dictionary, or the header in the file.
        count: Rows concerned; 0 when the finding is about the column itself.
        note: One sentence. Never a value.
    """

    kind: str
    column: str
    count: int
    note: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What happened when a table was read. Stays at the site: its counts are of patients and not paid for."""

    rows: int
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class Log:
    """Problems and findings of one import, in the order they are met."""

    findings: list[Finding] = field(default_factory=list)
    problems: list[tuple[type[DataError], str]] = field(default_factory=list)

    def raise_problems(self, origin: str) -> None:
        if not self.problems:
            return
        kinds = {kind for kind, _ in self.problems}
        lines = [f"  {text}" for _, text in self.problems[:_PROBLEMS_SHOWN]]
        if len(self.problems) > _PROBLEMS_SHOWN:
            lines.append(f"  and {len(self.problems) - _PROBLEMS_SHOWN} more")
        noun = "problem" if len(self.problems) == 1 else "problems"
        error = kinds.pop() if len(kinds) == 1 else DataError
        raise error("\n".join([f"{origin}: {len(self.problems)} {noun}", *lines]))


def name_rows(mask: npt.NDArray[np.bool_]) -> str:
    """`3 rows (2, 5, 9)`: how many and the first ones, counted from 1 below the header."""
    numbers = (np.flatnonzero(mask) + 1).tolist()
    first = ", ".join(map(str, numbers[:_ROWS_SHOWN])) + (", ..." if len(numbers) > _ROWS_SHOWN else "")
    return f"{len(numbers)} row{'s' if len(numbers) != 1 else ''} ({first})"
