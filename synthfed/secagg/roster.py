"""Who may take part: the signed list of sites and their keys, which every site pins before the first round.

The steward enrols sites and signs the roster; nobody else can add, drop or re-key a site. What this cannot prevent:
a steward who enrols puppets. Sites therefore compare key fingerprints by voice, and a set of colluding sites counts
every site of a colluding organisation.

A `Roster` exists only if it passed every check here, so code that holds one need not check again.
"""

import datetime
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from synthfed.secagg.contexts import digest, lp, u16, u32
from synthfed.secagg.refusals import RosterRefused, UnknownSender
from synthfed.secagg.signatures import SECOND_KEY_BYTES

RELAY = 65534  # envelope address of the relay
ALL = 65535  # envelope address of everybody
MOST_SITES = 50
FEWEST_SITES = 3

_DOMAIN = b"synthfed/secagg/v1/roster"
_SITE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ADDRESS = re.compile(r"[A-Za-z0-9.:_-]{1,253}:[0-9]{1,5}")
_MOST_CERTIFICATE_BYTES = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Member:
    """One site.

    Attributes:
        index: Roster index, 0..65533; never reused for another site.
        site: Short name, lower case.
        organisation: Legal body that runs the site; three different ones are needed.
        public_key: Raw Ed25519 key, 32 bytes.
        second_key: Raw ML-DSA-65 key, 1952 bytes, if the site signs twice; see `signatures`.
        address: host:port where the other sites may call this one directly; empty if they may not.
        certificate: DER certificate that this site shows on direct links, calling or called; empty without an address.
            Being listed here is all that makes it trusted: no authority stands behind it.
    """

    index: int
    site: str
    organisation: str
    public_key: bytes
    second_key: bytes = b""
    address: str = ""
    certificate: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.index < RELAY:
            raise RosterRefused(f"site {self.site!r} has index {self.index}; wanted 0..{RELAY - 1}")
        if not _SITE_NAME.fullmatch(self.site):
            raise RosterRefused(f"site name {self.site!r} is not made of a-z, 0-9, '-' and '_' (at most 63)")
        if not self.organisation.strip() or not self.organisation.isprintable():
            raise RosterRefused(f"site {self.site!r} needs a printable organisation")
        if len(self.public_key) != 32:
            raise RosterRefused(f"site {self.site!r} has a key of {len(self.public_key)} bytes; Ed25519 keys have 32")
        _require_second_key(self.second_key, f"site {self.site!r}")
        if self.address or self.certificate:
            _require_link(self.address, self.certificate, self.site)


def default_threshold(sites: int) -> int:
    """t = floor(2N/3) + 1: survives floor((N-1)/3) drops and still keeps two sums of one round apart."""
    return 2 * sites // 3 + 1


