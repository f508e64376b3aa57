"""How a run looks in a terminal: a line per stage, a bar over the rounds, nothing computed from a patient.

Counting rounds are named, and so is what follows a sum and takes a while, such as distilling: the bar always says what
goes on now, not what is over.
"""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.status import Status

if TYPE_CHECKING:
    from synthfed.federation.in_process import RoundDone


class TerminalProgress:
    """Draws stages and rounds with rich; without a terminal it prints every tenth round, and each that counted."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._last: RoundDone | None = None
        self._step: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end_rounds()

    def stage(self, name: str, detail: str = "") -> None:
        """Print the stage with the seconds since the start."""
        self._end_rounds()
        seconds = time.monotonic() - self._started
        self._console.print(f"[dim]{seconds:6.1f} s[/dim]  [bold]{name:<8}[/bold] {detail}", highlight=False)

    def round_done(self, done: "RoundDone") -> None:
        """Advance the bar; every figure shown is released or public."""
        self._last = done
        if done.missing:
            names = ", ".join(done.missing)
            self._console.print(f"          round {done.round_index + 1} went on without {names}", highlight=False)
        if not self._console.is_terminal:
            if done.counted or (done.round_index + 1) % 10 == 0 or done.round_index + 1 == done.rounds:
                self._console.print(f"          {_round(done)}  {_facts(done)}", highlight=False)
            return
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("rounds", total=done.rounds, facts="")
        self._bar.update(
            self._task, completed=done.round_index + 1, description=done.coming or "rounds", facts=_facts(done)
        )

    def step(self, name: str) -> None:
        """On a terminal, say on one line what goes on until the next stage or step."""
        if self._step is None:
            self._step = self._console.status(name)
            self._step.start()
        self._step.update(name)

    def _end_rounds(self) -> None:
        if self._step is not None:
            self._step.stop()
            self._step = None
        if self._task is not None:
            self._bar.stop()
            self._task = None
        if self._last is not None and self._console.is_terminal:
            self._console.print(f"          {self._last.rounds} rounds done  {_facts(self._last)}", highlight=False)
        self._last = None


def _round(done: "RoundDone") -> str:
    count = f"round {done.round_index + 1}/{done.rounds}"
    return f"{count} {done.stage}" if done.counted else count


def _facts(done: "RoundDone") -> str:
    facts = [] if done.counted else [f"update norm {done.update_norm:.3g}"]
    return "  ".join([*facts, f"epsilon so far {done.epsilon_so_far:.2f}", f"{done.bytes_moved / 1e6:.1f} MB moved"])
