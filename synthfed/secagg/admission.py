"""What site and relay check alike before they begin an attempt and before they go on with it."""

from collections.abc import Collection

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from synthfed.secagg import hybrid, masks, messages
from synthfed.secagg.contexts import Context0, SumConfig
from synthfed.secagg.refusals import BadKey, MalformedMessage, SitesMissing, WrongContext
from synthfed.secagg.roster import Roster

# A key of low order gives zero with every private key, so a public one tells; nothing is ever sealed with it.
_PROBE = X25519PrivateKey.from_private_bytes(bytes(range(32)))
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


def require_keys(config: SumConfig, hello: messages.Hello, name: str, peers: Collection[int]) -> None:
    """Refuse a HELLO whose keys these peers could not use, before anything is dealt to them.

    Raises:
        MalformedMessage: An ML-KEM key that nobody wants, or none where all want one.
        BadKey: A key of low order, or no key at all.
    """
    if bool(hello.kem_key) != config.post_quantum:
        raise MalformedMessage(
            f"the HELLO of site {name!r} has an ML-KEM key too many or too few for this configuration", site=name
        )
    try:
        for shown in (hello.mask_key, *(hello.seal_keys[peer] for peer in peers)):
            masks.exchange(_PROBE, shown)
        if hello.kem_key:
            hybrid.require_kem_key(hello.kem_key)
    except BadKey as error:
        raise BadKey(f"site {name!r}: {error}", site=name) from error
