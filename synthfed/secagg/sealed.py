"""Seal the state of an attempt before it touches a disk.

AES-256-GCM under a key of the site, with the database row's name as associated data, so that a sealed value cannot be
moved to another row. A thief of the disk learns the length of the state and nothing else; with the site key, all of it.
An older sealed value of the same row still opens: that a backup was restored shows in the audit log, not here.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from synthfed.secagg.contexts import lp
from synthfed.secagg.refusals import SealBroken
from synthfed.secagg.shamir import Entropy

KEY_BYTES = 32
_NONCE_BYTES = 12
_DOMAIN = b"synthfed/secagg/v1/sealed"


def seal(site_key: bytes, state: bytes, *, row: bytes, entropy: Entropy = os.urandom) -> bytes:
    """Encrypt `state` for the row named `row`; a fresh random nonce each time."""
    nonce = entropy(_NONCE_BYTES)
    return nonce + AESGCM(_checked(site_key)).encrypt(nonce, state, lp(_DOMAIN, row))


def unseal(site_key: bytes, sealed: bytes, *, row: bytes) -> bytes:
    """Undo `seal`.

    Raises:
        SealBroken: Another key, another row, or altered bytes.
    """
    try:
        return AESGCM(_checked(site_key)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], lp(_DOMAIN, row))
    except (InvalidTag, ValueError) as error:
        raise SealBroken("stored state does not open: altered, moved, or sealed under another site key") from error


def _checked(site_key: bytes) -> bytes:
    if len(site_key) != KEY_BYTES:
        raise SealBroken(f"the site's sealing key has {len(site_key)} bytes; wanted {KEY_BYTES}")
    return site_key
