"""Score a release on the held-out patients of a run on one host: the deployed apps, and the run's own sites.

The sites, their keys and ledgers and the signed roster are those with which the table was trained. A stopped scoring
run goes on where it stopped: the manifest is kept, a site's noised counts are kept, and each is charged once.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthfed.evaluation.counted.tables import CountPlan
from synthfed.evaluation.rows import Rows
from synthfed.federation.founding import founded, kept_or_fresh, roster_names
from synthfed.federation.manifest import synthfed_version
from synthfed.federation.one_process import Wiretap, carry
from synthfed.federation.progress import RoundDone
from synthfed.federation.scoring import Scoring, ScoringCourse, ScoringWork, summed
from synthfed.federation.words import reduced_sentences
from synthfed.pipeline import Pipeline
from synthfed.privacy.mechanisms import seeded_key


@dataclass(frozen=True, slots=True)
class HoldoutCounts:
    """What a scoring run leaves; no single site's counts are in it.

    Attributes:
        plan: What was counted.
        counts: The noisy sum; int64[cells].
        stddevs: Of the noise in each cell; float64[cells].
        ledgers: Site to its ledger's export for this run.
        audit: The sites' signed chains of this run, JSON lines, site after site.
        words: On sites that are not in the sum.
    """

    plan: CountPlan
    counts: npt.NDArray[np.int64]
    stddevs: npt.NDArray[np.float64]
    ledgers: Mapping[str, dict[str, Any]]
    audit: tuple[str, ...]
    bytes_up: int
    bytes_down: int
    words: tuple[str, ...]


def score_in_process(
    plan: CountPlan,
    holdouts: Mapping[str, Rows],
    *,
    pipeline: Pipeline,
    table_sha256: str,
    work: Path,
    simulated: bool,
    site_home: Path | None = None,
    progress: Callable[[RoundDone], None] | None = None,
    wiretap: Wiretap | None = None,
) -> HoldoutCounts:
    """Count held-out patients by one secure sum, after `in_process.run_in_process` over the same sites.

    Args:
        holdouts: Site name to its held-out rows, as the plan counts them; they stay in this process.
        table_sha256: Of the released table, hex.
        work, site_home: Those of the training run.

    Raises:
        FederationError: `work` holds no training run, or another scoring run.
        BudgetRefused, SiteRefused: A ledger or policy forbids it; nothing left a site.
        SecAggError: A message was forged, replayed or altered.
    """
    names = roster_names(tuple(holdouts))
    homes = {site: (site_home or work / "sites") / site for site in names.values()}
    relay, roster = founded(work, names)
    seeded = pipeline.privacy.seeded(simulated=simulated)
    place = work / "scoring"
    place.mkdir(mode=0o700, exist_ok=True)
    fresh = Scoring(
        pipeline=pipeline.canonical().decode(),
        counts=plan.to_json(),
        table=table_sha256,
        noise_seed=int.from_bytes(seeded_key(pipeline.seed, "scoring")[:6], "little"),  # other noise than training's
        roster=roster.digest().hex(),
        sites=tuple(member.site for member in roster.members),
        randomness="seeded" if seeded else "secure",
        simulated=simulated,
        version=synthfed_version(),
        nonce=os.urandom(32).hex(),
    )
    manifest = kept_or_fresh(place, relay, fresh, resume=True)
    rows = {names[site]: held for site, held in holdouts.items()}
    outcome = carry(
        manifest,
        relay,
        roster,
        ScoringCourse(manifest),
        lambda site: ScoringWork(manifest, lambda _: rows[site]),
        homes=homes,
        work=place,
        deadline_s=pipeline.federation.deadline_s,
        progress=progress,
        workers=1,
        tap=wiretap or Wiretap(),
    )
    counts, counted = summed(outcome.released)
    return HoldoutCounts(
        plan=plan,
        counts=counts,
        stddevs=manifest.noise_of_sum(counted=counted),
        ledgers={name: json.loads(outcome.ledgers[site]) for name, site in names.items()},
        audit=tuple(line for site in manifest.sites for line in outcome.audits[site].decode().splitlines()),
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        words=reduced_sentences(outcome.missing),
    )
