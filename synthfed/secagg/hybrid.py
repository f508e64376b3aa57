"""`post_quantum`: secrets that stay secret if somebody records everything now and breaks X25519 later.

Two things are added to X25519, nothing replaced; whoever breaks one of the two families still learns nothing.

- *Boxes.* Every pair of sites agrees once per run on a key psk_ij, sent by the lower index under HPKE (RFC 9180) with
  ML-KEM-768 and X25519 together, and mixes it into every box key of the run.
- *Masks.* Every pair's mask key mixes in h_ij, 32 bytes of an ML-KEM-768 exchange. One side of the pair, the sender,
  derives h_ij from its own mask seed and sends it under the other's ML-KEM key, which follows from the other's mask
  seed. So either seed alone gives h_ij, and recovery after a drop works as without: t shares of one seed are enough.

The wrapped h_ij is bound to the box it travels with, so a relay that alters it is seen. A site that wraps another value
than it uses spoils the sum, which the tag shows, and is not named. Signatures are Ed25519: who can forge them needs a
quantum computer during the run, and must break ML-DSA-65 too where the roster names second keys (`signatures`).
"""

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from synthfed.secagg.contexts import lp, u16
from synthfed.secagg.masks import KEY_BYTES, hkdf
from synthfed.secagg.refusals import BadKey, BadSignature, MalformedMessage
from synthfed.secagg.roster import Roster
from synthfed.secagg.signatures import Signer, signature_bytes, verify

KEM_KEY_BYTES = 1184  # ML-KEM-768 encapsulation key (FIPS 203)
KEM_TEXT_BYTES = 1088
WRAPPED_BYTES = KEM_TEXT_BYTES + KEY_BYTES

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_RUN_KEY = b"synthfed/secagg/v1/run-key"
_PAIR_KEY = b"synthfed/secagg/v1/pair-key"


# --- masks ------------------------------------------------------------------------------------------------------------


def sends_half(own: int, peer: int) -> bool:
    """Whether `own` is the sender of the pair: the lower index if the sum of the two is even, else the higher."""
    return (own < peer) == ((own + peer) % 2 == 0)


def kem_private_key(mask_seed: bytes, context0: bytes) -> MLKEM768PrivateKey:
    """The ML-KEM key that follows from rho_i."""
    return MLKEM768PrivateKey.from_seed_bytes(hkdf(mask_seed, context0, lp(b"mask-mlkem"), 64))


def kem_public_key(mask_seed: bytes, context0: bytes) -> bytes:
    """What a HELLO shows of it; 1184 bytes."""
    return kem_private_key(mask_seed, context0).public_key().public_bytes_raw()


def half_of(mask_seed: bytes, context0: bytes, *, sender: int, receiver: int) -> bytes:
    """h_ij from the sender's rho."""
    return hkdf(mask_seed, context0, lp(b"half", u16(sender), u16(receiver)), KEY_BYTES)


def require_kem_key(kem_key: bytes) -> None:
    """Refuse what is no ML-KEM-768 key.

    Raises:
        BadKey: It is none.
    """
    try:
        MLKEM768PublicKey.from_public_bytes(kem_key)
    except ValueError as error:
        raise BadKey("a site's ML-KEM key is malformed; its software must be checked") from error


def box_part(pair_key: bytes, context0: bytes) -> bytes:
    """What psk_ij gives the box keys of one attempt; a complaint shows this and not psk_ij."""
    return hkdf(pair_key, context0, lp(b"box-psk"), KEY_BYTES)


def wrap_half(half: bytes, kem_key: bytes, context0: bytes, *, sender: int, receiver: int) -> bytes:
    """h_ij for the receiver's ML-KEM key; 1120 bytes.

    Raises:
        BadKey: The receiver's key is none.
    """
    try:
        secret, text = MLKEM768PublicKey.from_public_bytes(kem_key).encapsulate()
    except ValueError as error:
        raise BadKey("a site's ML-KEM key is malformed; its software must be checked") from error
    return text + _xor(half, _pad(secret, context0, sender, receiver))


