"""Verbs of whoever coordinates hospitals: `synthfed coordinator init|add|roster|up|submit|ask|score|finish|...`.

They start Flower's own programs with TLS and node authentication on, and write and read one folder.
"""

import typer

from synthfed.cli import coordinator_home as home
from synthfed.cli import coordinator_runs as runs
from synthfed.cli import coordinator_trials as trials

coordinator = typer.Typer(
    help="Run a federation of real hospitals from the coordinator's machine. It never sees a row.",
    epilog="Order: init, add (once per hospital), roster, up, submit, finish.",
    no_args_is_help=True,
)
for _verb in (
    *(home.init, home.add, home.roster, home.up),
    *(runs.submit, runs.ask, runs.answers, runs.score),
    home.status,
    runs.finish,
    home.stop,
    *(trials.rehearse, trials.simulate),
):
    coordinator.command(_verb.__name__)(_verb)
