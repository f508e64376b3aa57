"""Sealed shares as they travel: their size, what lies beside them, and what must lie in them.

A dealer publishes, signed, the hash of every box and of everything in it. So whoever holds the key of a box can tell
which of three parties to blame: the relay if the box is not the published one, the dealer if it does not open or holds
something else than was published, nobody otherwise.
"""

from synthfed.secagg import hybrid, masks, messages
from synthfed.secagg.contexts import SumConfig
from synthfed.secagg.refusals import BadShare


def unpack_dealt(raw: bytes, config: SumConfig) -> messages.SealedBox:
    """A sealed share of exactly the size that the configuration makes it.

    Raises:
        MalformedMessage: Another size.
    """
    return messages.SealedBox.unpack(raw, holds=_holds(config, *messages.addresses(raw)))


def box_bytes(config: SumConfig, dealer: int, holder: int) -> int:
    """How many bytes `unpack_dealt` wants of a sealed share from `dealer` for `holder`."""
    return messages.SEALED_OVERHEAD + _holds(config, dealer, holder)


def _holds(config: SumConfig, dealer: int, holder: int) -> int:
    wrapped = hybrid.WRAPPED_BYTES if config.post_quantum and hybrid.sends_half(dealer, holder) else 0
    return messages.dealt_bytes(key_shares=config.deals_keys) + wrapped


def split_wrapped(box: bytes, sender: int, receiver: int, config: SumConfig) -> tuple[bytes, bytes]:
    """What travels beside a box, if anything does, and the box."""
    size = hybrid.WRAPPED_BYTES if config.post_quantum and hybrid.sends_half(sender, receiver) else 0
    return box[:size], box[size:]


def is_published(raw: bytes, published: messages.Share, context0: bytes, *, dealer: int, holder: int) -> bool:
    """Whether these are the bytes whose hash the dealer signed for that holder."""
    found = masks.box_digest(context0, sender=dealer, receiver=holder, box=raw)
    return published.box_digests.get(holder) == found


def open_dealt(key: bytes, raw: bytes, config: SumConfig, context0: bytes, *, dealer: int, holder: int) -> bytes:
    """What lies in a sealed share.

    Raises:
        MalformedMessage: Nothing that this key opens.
    """
    box = unpack_dealt(raw, config)
    wrapped, inner = split_wrapped(box.box, dealer, holder, config)
    return masks.open_box(key, inner, context0, sender=dealer, receiver=holder, beside=wrapped)


def require_as_published(
    plain: bytes,
    published: messages.Share,
    config: SumConfig,
    context0: bytes,
    *,
    dealer: int,
    holder: int,
    name: str,
) -> messages.DealtShares:
    """What a dealer gave, if it is what the dealer published.

    Raises:
        BadShare: It is something else; `party` is the dealer, whose name is `name`.
    """
    dealt = messages.DealtShares.unpack(plain, key_shares=config.deals_keys)
    if masks.tag_part_digest(context0, dealer, dealt.tag_part) != published.tag_part_digest:
        raise BadShare(f"site {name!r} gave a part of the tag key that is not the published one", party=name)
    if config.deals_keys:
        for kind, share, digests in (
            (b"self", dealt.self_share, published.self_digests),
            (b"mask", dealt.mask_share, published.mask_digests),
        ):
            masks.require_share(
                context0,
                kind=kind,
                dealer=dealer,
                holder=holder,
                share=share,
                published=digests[holder],
                blame=name,
            )
    return dealt
