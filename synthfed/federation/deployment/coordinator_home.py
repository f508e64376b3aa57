"""The coordinator's folder: its keys, who asked to join, the signed roster, and a folder per run.

`keys/steward.key` decides who takes part, `keys/relay.key` signs what runs ask for, `tls/ca.key` decides whom sites
take for the coordinator. None of them opens a site's input. `flower/` is Flower's own (`FLWR_HOME`, and the SuperLink's
database, which holds sealed envelopes and sums). All of it is of mode 0700.
"""

import datetime
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.errors import FederationError
from synthfed.federation.deployment.certificates import KeyPair, issue_server, make_authority
from synthfed.federation.deployment.flower import CONNECTION
from synthfed.federation.deployment.joining import FileRefused, Invitation, Join
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.pipeline import Pipeline
from synthfed.secagg.roster import FEWEST_SITES, Roster, sign_roster

_ROSTER_DAYS = 365


@dataclass(frozen=True, slots=True)
class CoordinatorHome:
    """An existing coordinator's folder.

    Attributes:
        address: host:port by which hospitals reach the front.
        listen: Local address that the front binds to.
        superlink_port: Loopback port of Flower's SuperLink; never opened to others.
    """

    folder: Path
    address: str
    listen: str
    superlink_port: int

    @classmethod
    def init(
        cls, folder: Path, *, address: str, listen: str = "0.0.0.0", superlink_port: int = 8000
    ) -> "CoordinatorHome":
        """Make keys, certificates and settings; what exists is kept, but the server certificate is made anew.

        Raises:
            FederationError: The address is no host:port, or the folder serves another one.
        """
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise FederationError(f"the address is {address!r}; wanted host:port, such as fl.example.org:443")
        folder = folder.absolute()
        for name in ("", "keys", "tls", "joins", "rosters", "runs", "logs", "flower"):
            make_private_folder(folder / name)
        for name in ("relay.key", "steward.key"):
            if not (folder / "keys" / name).exists():
                write_durably(folder / "keys" / name, os.urandom(32))
        tls = folder / "tls"
        if not (tls / "ca.key").exists():
            authority = make_authority(host)
            write_durably(tls / "ca.key", authority.private)
            write_durably(tls / "ca.crt", authority.public)
        server = issue_server(KeyPair((tls / "ca.key").read_bytes(), (tls / "ca.crt").read_bytes()), host)
        write_durably(tls / "server.key", server.private)
        write_durably(tls / "server.crt", server.public)
        settings = {"address": address, "listen": listen, "superlink_port": superlink_port}
        write_durably(folder / "coordinator.toml", tomli_w.dumps(settings).encode())
        connection = {"address": f"127.0.0.1:{superlink_port}", "root-certificates": str(tls / "ca.crt")}
        flower = {"superlink": {"default": CONNECTION, CONNECTION: connection}}
        write_durably(folder / "flower" / "config.toml", tomli_w.dumps(flower).encode())
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> "CoordinatorHome":
        """Open a folder made by `init`.

        Raises:
            FederationError: It is none.
        """
        folder = folder.absolute()
        try:
            raw = tomllib.loads((folder / "coordinator.toml").read_text(encoding="utf-8"))
            return cls(folder, str(raw["address"]), str(raw["listen"]), int(raw["superlink_port"]))
        except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise FederationError(
                f"{folder} is no coordinator's folder; make one with: synthfed coordinator init {folder} --address "
                "HOST:PORT"
            ) from error

    @property
    def port(self) -> int:
        """The port that hospitals connect to."""
        return int(self.address.rpartition(":")[2])

    @property
    def flwr_home(self) -> Path:
        """Flower's own folder."""
        return self.folder / "flower"

    def tls(self, name: str) -> Path:
        """A file of the certificates."""
        return self.folder / "tls" / name

    def log(self, name: str) -> Path:
        """The log of one program."""
        return self.folder / "logs" / f"{name}.log"

    def run_folder(self, name: str) -> Path:
        """The folder of a run, which need not exist.

        Raises:
            FederationError: The name is no plain folder name.
        """
        if not name or name.startswith(".") or "/" in name or "\\" in name:
            raise FederationError(f"run name {name!r} is not a plain name; take letters, digits, '-' and '_'")
        return self.folder / "runs" / name

    def known_run(self, name: str) -> Path:
        """The folder of a run that was submitted.

        Raises:
            FederationError: There is none of that name.
        """
        folder = self.run_folder(name)
        if not folder.is_dir():
            known = ", ".join(path.name for path in self.runs())
            raise FederationError(
                f"there is no run {name!r} in {self.folder / 'runs'}; "
                + (f"there are: {known}" if known else f"start one with: synthfed coordinator submit {self.folder} aml")
            )
        return folder

    def runs(self) -> tuple[Path, ...]:
        """The folders of all runs, by name."""
        return tuple(sorted(path for path in (self.folder / "runs").iterdir() if path.is_dir()))

    def add(self, text: str) -> Join:
        """Keep a site's request to join; a site that asks again with other keys replaces its request.

        Raises:
            FileRefused, RosterRefused: It is no request, or is not signed by the key it names.
        """
        join = Join.from_toml(text)
        write_durably(self.folder / "joins" / f"{join.site}.join", text.encode())
        return join

    def joins(self) -> tuple[Join, ...]:
        """The requests kept, by site name."""
        return tuple(
            Join.from_toml(path.read_text(encoding="utf-8")) for path in sorted((self.folder / "joins").glob("*.join"))
        )

    def roster(self) -> Roster:
        """The roster in force.

        Raises:
            FederationError: None was signed.
        """
        found = self._rosters()
        if not found:
            raise FederationError(f"no roster is signed; run: synthfed coordinator roster {self.folder}")
        return found[-1]

    def members(self) -> tuple[str, ...]:
        """Names of the roster's sites; none before it was signed."""
        found = self._rosters()
        return tuple(member.site for member in found[-1].members) if found else ()

    def sign_roster(self) -> Invitation:
        """Sign the roster of all requests kept, and write the invitation; the old roster stands if nothing changed.

        Raises:
            FederationError: Fewer than three sites asked.
            RosterRefused: Fewer than three organisations, or two sites with one key.
        """
        joins, before = self.joins(), self._rosters()
        if len(joins) < FEWEST_SITES:
            raise FederationError(
                f"{len(joins)} site(s) asked to join ({', '.join(join.site for join in joins) or 'none'}); a secure "
                f"sum needs {FEWEST_SITES}: run `synthfed site init` there, then: synthfed coordinator add "
                f"{self.folder} SITE.join"
            )
        today = datetime.datetime.now(datetime.UTC).date()
        known = {member.site: member.index for roster in before for member in roster.members}
        following = max(known.values(), default=0)
        members = []
        for join in joins:
            if join.site not in known:
                following += 1  # an index is never given to another site
                known[join.site] = following
            members.append(join.member(known[join.site]))
        members.sort(key=lambda member: member.index)
        last = before[-1] if before else None
        if last is None or last.members != tuple(members) or last.valid_until <= today:
            last = sign_roster(
                members,
                steward=self._key("steward"),
                relay_key=self.relay().public_key().public_bytes_raw(),
                valid_from=today,
                valid_until=today + datetime.timedelta(days=_ROSTER_DAYS),
                version=last.version + 1 if last else 1,
            )
            write_durably(self.folder / "rosters" / f"{last.version:04d}.toml", last.to_toml().encode())
        invitation = Invitation(self.address, self.tls("ca.crt").read_text(encoding="utf-8"), last)
        write_durably(self.folder / "invitation.toml", invitation.to_toml().encode())
        return invitation

    def begin_run(self, name: str, pipeline: Pipeline, *, toml: str) -> Path:
        """Make the folder of a run: what its ServerApp reads, and where it leaves the outcome.

        It keeps the roster with which it begins: a later one is another federation to the sites.

        Raises:
            FederationError: The run exists.
        """
        folder = self.run_folder(name)
        if folder.exists():
            raise FederationError(f"run {name!r} exists; go on with --resume, or give another --name")
        roster = self.roster()
        make_private_folder(folder)
        write_durably(folder / "pipeline.toml", toml.encode())
        if Pipeline.load(str(folder / "pipeline.toml")).digest() != pipeline.digest():
            raise FederationError(
                f"run {name!r}: the pipeline changed when it was written; this is a fault of synthfed"
            )
        write_durably(folder / "steward.pub", roster.steward_key)
        write_durably(folder / "roster.toml", roster.to_toml().encode())
        write_durably(folder / "relay.key", self.relay().private_bytes_raw())
        return folder

    def relay(self) -> Ed25519PrivateKey:
        """The key that signs what runs ask for."""
        return self._key("relay")

    def _key(self, name: str) -> Ed25519PrivateKey:
        path = self.folder / "keys" / f"{name}.key"
        try:
            return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
        except (OSError, ValueError) as error:
            raise FederationError(f"{path} is missing or unusable; restore it from the backup") from error

    def _rosters(self) -> tuple[Roster, ...]:
        """All rosters that were ever signed here, oldest first; an expired one still names its indices."""
        steward = self._key("steward").public_key().public_bytes_raw()
        found = []
        for path in sorted((self.folder / "rosters").glob("*.toml")):
            text = path.read_text(encoding="utf-8")
            try:
                begin = tomllib.loads(text)["valid_from"]
            except (tomllib.TOMLDecodeError, KeyError) as error:
                raise FileRefused(f"{path} is no roster; restore it from the backup") from error
            found.append(Roster.from_toml(text, steward_key=steward, on=begin))
        return tuple(found)
