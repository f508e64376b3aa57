"""Who lied: a site says that a dealer gave it something else than the dealer published, and everybody can judge.

Before a site masks anything it opens what the others dealt to it and compares it with what they published. If one box
does not hold that, the site does not mask. It sends a COMPLAINT instead: the box and its own half e_ji of the one-use
key pair that sealed it, whose public half stands in its signed HELLO. Everybody then opens the box as the complainer
did. The dealer has signed the hash of the box and of its content, and the complainer has signed the key, so the verdict
needs nobody's word:

| what everybody finds | who lied |
|---|---|
| the key is not the one of the complainer's HELLO, or the box not the one of the dealer's SHARE | the complainer |
| the box does not open, or holds something else than was published | the dealer |
| the box holds what was published | the complainer |

What a complaint shows: the boxes between these two sites in this attempt. One of the two lied, and it knew their
contents before; so nobody learns more than the liar could have told. The complainer's attempt is over. For the relay it
is a site lost before its MASKED; the next attempt begins without the site that lied.

In hybrid sums (`post_quantum`) the box key also depends on a secret of the pair that no third party can check. There a
box that opens decides as above, and one that does not open names both sites: one of them lied.
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from synthfed.secagg import masks, messages
from synthfed.secagg.boxes import box_bytes, is_published, open_dealt, require_as_published
from synthfed.secagg.contexts import SumConfig
from synthfed.secagg.messages import Kind, body_of
from synthfed.secagg.refusals import BadShare, MalformedMessage
from synthfed.secagg.roster import Roster


def judge(
    complaint: bytes,
    *,
    roster: Roster,
    config: SumConfig,
    context0: bytes,
    hellos: Mapping[int, bytes],
    shares: Mapping[int, bytes],
) -> tuple[str, ...]:
    """The names of those who lied: one site, or in a hybrid sum two of which one lied.

    Args:
        hellos, shares: HELLO and SHARE by roster index, as signed; the caller has checked them.

    Raises:
        BadSignature, UnknownSender, WrongContext: Not signed by a site in this attempt.
        MalformedMessage: No complaint about a dealer of this attempt that dealt to the complainer.
    """
    envelope = messages.read(complaint, kind=Kind.COMPLAINT, context=context0, roster=roster)
    holder, name = envelope.sender, roster.at(envelope.sender).site
    dealer = messages.dealer_of(envelope.body)
    if dealer == holder or dealer not in shares or not {dealer, holder} <= hellos.keys():
        raise MalformedMessage(f"site {name!r} complains of a site that dealt nothing to it", site=name)
    size = box_bytes(config, dealer, holder)
    told = messages.Complaint.unpack(envelope.body, box_bytes=size, post_quantum=config.post_quantum)
    accused = roster.at(dealer).site
    share = messages.Share.unpack(body_of(shares[dealer]), roster, key_shares=config.deals_keys)
    shown = {index: messages.Hello.unpack(body_of(hellos[index]), roster, index) for index in (dealer, holder)}
    private = X25519PrivateKey.from_private_bytes(told.seal_private)
    if private.public_key().public_bytes_raw() != shown[holder].seal_keys[dealer]:
        return (name,)
    if not is_published(told.box, share, context0, dealer=dealer, holder=holder):
        return (name,)
    key = masks.seal_key(
        private,
        shown[dealer].seal_keys[holder],
        context0,
        sender=dealer,
        receiver=holder,
        pair_key=told.pair_key,
    )
    try:
        plain = open_dealt(key, told.box, config, context0, dealer=dealer, holder=holder)
    except MalformedMessage:
        return (accused, name) if config.post_quantum else (accused,)
    try:
        require_as_published(plain, share, config, context0, dealer=dealer, holder=holder, name=accused)
    except BadShare:
        return (accused,)
    return (name,)
