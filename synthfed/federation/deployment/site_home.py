"""A hospital's side on disk: the site folder of `site.py`, with what its SuperNode needs beside it.

Added here: `site.toml` (name, table, dictionary), `identity/node.key` (which SuperNode may connect), `coordinator.toml`
and `ca.crt` (whom it connects to, pinned by fingerprint), `local/` (TLS between Flower's own processes on this
machine), `flower/` (the one bundle of code that may run) and `logs/`; and `peer.toml` (where it is called) with
`identity/peer.{key,crt}`, if the hospital wants direct links. Nothing below this folder is ever sent but what the
site's own code replies.
"""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any

import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.errors import FederationError
from synthfed.federation.deployment.certificates import (
    KeyPair,
    issue_server,
    make_authority,
    make_link,
    make_node_key,
)
from synthfed.federation.deployment.joining import FileRefused, Invitation, Join, same_fingerprint
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.mailbox import CONFIG
from synthfed.federation.peer_tls import CERTIFICATE, KEY, own_certificate
from synthfed.federation.policy import Policy
from synthfed.federation.site import Site, create_site, pin_roster
from synthfed.pipeline import Pipeline

CAUTIOUS = Policy(
    pipelines=(),
    min_sites=3,
    epsilon_total=10.0,
    delta=1e-5,
    max_rounds=100,
    max_steps=10_000,
    epsilon_run=10.0,
    min_rows=20,
)  # no pipeline may run, no questions, no seeded noise, no sum without a site


