"""The files that people carry between hospitals and coordinator."""

import dataclasses
from ssl import PEM_cert_to_DER_cert

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.federation.deployment.certificates import make_link, make_node_key
from synthfed.federation.deployment.joining import FileRefused, Invitation, Join, same_fingerprint
from synthfed.secagg.refusals import RosterRefused


def join(identity: Ed25519PrivateKey, site: str = "lyon") -> Join:
    public = identity.public_key().public_bytes_raw()
    return Join(site, "Hospices Civils de Lyon", public, make_node_key().public.decode())


def test_a_request_reads_back_as_it_was_written():
    identity = Ed25519PrivateKey.generate()
    asked = join(identity)
    assert Join.from_toml(asked.to_toml(identity)) == asked


def test_a_request_may_offer_direct_links_and_is_signed_with_them():
    identity = Ed25519PrivateKey.generate()
    certificate = PEM_cert_to_DER_cert(make_link("lyon").public.decode())
    asked = dataclasses.replace(join(identity), address="lyon.example.org:9443", certificate=certificate)
    text = asked.to_toml(identity)
    assert Join.from_toml(text) == asked
    assert asked.fingerprint != join(identity).fingerprint
    other = PEM_cert_to_DER_cert(make_link("lyon").public.decode())
    for changed in (text.replace(":9443", ":9444"), text.replace(certificate.hex(), other.hex())):
        with pytest.raises(FileRefused, match="not signed by the key"):
            Join.from_toml(changed)
    with pytest.raises(RosterRefused, match="no usable certificate"):
        dataclasses.replace(asked, certificate=b"")


def test_a_request_with_one_changed_field_is_refused():
    identity = Ed25519PrivateKey.generate()
    asked = join(identity)
    text = asked.to_toml(identity)
    for other in (
        text.replace("lyon", "paris"),
        text.replace("Hospices", "Hospice"),
        text.replace(asked.node_key, make_node_key().public.decode()),
        asked.to_toml(Ed25519PrivateKey.generate()),
    ):
        with pytest.raises(FileRefused, match="not signed by the key"):
            Join.from_toml(other)
    with pytest.raises(FileRefused, match="not TOML"):
        Join.from_toml("<html>")
    with pytest.raises(FileRefused, match="exactly the texts"):
        Join.from_toml(text + 'extra = "x"\n')
    with pytest.raises(RosterRefused):
        join(identity, site="Lyon Sud")


def test_an_invitation_reads_back_and_its_fingerprint_covers_everything(homes):
    coordinator, _ = homes
    invited = coordinator.sign_roster()
    again = Invitation.from_toml(invited.to_toml())
    assert again == invited
    assert same_fingerprint(invited.fingerprint.upper().replace("-", " "), again.fingerprint)
    moved = dataclasses.replace(invited, address="evil.example.org:443")
    assert moved.fingerprint != invited.fingerprint
    with pytest.raises(FileRefused, match="host:port"):
        dataclasses.replace(invited, address="fl.example.org")
    with pytest.raises(FileRefused, match="certificate"):
        dataclasses.replace(invited, authority="-----BEGIN")
