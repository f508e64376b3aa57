"""Keys and certificates of the connections: hospitals to coordinator, who may connect at all, and direct links.

They carry the envelopes, no more. Whoever steals one of them can delay or drop messages, not read or forge what sites
send each other: that rests on the Ed25519 keys of the roster.
"""

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from synthfed.errors import FederationError

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 730
_LINK_DAYS = 3650  # a link's certificate counts as long as the roster lists it


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and what belongs to it in public, as files hold them."""

    private: bytes
    public: bytes


def make_authority(name: str) -> KeyPair:
    """A certificate authority for this coordinator alone (EC P-256, PEM); its certificate goes to every site."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"synthfed {name}"[:64])])
    certificate = (
        _begun(subject, subject, key.public_key(), days=_AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return KeyPair(_private_pem(key), certificate.public_bytes(Encoding.PEM))


def issue_server(authority: KeyPair, host: str) -> KeyPair:
    """A server certificate for `host` and for this machine's loopback addresses.

    Raises:
        FederationError: The authority's key is no EC key.
    """
    signer = load_pem_private_key(authority.private, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise FederationError("the key of the certificate authority is no EC key; restore the coordinator's tls folder")
    issuer = x509.load_pem_x509_certificate(authority.public)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_general_name(one) for one in dict.fromkeys((host, "localhost", "127.0.0.1"))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    certificate = (
        _begun(subject, issuer.subject, key.public_key(), days=_SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, SHA256())
    )
    return KeyPair(_private_pem(key), certificate.public_bytes(Encoding.PEM))


def make_link(site: str) -> KeyPair:
    """A site's own certificate for direct links (EC P-256, PEM), signed by nobody else: the roster lists it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"synthfed site {site}"[:64])])
    certificate = (
        _begun(subject, subject, key.public_key(), days=_LINK_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .sign(key, SHA256())
    )
    return KeyPair(_private_pem(key), certificate.public_bytes(Encoding.PEM))


def make_node_key() -> KeyPair:
    """The key by which a site's SuperNode is let in: EC P-384 in OpenSSH form, as Flower reads it."""
    key = ec.generate_private_key(ec.SECP384R1())
    return KeyPair(
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
    )


def is_node_key(text: str) -> bool:
    """Whether a text is a public node key: EC on a NIST curve, in OpenSSH form."""
    try:
        return isinstance(load_ssh_public_key(text.encode("ascii")), ec.EllipticCurvePublicKey)
    except (ValueError, UnsupportedAlgorithm):
        return False


def is_certificate(text: str) -> bool:
    """Whether a text is one PEM certificate."""
    try:
        return len(x509.load_pem_x509_certificates(text.encode("ascii"))) == 1
    except ValueError:
        return False


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