@dataclass(frozen=True, slots=True)
class Roster:
    """A checked, signed list of sites.

    Attributes:
        version: Raised by the steward with every change.
        valid_from, valid_until: First and last day of use.
        steward_key, relay_key: Raw Ed25519 keys, 32 bytes.
        relay_second_key: Raw ML-DSA-65 key of the relay, or nothing.
        members: Sorted by index.
        threshold: t, the number of shares that open a key. Any t sites can open one input together with the relay.
        signature: The steward's, over `digest()`.

    Raises:
        RosterRefused: Fewer than 3 sites or organisations, more than 50 sites, 2t <= N+1 (two disjoint groups
            could open two sums of one round), t > N, a duplicate index, name or key, an impossible validity or a
            signature that is not the steward's.
    """

    version: int
    valid_from: datetime.date
    valid_until: datetime.date
    steward_key: bytes
    relay_key: bytes
    members: tuple[Member, ...]
    threshold: int
    signature: bytes
    relay_second_key: bytes = b""

    def __post_init__(self) -> None:
        _require_second_key(self.relay_second_key, "the relay")
        sites = len(self.members)
        if not FEWEST_SITES <= sites <= MOST_SITES:
            raise RosterRefused(f"the roster names {sites} sites; wanted {FEWEST_SITES}..{MOST_SITES}")
        organisations = {member.organisation.strip().casefold() for member in self.members}
        if len(organisations) < FEWEST_SITES:
            raise RosterRefused(f"the roster names {len(organisations)} organisations; wanted {FEWEST_SITES} or more")
        if not sites + 1 < 2 * self.threshold <= 2 * sites:
            raise RosterRefused(
                f"threshold {self.threshold} with {sites} sites; wanted (N+1)/2 < t <= N, such as "
                f"{default_threshold(sites)}"
            )
        indices = [member.index for member in self.members]
        if indices != sorted(set(indices)):
            raise RosterRefused("roster indices are not unique and increasing")
        if len({member.site for member in self.members}) < sites:
            raise RosterRefused("two sites of the roster have one name")
        keys = [self.steward_key, self.relay_key, *(member.public_key for member in self.members)]
        keys += [key for key in (self.relay_second_key, *(member.second_key for member in self.members)) if key]
        keys += [member.certificate for member in self.members if member.certificate]
        if len(set(keys)) < len(keys):
            raise RosterRefused("two parties of the roster have one key; every party needs its own")
        if not 0 <= self.version < 2**32 or self.valid_from > self.valid_until:
            raise RosterRefused("the roster's version or validity is impossible")
        try:
            Ed25519PublicKey.from_public_bytes(self.steward_key).verify(self.signature, self.digest())
        except (InvalidSignature, ValueError) as error:
            raise RosterRefused("the roster is not signed by its steward; ask the steward for it again") from error

    def digest(self) -> bytes:
        """32 bytes that sites pin and that enter `ctx0`."""
        return _roster_digest(
            self.version,
            self.valid_from,
            self.valid_until,
            self.steward_key,
            self.relay_key,
            self.members,
            self.threshold,
            self.relay_second_key,
        )

    @property
    def smallest(self) -> int:
        """m = max(t, 3), the smallest set whose sum may ever be opened."""
        return max(self.threshold, FEWEST_SITES)

    def member(self, site: str) -> Member:
        """The site of that name.

        Raises:
            RosterRefused: The roster does not name it.
        """
        for member in self.members:
            if member.site == site:
                return member
        raise RosterRefused(f"the roster does not name site {site!r}; it names {[m.site for m in self.members]}")

    def at(self, index: int) -> Member:
        """The site with that index.

        Raises:
            UnknownSender: The roster does not name it.
        """
        for member in self.members:
            if member.index == index:
                return member
        raise UnknownSender(f"a message claims to come from index {index}; the roster does not name it")

    def names(self, indices: Iterable[int]) -> str:
        """Site names for a message, in roster order."""
        wanted = set(indices)
        return ", ".join(member.site for member in self.members if member.index in wanted)

    def require_valid_on(self, day: datetime.date) -> None:
        """Refuse a roster before its first or after its last day.

        Raises:
            RosterRefused: `day` is outside the validity.
        """
        if not self.valid_from <= day <= self.valid_until:
            raise RosterRefused(
                f"the roster is valid from {self.valid_from} to {self.valid_until}, not on {day}; "
                "ask the steward for a new one"
            )

    def to_toml(self) -> str:
        """The file that the steward hands to the sites."""
        lines = [
            f"version = {self.version}",
            f"valid_from = {self.valid_from.isoformat()}",
            f"valid_until = {self.valid_until.isoformat()}",
            f"threshold = {self.threshold}",
            f'steward_key = "{self.steward_key.hex()}"',
            f'relay_key = "{self.relay_key.hex()}"',
            f'signature = "{self.signature.hex()}"',
        ]
        if self.relay_second_key:
            lines.append(f'relay_second_key = "{self.relay_second_key.hex()}"')
        for member in self.members:
            organisation = member.organisation.replace("\\", "\\\\").replace('"', '\\"')
            lines += [
                "",
                "[[site]]",
                f"index = {member.index}",
                f'name = "{member.site}"',
                f'organisation = "{organisation}"',
                f'public_key = "{member.public_key.hex()}"',
            ]
            if member.second_key:
                lines.append(f'second_key = "{member.second_key.hex()}"')
            if member.certificate:
                lines += [f'address = "{member.address}"', f'certificate = "{member.certificate.hex()}"']
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str, *, steward_key: bytes, on: datetime.date) -> "Roster":
        """Read a roster as a site does: under the steward's key it already knows, and on a day.

        Raises:
            RosterRefused: Not a roster, another steward's, not valid on that day, or refused by `Roster`.
        """
        try:
            raw = tomllib.loads(text)
            sites = raw.pop("site")
            members = tuple(
                Member(
                    site.pop("index"),
                    site.pop("name"),
                    site.pop("organisation"),
                    _hex(site.pop("public_key")),
                    _hex(site.pop("second_key", "")),
                    site.pop("address", ""),
                    _hex(site.pop("certificate", "")),
                )
                for site in sites
            )
            roster = cls(
                version=_exactly(int, raw.pop("version")),
                valid_from=_exactly(datetime.date, raw.pop("valid_from")),
                valid_until=_exactly(datetime.date, raw.pop("valid_until")),
                steward_key=_hex(raw.pop("steward_key")),
                relay_key=_hex(raw.pop("relay_key")),
                members=members,
                threshold=_exactly(int, raw.pop("threshold")),
                signature=_hex(raw.pop("signature")),
                relay_second_key=_hex(raw.pop("relay_second_key", "")),
            )
        except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise RosterRefused(f"the roster file cannot be read: {error}") from error
        unknown = sorted({*raw, *(key for site in sites for key in site)})
        if unknown:
            raise RosterRefused(f"the roster file has unknown keys {unknown}")
        if roster.steward_key != steward_key:
            raise RosterRefused("the roster is signed by another steward than the one this site knows")
        roster.require_valid_on(on)
        return roster


