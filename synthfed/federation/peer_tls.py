"""Who is at the other end of a direct link: TLS 1.3, a certificate on both sides, both held against the roster.

A site's certificate is trusted because the signed roster lists it, whose fingerprint people compared by voice. No
authority stands behind it; host names and addresses prove nothing.

A called site lets in callers that hold the key of a listed certificate, and no others. A caller compares what the
called site shows with what the roster lists for it, byte for byte, before it sends anything; TLS 1.3 has proved by then
that the other side holds the key.

What this protects is who talks to whom, and when. What is said is sealed before it gets here, for its receiver alone:
whoever steals a site's link key can take its place on a link, and reads or forges no envelope.
"""

import hashlib
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from synthfed.errors import FederationError
from synthfed.secagg.roster import Member

KEY, CERTIFICATE = "peer.key", "peer.crt"  # PEM, in a site's identity folder

Reason = Literal["unreachable", "timeout", "certificate", "refused", "cut", "garbage", "not taken", "own key"]


class LinkFailed(FederationError):
    """An envelope was not handed over by a direct link; it goes through the coordinator.

    Attributes:
        reason: One word for it, fit for an audit log that others read.
        found: Fingerprint of a certificate that was not the listed one.
    """

    def __init__(self, message: str, reason: Reason, *, found: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.found = found


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a DER certificate, hex, as browsers and `openssl x509 -fingerprint -sha256` show it."""
    return hashlib.sha256(certificate).hexdigest()


def calling_context(identity: Path) -> ssl.SSLContext:
    """For the side that calls; `require_listed` must follow the handshake.

    OpenSSL is told not to judge the other certificate: it could only build chains, and if it failed it would not say
    what it found. That the other side holds the key is proved either way.

    Raises:
        LinkFailed: `own key`: this site's key or certificate cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        context.load_cert_chain(identity / CERTIFICATE, identity / KEY)
    except OSError as error:
        raise LinkFailed(
            f"this site's own {KEY} or {CERTIFICATE} cannot be used ({error}); restore the identity folder", "own key"
        ) from error
    return context


def listening_context(identity: Path, listed: Iterable[bytes]) -> ssl.SSLContext:
    """For the side that is called: the handshake ends for whoever shows none of the listed certificates (DER)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # every link proves itself anew
    context.load_cert_chain(identity / CERTIFICATE, identity / KEY)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=b"".join(listed))
    return context


def require_listed(found: bytes, member: Member) -> None:
    """Check that a certificate is the one that the roster lists for a site.

    Raises:
        LinkFailed: `certificate`: another one; both fingerprints are in the message.
    """
    if found != member.certificate:
        told = fingerprint(found) if found else "none"
        raise LinkFailed(
            f"{member.address} is not site {member.site!r}: the roster lists the certificate "
            f"{fingerprint(member.certificate)}, found {told}; nothing was sent. Ask that site whether its address or "
            "certificate changed, and the steward for a new roster",
            "certificate",
            found=told,
        )


def require_own_listed(identity: Path, own: Member) -> None:
    """Check that peers will know this site by the certificate that it has.

    Raises:
        FederationError: The roster lists another one for it, or none.
    """
    if own_certificate(identity) != own.certificate:
        raise FederationError(
            f"the roster lists {'another certificate' if own.certificate else 'no address and certificate'} for direct "
            f"links to site {own.site!r}; send {own.site}.join to the coordinator and approve the new invitation"
        )


def own_certificate(identity: Path) -> bytes:
    """This site's certificate, DER; empty if it has none."""
    path = identity / CERTIFICATE
    return ssl.PEM_cert_to_DER_cert(path.read_text(encoding="ascii")) if path.exists() else b""