def unwrap_half(wrapped: bytes, mask_seed: bytes, context0: bytes, *, sender: int, receiver: int) -> bytes:
    """h_ij from the receiver's rho; another value if `wrapped` was altered."""
    secret = kem_private_key(mask_seed, context0).decapsulate(wrapped[:KEM_TEXT_BYTES])
    return _xor(wrapped[KEM_TEXT_BYTES:], _pad(secret, context0, sender, receiver))


def recovered_half(mask_seed: bytes, context0: bytes, *, gone: int, counted: int, wrapped: bytes) -> bytes:
    """h of the pair of a vanished site, from its rho: its own half, or the one that was sent to it."""
    if sends_half(gone, counted):
        return half_of(mask_seed, context0, sender=gone, receiver=counted)
    return unwrap_half(wrapped, mask_seed, context0, sender=counted, receiver=gone)


def _pad(secret: bytes, context0: bytes, sender: int, receiver: int) -> bytes:
    return hkdf(secret, context0, lp(b"half-pad", u16(sender), u16(receiver)), KEY_BYTES)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


# --- one key per pair and run -----------------------------------------------------------------------------------------
#
# A site keeps 96 secret bytes per run, shows the public key, signed, to all; the lower index of each pair draws psk_ij
# and offers it, signed, to the higher.


def show_run_key(secret: bytes, run_id: bytes, *, own: int, identity: Signer) -> bytes:
    """The public key of 96 random bytes, signed for this run; 1280 bytes, or 4589 signed twice."""
    kem, curve = _run_key(secret)
    public = kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return public + identity.sign(lp(_RUN_KEY, run_id, u16(own), public))


def offer_pair_key(
    pair_key: bytes,
    shown: bytes,
    run_id: bytes,
    *,
    own: int,
    receiver: int,
    roster: Roster,
    identity: Signer,
) -> bytes:
    """psk_ij, sealed for the receiver's shown key and signed; 1232 bytes, or 4541 signed twice.

    Raises:
        BadSignature: The shown key is not signed by the receiver for this run.
        BadKey: It is no key.
    """
    public = _verified(shown, lp(_RUN_KEY, run_id, u16(receiver)), receiver, roster)
    try:
        hybrid = hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:KEM_KEY_BYTES]),
            X25519PublicKey.from_public_bytes(public[KEM_KEY_BYTES:]),
        )
        sealed = _SUITE.encrypt(pair_key, hybrid, info=lp(_PAIR_KEY, run_id, u16(own), u16(receiver)))
    except ValueError as error:
        raise BadKey("a site's hybrid key is malformed; its software must be checked") from error
    return sealed + identity.sign(lp(_PAIR_KEY, run_id, u16(own), u16(receiver), sealed))


def accept_pair_key(offer: bytes, secret: bytes, run_id: bytes, *, sender: int, own: int, roster: Roster) -> bytes:
    """psk_ij as the sender offered it; 32 bytes.

    Raises:
        BadSignature: The offer is not signed by the sender for this run and pair.
        MalformedMessage: It does not open or holds no key.
    """
    sealed = _verified(offer, lp(_PAIR_KEY, run_id, u16(sender), u16(own)), sender, roster)
    info = lp(_PAIR_KEY, run_id, u16(sender), u16(own))
    try:
        pair_key = _SUITE.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(*_run_key(secret)), info=info)
    except (InvalidTag, ValueError) as error:
        raise MalformedMessage(f"the pair key of index {sender} for index {own} does not open") from error
    if len(pair_key) != KEY_BYTES:
        raise MalformedMessage(f"a pair key has {len(pair_key)} bytes; wanted {KEY_BYTES}")
    return pair_key


def _run_key(secret: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    return MLKEM768PrivateKey.from_seed_bytes(secret[:64]), X25519PrivateKey.from_private_bytes(secret[64:])


def _verified(signed: bytes, label: bytes, signer: int, roster: Roster) -> bytes:
    """The content of a signed message, where the signature covers the label's fields and the content."""
    member = roster.at(signer)
    cut = max(0, len(signed) - signature_bytes(member.second_key))
    content, signature = signed[:cut], signed[cut:]
    try:
        verify(member.public_key, member.second_key, signature, label + lp(content))
    except InvalidSignature as error:
        raise BadSignature(f"a key of site {member.site!r} for this run is not signed with its key") from error
    return content
