"""MST (arXiv 2108.04978) and AIM (arXiv 2201.12677) on private-pgm, over given codes.

The library carries the estimation; what is measured is in its repository, not in its package, so the two mechanisms are
written here from the papers. They get synthfed's codes, and with them for free what others have to work or pay for:
cells of numbers from public knots, and the survival endpoint as one token. Both spend rho = mu^2 / 2
(zero-concentrated), where mu is what the release may cost in Gaussian differential privacy. Taking that for the
exponential mechanism, too, is in favour of these mechanisms: by their own accounting they would have to add 8 % more
noise.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

Clique = tuple[int, ...]
MODEL_MB = 80  # largest junction tree of AIM, as its authors set it


def prepare(job: dict[str, Any]) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    import mbi.estimation  # noqa: F401


def fit(job: dict[str, Any], rows: pd.DataFrame) -> np.ndarray:
    codes = np.load(job["codes"])
    rng = np.random.default_rng(job["seed"])
    mechanism = {"mst": _mst, "aim": _aim}[job["kind"]]
    return mechanism(codes, [int(width) for width in job["widths"]], job["mu"] ** 2 / 2, job["rows"], rng)


def _mst(codes: np.ndarray, widths: list[int], rho: float, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Three equal parts of rho: every column alone; a tree of pairs, each chosen by how far it departs from the
    columns' product (L1); those pairs. Levels below three deviations of noise are merged before the pairs.
    """
    from mbi import Domain, LinearMeasurement
    from mbi.estimation import MirrorDescent
    from mbi.marginal_loss import WeightedQuery

    columns, part = range(len(widths)), rho / 3
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
    shares = [_cells_of(first, (c,)) for c in columns]
    shares = [one / one.sum() for one in shares]
    pairs: list[Clique] = list(combinations(columns, 2))
    exact: dict[Clique, np.ndarray] = {pair: _counted(small, pair, sizes) for pair in pairs}
    score: dict[Clique, float] = {
        (a, b): np.abs(exact[a, b] - total * np.outer(shares[a], shares[b]).ravel()).sum() for a, b in pairs
    }
    epsilon = np.sqrt(8 * part / (len(widths) - 1))  # of one choice: epsilon^2 / 8 is its rho
    group = list(columns)
    edges: list[Clique] = []
    while len(edges) < len(widths) - 1:
        open_pairs = {pair: score[pair] for pair in pairs if group[pair[0]] != group[pair[1]]}
        a, b = _chosen(open_pairs, epsilon, rng)
        edges.append((a, b))
        group = [group[a] if one == group[b] else one for one in group]

    joint = np.sqrt(len(edges) / (2 * part))
    measured += [_noised(exact[edge], edge, joint, rng) for edge in edges]
    model = MirrorDescent().estimate(domain, measured, known_total=total, iters=10_000)
    drawn = _drawn(model, wanted, len(widths))
    found = np.empty_like(drawn)
    for c in columns:
        hidden = np.flatnonzero(places[c] == len(seen[c])) if len(seen[c]) < widths[c] else np.zeros(1, dtype=int)
        levels = np.append(seen[c], -1)[drawn[:, c]]
        found[:, c] = np.where(levels < 0, rng.choice(hidden, wanted), levels)
    return found


def _aim(codes: np.ndarray, widths: list[int], rho: float, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Every column, then round by round the table that the model so far gets most wrong, of all pairs and columns, as
    long as the model stays small; steps double where a round taught nothing. 16 rounds a column, 0.1 for choosing.
    """
    from mbi import Domain
    from mbi.estimation import MirrorDescent
    from mbi.junction_tree import hypothetical_model_size

    columns = range(len(widths))
    domain = Domain([str(c) for c in columns], widths)
    pairs: list[Clique] = list(combinations(columns, 2))
    exact = {clique: _counted(codes, clique, widths) for clique in [*((c,) for c in columns), *pairs]}
    weight: dict[Clique, float] = {(c,): float(len(widths) - 1) for c in columns} | dict.fromkeys(pairs, 2.0)
    for a, b in pairs:  # overlap with every pair of the workload
        weight[a, b] += 2.0 * (len(widths) - 2)

    rounds = 16 * len(widths)
    sigma, epsilon = np.sqrt(rounds / (1.8 * rho)), np.sqrt(0.8 * rho / rounds)
    measured = [_noised(exact[c,], (c,), sigma, rng) for c in columns]
    spent = len(widths) / (2 * sigma**2)
    model = MirrorDescent().estimate(domain, measured, iters=1000)
    last = False
    while not last:
        if rho - spent < 2 * (1 / (2 * sigma**2) + epsilon**2 / 8):  # too little for two more: all of it for one
            left, last = rho - spent, True
            sigma, epsilon = np.sqrt(1 / (1.8 * left)), np.sqrt(0.8 * left)
        spent += 1 / (2 * sigma**2) + epsilon**2 / 8
        known = {clique for one in measured for clique in (one.clique, *((name,) for name in one.clique))}
        limit = MODEL_MB * spent / rho
        quality = {}
        for clique, cells in exact.items():
            names = tuple(map(str, clique))
            if names not in known and hypothetical_model_size(domain, [*model.cliques, names]) > limit:
                continue
            bias = np.sqrt(2 / np.pi) * sigma * len(cells)
            quality[clique] = weight[clique] * (np.abs(cells - _cells_of(model, clique)).sum() - bias)
        chosen = _chosen(quality, epsilon / max(weight.values()), rng)
        before = _cells_of(model, chosen)
        measured.append(_noised(exact[chosen], chosen, sigma, rng))
        model = MirrorDescent().estimate(domain, measured, iters=1000, warm_start=model)
        if np.abs(_cells_of(model, chosen) - before).sum() <= sigma * np.sqrt(2 / np.pi) * len(before):
            sigma, epsilon = sigma / 2, epsilon * 2
    return _drawn(model, wanted, len(widths))


def _counted(codes: np.ndarray, clique: Clique, widths: list[int]) -> np.ndarray:
    place, size = np.zeros(len(codes), dtype=np.int64), 1
    for column in clique:
        place, size = place * widths[column] + codes[:, column], size * widths[column]
    return np.bincount(place, minlength=size).astype(float)


def _noised(exact: np.ndarray, clique: Clique, sigma: float, rng: np.random.Generator) -> Any:
    from mbi import LinearMeasurement

    return LinearMeasurement(exact + rng.normal(0, sigma, len(exact)), tuple(map(str, clique)), sigma)


def _cells_of(model: Any, clique: Clique) -> np.ndarray:
    return np.asarray(model.project(tuple(map(str, clique))).datavector(), dtype=float)


def _chosen(quality: dict[Clique, float], epsilon: float, rng: np.random.Generator) -> Clique:
    """By the exponential mechanism; one patient moves a quality by 1."""
    logits = epsilon / 2 * np.array(list(quality.values()))
    chances = np.exp(logits - logits.max())
    return list(quality)[rng.choice(len(quality), p=chances / chances.sum())]


def _drawn(model: Any, wanted: int, columns: int) -> np.ndarray:
    drawn = model.synthetic_data(wanted).to_dict()
    return np.stack([np.asarray(drawn[str(c)])[:wanted] for c in range(columns)], axis=1).astype(np.int32)
