"""Sites with addresses, certificates and mailboxes on loopback, for in-process runs whose sites talk directly."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.federation.deployment.certificates import make_link
from synthfed.federation.deployment.flower import free_port
from synthfed.federation.deployment.site_home import offer_link
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.founding import one_host_policy
from synthfed.federation.in_process import FederationResult, RoundDone, Wiretap, run_in_process
from synthfed.federation.mailbox import Mailbox
from synthfed.federation.peer_tls import own_certificate
from synthfed.federation.policy import Policy
from synthfed.federation.site import create_site, pin_roster
from synthfed.generators.base import Codes
from synthfed.generators.plan import make_plan
from synthfed.pipeline import Pipeline
from synthfed.privacy.events import Budget
from synthfed.secagg.roster import Member, Roster, sign_roster
from tests.federation.fakes import MeanGenerator, TwoBlocks


def write_link(folder: Path, name: str, address: str) -> bytes:
    """Key, certificate and address of a site, as `site init --direct` writes them; the certificate, DER."""
    offer_link(folder, make_link(name), address=address, listen=address)
    return own_certificate(folder / "identity")


@dataclass(frozen=True)
class Linked:
    """A federation below `work`, founded as `run_in_process` finds it."""

    work: Path
    roster: Roster
    said: list[str]

    def folder(self, site: str) -> Path:
        return self.work / "sites" / site

    def port(self, site: str) -> int:
        return int(self.roster.member(site).address.rpartition(":")[2])

    @contextmanager
    def listening(self, *besides: str) -> Iterator[Mapping[str, Mailbox]]:
        """All sites listen, but those named."""
        with ExitStack() as stack:
            names = [member.site for member in self.roster.members if member.site not in besides]
            yield {name: stack.enter_context(Mailbox(self.folder(name), name, say=self.said.append)) for name in names}


def founded(work: Path, sites: tuple[str, ...], policy: Policy, *, unlinked: tuple[str, ...] = ()) -> Linked:
    """Keys, folders, links and a signed roster; `unlinked` sites have no address in it."""
    coordinator = work / "coordinator"
    make_private_folder(coordinator)
    relay, steward = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    write_durably(coordinator / "relay.key", relay.private_bytes_raw())
    write_durably(coordinator / "steward.key", steward.private_bytes_raw())
    members = []
    for index, name in enumerate(sites, start=1):
        folder = work / "sites" / name
        key = create_site(folder, policy=policy)
        address = "" if name in unlinked else f"127.0.0.1:{free_port()}"
        certificate = write_link(folder, name, address) if address else b""
        members.append(Member(index, name, f"hospital {name}", key, address=address, certificate=certificate))
    roster = sign_roster(
        members,
        steward=steward,
        relay_key=relay.public_key().public_bytes_raw(),
        valid_from=date.today(),
        valid_until=date.today() + timedelta(days=2),
    )
    for name in sites:
        pin_roster(work / "sites" / name, roster)
    write_durably(coordinator / "roster.toml", roster.to_toml().encode())
    return Linked(work, roster, [])


def founded_for(work: Path, pipeline: Pipeline, sites: tuple[str, ...], *, unlinked: tuple[str, ...] = ()) -> Linked:
    """`founded` with a policy that allows the pipeline."""
    plan = make_plan(pipeline, sites=len(sites))
    budget = Budget(pipeline.privacy.epsilon, pipeline.privacy.delta)
    return founded(work, sites, one_host_policy(pipeline, plan, budget, simulated=True), unlinked=unlinked)


def run_over(
    work: Path,
    pipeline: Pipeline,
    sites: Mapping[str, Codes],
    *,
    tap: Wiretap | None = None,
    resume: bool = False,
    progress: list[RoundDone] | None = None,
    workers: int = 1,
) -> FederationResult:
    """One run of the stand-in generator over the sites that `work` was founded for, or over new ones without links."""
    return run_in_process(
        pipeline=pipeline,
        transformer=TwoBlocks(),  # type: ignore[arg-type]
        sites=sites,
        work=work,
        simulated=True,
        generator=MeanGenerator(),
        wiretap=tap,
        resume=resume,
        progress=None if progress is None else progress.append,
        workers=workers,
    )
