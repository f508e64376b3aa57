"""Learners on one thread, so that a score has the same bits on every machine."""

import os
import subprocess
import sys

FIRST_USE = """
from synthfed.evaluation.learning import one_thread
with one_thread():
    import sklearn.cluster, sklearn.ensemble
    import threadpoolctl
    print({pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
"""


def test_pools_that_nobody_loaded_before_are_at_one_too() -> None:
    """Sums of two threads differ in their last bits, and k-means then finds other clusters."""
    several = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, env=several, check=True)
    assert done.stdout.strip() == "{1}"
