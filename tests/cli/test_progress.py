"""The terminal says what goes on: counts by name, no update norm where there is none."""

from io import StringIO

import pytest
from rich.console import Console

from synthfed.cli.progress import TerminalProgress
from synthfed.federation.progress import RoundDone

HYBRID = ["counting tables", "counting edges", *["training"] * 20]
COMING = ["counting edges, distilling", *["training"] * 20, "calibrating"]


def rounds() -> list[RoundDone]:
    return [
        RoundDone(
            round_index=index,
            rounds=len(HYBRID),
            epsilon_so_far=0.1 * (index + 1),
            bytes_moved=100_000 * (index + 1),
            update_norm=0.0 if index < 2 else 0.5,
            seconds=0.1,
            stage=stage,
            coming=coming,
        )
        for index, (stage, coming) in enumerate(zip(HYBRID, COMING, strict=True))
    ]


def said(done: list[RoundDone], *, terminal: bool = False) -> str:
    out = StringIO()
    console = Console(file=out, width=120, force_terminal=terminal, force_interactive=terminal, color_system=None)
    with TerminalProgress(console) as progress:
        progress.stage("rounds", "a hybrid")
        for one in done:
            progress.round_done(one)
        progress.stage("release")
    return out.getvalue()


def test_every_counting_round_is_named_and_each_tenth_round_told() -> None:
    lines = [line.strip() for line in said(rounds()).splitlines() if "round " in line]
    assert lines == [
        "round 1/22 counting tables  epsilon so far 0.10  0.1 MB moved",
        "round 2/22 counting edges  epsilon so far 0.20  0.2 MB moved",
        "round 10/22  update norm 0.5  epsilon so far 1.00  1.0 MB moved",
        "round 20/22  update norm 0.5  epsilon so far 2.00  2.0 MB moved",
        "round 22/22  update norm 0.5  epsilon so far 2.20  2.2 MB moved",
    ]


@pytest.mark.parametrize(("finished", "now"), [(1, "counting edges, distilling"), (5, "training"), (22, "calibrating")])
def test_a_bar_says_what_goes_on_now(finished: int, now: str) -> None:
    assert now in said(rounds()[:finished], terminal=True)


def test_a_run_of_counts_ends_without_an_update_norm() -> None:
    shown = said(rounds()[:2], terminal=True)
    assert "update norm" not in shown
    assert "22 rounds done" in shown


def test_a_round_without_a_stage_is_told_as_before() -> None:
    plain = RoundDone(0, 1, 0.5, 1_000_000, 0.3, 0.1)
    assert "round 1/1  update norm 0.3  epsilon so far 0.50  1.0 MB moved" in said([plain])


def test_what_is_being_scored_is_said_on_a_terminal_and_gone_afterwards() -> None:
    out = StringIO()
    console = Console(file=out, width=80, force_terminal=True, force_interactive=True, color_system=None)
    with TerminalProgress(console) as progress:
        progress.stage("score")
        progress.step("membership")
        progress.step("figures")
        progress.stage("dossier")
        progress.step("nothing stays open at the end")
    assert "dossier" in out.getvalue()
    assert progress._step is None


def test_without_a_terminal_steps_are_silent() -> None:
    out = StringIO()
    with TerminalProgress(Console(file=out, width=80, force_terminal=False)) as progress:
        progress.step("membership")
    assert "membership" not in out.getvalue()
