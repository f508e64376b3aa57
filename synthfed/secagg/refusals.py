"""Every way a secure sum is refused: one class each, so that a caller, a log and a test can tell them apart.

```
SecAggError
└── SumRefused           base of all below; `site` names who is at fault, where that can be told
    ├── RosterRefused    a roster that must not be used, or a key that is not the roster's
    ├── NonFinite        a NaN or an infinity in a vector; nothing was sent
    ├── WeightRefused    weights that could let the sum wrap, or that do not add up
    ├── MalformedMessage bytes that are not exactly one message of the protocol
    ├── WrongContext     another run, round, attempt, purpose, roster, configuration, layout or model
    ├── UnknownSender    a message of somebody the roster does not name
    ├── BadSignature     a signature that does not verify
    ├── BadKey           a public key that yields no secret, or a key that was never agreed
    ├── SplitView        sites were shown different sets or messages
    ├── SitesMissing     fewer sites answered than the attempt needs
    ├── OutOfOrder       a step before its predecessor, or after the end
    ├── AlreadyAnswered  a second, different request or message for one step
    ├── ReleaseRefused   key shares asked for a set that this site must not help to open
    ├── BadShare         a key share that is not the one its dealer published
    ├── TagMismatch      the announced sum is not the sum of what was sent
    ├── SealBroken       stored state that was altered, moved or sealed under another key
    └── AuditBroken      an audit log whose chain or signature is broken
```

Whom a refusal blames: the site whose signature stands under what is wrong; else the site whose connection brought it,
if the caller said which; else nobody (`site` is None), because anybody could have made those bytes.

A refusal never carries a key, a share or a coordinate of a vector. Values that hold secrets have no `repr` either, so
that a traceback with local variables does not print them.
"""

from synthfed.errors import SecAggError


class SumRefused(SecAggError):
    """Base of this folder's refusals.

    Attributes:
        site: Name of the site at fault; None if it cannot be told or if no site is.
    """

    def __init__(self, message: str, *, site: str | None = None) -> None:
        super().__init__(message)
        self.site = site


class RosterRefused(SumRefused):
    """A roster that must not be used, or a key that is not the roster's."""


class NonFinite(SumRefused):
    """A vector holds a NaN or an infinity; nothing was sent."""


class WeightRefused(SumRefused):
    """Weights outside their range: the sum could wrap or would mean nothing."""


class MalformedMessage(SumRefused):
    """Bytes that are not exactly one message of the protocol."""


class WrongContext(SumRefused):
    """A message of another run, round, attempt, purpose, roster, configuration, layout or model."""


class UnknownSender(SumRefused):
    """A message of somebody whom the roster does not name."""


class BadSignature(SumRefused):
    """A signature that does not verify under the roster's key."""


class BadKey(SumRefused):
    """A public key of low order, which would yield a secret that everybody knows; or a pair key that is not there."""


class SplitView(SumRefused):
    """Sites were shown different sets of participants or different messages."""


class SitesMissing(SumRefused):
    """Fewer sites answered than the attempt needs."""


class OutOfOrder(SumRefused):
    """A step was asked for before its predecessor or after the attempt ended."""


class AlreadyAnswered(SumRefused):
    """A step was already taken for another request; answering twice could open a vector."""


class ReleaseRefused(SumRefused):
    """Key shares were asked for a set of sites that must not be opened: foreign, too small, or without this site."""


RELAY_PARTY, UNKNOWN_PARTY = "the relay", "unknown to all"  # with a blank, so no site can have such a name


class BadShare(SumRefused):
    """A key share is not the one its dealer published; `party` is whom to blame: a site, or one of the two above."""

    def __init__(self, message: str, *, party: str) -> None:
        super().__init__(message, site=party if party not in (RELAY_PARTY, UNKNOWN_PARTY) else None)
        self.party = party


class TagMismatch(SumRefused):
    """The announced sum is not the sum of what the sites sent; the round must be discarded."""


class SealBroken(SumRefused):
    """Stored state was altered, moved to another row, or sealed under another key."""


class AuditBroken(SumRefused):
    """An audit log was edited, cut, reordered or signed by somebody else."""
