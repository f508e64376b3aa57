"""Play steward and hospitals on one host: keys, site folders, policies, a signed roster, the manifest of a run."""

import datetime
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.errors import BudgetRefused, FederationError
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.manifest import RunManifest
from synthfed.federation.policy import Policy
from synthfed.federation.server_app import keep_manifest, kept_manifest
from synthfed.federation.site import create_site, pin_roster
from synthfed.pipeline import Pipeline
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.ledger import Ledger
from synthfed.secagg.roster import Member, Roster, sign_roster

if TYPE_CHECKING:
    from synthfed.generators.base import Plan

M = TypeVar("M", bound=RunManifest)


def roster_names(names: tuple[str, ...]) -> dict[str, str]:
    """A roster id (a-z, 0-9, '-', '_') for each site name; the name itself where it already is one."""
    chosen: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        short = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:40]
        chosen[name] = short if short and short not in chosen.values() else f"{short or 'site'}-{number}"
    return chosen


def found(
    work: Path,
    homes: Mapping[str, Path],
    policy: Policy,
    names: Mapping[str, str],
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
        return relay, _kept_roster(work, steward, names, today)
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


def one_host_policy(pipeline: Pipeline, plan: "Plan", limit: Budget, *, simulated: bool) -> Policy:
    """The policy of every site where one host plays them all: this pipeline and its plan, within `limit`."""
    return Policy(
        pipelines=(pipeline.digest(),),
        min_sites=pipeline.federation.min_sites,
        epsilon_total=limit.epsilon,
        delta=limit.delta,
        max_rounds=plan.all_rounds,
        max_steps=pipeline.total_steps,
        allow_seeded=simulated or pipeline.privacy.randomness == "seeded",
        max_missing=pipeline.federation.max_missing,
        epsilon_local=math.inf if plan.shared else 0.0,
        questions=2**31,  # on one host the ledger is the limit
        exact_answers=pipeline.evaluation.release == "exact-sums",
        direct=pipeline.federation.transport == "direct",
    )


def founded(work: Path, names: Mapping[str, str]) -> tuple[Ed25519PrivateKey, Roster]:
    """Relay key and roster of the run that `found` began in `work`.

    Raises:
        FederationError: There is none, or it is of other sites.
    """
    folder = work / "coordinator"
    try:
        relay, steward = (
            Ed25519PrivateKey.from_private_bytes((folder / key).read_bytes()) for key in ("relay.key", "steward.key")
        )
    except OSError as error:
        raise FederationError(f"{work} holds no run to score; train first") from error
    return relay, _kept_roster(work, steward, names, datetime.datetime.now(datetime.UTC).date())


def _kept_roster(work: Path, steward: Ed25519PrivateKey, names: Mapping[str, str], today: datetime.date) -> Roster:
    roster = Roster.from_toml(
        (work / "coordinator" / "roster.toml").read_text(encoding="utf-8"),
        steward_key=steward.public_key().public_bytes_raw(),
        on=today,
    )
    if {member.site for member in roster.members} != set(names.values()):
        raise FederationError(
            f"{work} belongs to a run of sites {', '.join(m.site for m in roster.members)}, "
            f"not {', '.join(names.values())}; use a new work folder"
        )
    return roster


def require_budget(homes: Mapping[str, Path], events: Sequence[PrivacyEvent], limit: Budget, *, name: str) -> None:
    """Ask the lasting ledgers before anything is written; each site asks its own again when it enrols.

    Args:
        name: The setting that would lower the cost, for the error.

    Raises:
        BudgetRefused: The run would exceed the limit at a site.
    """
    for site, home in homes.items():
        file = home / "ledger.sqlite"
        if not file.exists():
            continue
        with Ledger.open(file, site=site, limit=limit) as ledger:
            before, after = ledger.committed(), ledger.committed_with(events)
        if after > limit.epsilon:
            raise BudgetRefused(
                f"site {site!r}: epsilon {before:.2f} is charged or reserved for its patients already, this run would "
                f"make it {after:.2f}, the limit over all runs is {limit.epsilon:g}; lower {name}, or have "
                "the data holder raise the limit (--epsilon-limit)"
            )


def kept_or_fresh(work: Path, relay: Ed25519PrivateKey, fresh: M, *, resume: bool) -> M:
    """The manifest of the run in `work`: kept from before when resuming, else `fresh`.

    Raises:
        FederationError: `work` holds a run and `resume` is not set, or it is another run.
    """
    from dataclasses import replace

    folder = work / "coordinator"
    kept = kept_manifest(folder, relay.public_key().public_bytes_raw())
    if kept is None:
        keep_manifest(folder, fresh, relay)
        return fresh
    if not resume:
        raise FederationError(f"{work} holds a run already; resume it, or use a new work folder")
    again: M = replace(fresh, nonce=kept.nonce)  # type: ignore[type-var]  # every manifest is a dataclass
    if again != kept:
        raise FederationError(
            f"the run in {work} had another pipeline, encoder, site list or version; resume it with the same settings, "
            "or use a new work folder (its charges stay in the ledgers)"
        )
    return again
