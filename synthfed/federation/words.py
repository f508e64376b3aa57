"""The sentences about a secure sum that every interface must show, each under its condition.

They say what the sum does not protect from as plainly as what it does. Tests assert them word for word.
"""

import math
from collections.abc import Mapping

from synthfed.federation.steps import SumSettings
from synthfed.federation.sums import colluders
from synthfed.secagg.roster import Roster

THREE_SITES = (
    "Three organisations take part. Any two that pool what they know can work out the third one's contribution. "
    "No secure sum of three can prevent this; only added noise (differential privacy) limits what it reveals. "
    "If one site drops, the round is discarded."
)
ALWAYS = (
    "The server sees who took part, when, sizes and the sum, no single site's update. "
    "This does not prove the data honest."
)
RECOMPUTED = "Every site added up all signed vectors itself: no helper of the server can pass a false sum."
POST_QUANTUM = (
    "The keys of each pair of sites rest on ML-KEM-768 beside X25519, "
    "so that what is recorded today is not read by a quantum computer later."
)
TAG = "The sites checked the sum; it proves nothing if a site helps the server."
ONE_HOST = (
    "All sites ran in this one process: whoever controls this machine sees every site's rows. "
    "Between hospitals, each site runs on its own machine."
)
SEEDED = "The noise follows from a public seed, so anybody can subtract it: there is no formal guarantee."
EXACT = (
    "The answers are exact: no epsilon covers them. "
    "Two answers whose patients differ in one patient reveal that patient."
)
TWO_SITES = "A patient known to two sites counts twice."
NO_NOISE = "Differential privacy was switched off (epsilon is infinite): the released model may reveal patients."


def _up_to(count: int) -> str:
    return "one site" if count == 1 else f"up to {count} sites"


def reduced_sentences(missing: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
    """What must be said of rounds that ended without a site: one sentence per site and run of rounds, counted from 1.

    Args:
        missing: Sites that are not in the sum, by round index.
    """
    away: dict[str, list[list[int]]] = {}
    for index in sorted(missing):
        for site in missing[index]:
            spans = away.setdefault(site, [])
            if spans and spans[-1][1] == index:
                spans[-1][1] = index + 1
            else:
                spans.append([index + 1, index + 1])
    return tuple(
        f"{f'Round {first}' if first == last else f'Rounds {first} to {last}'} ended without {site}. "
        "Compared with other rounds this can reveal its approximate size and contribution."
        for site, spans in sorted(away.items())
        for first, last in spans
    )


def _of_the_sum(roster: Roster, sums: SumSettings) -> list[str]:
    sites = len(roster.members)
    said = [
        THREE_SITES
        if sites == 3
        else f"{sites - 1} sites together learn the last one's contribution. "
        f"The server with {_up_to(colluders(roster))} learns only the sum of the others.",
        ALWAYS,
        RECOMPUTED if sums.verify == "recompute" else TAG,
    ]
    if sums.shares == "shamir":
        said.append(f"Any {roster.threshold} sites can open a single input.")
    if sums.post_quantum:
        said.append(POST_QUANTUM)
    return said


def two_epsilons(epsilon: float, alone: float, *, helpers: int) -> str:
    """What shared noise promises and against whom: two numbers that are never shown apart.

    Args:
        alone: What is left when all other sites collude, or the secure sum fails.
        helpers: Sites that may help the server.
    """
    whom = f", the server and {_up_to(helpers)}" if helpers else " and the server, if no site helps them"
    return f"Epsilon {epsilon:g} against outsiders{whom}; {alone:.3g} if all others collude."


def honest_sentences(
    roster: Roster,
    sums: SumSettings,
    *,
    epsilon: float,
    seeded: bool,
    in_process: bool,
    epsilon_alone: float,
) -> tuple[str, ...]:
    """What must be said of a training run.

    Args:
        epsilon_alone: What holds against all other sites together; shown where noise is shared.
    """
    said = _of_the_sum(roster, sums)
    if math.isinf(epsilon):
        said.append(NO_NOISE)
    elif seeded:
        said.append(SEEDED)
    elif sums.helpers is not None:
        said.append(two_epsilons(epsilon, epsilon_alone, helpers=sums.helpers))
    else:
        said.append(f"Epsilon {epsilon:g} holds even if all other sites collude.")
    if in_process:
        said.append(ONE_HOST)
    return tuple(said)


def inquiry_sentences(
    roster: Roster, sums: SumSettings, *, epsilon: float | None, seeded: bool, in_process: bool
) -> tuple[str, ...]:
    """What must be said of answers to questions; `epsilon` is None where they are exact."""
    said = _of_the_sum(roster, sums)
    if epsilon is None:
        said.append(EXACT)
    elif seeded:
        said.append(SEEDED)
    else:
        said.append(f"Epsilon {epsilon:g} holds even if all other sites collude.")
    said.append(TWO_SITES)
    if in_process:
        said.append(ONE_HOST)
    return tuple(said)
