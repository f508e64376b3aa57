"""A whole federation in this process: the deployed apps, one folder per site, and `LocalGrid` between them.

For simulated cohorts, for one trusted host that holds several sites' tables, and for tests. The secure sums run as
they would between hospitals, but whoever controls this machine sees all rows; the result's words say so.
"""

import datetime
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context, Message, RecordDict

from synthfed.errors import BudgetRefused, FederationError, TooFewSites
from synthfed.federation.checkpoints import Checkpoints
from synthfed.federation.client_app import build_client_app, open_site
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.local_grid import LocalGrid
from synthfed.federation.manifest import Manifest, make_manifest
from synthfed.federation.policy import Policy
from synthfed.federation.progress import RoundDone
from synthfed.federation.rounds import Coordinator, Outcome
from synthfed.federation.server_app import build_server_app, keep_manifest, kept_manifest
from synthfed.federation.site import Site, create_site, pin_roster
from synthfed.federation.words import honest_sentences, reduced_sentences
from synthfed.generators.base import Codes, Generator, Layout, Plan, Weights
from synthfed.pipeline import Pipeline
from synthfed.secagg.roster import Member, Roster, sign_roster

if TYPE_CHECKING:
    from synthfed.tables.transform import Transformer

__all__ = ["FederationResult", "RoundDone", "Wiretap", "run_in_process"]


@dataclass(frozen=True, slots=True)
class FederationResult:
    """What a federation leaves; no patient and no single site's change is in it.

    Attributes:
        released: The tensors that ship.
        final: The weights after the last round.
        ledgers: Site to its ledger's export.
        audit: The sites' signed audit chains, JSON lines, site after site.
        audit_keys: Site to the public key (hex) that signed its chain, in the order of the chains.
        bytes_up, bytes_down: Payload from and to the sites.
        words: The sentences about the secure sum that every interface must show, with those on reduced rounds.
    """

    released: Weights
    final: Weights
    ledgers: Mapping[str, dict[str, Any]]
    audit: tuple[str, ...]
    audit_keys: Mapping[str, str]
    rounds: int
    bytes_up: int
    bytes_down: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wiretap:
    """How tests look into, and disturb, the in-process carrier; see `LocalGrid`."""

    serialise: bool = False
    faults: Callable[[Message], None] | None = None
    on_message: Callable[[Message, bytes], None] | None = None
    poll_s: float = 0.05


def run_in_process(
    *,
    pipeline: Pipeline,
    transformer: "Transformer",
    sites: Mapping[str, Codes],
    work: Path,
    simulated: bool,
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
        sites: Site name to int32 codes (rows, blocks); they stay in this process.
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
    from synthfed.generators.plan import make_plan

    if len(sites) < pipeline.federation.min_sites:
        raise TooFewSites(
            f"found {len(sites)} site(s) ({', '.join(sites)}); a secure sum needs at least "
            f"{pipeline.federation.min_sites} (federation.min_sites)"
        )
    tap = wiretap or Wiretap()
    plan = make_plan(pipeline, sites=len(sites))
    roster_names = _roster_names(tuple(sites))
    homes = {site: (site_home or work / "sites") / site for site in roster_names.values()}
    if site_home is not None and not resume:
        _require_budget(homes, plan, epsilon_limit, pipeline)
    relay, roster = _found(work, homes, pipeline, roster_names, simulated=simulated, epsilon_limit=epsilon_limit)
    made = generator or _make_generator(pipeline)
    layout = Layout(tuple(transformer.names), tuple(transformer.widths))
    manifest = _manifest(
        work,
        relay,
        make_manifest(
            pipeline=pipeline,
            transformer_digest=transformer.digest(),
            roster_digest=roster.digest(),
            layout=layout,
            weights=made.init(layout, seed=pipeline.seed),
            plan=plan,
            sites=tuple(member.site for member in roster.members),
            simulated=simulated,
        ),
        resume=resume,
    )
    rows = {roster_names[name]: codes for name, codes in sites.items()}
    open_sites = _OpenSites()
    client_app = build_client_app(
        lambda context, _: rows[str(context.node_config["site"])],
        make_generator=lambda _: made,
        open_site=open_sites if workers == 1 else open_site,  # a sqlite connection stays in its thread
    )
    outcomes: list[Outcome] = []

    def prepare(_: Context) -> Coordinator:
        return Coordinator(
            manifest=manifest,
            relay=relay,
            roster=roster,
            generator=made,
            checkpoints=Checkpoints(work / "coordinator" / manifest.hash()),
            progress=progress,
            poll_s=tap.poll_s,
        )

    server_app = build_server_app(prepare, lambda _, outcome: outcomes.append(outcome))
    nodes = {
        100 + member.index: {"site": member.site, "site-dir": str(homes[member.site].absolute())}
        for member in roster.members
    }
    grid = LocalGrid(
        client_app, nodes, workers=workers, serialise=tap.serialise, faults=tap.faults, on_message=tap.on_message
    )
    with open_sites, grid.as_server():
        server_app(grid, Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={}))
    (outcome,) = outcomes
    return FederationResult(
        released=outcome.released,
        final=outcome.final,
        ledgers={name: json.loads(outcome.ledgers[site]) for name, site in roster_names.items()},
        audit=tuple(line for site in manifest.sites for line in outcome.audits[site].decode().splitlines()),
        audit_keys={site: roster.member(site).public_key.hex() for site in manifest.sites},
        rounds=outcome.rounds,
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        words=honest_sentences(
            roster,
            epsilon=pipeline.privacy.epsilon,
            seeded=manifest.randomness == "seeded",
            in_process=not simulated,
        )
        + reduced_sentences(outcome.missing),
    )


