"""What site and relay check alike before they begin an attempt and before they go on with it."""

from collections.abc import Collection

from synthfed.secagg import hybrid, messages
from synthfed.secagg.contexts import Context0, SumConfig
from synthfed.secagg.refusals import MalformedMessage, SitesMissing, WrongContext
from synthfed.secagg.roster import Roster

_COMPRESSED = SumConfig(bounds=(), scales=(), threshold=0, smallest=0, pipeline_digest=b"")


def checked_config(roster: Roster, context: Context0, config: SumConfig | None) -> SumConfig:
    """The configuration, if the context was made from it; without one, the default mode and ring.

    Raises:
        WrongContext: The context was made for another configuration, or the configuration for another threshold.
    """
    if config is None:
        return _COMPRESSED
    if config.digest() != context.config_digest:
        raise WrongContext("the context was made for another configuration of the sum")
    if config.threshold != roster.threshold:
        raise WrongContext(f"the configuration says threshold {config.threshold}, the roster {roster.threshold}")
    return config


def checked_smallest(roster: Roster, config: SumConfig, smallest: int | None) -> int:
    """The fewest sites a party accepts: all of the roster, or what its policy says within m..N."""
    sites, least = len(roster.members), max(roster.smallest, config.smallest)
    chosen = sites if smallest is None else smallest
    if not least <= chosen <= sites:
        raise ValueError(f"smallest set {chosen} is outside {least}..{sites}")
    return chosen


def require_enough(roster: Roster, found: Collection[int], asked: Collection[int], smallest: int, what: str) -> None:
    """Refuse to go on with fewer than `smallest` sites.

    Raises:
        SitesMissing: Names the sites that were asked and did not answer.
    """
    if len(found) < smallest:
        absent = roster.names(set(asked) - set(found)) or "nobody who was asked"
        raise SitesMissing(
            f"{len(found)} sites sent a {what}, {smallest} are needed; missing: {absent}. The attempt ends here"
        )


def require_kem_key(config: SumConfig, hello: messages.Hello) -> None:
    """Refuse a HELLO with an ML-KEM key that nobody wants, or without one that all want.

    Raises:
        MalformedMessage: It is one or the other.
    """
    if bool(hello.kem_key) != config.post_quantum:
        raise MalformedMessage("a HELLO with an ML-KEM key too many or too few for this configuration")


def unpack_dealt(raw: bytes, config: SumConfig) -> messages.SealedBox:
    """A sealed share of exactly the size that the configuration makes it."""
    wrapped = 0
    if config.post_quantum and hybrid.sends_half(*messages.addresses(raw)):
        wrapped = hybrid.WRAPPED_BYTES
    return messages.SealedBox.unpack(raw, holds=messages.dealt_bytes(key_shares=config.deals_keys) + wrapped)


def split_wrapped(box: bytes, sender: int, receiver: int, config: SumConfig) -> tuple[bytes, bytes]:
    """What travels beside a box, if anything does, and the box."""
    size = hybrid.WRAPPED_BYTES if config.post_quantum and hybrid.sends_half(sender, receiver) else 0
    return box[:size], box[size:]
