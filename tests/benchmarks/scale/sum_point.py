"""Measures one secure sum in a process of its own: `python -m tests.benchmarks.scale.sum_point NUMBERS SITES`.

Every site and the relay live in that process and every message is kept, so its memory is that of all of them. The
bytes are those of every message once: what each site sends, and the sum that goes back.
"""

import json
import sys
import time

import numpy as np

from synthfed.secagg.ring import encode
from tests.benchmarks.scale.memory import peak_mib
from tests.secagg.federation import Attempt, make_context, make_roster


def main(numbers: int, sites: int) -> dict[str, float]:
    """Encode, hide, add up, verify and open one vector of each site."""
    rng = np.random.default_rng(0)
    changes = [(rng.standard_normal(numbers) * 0.01).astype(np.float32) for _ in range(sites)]
    roster = make_roster(sites)
    start = time.process_time()
    rings = {i: encode(x, bound=1.0, weight=1 / sites).values for i, x in enumerate(changes)}
    run = Attempt(rings, roster, make_context(roster))
    run.finish()
    spent = time.process_time() - start
    return {"sum_s": spent, "sum_mib": peak_mib(), "bytes": sum(len(raw) for raw in run.transcript)}


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
