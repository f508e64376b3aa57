"""The two small files that people carry: a site's request to join, and the coordinator's invitation.

Both are public. What makes them trustworthy is a fingerprint that two people compare by voice: the steward reads the
request's back to the hospital, the hospital reads the invitation's back to the steward. Without that, whoever carries
the files can put himself between them.
"""

import datetime
import hashlib
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import tomli_w
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from synthfed.errors import FederationError
from synthfed.federation.deployment.certificates import is_certificate, is_node_key
from synthfed.secagg.contexts import digest, lp
from synthfed.secagg.roster import Member, Roster

_JOIN, _INVITATION = "synthfed.join/1", "synthfed.invitation/1"


class FileRefused(FederationError):
    """A request to join or an invitation is altered or not one."""


@dataclass(frozen=True, slots=True)
class Join:
    """A site asks to be in the roster.

    Attributes:
        site: Short name: a-z, 0-9, '-', '_'.
        organisation: Legal body that runs the site.
        public_key: Raw Ed25519 key, 32 bytes: who the site is in every secure sum.
        node_key: OpenSSH line: which SuperNode may connect.
        address, certificate: For direct links, as the roster lists them; empty where the site offers none.
    """

    site: str
    organisation: str
    public_key: bytes
    node_key: str
    address: str = ""
    certificate: bytes = b""

    def __post_init__(self) -> None:
        self.member(0)  # the roster's own checks
        if not is_node_key(self.node_key):
            raise FileRefused(f"the request of site {self.site!r} holds no usable node key; run `site init` again")

    def member(self, index: int) -> Member:
        """The line of the roster that the site asks for."""
        return Member(
            index,
            self.site,
            self.organisation,
            self.public_key,
            address=self.address,
            certificate=self.certificate,
        )

    def body(self) -> bytes:
        """What the site signs; a request without direct links has no fields for them."""
        fields = [self.site.encode(), self.organisation.encode(), self.public_key, self.node_key.encode()]
        fields += [self.address.encode(), self.certificate] if self.certificate else []
        return digest(b"synthfed/join/v1", *(lp(field) for field in fields))

    @property
    def fingerprint(self) -> str:
        """What the steward and the site compare by voice."""
        return spoken(self.body())

    def to_toml(self, identity: Ed25519PrivateKey) -> str:
        """The file, signed with the site's key."""
        link = {"address": self.address, "certificate": self.certificate.hex()} if self.certificate else {}
        return tomli_w.dumps(
            {
                "schema": _JOIN,
                "site": self.site,
                "organisation": self.organisation,
                "public_key": self.public_key.hex(),
                "node_key": self.node_key,
                **link,
                "signature": identity.sign(self.body()).hex(),
            }
        )

    @classmethod
    def from_toml(cls, text: str) -> "Join":
        """Read a request and check that whoever wrote it holds its key.

        Raises:
            FileRefused: It is not a request, or not signed with the key it names.
            RosterRefused: Its name or organisation cannot stand in a roster.
        """
        needed = {"site", "organisation", "public_key", "node_key", "signature"}
        raw = _strictly(text, _JOIN, needed, optional={"address", "certificate"})
        try:
            join = cls(
                raw["site"],
                raw["organisation"],
                bytes.fromhex(raw["public_key"]),
                raw["node_key"],
                raw.get("address", ""),
                bytes.fromhex(raw.get("certificate", "")),
            )
            Ed25519PublicKey.from_public_bytes(join.public_key).verify(bytes.fromhex(raw["signature"]), join.body())
        except (ValueError, InvalidSignature) as error:
            raise FileRefused("the request to join is not signed by the key it names; ask the site for it again") from (
                error
            )
        return join


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a site needs to know of its federation.

    Attributes:
        address: host:port that the site's machine connects to.
        authority: PEM certificate that the coordinator's server certificate is checked against.
        roster: Who takes part, signed by the steward.
    """

    address: str
    authority: str
    roster: Roster

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdigit():
            raise FileRefused(f"the coordinator's address is {self.address!r}; wanted host:port")
        if not is_certificate(self.authority):
            raise FileRefused("the invitation holds no certificate of the coordinator; ask for it again")

    @property
    def fingerprint(self) -> str:
        """Of everything in it: roster with its keys, address, certificate."""
        parts = (self.address.encode(), self.authority.encode(), self.roster.digest())
        return spoken(digest(b"synthfed/invitation/v1", *(lp(part) for part in parts)))

    def to_toml(self) -> str:
        """The file that the coordinator sends to every site."""
        return tomli_w.dumps(
            {
                "schema": _INVITATION,
                "address": self.address,
                "authority": self.authority,
                "roster": self.roster.to_toml(),
            },
            multiline_strings=True,
        )

    @classmethod
    def from_toml(cls, text: str) -> "Invitation":
        """Read an invitation; whose it is shows the fingerprint, not the file.

        Raises:
            FileRefused: It is not an invitation.
            RosterRefused: Its roster does not hold, or not on this day.
        """
        raw = _strictly(text, _INVITATION, {"address", "authority", "roster"})
        try:
            steward = bytes.fromhex(tomllib.loads(raw["roster"])["steward_key"])
        except (ValueError, KeyError, TypeError) as error:
            raise FileRefused("the invitation holds no roster; ask the coordinator for it again") from error
        today = datetime.datetime.now(datetime.UTC).date()
        roster = Roster.from_toml(raw["roster"], steward_key=steward, on=today)
        return cls(raw["address"], raw["authority"], roster)


def spoken(value: bytes) -> str:
    """128 bits of a SHA-256 as eight groups of four, to be read over a telephone."""
    text = hashlib.sha256(value).hexdigest()[:32]
    return "-".join(text[start : start + 4] for start in range(0, 32, 4))


def same_fingerprint(heard: str, found: str) -> bool:
    """Whether two people speak of one fingerprint, however they group it."""
    return "".join(heard.lower().split()).replace("-", "") == found.replace("-", "")


def _strictly(text: str, schema: str, keys: set[str], *, optional: Collection[str] = ()) -> dict[str, Any]:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileRefused(f"the file is no {schema}: it is not TOML") from error
    fits = raw.pop("schema", None) == schema and set(raw) - set(optional) == keys
    if not fits or not all(isinstance(v, str) for v in raw.values()):
        raise FileRefused(f"the file is no {schema}; it needs exactly the texts {sorted(keys)}")
    return raw
