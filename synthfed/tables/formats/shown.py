"""Which names of a source may be repeated in messages: those that enough patients share.

The name of a value, a unit or a condition's code is no patient's value by its place, but a slip can put one there. Such
a slip is rare, so a name that fewer than `SHOWN_FROM` patients have is counted and not repeated.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SHOWN_FROM = 10  # patients
_NAMES_SHOWN = 8


def patients_of(code: npt.NDArray[np.integer], patient: npt.NDArray[np.integer], size: int) -> npt.NDArray[np.int_]:
    """How many different patients each of `size` codes has; code -1 is left out."""
    kept = code >= 0
    width = int(patient.max(initial=0)) + 1
    pairs = np.unique(code[kept].astype(np.int64) * width + patient[kept])
    return np.bincount(pairs // width, minlength=size)


def shown_names(names: Sequence[str], counts: npt.NDArray[np.int_]) -> str:
    """The most frequent names that enough patients share, and how many more there are."""
    order = np.argsort(-counts, kind="stable")
    shown = [names[i] for i in order if counts[i] >= SHOWN_FROM and names[i]][:_NAMES_SHOWN]
    rest = len(names) - len(shown)
    return ", ".join([*map(repr, shown), *([f"{rest} more" if shown else f"{rest} of them"] if rest else [])])
