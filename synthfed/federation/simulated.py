"""The same apps in Flower's simulation engine: every site is simulated, and one host plays steward and hospitals.

There a site has no node config of its own, only the number of its partition, and no folder. So the ServerApp makes the
site folders below the run's `out-dir`, and each ClientApp takes the one that its partition number names in the roster.
The rows are the pipeline's simulated patients, and only those: Flower's engine listens on more than loopback.
"""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context

from synthfed.errors import FederationError
from synthfed.federation.manifest import Manifest
from synthfed.federation.refused import Refused
from synthfed.federation.training import SiteRows, TableRows
from synthfed.pipeline import Pipeline
from synthfed.secagg.roster import Roster

if TYPE_CHECKING:
    import pandas as pd

_PARTITION = "partition-id"  # Flower's key; a hospital's own node config never holds it


def is_simulated_site(context: Context) -> bool:
    """Whether this is a partition of Flower's simulation, not a SuperNode that a hospital set up."""
    return _PARTITION in context.node_config and "site" not in context.node_config


def simulated_place(context: Context) -> tuple[str, Path]:
    """Name and folder of the site that a partition plays.

    Raises:
        Refused: `site`: the coordinator made no folder for it.
    """
    out = Path(str(context.run_config.get("out-dir", "")))
    try:
        roster = tomllib.loads((coordinator_folder(out) / "roster.toml").read_text(encoding="utf-8"))
        name = str(roster["site"][int(context.node_config[_PARTITION])]["name"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, IndexError) as error:
        raise Refused("site") from error
    return name, out / "sites" / name


def coordinator_folder(out: Path) -> Path:
    """Where a simulated coordinator keeps keys, roster and checkpoints."""
    return out / "coordinator"


def found_simulated(out: Path, pipeline: Pipeline, *, nodes: int) -> tuple[Ed25519PrivateKey, Roster]:
    """Make keys, site folders with policies, and a signed roster below `out`; or find them from before.

    Raises:
        FederationError: Flower simulates another number of sites than the pipeline has.
    """
    from synthfed.federation.founding import found, one_host_policy
    from synthfed.generators.plan import make_plan, run_coding
    from synthfed.privacy.events import Budget
    from synthfed.tables.dictionary import load_dictionary

    names = pipeline.cohort.simulated_sites
    if nodes != len(names):
        raise FederationError(
            f"Flower simulates {nodes} site(s), pipeline {pipeline.title!r} has {len(names)}; add to `flwr run`: "
            f"--federation-config 'num-supernodes={len(names)}'"
        )
    schema = load_dictionary(pipeline.disease).schema.select(pipeline.cohort.columns)
    plan = make_plan(pipeline, sites=len(names), coding=run_coding(pipeline, schema, sites=len(names)))
    limit = Budget(pipeline.privacy.epsilon, pipeline.privacy.delta)
    homes = {name: out / "sites" / name for name in names}
    policy = one_host_policy(pipeline, plan, limit, simulated=True)
    return found(out, homes, policy, {name: name for name in names})


def simulated_rows(context: Context, manifest: Manifest) -> SiteRows:
    """Training rows of the simulated patients of the site that a partition plays; the same as in one process.

    Raises:
        Refused: `data`: the pipeline simulates no such site.
    """
    from synthfed.generators.plan import run_coding
    from synthfed.tables.dictionary import load_dictionary

    name, _ = simulated_place(context)
    pipeline = manifest.parse_pipeline()
    schema = load_dictionary(pipeline.disease).schema.select(pipeline.cohort.columns)
    coding = run_coding(pipeline, schema, sites=len(manifest.sites))
    rows = _cohort(pipeline).get(name)
    if rows is None or coding.template.digest() != manifest.transformer:
        raise Refused("data")
    return TableRows(coding, rows)


@lru_cache(maxsize=1)
def _cohort(pipeline: Pipeline) -> "Mapping[str, pd.DataFrame]":
    """Drawn once per process: one process plays several sites, round after round."""
    from synthfed.cohorts.simulated import simulated_cohort

    return simulated_cohort(pipeline).sites
