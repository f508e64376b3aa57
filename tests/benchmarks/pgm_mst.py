"""MST on private-pgm (arXiv 2108.04978) over given codes: a program for an interpreter that has `mbi`, not ours.

    python pgm_mst.py JOB.npz ROWS.npy

The job holds `codes` (rows, columns), `widths`, `mu` (what the release may cost, in Gaussian differential privacy),
`rows` and `seed`. Three equal parts of rho = mu^2 / 2 (zero-concentrated): every column alone; a tree of pairs, each by
an exponential mechanism on how far it departs from the columns' product (L1); those pairs. Levels below three
deviations of noise are merged before the pairs and drawn evenly after. private-pgm then finds the distribution of
largest entropy that fits all of them, and draws. Taking mu^2 / 2 for the exponential mechanism, too, is in favour of
this mechanism: by its own accounting it would have to add 8 % more noise.
"""

import sys

import numpy as np


def main(job_path: str, rows_path: str) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    from mbi import Domain, LinearMeasurement
    from mbi.estimation import MirrorDescent
    from mbi.marginal_loss import WeightedQuery

    job = np.load(job_path)
    codes, widths, mu = job["codes"], [int(width) for width in job["widths"]], float(job["mu"])
    rng = np.random.default_rng(int(job["seed"]))
    np.random.seed(int(job["seed"]))  # what mbi draws with
    columns = range(len(widths))
    part = mu**2 / 2 / 3
    alone = np.sqrt(len(widths) / (2 * part))  # deviation of the noise in each column's cells
    counts = [np.bincount(codes[:, c], minlength=widths[c]) + rng.normal(0, alone, widths[c]) for c in columns]

    trust = 1 / np.array(widths)  # a column's sum has its cells' noise
    total = float(max(trust @ [one.sum() for one in counts] / trust.sum(), 1.0))

    seen = [np.flatnonzero(one >= 3 * alone) for one in counts]
    places, sizes = [], []
    for c in columns:
        rest = len(seen[c])
        place = np.full(widths[c], rest)
        place[seen[c]] = np.arange(rest)
        places.append(place)
        sizes.append(rest + (rest < widths[c]))
    domain = Domain([str(c) for c in columns], sizes)
    measured = []
    for c in columns:
        merged = np.bincount(places[c], weights=counts[c], minlength=sizes[c])
        weight = 1 / np.sqrt(np.bincount(places[c], minlength=sizes[c]))
        measured.append(LinearMeasurement(merged * weight, (str(c),), alone, WeightedQuery(weight)))
    small = np.stack([places[c][codes[:, c]] for c in columns], axis=1)

    first = MirrorDescent().estimate(domain, measured, known_total=total, iters=2500)
    shares = [np.asarray(first.project((str(c),)).datavector(), dtype=float) for c in columns]
    shares = [one / one.sum() for one in shares]
    pairs = [(a, b) for a in columns for b in range(a + 1, len(widths))]
    exact = {pair: _table(small, pair, sizes) for pair in pairs}
    expected = {(a, b): total * np.outer(shares[a], shares[b]).ravel() for a, b in pairs}
    score = {pair: np.abs(exact[pair] - expected[pair]).sum() for pair in pairs}
    epsilon = np.sqrt(8 * part / (len(widths) - 1))  # of one choice: epsilon^2 / 8 is its rho
    group = list(columns)
    edges = []
    while len(edges) < len(widths) - 1:
        open_pairs = [(a, b) for a, b in pairs if group[a] != group[b]]
        logits = epsilon / 2 * np.array([score[pair] for pair in open_pairs])
        chances = np.exp(logits - logits.max())
        a, b = open_pairs[rng.choice(len(open_pairs), p=chances / chances.sum())]
        edges.append((a, b))
        group = [group[a] if one == group[b] else one for one in group]

    joint = np.sqrt(len(edges) / (2 * part))
    for a, b in edges:
        noisy = exact[a, b] + rng.normal(0, joint, len(exact[a, b]))
        measured.append(LinearMeasurement(noisy, (str(a), str(b)), joint))
    model = MirrorDescent().estimate(domain, measured, known_total=total, iters=10_000)
    drawn = model.synthetic_data(int(job["rows"]))
    found = np.empty((int(job["rows"]), len(widths)), dtype=np.int32)
    for c in columns:
        place = np.asarray(drawn.to_dict()[str(c)])[: len(found)]
        hidden = np.flatnonzero(places[c] == len(seen[c])) if len(seen[c]) < widths[c] else np.zeros(1, dtype=int)
        levels = np.append(seen[c], -1)[place]
        found[:, c] = np.where(levels < 0, rng.choice(hidden, len(found)), levels)
    np.save(rows_path, found)


def _table(codes: np.ndarray, pair: tuple[int, int], sizes: list[int]) -> np.ndarray:
    a, b = pair
    return np.bincount(codes[:, a] * sizes[b] + codes[:, b], minlength=sizes[a] * sizes[b]).astype(float)


if __name__ == "__main__":
    main(*sys.argv[1:])