def sign_roster(
    members: Sequence[Member],
    *,
    steward: Ed25519PrivateKey,
    relay_key: bytes,
    valid_from: datetime.date,
    valid_until: datetime.date,
    threshold: int | None = None,
    version: int = 1,
    relay_second_key: bytes = b"",
) -> Roster:
    """Make a roster as the steward does; `threshold` defaults to floor(2N/3) + 1.

    Raises:
        RosterRefused: See `Roster`.
    """
    steward_key = steward.public_key().public_bytes_raw()
    ordered = tuple(sorted(members, key=lambda member: member.index))
    chosen = default_threshold(len(ordered)) if threshold is None else threshold
    to_sign = _roster_digest(
        version, valid_from, valid_until, steward_key, relay_key, ordered, chosen, relay_second_key
    )
    return Roster(
        version,
        valid_from,
        valid_until,
        steward_key,
        relay_key,
        ordered,
        chosen,
        signature=steward.sign(to_sign),
        relay_second_key=relay_second_key,
    )


@lru_cache(maxsize=64)  # every message of every attempt asks for it
def _roster_digest(
    version: int,
    valid_from: datetime.date,
    valid_until: datetime.date,
    steward_key: bytes,
    relay_key: bytes,
    members: tuple[Member, ...],
    threshold: int,
    relay_second_key: bytes,
) -> bytes:
    """Second keys are fields of their own, so a roster without any has the bytes it always had."""
    return digest(
        _DOMAIN,
        u32(version),
        valid_from.isoformat().encode(),
        valid_until.isoformat().encode(),
        steward_key,
        relay_key,
        u16(threshold),
        *(_member_bytes(member) for member in members),
        *([lp(relay_second_key)] if relay_second_key else []),
    )


def _member_bytes(member: Member) -> bytes:
    """One, two or three further fields say by their number which of them are there."""
    second = (member.second_key,) if member.second_key else ()
    link = (member.address.encode(), member.certificate) if member.certificate else ()
    return lp(u16(member.index), member.site.encode(), member.organisation.encode(), member.public_key, *second, *link)


def _require_second_key(key: bytes, whose: str) -> None:
    if key and len(key) != SECOND_KEY_BYTES:
        raise RosterRefused(f"{whose} has a second key of {len(key)} bytes; ML-DSA-65 keys have {SECOND_KEY_BYTES}")


def _require_link(address: str, certificate: bytes, site: str) -> None:
    if not _ADDRESS.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 65536:
        raise RosterRefused(f"site {site!r} has the address {address!r} for direct links; wanted host:port")
    try:
        if len(certificate) > _MOST_CERTIFICATE_BYTES:
            raise ValueError("too long")
        x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise RosterRefused(f"site {site!r} has an address for direct links and no usable certificate") from error


def _hex(text: str) -> bytes:
    key = bytes.fromhex(text)
    if key.hex() != text:
        raise ValueError("a key is not lower-case hexadecimal")
    return key


def _exactly(kind: type[T], value: object) -> T:
    if type(value) is not kind:
        raise TypeError(f"found {value!r}, wanted {kind.__name__}")
    return value
