"""A whole federation in this process: the deployed apps, one folder per site, and `LocalGrid` between them.

For simulated cohorts, for one trusted host that holds several sites' tables, and for tests. The secure sums run as
they would between hospitals, but whoever controls this machine sees all rows; the result's words say so.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthfed.errors import TooFewSites
from synthfed.federation.founding import found, kept_or_fresh, one_host_policy, require_budget, roster_names
from synthfed.federation.holdout import require_fraction
from synthfed.federation.manifest import make_manifest
from synthfed.federation.one_process import Wiretap, carry
from synthfed.federation.progress import RoundDone
from synthfed.federation.scoring import planned_scoring
from synthfed.federation.training import CodedRows, SiteRows, TableRows, TrainingCourse, TrainingWork, stood
from synthfed.federation.words import honest_sentences, reduced_sentences
from synthfed.generators.base import Codes, Generator, Layout, Weights
from synthfed.generators.start import Finished, blank
from synthfed.pipeline import Pipeline
from synthfed.privacy.events import Budget

if TYPE_CHECKING:
    import pandas as pd

    from synthfed.tables.coding import Coding
    from synthfed.tables.transform import Transformer

__all__ = ["FederationResult", "RoundDone", "Wiretap", "run_in_process"]


@dataclass(frozen=True, slots=True)
class FederationResult:
    """What a federation leaves; no patient and no single site's change is in it.

    Attributes:
        released: The tensors that ship.
        final: The weights after the last round.
        finished: Of a network that started from counts, what ships and how it compares with its start.
        encoder: What noisy histograms made of the template; None where the encoder is public.
        ledgers: Site to its ledger's export.
        audit: The sites' signed audit chains, JSON lines, site after site.
        audit_keys: Site to the public key (hex) that signed its chain, in the order of the chains.
        bytes_up, bytes_down: Payload from and to the sites.
        words: The sentences about the secure sum that every interface must show, with those on reduced rounds.
    """

    released: Weights
    final: Weights
    encoder: "Transformer | None"
    ledgers: Mapping[str, dict[str, Any]]
    audit: tuple[str, ...]
    audit_keys: Mapping[str, str]
    rounds: int
    bytes_up: int
    bytes_down: int
    words: tuple[str, ...]
    finished: Finished | None = None


def run_in_process(
    *,
    pipeline: Pipeline,
    transformer: "Transformer",
    sites: "Mapping[str, Codes] | Mapping[str, pd.DataFrame]",
    work: Path,
    simulated: bool,
    coding: "Coding | None" = None,
    resume: bool = False,
    progress: Callable[[RoundDone], None] | None = None,
    workers: int = 1,
    site_home: Path | None = None,
    epsilon_limit: float | None = None,
    generator: Generator | None = None,
    wiretap: Wiretap | None = None,
) -> FederationResult:
    """Train one generator over several sites' encoded rows.

    Args:
        transformer: The public encoder, or the coding's template.
        sites: Site name to a typed table, or to int32 codes (rows, blocks); they stay in this process.
        coding: How tables become codes; needed where `sites` are tables.
        work: Folder for keys, roster, ledgers, protocol state and checkpoints; private.
        simulated: Whether the rows are simulated patients: only then does `randomness = "auto"` mean seeded noise.
        resume: Go on after the last finished round found in `work`; begins when there is none.
        workers: Threads that serve sites; the result does not depend on it.
        site_home: Where the sites' folders live. Give one that outlasts runs to keep identities and ledgers, so that
            budgets add up over runs; default `work/sites`.
        epsilon_limit: What one patient may lose in all runs recorded under `site_home`; default this run's epsilon.
        generator: Instead of the one that the pipeline names; for tests.

    Raises:
        TooFewSites: Fewer sites than `federation.min_sites`; nothing was written.
        BudgetTooSmall, BudgetRefused: The budget forbids the run; nothing was trained.
        FederationError: `work` holds another run, or a run and `resume` is not set; or a site failed.
        SecAggError: A message was forged, replayed or altered.
    """
    from synthfed.generators.plan import all_events, make_plan, run_workload
    from synthfed.privacy.accounting import epsilon_alone

    if len(sites) < pipeline.federation.min_sites:
        raise TooFewSites(
            f"found {len(sites)} site(s) ({', '.join(sites)}); a secure sum needs at least "
            f"{pipeline.federation.min_sites} (federation.min_sites)"
        )
    tap = wiretap or Wiretap()
    plan = make_plan(pipeline, sites=len(sites), coding=coding)
    names = roster_names(tuple(sites))
    most = max(pipeline.privacy.epsilon, pipeline.holdout_epsilon or 0.0)
    limit = Budget(most if epsilon_limit is None else epsilon_limit, pipeline.privacy.delta)
    homes = {site: (site_home or work / "sites") / site for site in names.values()}
    if site_home is not None and not resume:
        scores = pipeline.evaluation.release != "synthetic-only"
        require_fraction(homes, pipeline.cohort.holdout_fraction, scores=scores)
        require_budget(homes, (*all_events(plan), *planned_scoring(pipeline)), limit, name="privacy.epsilon")
    policy = one_host_policy(pipeline, plan, limit, simulated=simulated)
    relay, roster = found(work, homes, policy, names)
    made = generator or _make_generator(pipeline)
    layout = Layout(tuple(transformer.names), tuple(transformer.widths))
    workload = run_workload(pipeline, transformer) if plan.measures else None
    manifest = kept_or_fresh(
        work,
        relay,
        make_manifest(
            pipeline=pipeline,
            transformer_digest=transformer.digest(),
            roster_digest=roster.digest(),
            layout=layout,
            weights=blank(made, layout, workload, seed=pipeline.seed),
            plan=plan,
            workload=workload,
            histograms=coding.grid.coding.widths if coding is not None else (),
            sites=tuple(member.site for member in roster.members),
            simulated=simulated,
        ),
        resume=resume,
    )
    course = TrainingCourse(manifest, made, coding)
    rows = {names[name]: _rows(given, coding) for name, given in sites.items()}
    outcome = carry(
        manifest,
        relay,
        roster,
        course,
        lambda site: TrainingWork(manifest, lambda _: rows[site], lambda _: made),
        homes=homes,
        work=work,
        deadline_s=pipeline.federation.deadline_s,
        progress=progress,
        workers=workers,
        tap=tap,
    )
    return FederationResult(
        released={name: np.asarray(tensor, np.float32) for name, tensor in outcome.released.items()},
        final=stood(outcome.standing)[0],
        encoder=course.encoder(outcome.standing),
        ledgers={name: json.loads(outcome.ledgers[site]) for name, site in names.items()},
        audit=tuple(line for site in manifest.sites for line in outcome.audits[site].decode().splitlines()),
        audit_keys={site: roster.member(site).public_key.hex() for site in manifest.sites},
        rounds=outcome.rounds,
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        words=honest_sentences(
            roster,
            manifest.sums,
            epsilon=pipeline.privacy.epsilon,
            seeded=manifest.randomness == "seeded",
            in_process=not simulated,
            epsilon_alone=epsilon_alone(manifest.events(), manifest.delta),
        )
        + reduced_sentences(outcome.missing),
        finished=course.finished(outcome.standing),
    )


def _rows(given: "Codes | pd.DataFrame", coding: "Coding | None") -> SiteRows:
    if coding is None or isinstance(given, np.ndarray):
        return CodedRows(np.asarray(given))
    return TableRows(coding, given)


def _make_generator(pipeline: Pipeline) -> Generator:
    from synthfed.generators.registry import make_generator

    return make_generator(pipeline.generator)