class _OpenSites:
    """Keeps sites open between messages: opening one checks its whole ledger."""

    def __init__(self) -> None:
        self._sites: dict[str, Site] = {}

    def __call__(self, context: Context) -> AbstractContextManager[Site]:
        name = str(context.node_config["site"])
        if name not in self._sites:
            self._sites[name] = Site(Path(str(context.node_config["site-dir"])), name)
        return nullcontext(self._sites[name])

    def __enter__(self) -> "_OpenSites":
        return self

    def __exit__(self, *_: object) -> None:
        for site in self._sites.values():
            site.shut()
        self._sites.clear()


def _require_budget(homes: Mapping[str, Path], plan: Plan, epsilon_limit: float | None, pipeline: Pipeline) -> None:
    """Ask the lasting ledgers before anything is written; each site asks its own again when it enrols.

    Raises:
        BudgetRefused: The run would exceed the limit at a site.
    """
    from synthfed.generators.plan import all_events
    from synthfed.privacy.events import Budget
    from synthfed.privacy.ledger import Ledger

    limit = Budget(pipeline.privacy.epsilon if epsilon_limit is None else epsilon_limit, pipeline.privacy.delta)
    for site, home in homes.items():
        file = home / "ledger.sqlite"
        if not file.exists():
            continue
        with Ledger.open(file, site=site, limit=limit) as ledger:
            before, after = ledger.committed(), ledger.committed_with(all_events(plan))
        if after > limit.epsilon:
            raise BudgetRefused(
                f"site {site!r}: epsilon {before:.2f} is charged or reserved for its patients already, this run would "
                f"make it {after:.2f}, the limit over all runs is {limit.epsilon:g}; lower privacy.epsilon, or have "
                "the data holder raise the limit (--epsilon-limit)"
            )


def _make_generator(pipeline: Pipeline) -> Generator:
    from synthfed.generators.registry import make_generator

    return make_generator(pipeline.generator)


def _roster_names(names: tuple[str, ...]) -> dict[str, str]:
    """A roster id (a-z, 0-9, '-', '_') for each site name; the name itself where it already is one."""
    chosen: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        short = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:40]
        chosen[name] = short if short and short not in chosen.values() else f"{short or 'site'}-{number}"
    return chosen


def _found(
    work: Path,
    homes: Mapping[str, Path],
    pipeline: Pipeline,
    names: Mapping[str, str],
    *,
    simulated: bool,
    epsilon_limit: float | None,
) -> tuple[Ed25519PrivateKey, Roster]:
    """Play steward and hospitals: keys, site folders, policies, a signed roster; or find them from before."""
    folder = work / "coordinator"
    make_private_folder(work)
    make_private_folder(folder)
    for key in ("relay.key", "steward.key"):
        if not (folder / key).exists():
            write_durably(folder / key, os.urandom(32))
    relay, steward = (
        Ed25519PrivateKey.from_private_bytes((folder / key).read_bytes()) for key in ("relay.key", "steward.key")
    )
    today = datetime.datetime.now(datetime.UTC).date()
    if (folder / "roster.toml").exists():
        roster = Roster.from_toml(
            (folder / "roster.toml").read_text(encoding="utf-8"),
            steward_key=steward.public_key().public_bytes_raw(),
            on=today,
        )
        if {member.site for member in roster.members} != set(names.values()):
            raise FederationError(
                f"{work} belongs to a run of sites {', '.join(m.site for m in roster.members)}, "
                f"not {', '.join(names.values())}; use a new work folder"
            )
        return relay, roster
    policy = Policy(
        pipelines=(pipeline.digest(),),
        min_sites=pipeline.federation.min_sites,
        epsilon_total=pipeline.privacy.epsilon if epsilon_limit is None else epsilon_limit,
        delta=pipeline.privacy.delta,
        max_rounds=pipeline.federation.rounds,
        max_steps=pipeline.total_steps,
        allow_seeded=simulated or pipeline.privacy.randomness == "seeded",
        max_missing=pipeline.federation.max_missing,
    )
    members = [
        Member(index, site, name if name.isprintable() else site, create_site(homes[site], policy=policy))
        for index, (name, site) in enumerate(names.items(), start=1)
    ]
    roster = sign_roster(
        members,
        steward=steward,
        relay_key=relay.public_key().public_bytes_raw(),
        valid_from=today,
        valid_until=today + datetime.timedelta(days=3650),
    )
    for member in roster.members:
        pin_roster(homes[member.site], roster)
    write_durably(folder / "roster.toml", roster.to_toml().encode())
    return relay, roster


def _manifest(work: Path, relay: Ed25519PrivateKey, fresh: Manifest, *, resume: bool) -> Manifest:
    """The manifest of the run in `work`: kept from before when resuming, else `fresh`."""
    from dataclasses import replace

    folder = work / "coordinator"
    kept = kept_manifest(folder, relay.public_key().public_bytes_raw())
    if kept is None:
        keep_manifest(folder, fresh, relay)
        return fresh
    if not resume:
        raise FederationError(f"{work} holds a run already; resume it, or use a new work folder")
    if replace(fresh, nonce=kept.nonce) != kept:
        raise FederationError(
            f"the run in {work} had another pipeline, encoder, site list or version; resume it with the same settings, "
            "or use a new work folder (its charges stay in the ledgers)"
        )
    return kept
