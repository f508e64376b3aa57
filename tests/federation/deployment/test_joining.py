"""The files that people carry between hospitals and coordinator."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.federation.deployment.certificates import make_node_key
from synthfed.federation.deployment.joining import FileRefused, Invitation, Join, same_fingerprint
from synthfed.secagg.refusals import RosterRefused


def join(identity: Ed25519PrivateKey, site: str = "lyon") -> Join:
    public = identity.public_key().public_bytes_raw()
    return Join(site, "Hospices Civils de Lyon", public, make_node_key().public.decode())


def test_a_request_reads_back_as_it_was_written():
    identity = Ed25519PrivateKey.generate()
    asked = join(identity)
    assert Join.from_toml(asked.to_toml(identity)) == asked


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