@dataclass(frozen=True, slots=True)
class SiteHome:
    """An existing site's folder.

    Attributes:
        site: Roster id.
        data: The table, absolute; None before the hospital named one.
        dictionary: A shipped disease, or the path of a dictionary; None takes the pipeline's.
        threads: Threads of one training stint.
    """

    folder: Path
    site: str
    organisation: str
    data: Path | None
    dictionary: str | None
    threads: int = 1

    @classmethod
    def init(
        cls,
        folder: Path,
        *,
        site: str,
        organisation: str,
        data: Path | None = None,
        dictionary: str | None = None,
        direct: str | None = None,
        listen: str | None = None,
    ) -> "SiteHome":
        """Make keys, a policy that allows nothing yet, and the request to join; keys that exist are kept.

        Args:
            direct: host:port where other sites may call this one, to be listed in the roster; None keeps what is there.
            listen: Local address and port to bind for that, where it is another one.

        Raises:
            FederationError: The folder belongs to another site.
            RosterRefused: The name or organisation cannot stand in a roster.
        """
        folder = folder.absolute()
        if (folder / "site.toml").exists() and (before := cls.open(folder)).site != site:
            raise FederationError(f"{folder} is the folder of site {before.site!r}; give another folder to {site!r}")
        node, link = make_node_key(), make_link(site)
        offered = (direct, PEM_cert_to_DER_cert(link.public.decode())) if direct else ()
        Join(site, organisation, bytes(32), node.public.decode(), *offered)  # refuses before a file is written
        policy = Policy.load(folder / "policy.toml") if (folder / "policy.toml").exists() else CAUTIOUS
        create_site(folder, policy=policy)
        make_private_folder(folder / "logs")
        make_private_folder(folder / "flower")
        if not (folder / "identity" / "node.key").exists():
            write_durably(folder / "identity" / "node.key", node.private)
            write_durably(folder / "identity" / "node.pub", node.public)
        if direct:
            offer_link(folder, link, address=direct, listen=listen or direct)
        if not (folder / "local").is_dir():
            make_private_folder(folder / "local")
            authority = make_authority(f"{site} loopback")
            server = issue_server(authority, "localhost")
            for name, content in (
                ("ca.crt", authority.public),
                ("server.crt", server.public),
                ("server.key", server.private),
            ):
                write_durably(folder / "local" / name, content)
        home = cls(folder, site, organisation, data.absolute() if data else None, dictionary)
        home.save()
        write_durably(folder / f"{site}.join", home.join().to_toml(home.identity()).encode())
        return home

    @classmethod
    def open(cls, folder: Path) -> "SiteHome":
        """Open a folder made by `init`.

        Raises:
            FederationError: It is none.
        """
        folder = folder.absolute()
        try:
            raw: dict[str, Any] = tomllib.loads((folder / "site.toml").read_text(encoding="utf-8"))
            data = raw.get("data")
            return cls(
                folder,
                str(raw["site"]),
                str(raw["organisation"]),
                Path(data) if data else None,
                raw.get("dictionary"),
                int(raw.get("threads", 1)),
            )
        except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise FederationError(
                f"{folder} is no site's folder; make one with: synthfed site init {folder} --name NAME --organisation "
                "'FULL NAME'"
            ) from error

    def save(self) -> None:
        """Write `site.toml`."""
        body: dict[str, Any] = {"site": self.site, "organisation": self.organisation, "threads": self.threads}
        if self.data:
            body["data"] = str(self.data)
        if self.dictionary:
            body["dictionary"] = self.dictionary
        write_durably(self.folder / "site.toml", tomli_w.dumps(body).encode())

    def identity(self) -> Ed25519PrivateKey:
        """The key that the roster names."""
        return Ed25519PrivateKey.from_private_bytes((self.folder / "identity" / "site.key").read_bytes())

    def join(self) -> Join:
        """The request to join."""
        node_key = (self.folder / "identity" / "node.pub").read_text(encoding="utf-8").strip()
        public_key = self.identity().public_key().public_bytes_raw()
        return Join(self.site, self.organisation, public_key, node_key, *self._link())

    def _link(self) -> tuple[str, bytes] | tuple[()]:
        """Address and certificate for direct links, if the hospital wants any."""
        config = self.folder / CONFIG
        if not config.exists():
            return ()
        address = str(tomllib.loads(config.read_text(encoding="utf-8"))["address"])
        return address, own_certificate(self.folder / "identity")

    @property
    def flwr_home(self) -> Path:
        """Flower's own folder: the approved bundle."""
        return self.folder / "flower"

    @property
    def log(self) -> Path:
        """What the SuperNode says; the site's own code writes to `site.log`."""
        return self.folder / "logs" / "supernode.log"

    def pin(self, invitation: Invitation, fingerprint: str) -> None:
        """Trust an invitation whose fingerprint a person heard from the steward.

        Raises:
            FileRefused: It has another fingerprint, or its roster names another key for this site.
        """
        if not same_fingerprint(fingerprint, invitation.fingerprint):
            raise FileRefused(
                f"the invitation's fingerprint is {invitation.fingerprint}, not {fingerprint}; compare it with the "
                "steward by telephone, and approve nothing until both are the same"
            )
        if invitation.roster.member(self.site).public_key != self.join().public_key:
            raise FileRefused(f"the invitation's roster names another key for site {self.site!r}; send SITE.join again")
        pin_roster(self.folder, invitation.roster)
        write_durably(self.folder / "ca.crt", invitation.authority.encode())
        write_durably(self.folder / "coordinator.toml", tomli_w.dumps({"address": invitation.address}).encode())

    @property
    def address(self) -> str:
        """host:port of the coordinator.

        Raises:
            FederationError: No invitation is pinned.
        """
        try:
            return str(tomllib.loads((self.folder / "coordinator.toml").read_text(encoding="utf-8"))["address"])
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            raise FederationError(
                f"site {self.site!r} trusts no coordinator yet; run: synthfed site approve {self.folder} --invitation "
                "FILE --fingerprint WHAT-THE-STEWARD-READ-OUT"
            ) from error

    def policy(self) -> Policy:
        """The hospital's policy.

        Raises:
            PolicyError: It is missing or wrong.
        """
        return Policy.load(self.folder / "policy.toml")

    def allow(self, pipeline: Pipeline) -> Policy:
        """Add a pipeline to those that may run here; its other limits stay as they are."""
        policy = self.policy()
        if pipeline.digest() not in policy.pipelines:
            policy = replace(policy, pipelines=(*policy.pipelines, pipeline.digest()))
            write_durably(self.folder / "policy.toml", policy.to_toml().encode())
        return policy

    def answer(self, questions: int) -> Policy:
        """Allow so many question runs in all; the policy's other limits stay as they are."""
        policy = replace(self.policy(), questions=questions)
        write_durably(self.folder / "policy.toml", policy.to_toml().encode())
        return policy

    def leave(self, run: str) -> str:
        """Take no further part in an open run: what it set aside and never charged is free again, for ever.

        Args:
            run: Its manifest hash, or the beginning of it.

        Raises:
            FederationError: No open run begins so, or several do.
            Refused: `busy`: a message of the run is being worked on.
        """
        with Site(self.folder, self.site) as site:
            named = [name for name in site.ledger().open_runs() if name.startswith(run)]
            if len(named) != 1 or not run:
                raise FederationError(
                    f"{len(named)} open runs of site {self.site!r} begin with {run!r}; see: synthfed site status "
                    f"{self.folder}"
                )
            with site.run(named[0]) as state, state.transaction():
                state.audit("left", {}, site.identity)
                state.leave()
                state.forget_secrets()
            site.ledger().close(named[0])
        return named[0]

    def node_config(self) -> str:
        """What the ClientApp learns about this machine, as `--node-config` takes it.

        Raises:
            FederationError: The hospital named no table yet.
        """
        if self.data is None:
            raise FederationError(
                f"site {self.site!r} names no table; run: synthfed site init {self.folder} --name {self.site} "
                f"--organisation {self.organisation!r} --data FILE"
            )
        values = {"site": self.site, "site-dir": str(self.folder), "data": str(self.data)}
        if self.dictionary:
            values["dictionary"] = self.dictionary
        for key, value in values.items():
            if '"' in value or "\\" in value or "'" in value:
                raise FederationError(
                    f"site {self.site!r}: {key} is {value!r}; quotes and backslashes cannot be passed on"
                )
        return " ".join(f'{key}="{value}"' for key, value in values.items())


def offer_link(folder: Path, link: KeyPair, *, address: str, listen: str) -> None:
    """Write where a site is called directly, and the key and certificate it shows; those that exist are kept."""
    if not (folder / "identity" / KEY).exists():
        write_durably(folder / "identity" / KEY, link.private)
        write_durably(folder / "identity" / CERTIFICATE, link.public)
    write_durably(folder / CONFIG, tomli_w.dumps({"address": address, "listen": listen}).encode())
