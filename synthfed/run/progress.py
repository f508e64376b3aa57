"""Where a run says what it does.

Only released values pass through here (round numbers, epsilon, the norm of the summed update, bytes). A site's own
training loss is computed from patients and not paid for, so it goes to that site's log and nowhere else.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from synthfed.federation.in_process import RoundDone


class Progress(Protocol):
    """A listener; the command line draws it, the Python API is silent by default."""

    def stage(self, name: str, detail: str = "") -> None:
        """A new stage begins."""
        ...

    def round_done(self, done: "RoundDone") -> None:
        """One round of the federation ended."""
        ...

    def step(self, name: str) -> None:
        """A part of a long stage, such as one kind of score, begins."""
        ...


class Silent:
    """Says nothing."""

    def stage(self, name: str, detail: str = "") -> None:
        """Ignore the stage."""

    def round_done(self, done: "RoundDone") -> None:
        """Ignore the round."""

    def step(self, name: str) -> None:
        """Ignore the step."""
