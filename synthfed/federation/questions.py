"""Ask several sites' tables on one host: the deployed apps, an `Inquiry`, and `LocalGrid` between them."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthfed.errors import TooFewSites
from synthfed.federation.founding import found, kept_or_fresh, require_budget, roster_names
from synthfed.federation.inquiry import Inquiry, InquiryCourse, InquiryWork
from synthfed.federation.manifest import synthfed_version
from synthfed.federation.one_process import Wiretap, carry
from synthfed.federation.policy import Policy
from synthfed.federation.progress import RoundDone
from synthfed.federation.steps import SumSettings
from synthfed.federation.words import inquiry_sentences, reduced_sentences
from synthfed.privacy.events import Budget
from synthfed.secagg.analytics import Plan, Query
from synthfed.secagg.questions import Table

_EXACT_DELTA = 1e-5  # of an exact run nothing is stated at this delta; the manifest needs one


@dataclass(frozen=True, slots=True)
class AskNoise:
    """What a question run may cost one patient."""

    epsilon: float
    delta: float = 1e-5


@dataclass(frozen=True, slots=True)
class Asked:
    """An answered plan. Nothing of a single site is in it.

    Attributes:
        answers: One per question, in order.
        query: The plan with the sums of all rounds.
        stddevs: Per round, the standard deviation of each cell's noise over all sites; empty when exact.
        ledgers: Each site's ledger export, by name.
        words: The sentences that every interface must show.
    """

    answers: tuple[Any, ...]
    query: Query
    stddevs: tuple[npt.NDArray[np.float64], ...]
    rounds: int
    bytes_up: int
    bytes_down: int
    words: tuple[str, ...]
    ledgers: Mapping[str, Mapping[str, Any]]


def ask_in_process(
    plan: Plan,
    sites: Mapping[str, Table],
    *,
    work: Path,
    simulated: bool,
    noise: AskNoise | None,
    site_home: Path | None = None,
    epsilon_limit: float | None = None,
    seed: int | None = None,
    settings: SumSettings | None = None,
    resume: bool = False,
    deadline_s: float = 600.0,
    progress: Callable[[RoundDone], None] | None = None,
    wiretap: Wiretap | None = None,
) -> Asked:
    """Answer a plan over several sites' tables by secure sums.

    Args:
        sites: Site name to its table; tables stay in this process.
        work: Private folder for keys, roster and protocol state.
        noise: What it may cost each patient; None answers exactly, which no epsilon covers.
        site_home: Where the sites' folders live. Give one that outlasts runs, so that budgets add up over runs;
            default `work/sites`.
        epsilon_limit: What one patient may lose in all runs recorded under `site_home`; default this run's epsilon.
        seed: Of the noise, for simulated patients only: who knows it can subtract the noise.

    Raises:
        TooFewSites: Fewer than three.
        BudgetRefused: A ledger forbids it; nothing was asked.
        FederationError, SecAggError: See `rounds.Coordinator.run`.
    """
    if len(sites) < 3:
        raise TooFewSites(
            f"found {len(sites)} site(s) ({', '.join(sites)}); a secure sum needs at least 3: give a folder with one "
            "file per site, or a table with --site-column"
        )
    names = roster_names(tuple(sites))
    homes = {site: (site_home or work / "sites") / site for site in names.values()}
    seeded = seed is not None and simulated
    epsilon, delta = (None, _EXACT_DELTA) if noise is None else (noise.epsilon, noise.delta)
    limit = Budget(epsilon_limit if epsilon_limit is not None else (epsilon or float("inf")), delta)
    policy = Policy(
        pipelines=(),
        min_sites=3,
        epsilon_total=limit.epsilon,
        delta=delta,
        max_rounds=100,
        max_steps=0,
        allow_seeded=seeded,
        max_missing=(settings or SumSettings()).max_missing,
        questions=2**31,  # on one host the ledger is the limit
        exact_answers=noise is None,
    )
    fresh = Inquiry(
        plan=plan.to_json(),
        settings=settings or SumSettings(),
        epsilon=epsilon,
        stated_at=delta,
        noise_seed=seed or 0,
        roster="",
        sites=(),
        randomness="seeded" if seeded else "secure",
        simulated=simulated,
        version=synthfed_version(),
        nonce=os.urandom(32).hex(),
    )
    if site_home is not None and not resume:
        require_budget(homes, fresh.events(), limit, name="--epsilon")
    relay, roster = found(work, homes, policy, names)
    from dataclasses import replace

    fresh = replace(fresh, roster=roster.digest().hex(), sites=tuple(member.site for member in roster.members))
    manifest = kept_or_fresh(work, relay, fresh, resume=resume)
    tables = {names[site]: table for site, table in sites.items()}
    course = InquiryCourse(manifest)
    outcome = carry(
        manifest,
        relay,
        roster,
        course,
        lambda site: InquiryWork(manifest, tables[site]),
        homes=homes,
        work=work,
        deadline_s=deadline_s,
        progress=progress,
        workers=1,
        tap=wiretap or Wiretap(),
    )
    query = course.query(outcome.standing)
    return Asked(
        answers=query.answers(),
        query=query,
        stddevs=manifest.noise_of_sums(counted=len(sites)),
        rounds=outcome.rounds,
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        words=inquiry_sentences(roster, manifest.sums, epsilon=epsilon, seeded=seeded, in_process=not simulated)
        + reduced_sentences(outcome.missing),
        ledgers={name: json.loads(outcome.ledgers[site]) for name, site in names.items()},
    )
