"""A site's own folder: who it is, whom it trusts, what it allows and what it has spent.

`<site-dir>/` (mode 0700) holds `identity/site.key` (Ed25519), `identity/seal.key` (AES-256) and `identity/split.key`
(which patients are held out), all 0600, the pinned `roster.toml` and `steward.pub`, the hospital's `policy.toml`, one
`ledger.sqlite` over all runs, and `runs/`. The disk decides: what a coordinator sends is a request. A thief of the
disk without the key files reads no session; with them, everything that this site sent.
"""

import datetime
import json
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.errors import FederationError, LedgerBroken, SecAggError
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.inquiry import SCHEMA as INQUIRY
from synthfed.federation.manifest import RunManifest, check_signature, read_manifest
from synthfed.federation.policy import Policy
from synthfed.federation.refused import Refused
from synthfed.federation.run_state import RunState
from synthfed.federation.scoring import SCHEMA as SCORING
from synthfed.privacy.ledger import Ledger
from synthfed.secagg.roster import Roster

LOG = "site.log"  # what went wrong here, for the hospital alone


class SiteUnusable(FederationError):
    """A site's folder lacks a file or holds one that cannot be used."""


class Site:
    """An opened site folder. Reading it needs no torch and no rows."""

    def __init__(self, folder: Path, name: str) -> None:
        """Open a folder made by `create_site`.

        Raises:
            SiteUnusable: A file is missing or unreadable, a key file is open to others, or the roster does not name
                this site with this key.
            PolicyError: The policy file is missing or wrong.
        """
        self.folder = folder
        self.name = name
        self.identity = Ed25519PrivateKey.from_private_bytes(_key(folder / "identity" / "site.key"))
        self._seal_key = _key(folder / "identity" / "seal.key")
        self.policy = Policy.load(folder / "policy.toml")
        try:
            self.roster = Roster.from_toml(
                (folder / "roster.toml").read_text(encoding="utf-8"),
                steward_key=(folder / "steward.pub").read_bytes(),
                on=datetime.datetime.now(datetime.UTC).date(),
            )
            member = self.roster.member(name)
        except (OSError, SecAggError) as error:
            raise SiteUnusable(f"the roster of site {name!r} cannot be used; pin the steward's roster again") from error
        if member.public_key != self.identity.public_key().public_bytes_raw():
            raise SiteUnusable(f"the roster names another key for site {name!r} than its identity/site.key")

        self._ledger: Ledger | None = None
        self._runs: dict[str, RunState] = {}
        self._manifests: dict[str, RunManifest] = {}

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def shut(self) -> None:
        """Close ledger and run states; everything in them is durable already."""
        for run in self._runs.values():
            run.shut()
        self._runs.clear()
        if self._ledger is not None:
            self._ledger.shut()
            self._ledger = None

    def ledger(self) -> Ledger:
        """The site's privacy ledger over all runs; opened and checked when first needed.

        Raises:
            LedgerBroken: It is altered, or gone although runs have begun here.
        """
        if self._ledger is None:
            path = self.folder / "ledger.sqlite"
            if not path.exists() and any((self.folder / "runs").glob("*/manifest.json")):
                raise LedgerBroken(f"site {self.name!r} has runs but no ledger.sqlite; restore it, charge nothing")
            self._ledger = Ledger.open(path, site=self.name, limit=self.policy.budget)
        return self._ledger

    def run(self, manifest_hash: str) -> RunState:
        """The state of a run, known or new; enter it to hold its lock."""
        if manifest_hash not in self._runs:
            folder = self.folder / "runs" / manifest_hash
            self._runs[manifest_hash] = RunState(folder, run=manifest_hash, seal_key=self._seal_key)
        return self._runs[manifest_hash]

    def inquiries(self, *, besides: str) -> int:
        """How many runs of questions or scoring this site has enrolled in, that named `besides` left out."""
        others = [path for path in (self.folder / "runs").glob("*/manifest.json") if path.parent.name != besides]
        return sum(json.loads(path.read_bytes())["schema"] in (INQUIRY, SCORING) for path in others)

    def manifest(self, manifest_hash: str) -> RunManifest:
        """The manifest of an enrolled run, checked again from disk.

        Raises:
            Refused: `manifest`: this site never enrolled in that run, or the stored file was altered.
        """
        if manifest_hash in self._manifests:
            return self._manifests[manifest_hash]
        folder = self.folder / "runs" / manifest_hash
        if len(manifest_hash) != 64 or set(manifest_hash) - set("0123456789abcdef") or not folder.is_dir():
            raise Refused("manifest")
        try:
            raw, signature = (folder / "manifest.json").read_bytes(), (folder / "manifest.sig").read_bytes()
        except OSError as error:
            raise Refused("manifest") from error
        check_signature(raw, signature, self.roster.relay_key)
        manifest = read_manifest(raw)
        if manifest.hash() != manifest_hash:
            raise Refused("manifest")
        self._manifests[manifest_hash] = manifest
        return manifest


def create_site(folder: Path, *, policy: Policy) -> bytes:
    """Make a site folder with fresh keys and the hospital's policy; the public key comes back for the roster.

    Keys that exist are kept: a site has one identity for years.
    """
    make_private_folder(folder)
    make_private_folder(folder / "identity")
    make_private_folder(folder / "runs")
    for name in ("site.key", "seal.key", "split.key"):
        path = folder / "identity" / name
        if not path.exists():
            write_durably(path, os.urandom(32))
    write_durably(folder / "policy.toml", policy.to_toml().encode())
    identity = Ed25519PrivateKey.from_private_bytes(_key(folder / "identity" / "site.key"))
    return identity.public_key().public_bytes_raw()


def split_key(folder: Path) -> bytes:
    """32 secret bytes that decide, for years, which of the site's patients are held out of all training."""
    return _key(folder / "identity" / "split.key")


def pin_roster(folder: Path, roster: Roster) -> None:
    """Store the roster that the site's people compared by voice; later runs must name exactly this one."""
    write_durably(folder / "steward.pub", roster.steward_key)
    write_durably(folder / "roster.toml", roster.to_toml().encode())


def _key(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise SiteUnusable(f"key file {path.name} can be read by others; set its mode to 0600")
        key = path.read_bytes()
    except OSError as error:
        raise SiteUnusable(f"key file {path.name} is missing or unreadable") from error
    if len(key) != 32:
        raise SiteUnusable(f"key file {path.name} has {len(key)} bytes; it needs 32")
    return key
